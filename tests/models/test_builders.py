"""What every builder's model does: shapes, structure, training, saving, precision."""

import keras
import numpy as np
import pytest
from keras import layers

from dlip_reg.models import MODEL_NAMES, get_builder

# The least side each builder documents; below it the pools have nothing to pool.
SMALLEST = {
    "lenet5": 12,
    "alexnet": 15,
    "vgg_small": 5,
    **dict.fromkeys(("vgg11", "vgg16", "vgg19"), 17),
    **dict.fromkeys(("resnet_small", "resnet20", "resnet32", "resnet44", "resnet56"), 3),
    **dict.fromkeys(("resnet18", "resnet34"), 5),
}
SHAPE = (19, 17, 2)
REGULARIZED = {
    "batch_norm": True,
    "conv_dropout": 0.2,
    "dense_dropout": 0.3,
    "conv_kernel_regularizer": "l1",
    "dense_kernel_regularizer": 0.02,
    "max_norm": 2.0,
}


DEEP = ("vgg16", "vgg19", "resnet32", "resnet34", "resnet44", "resnet56")  # of the blocks of others


# Of module scope, so that pytest runs the tests of one builder in a row and builds it once.
@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=[pytest.mark.slow] * (n in DEEP)) for n in MODEL_NAMES],
)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def plain(name):
    """The builder's model without any regularization, not even ResNet's batch normalization."""
    keras.utils.set_random_seed(1)
    return get_builder(name)(SHAPE, classes=3, batch_norm=False)


@pytest.fixture(scope="module")
def regularized(name):
    """The builder's model with all kinds of regularization."""
    keras.utils.set_random_seed(1)
    return get_builder(name)(SHAPE, classes=3, **REGULARIZED)


def images(count=4, shape=SHAPE):
    return np.random.default_rng(0).normal(size=(count, *shape)).astype("float32")


def weighted(model):
    return [layer for layer in model.layers if isinstance(layer, layers.Conv2D | layers.Dense)]


def followers(layer):
    return [node.operation for node in layer._outbound_nodes]


def test_odd_sizes_give_finite_logits(plain):
    logits = np.asarray(plain(images()))
    assert logits.shape == (4, 3)
    assert np.isfinite(logits).all()
    # Not a softmax: rows of logits do not sum to one.
    assert not np.allclose(logits.sum(axis=1), 1)


@pytest.mark.parametrize("name", SMALLEST)
def test_smallest_image_works_and_one_pixel_less_is_refused(symbolic, name):
    least = SMALLEST[name]
    model = get_builder(name)((least, least + 4, 1), batch_norm=True)
    assert model.output_shape == (None, 10)
    message = f"{name} takes images of {least}x{least} pixels or more, not {least + 2}x{least - 1}"
    with pytest.raises(ValueError, match=message):
        get_builder(name)((least + 2, least - 1, 1))


def test_one_step_moves_every_weight(plain):
    before = [weight.numpy().copy() for weight in plain.trainable_weights]
    plain.compile(
        keras.optimizers.SGD(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,  # tracing the deep ones would take longer than the step
    )
    loss = plain.train_on_batch(images(), np.array([0, 1, 2, 0]))
    assert np.isfinite(loss)
    after = [weight.numpy() for weight in plain.trainable_weights]
    assert all(np.any(old != new) for old, new in zip(before, after, strict=True))


def test_without_batch_norm_every_layer_has_a_bias(plain):
    assert all(layer.use_bias for layer in weighted(plain))
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in plain.layers)


def test_batch_norm_stands_between_a_layer_without_bias_and_its_activation(regularized):
    hidden = [layer for layer in weighted(regularized) if layer.name != "logits"]
    assert hidden
    for layer in hidden:
        assert not layer.use_bias
        (norm,) = followers(layer)
        assert isinstance(norm, layers.BatchNormalization)
        assert (norm.name, norm.momentum) == (f"{layer.name}_bn", 0.9)
        # The sum of a residual block comes before the activation that both its branches share.
        (after,) = followers(norm)
        assert isinstance(after, layers.Add) == layer.name.endswith(("b", "_shortcut"))
        if isinstance(after, layers.Add):
            (after,) = followers(after)
        assert isinstance(after, layers.Activation)
    assert regularized.get_layer("logits").use_bias
    assert followers(regularized.get_layer("logits")) == []


def test_dropout_follows_an_activation(regularized):
    drops = [layer for layer in regularized.layers if isinstance(layer, layers.Dropout)]
    assert drops
    for drop in drops:
        (node,) = drop._inbound_nodes
        (source,) = (tensor._keras_history.operation for tensor in node.input_tensors)
        assert isinstance(source, layers.Activation | layers.GlobalAveragePooling2D)
        is_map = len(drop.input.shape) == 4
        assert drop.rate == (0.2 if is_map else 0.3)
    assert followers(drops[-1]) == [regularized.get_layer("logits")]


def test_regularizers_and_constraints_are_on_all_kernels_and_nothing_else(regularized):
    kernels = {layer.kernel.path for layer in weighted(regularized)}
    # Asked of the variables, as that is where Keras looks.
    assert {v.path for v in regularized.weights if v.regularizer is not None} == kernels
    assert {v.path for v in regularized.weights if v.constraint is not None} == kernels
    for layer in weighted(regularized):
        is_conv = isinstance(layer, layers.Conv2D)
        expected = keras.regularizers.L1(0.01) if is_conv else keras.regularizers.L2(0.02)
        assert type(layer.kernel_regularizer) is type(expected)
        assert layer.kernel_regularizer.get_config() == expected.get_config()
        axis = [0, 1, 2] if is_conv else 0
        assert layer.kernel_constraint.get_config() == {"max_value": 2.0, "axis": axis}
    own = {id(layer.kernel_regularizer) for layer in weighted(regularized)}
    assert len(own) == len(kernels)


def test_saved_model_loads_without_custom_objects(regularized, tmp_path):
    assert all(type(layer).__module__.startswith("keras.") for layer in regularized.layers)
    path = tmp_path / "model.keras"
    regularized.save(path)
    loaded = keras.saving.load_model(path)
    path.unlink()
    np.testing.assert_array_equal(regularized(images()), loaded(images()))
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in regularized.layers]
    penalties = [float(loss) for loss in regularized.losses]
    assert penalties == [float(loss) for loss in loaded.losses]


@pytest.fixture
def half_precision():
    old = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(old)


def test_mixed_precision_keeps_logits_and_weights_in_float32(half_precision, symbolic, name):
    model = get_builder(name)(SHAPE, classes=3)
    assert {w.dtype for w in model.trainable_weights} == {"float32"}
    assert {layer.compute_dtype for layer in weighted(model)[:-1]} == {"bfloat16"}
    assert model.output.dtype == "float32"


@pytest.mark.parametrize("small", ["mlp", "lenet5", "vgg_small", "resnet20"])
def test_mixed_precision_gives_probabilities_of_float32(half_precision, small):
    model = get_builder(small)(SHAPE, classes=3, classifier_activation="softmax")
    probabilities = np.asarray(model(images()))
    # Eight bits of mantissa would miss 1 by up to 4e-3.
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
