"""Re-estimated batch-norm statistics against their definition in NumPy."""

import keras
import numpy as np
import pytest
from small_models import IMAGES, batch_outputs, conv_net, same, state

from dlip_reg.curvature.batch_norm import recalibrate_batch_norm

layers = keras.layers
X = np.random.default_rng(2).normal(3.0, 2.0, size=(21, 4)).astype("float32")


def dense_net(trainable=True, nested=False, momentum=0.99):
    """Dense, batch norm, tanh, dropout, dense, batch norm; the inner part a model of its own."""
    keras.utils.set_random_seed(0)
    first, second = (layers.BatchNormalization(momentum=momentum, name=n) for n in ("bn1", "bn2"))
    inner = [first, layers.Activation("tanh"), layers.Dropout(0.5), layers.Dense(3, name="two")]
    if nested:
        inner = [keras.Sequential([keras.Input((5,)), *inner])]
    model = keras.Sequential([keras.Input((4,)), layers.Dense(5, name="one"), *inner, second])
    model.compile("adam", "mse")
    for layer in (first, second):
        layer.gamma.assign(np.linspace(0.5, 2, layer.gamma.shape[0]))
        layer.beta.assign(np.linspace(-1, 1, layer.beta.shape[0]))
        layer.trainable = trainable
    return model, (first, second)


def defined(model, norms, batches):
    """The means over the batches of mean and variance, layer by layer, in float64."""
    first, _ = norms
    one, two = (
        [np.float64(w) for w in layer.get_weights()]
        for layer in model._flatten_layers()
        if layer.name in ("one", "two")
    )
    found = []
    for x in batches:
        h = x @ one[0] + one[1]
        statistics = [h.mean(0), h.var(0)]
        h = (h - h.mean(0)) / np.sqrt(h.var(0) + first.epsilon)
        h = np.tanh(h * np.float64(first.gamma) + np.float64(first.beta)) @ two[0] + two[1]
        found.append([*statistics, h.mean(0), h.var(0)])
    sizes = [len(x) for x in batches]
    return [np.average(values, axis=0, weights=sizes) for values in zip(*found, strict=True)]


def statistics(norms):
    return [np.array(v) for norm in norms for v in (norm.moving_mean, norm.moving_variance)]


@pytest.mark.parametrize("batch_size", [8, 21, 100])
@pytest.mark.parametrize(
    "options", [{}, {"trainable": False}, {"nested": True}, {"momentum": 0.0}], ids=str
)
def test_statistics_are_the_means_of_the_batches(options, batch_size):
    model, norms = dense_net(**options)
    recalibrate_batch_norm(model, X, batch_size)
    batches = [np.float64(X[i : i + batch_size]) for i in range(0, len(X), batch_size)]
    for value, expected in zip(statistics(norms), defined(model, norms, batches), strict=True):
        np.testing.assert_allclose(value, expected, rtol=2e-5, atol=2e-5)  # single precision


def test_nothing_else_is_touched_and_the_past_is_forgotten():
    model, norms = dense_net()
    for norm in norms:
        norm.moving_mean.assign(np.full(norm.moving_mean.shape, 1e6))
    own = {id(v) for norm in norms for v in (norm.moving_mean, norm.moving_variance)}
    others = [v for v in (*model.variables, *model.optimizer.variables) if id(v) not in own]
    before, attributes = [np.array(v) for v in others], [set(vars(norm)) for norm in norms]
    recalibrate_batch_norm(model, X)
    assert same([np.array(v) for v in others], before)  # the dropout's seed among them
    once = statistics(norms)
    recalibrate_batch_norm(model, X)
    assert same(statistics(norms), once)
    assert [set(vars(norm)) for norm in norms] == attributes
    assert all(norm.momentum == 0.99 and norm.trainable for norm in norms)


def test_with_one_batch_inference_becomes_training_mode():
    model = conv_net()
    recalibrate_batch_norm(model, IMAGES, batch_size=len(IMAGES))
    np.testing.assert_allclose(
        model.predict(IMAGES, verbose=0), batch_outputs(model, IMAGES), atol=1e-5
    )


def test_a_layer_that_is_called_twice_gets_the_mean_over_its_calls():
    norm = layers.BatchNormalization()
    inputs = {"a": keras.Input((2,), name="a"), "b": keras.Input((2,), name="b")}
    model = keras.Model(inputs, [norm(inputs["a"]), norm(inputs["b"])])
    a, b = X[:, :2], 5 * X[:, 2:]
    recalibrate_batch_norm(model, {"a": a, "b": b}, batch_size=21)
    np.testing.assert_allclose(norm.moving_mean, (a.mean(0) + b.mean(0)) / 2, rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, (a.var(0) + b.var(0)) / 2, rtol=1e-5)


def test_a_layer_that_is_never_called_keeps_its_statistics():
    class Half(keras.Model):
        def __init__(self):
            super().__init__()
            self.used, self.unused = layers.BatchNormalization(), layers.BatchNormalization()
            self.unused.build((None, 2))
            self.unused.moving_mean.assign([3, 4])

        def call(self, x, training=None):
            return self.used(x, training=training)

    model = Half()
    model(X[:, :2])
    recalibrate_batch_norm(model, X[:, :2])
    np.testing.assert_allclose(model.used.moving_mean, X[:, :2].mean(0), rtol=1e-5)
    np.testing.assert_array_equal(model.unused.moving_mean, [3, 4])


def test_masked_steps_do_not_count():
    model = keras.Sequential(
        [keras.Input((3, 2)), layers.Masking(0.0), layers.BatchNormalization(name="norm")]
    )
    x = np.random.default_rng(0).normal(1, 1, size=(10, 3, 2)).astype("float32")
    x[:, 2] = 0.0
    recalibrate_batch_norm(model, x)
    seen = x[:, :2].reshape(-1, 2)
    # Keras adds 1e-7 to the number of steps.
    np.testing.assert_allclose(model.get_layer("norm").moving_mean, seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(model.get_layer("norm").moving_variance, seen.var(0), rtol=1e-5)


def test_under_mixed_precision_statistics_stay_single():
    norm = layers.BatchNormalization(dtype="mixed_float16")
    model = keras.Sequential([keras.Input((4,)), norm])
    recalibrate_batch_norm(model, X)
    # The layer's input is rounded to half precision, to 1 in 2,000.
    np.testing.assert_allclose(norm.moving_mean, X.mean(0), rtol=1e-3)
    assert norm.moving_mean.dtype == "float32"


def test_a_model_without_batch_norm_is_left_as_it_is():
    model = conv_net(batch_norm=False)
    before = state(model)
    recalibrate_batch_norm(model, IMAGES)
    assert same(state(model), before)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (X[:0], {}, "one or more examples"),
        (np.full_like(X, np.nan), {}, "statistics of bn1 are not finite"),
        (X, {"batch_size": 0}, "batch_size must be a whole number of 1 or more"),
        (X, {"batch_size": 2.0}, "batch_size must be a whole number of 1 or more"),
    ],
)
def test_data_it_cannot_use_change_nothing(x, options, message):
    model, _ = dense_net()
    before = state(model)
    with pytest.raises(ValueError, match=message):
        recalibrate_batch_norm(model, x, **options)
    assert same(state(model), before)
