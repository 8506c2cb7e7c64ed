"""The options all builders share: what they do by value, and what is refused."""

import re

import keras
import numpy as np
import pytest
from further_cases import since_keras
from keras import regularizers

from dlip_reg import models
from dlip_reg.models import MODEL_NAMES, get_builder, lenet5, mlp, resnet20, vgg_small
from dlip_reg.regularization import Regularization


def kernels(model, kind):
    return [layer.kernel.numpy() for layer in model.layers if isinstance(layer, kind)]


def randomized(model, seed=0):
    """The model with every weight drawn anew, biases too, so that no term of a sum is zero."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    return model


def l1(w):
    return np.abs(w, dtype=np.float64).sum()


def l2(w):
    return np.square(w, dtype=np.float64).sum()


PENALTIES = {
    "float": (0.3, lambda w: 0.3 * l2(w)),
    "integer": (2, lambda w: 2 * l2(w)),
    "numpy": (np.float32(0.25), lambda w: 0.25 * l2(w)),
    # Keras' documented default strength.
    "string": ("l1", lambda w: 0.01 * l1(w)),
    "L1": (regularizers.L1(0.2), lambda w: 0.2 * l1(w)),
    "L2": (regularizers.L2(0.2), lambda w: 0.2 * l2(w)),
    "L1L2": (regularizers.L1L2(l1=0.1, l2=0.4), lambda w: 0.1 * l1(w) + 0.4 * l2(w)),
    "config": ({"class_name": "L2", "config": {"l2": 0.5}}, lambda w: 0.5 * l2(w)),
    "custom": (lambda w: keras.ops.max(keras.ops.abs(w)), lambda w: np.abs(w).max()),
}


@pytest.mark.parametrize(
    "penalty",
    [
        pytest.param(name, marks=since_keras("3.15")) if name == "custom" else name
        for name in PENALTIES
    ],
)
@pytest.mark.parametrize("part", ["conv", "dense"])
def test_penalty_is_the_definition_summed_over_the_kernels(part, penalty):
    option, definition = PENALTIES[penalty]
    model = randomized(lenet5((12, 12, 1), **{f"{part}_kernel_regularizer": option}))
    kind = keras.layers.Conv2D if part == "conv" else keras.layers.Dense
    expected = sum(definition(w) for w in kernels(model, kind))
    # Keras sums some 50,000 float32 terms: a relative error of a few 1e-7 each way.
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("l1_strength", "l2_strength"), [(0.1, 0), (0, 0.2), (0.1, 0.3)])
@pytest.mark.parametrize("part", ["conv", "dense"])
def test_regularization_speaks_the_language_of_the_builders(part, l1_strength, l2_strength):
    strengths = {f"{part}_l1": l1_strength, f"{part}_l2": l2_strength}
    rates = {"conv_dropout": 0.2, "dense_dropout": 0.5}
    chosen = Regularization(batch_norm=True, max_norm=1.5, **rates, **strengths)
    model = randomized(lenet5((12, 12, 1), **chosen.builder_options()))
    kind = keras.layers.Conv2D if part == "conv" else keras.layers.Dense
    expected = sum(l1_strength * l1(w) + l2_strength * l2(w) for w in kernels(model, kind))
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
    assert model.get_layer("conv1_drop").rate == 0.2
    assert model.get_layer("dense1_drop").rate == 0.5
    assert model.get_layer("conv1").kernel_constraint.max_value == 1.5
    # Short fits need faster moving averages than Keras' 0.99.
    assert model.get_layer("conv1_bn").momentum == 0.9


def test_zero_strength_is_no_penalty():
    model = lenet5(conv_kernel_regularizer=0, dense_kernel_regularizer=0.0)
    assert model.losses == []


def test_each_layer_has_a_strength_of_its_own():
    model = vgg_small(conv_kernel_regularizer=regularizers.L2(0.1))
    before = [float(loss) for loss in model.losses]
    model.get_layer("conv2_1").kernel_regularizer.l2 *= 3
    after = [float(loss) for loss in model.losses]
    assert [b / a for a, b in zip(before, after, strict=True)] == pytest.approx([1, 1, 3, 1, 1, 1])


def test_a_variable_in_a_custom_regularizer_serves_all_layers():
    class Shared(regularizers.Regularizer):
        def __init__(self):
            self.strength = keras.Variable(1.0, trainable=False)

        def __call__(self, w):
            return self.strength * keras.ops.sum(w**2)

    shared = Shared()
    model = lenet5(conv_kernel_regularizer=shared, dense_kernel_regularizer=shared)
    before = float(sum(model.losses))
    shared.strength.assign(4.0)
    assert float(sum(model.losses)) == pytest.approx(4 * before, rel=1e-6)


@pytest.mark.parametrize("builder", [lenet5, resnet20])
def test_max_norm_holds_after_a_huge_step(builder):
    bound = 0.7
    model = builder((16, 16, 1), classes=3, max_norm=bound)
    model.compile(keras.optimizers.SGD(1e3), "sparse_categorical_crossentropy", run_eagerly=True)
    images = np.random.default_rng(0).normal(size=(6, 16, 16, 1))
    model.train_on_batch(images, np.arange(6) % 3)
    weights = kernels(model, keras.layers.Conv2D) + kernels(model, keras.layers.Dense)
    norms = [np.sqrt(np.sum(w**2, axis=tuple(range(w.ndim - 1)))) for w in weights]
    # Rounding of the division in float32 alone may exceed the bound.
    assert max(norm.max() for norm in norms) <= bound * (1 + 1e-5)
    # The bound did bind: the step alone would have left it far behind.
    assert norms[-1].max() > 0.99 * bound


def test_options_reach_their_layers():
    model = vgg_small(
        batch_norm=True,
        batch_norm_momentum=0.8,
        conv_dropout=0.1,
        spatial_dropout=True,
        dense_dropout=0.4,
        activation="elu",
        kernel_initializer="zeros",
        classifier_activation="softmax",
        name="mine",
    )
    assert model.name == "mine"
    assert model.get_layer("conv2_1_bn").momentum == 0.8
    assert isinstance(model.get_layer("conv3_2_drop"), keras.layers.SpatialDropout2D)
    assert model.get_layer("conv3_2_drop").rate == 0.1
    assert model.get_layer("dense1_drop").rate == 0.4
    assert model.get_layer("conv1_1_act").activation is keras.activations.elu
    assert not np.any(model.get_layer("conv1_1").kernel.numpy())
    # Zero kernels and a softmax: every class is equally likely.
    np.testing.assert_allclose(model(np.ones((1, 28, 28, 1))), np.full((1, 10), 0.1), rtol=1e-6)


def test_spatial_dropout_drops_whole_maps():
    model = lenet5(conv_dropout=0.5, spatial_dropout=True, activation="sigmoid")
    maps = keras.Model(model.input, model.get_layer("conv2_drop").output)
    dropped = np.asarray(maps(np.ones((8, 28, 28, 1)), training=True)) == 0
    per_map = dropped.reshape(8, -1, 16).mean(axis=1)
    assert set(np.unique(per_map)) == {0.0, 1.0}


def test_dropout_draws_other_masks_in_each_layer_call_and_seed():
    masks = set()
    for seed in (0, 1):
        keras.utils.set_random_seed(seed)
        model = mlp((4,), hidden=(64, 64), dense_dropout=0.5)
        for name in ("dense1_drop", "dense2_drop") * 2:
            masks.add(model.get_layer(name)(np.ones((1, 64)), training=True).numpy().tobytes())
    assert len(masks) == 8


def test_initial_weights_follow_the_seed_and_not_the_regularization():
    def start(seed, **options):
        keras.utils.set_random_seed(seed)
        model = lenet5(**options)
        return [*kernels(model, keras.layers.Conv2D), *kernels(model, keras.layers.Dense)]

    # With one seed alone, what dropout draws may by chance be what a layer's own draw skips.
    plain = {seed: start(seed) for seed in (3, 4, 5)}
    for options in ({}, {"conv_dropout": 0.2, "dense_dropout": 0.5}, {"batch_norm": True}):
        for seed, weights in plain.items():
            for ours, theirs in zip(weights, start(seed, **options), strict=True):
                np.testing.assert_array_equal(ours, theirs)
    assert all(np.any(a != b) for a, b in zip(plain[3], plain[4], strict=True))


@pytest.mark.parametrize("seeded", [False, True])
def test_one_initializer_draws_other_weights_for_each_layer(seeded):
    seed = keras.random.SeedGenerator(3) if seeded else None
    initializer = keras.initializers.GlorotUniform(seed=seed)
    model = mlp((20,), hidden=(20, 20), kernel_initializer=initializer)
    first, second, _ = kernels(model, keras.layers.Dense)
    assert np.any(first != second)


def test_he_initialisation_has_the_variance_of_its_paper():
    # He et al. 2015, equation 10: 2 / fan-in. 262,144 draws: a standard error of 0.3 %.
    kernel = mlp((512,)).get_layer("dense1").kernel.numpy()
    assert kernel.var() == pytest.approx(2 / 512, rel=0.015)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"conv_dropout": 1}, "conv_dropout must be a number of at least 0 and below 1, not 1"),
        ({"dense_dropout": "half"}, "dense_dropout must be .* not 'half'"),
        ({"batch_norm": 1}, "batch_norm must be True or False, not 1"),
        ({"batch_norm_momentum": 1.0}, "batch_norm_momentum must be .* below 1"),
        ({"spatial_dropout": 0.2}, "spatial_dropout must be True or False, not 0.2"),
        ({"conv_kernel_regularizer": -1e-3}, "conv_kernel_regularizer must be .* 0 or more"),
        ({"dense_kernel_regularizer": "l3"}, "dense_kernel_regularizer must be .* not 'l3'"),
        ({"dense_kernel_regularizer": True}, "dense_kernel_regularizer must be .* not True"),
        ({"dense_kernel_regularizer": {}}, "dense_kernel_regularizer must be .* not {}"),
        ({"max_norm": 0}, "max_norm must be None or a number above 0, not 0"),
        ({"kernel_initializer": "best"}, "kernel_initializer must be .* not 'best'"),
        ({"kernel_initializer": None}, "kernel_initializer must be .* not None"),
        ({"activation": "rellu"}, "activation must be .* not 'rellu'"),
        ({"activation": keras.layers.PReLU}, "activation must be what keras.activations.get"),
        ({"classifier_activation": "hardest"}, "classifier_activation must be what keras"),
        ({"dropout": 0.5}, "Unknown option dropout; known are batch_norm, .*conv_dropout"),
        ({"classes": 1}, "classes must be a whole number of 2 or more, not 1"),
    ],
)
def test_bad_option_is_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        lenet5(**keywords)


@pytest.mark.parametrize("keywords", [{"dropout": 0.5}, {"conv_dropout": 1}, {"classes": 1}])
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_builder_checks_its_options(name, keywords):
    with pytest.raises(ValueError, match=next(iter(keywords))):
        get_builder(name)(**keywords)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 0), (28.0, 28, 1), (None, None, 3), 28])
def test_shape_that_is_no_image_is_refused(shape):
    for name in set(MODEL_NAMES) - {"mlp"}:
        with pytest.raises(ValueError, match=r"must be \(height, width, channels\) in positive"):
            get_builder(name)(shape)


@pytest.mark.parametrize(
    ("builder", "keywords", "message"),
    [
        (mlp, {"input_shape": ()}, r"a tuple such as \(features,\)"),
        (mlp, {"hidden": (10, 0)}, "hidden must be a tuple of positive whole numbers"),
        (mlp, {"hidden": 512}, "hidden must be a tuple of positive whole numbers, not 512"),
        (lenet5, {"classic": "yes"}, "classic must be True or False, not 'yes'"),
        (lenet5, {"hidden": (3,)}, "Unknown option hidden"),
    ],
)
def test_bad_option_of_one_builder_is_refused(builder, keywords, message):
    with pytest.raises(ValueError, match=message):
        builder(**keywords)


@pytest.mark.parametrize("name", ["vgg13", None, mlp])
def test_unknown_name_lists_the_known(name):
    message = f"Unknown model {name!r}; known are mlp, "
    with pytest.raises(ValueError, match=re.escape(message) + r".*resnet34\."):
        get_builder(name)


def test_names_mean_builders_and_never_modules():
    assert set(MODEL_NAMES) < set(models.__all__) <= set(dir(models))
    assert not hasattr(models, "no_such_model")
    for name in MODEL_NAMES:
        assert getattr(models, name) is get_builder(name)
        assert get_builder(name).__name__ == name
