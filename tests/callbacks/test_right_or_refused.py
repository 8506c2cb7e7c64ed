"""Models that do more than Keras knows of: what is measured is right, or refused before training.

Every case is compared with the definition: lambda_max with the dense Hessian from a forward pass
written in NumPy, in float64, which knows nothing of the model's layers.
"""

import functools
import gc
import math
import random
import threading
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from callback_models import top_of
from further_cases import since_keras, thorough_after

from callbacks import GradientFlow, LossCurve, Sharpness, Sparsity
from callbacks.evaluation import clean_metrics
from dlip_reg.clean_loss import penalty
from dlip_reg.curvature import LossFunction

layers = keras.layers
MAIN = ("clean_loss", "lambda_max", "gradient_norm")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 5)).astype("float32")
Y = RNG.normal(size=(24, 2)).astype("float32")


def weights_of(model):
    return [keras.ops.convert_to_numpy(v).astype(float) for v in model.trainable_variables]


def net(kernel, bias, head, head_bias):
    return np.tanh(X @ kernel + bias) @ head + head_bias


def squares(*weights):
    return np.mean((net(*weights) - Y) ** 2)


def fit(model, callbacks=(), epochs=2):
    keras.utils.set_random_seed(3)
    model.fit(X, Y, epochs=epochs, batch_size=8, verbose=0, callbacks=list(callbacks))
    return model


def assert_refused(model, recorder, message):
    """A fit says so, and leaves the weights as they are."""
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        fit(model, [recorder])
    assert all(map(np.array_equal, before, model.get_weights()))


def ends_alike(make, *recorders):
    """Whether a fit with recorders ends in the same weights as one without."""
    ends = []
    for callbacks in (recorders, ()):
        keras.utils.set_random_seed(5)
        model = fit(make(), callbacks)
        state = getattr(model.optimizer, "variables", ())
        ends.append([v.numpy() for v in (*model.variables, *state)])
    return all(np.array_equal(a, b) for a, b in zip(*ends, strict=True))


def compiled(model, loss="mse", **options):
    model(X)
    model.compile(keras.optimizers.Adam(0.01), loss, **options)
    return model


def stacked(*stack, **options):
    model = keras.Sequential([keras.Input((5,)), *stack, layers.Flatten(), layers.Dense(2)])
    return compiled(model, **options)


def dense_net():
    return stacked(layers.Dense(4, "tanh"))


def lambda_max(model, data=(X, Y), **options):
    """What is measured before the first step, and the weights it is measured at."""
    before = weights_of(model)
    recorder = Sharpness(data, tol=1e-4, **options)
    fit(model, [recorder], epochs=1)
    return recorder.rows[0]["lambda_max"], before


# --- Layers that run TensorFlow's functions -----------------------------------------------------


class Block(layers.Layer):
    def __init__(self, n):
        super().__init__()
        self.dense = layers.Dense(n, activation="tanh")

    def build(self, shape):
        self.dense.build(shape)
        self.built = True

    @tf.function
    def call(self, t):
        return self.dense(t)


class Subclassed(keras.Model):
    def __init__(self, block):
        super().__init__()
        self.block, self.head = block, layers.Dense(2)

    def call(self, t):
        return self.head(self.block(t))


class DenseInAnyMode(layers.Dense):
    """Keras can compile rematerialized layers that take no keyword arguments alone."""

    def call(self, inputs):
        return super().call(inputs)


def rematerialized():
    with keras.RematScope():
        return DenseInAnyMode(4, "tanh")


def net_of_channels(kernel, bias, head, head_bias):
    hidden = np.tanh(np.repeat(X, 2, axis=1) * kernel.ravel() + bias)
    return np.mean((hidden @ head + head_bias - Y) ** 2)


def net_of_pixels(kernel, *others):
    return squares(kernel.reshape(5, 4), *others)


KERNEL = np.sin(np.arange(20.0)).reshape(5, 4)


def in_127ths(values, axis):
    scale = 127 / np.abs(values).max(axis, keepdims=True)
    return np.round(values * scale) / scale


def net_of_int8(bias, head, head_bias):
    hidden = np.tanh(in_127ths(X, 1) @ in_127ths(KERNEL, 0) + bias)
    return np.mean((hidden @ head + head_bias - Y) ** 2)


def quantised():
    model = dense_net()
    model.layers[0].kernel.assign(KERNEL)
    model.layers[0].quantize("int8")
    return compiled(model)


GROUPED = {"groups": 5, "activation": "tanh"}
CHANNELS_FIRST = {"data_format": "channels_first", "activation": "tanh"}
# The loss as a function of the weights, and the model.
RUN_BY_FUNCTIONS = {
    "call is one": (squares, lambda: compiled(Subclassed(Block(4)))),
    "call is one, eager": (squares, lambda: compiled(Subclassed(Block(4)), run_eagerly=True)),
    "call is one, traced before": (squares, lambda: stacked(Block(4))),
    "call is one, XLA": (squares, lambda: stacked(Block(4), jit_compile=True)),
    "quantised": (net_of_int8, quantised),
    "rematerialized": (squares, lambda: stacked(rematerialized())),
    "grouped convolution": (
        net_of_channels,
        lambda: stacked(layers.Reshape((1, 5)), layers.Conv1D(10, 1, **GROUPED)),
    ),
    "channels first": (
        net_of_pixels,
        lambda: stacked(layers.Reshape((5, 1, 1, 1)), layers.Conv3D(4, 1, **CHANNELS_FIRST)),
    ),
}


@pytest.mark.parametrize("name", thorough_after(1, RUN_BY_FUNCTIONS))
def test_layers_that_run_functions_are_measured_rightly_and_trained_as_without(name):
    loss, make = RUN_BY_FUNCTIONS[name]
    weights, sharpness = [], Sharpness((X, Y), tol=1e-4)

    def begin():
        model = make()
        weights.append(weights_of(model))
        return model

    assert ends_alike(begin, sharpness, LossCurve((X, Y)), GradientFlow((X, Y)))
    exact = top_of(loss, weights[0])
    assert sharpness.rows[0]["lambda_max"] == pytest.approx(exact, rel=1e-3)


# --- Losses -------------------------------------------------------------------------------------


def test_a_loss_that_reads_the_weights_is_evaluated_where_they_are_moved():
    model = dense_net()
    kernel = model.layers[0].kernel

    def loss(targets, outputs):
        weights = keras.ops.convert_to_tensor(kernel)
        errors = keras.ops.mean(keras.ops.square(targets - outputs))
        return errors + 0.5 * keras.ops.sum(keras.ops.square(weights))

    model.compile("sgd", loss)
    found, weights = lambda_max(model)
    exact = top_of(lambda *w: squares(*w) + 0.5 * np.sum(w[0] ** 2), weights)
    assert found == pytest.approx(exact, rel=1e-3)


def test_a_loss_that_reads_weights_past_keras_is_refused_before_training():
    model = dense_net()
    kernel = model.layers[0].kernel._value

    def loss(targets, outputs):
        return tf.reduce_mean((targets - outputs) ** 2) + 0.5 * tf.reduce_sum(kernel**2)

    model.compile("sgd", loss)
    assert_refused(model, Sharpness((X, Y)), "not what Keras computes")


class Branch(layers.Layer):
    """A residual branch that begins at 0, so that its weights have no slope yet."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]))
        self.gain = self.add_weight(shape=(), initializer="zeros")

    def call(self, x):
        return x + self.gain * tf.matmul(x, self.kernel._value)


def test_weights_without_a_slope_that_are_read_past_keras_are_refused_too():
    assert_refused(stacked(Branch()), Sharpness((X, Y)), "not what Keras computes")


class Scaled(keras.losses.Loss):
    factor = 1.0

    def call(self, targets, outputs):
        return self.factor * keras.ops.mean(keras.ops.square(targets - outputs), -1)


class Gain(layers.Layer):
    factor = 1.0

    def call(self, x):
        return self.factor * x


@pytest.mark.thorough
def test_what_was_changed_before_the_model_was_compiled_again_is_seen():
    loss, gain = Scaled(), Gain()
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4, "tanh"), layers.Dense(2), gain])
    compiled(model, loss)
    function = LossFunction(model, X, Y)
    once, weights = lambda_max(model)
    loss.factor = 10.0
    model.compile("sgd", loss)
    model.set_weights(weights)
    assert function.value() == pytest.approx(10 * squares(*weights), rel=1e-5)
    assert lambda_max(model)[0] == pytest.approx(10 * once, rel=1e-3)
    gain.factor = 0.5
    model.compile("sgd", loss)
    model.set_weights(weights)
    assert function.value() == pytest.approx(model.evaluate(X, Y, verbose=0), rel=1e-5)


def fitted_with_a_loss_that_holds_the_model():
    model = dense_net()

    def loss(targets, outputs):
        return keras.ops.mean(keras.ops.square(targets - outputs)) + 0.0 * len(model.layers)

    model.compile("sgd", loss)
    fit(model, [Sharpness((X, Y)), LossCurve((X, Y))], epochs=1)
    return weakref.ref(model)


def test_a_model_that_its_loss_holds_is_freed():
    alive = fitted_with_a_loss_that_holds_the_model()
    keras.utils.clear_session()
    gc.collect()
    assert alive() is None


class Squares(layers.Layer):
    """Adds losses of its own."""

    def call(self, x):
        mean = keras.ops.mean(keras.ops.square(x))
        self.add_loss(keras.ops.stack([0.1 * mean, 0.2 * mean]))
        return x


def with_layer_losses():
    hidden = layers.Dense(4, "tanh", activity_regularizer=keras.regularizers.L2(0.02))
    return stacked(hidden, Squares())


def with_squares(kernel, bias, head, head_bias):
    hidden = np.tanh(X @ kernel + bias) ** 2
    activity = 0.02 * hidden.sum() / len(X)  # as Keras has it, per example
    return squares(kernel, bias, head, head_bias) + 0.3 * hidden.mean() + activity


@pytest.mark.thorough
def test_what_layers_add_to_the_loss_is_measured_if_asked_for():
    model = with_layer_losses()
    weights, whole = weights_of(model), model.evaluate(X, Y, verbose=0)
    recorders = {}
    for included, loss in ((False, squares), (True, with_squares)):
        measures, options = ("lambda_max", "sam_sharpness"), {"layer_losses": included}
        recorders[loss] = (
            LossCurve((X, Y), **options),
            LossCurve((X, Y), loss="mse", **options),
            Sharpness((X, Y), tol=1e-4, measures=measures, **options),
        )
    fit(model, sum(recorders.values(), ()), epochs=1)
    for loss, (*curves, sharpness) in recorders.items():
        for curve in curves:
            assert curve.rows[0]["clean_loss"] == pytest.approx(loss(*weights), rel=1e-5)
        assert sharpness.rows[0]["lambda_max"] == pytest.approx(top_of(loss, weights), rel=1e-3)
    assert whole == pytest.approx(with_squares(*weights), rel=1e-5)
    model(X)
    assert penalty(model) == 0 < len(model.losses)  # which is of weights alone


@pytest.mark.thorough
def test_what_layers_add_is_that_of_each_batch_and_training_is_left_alone():
    model = with_layer_losses()
    parts = [LossFunction(model, X[i : i + 8], Y[i : i + 8], layer_losses=True) for i in (0, 8, 16)]
    function = LossFunction(model, X, Y, layer_losses=True, batch_size=8)
    assert function.value() == pytest.approx(np.mean([part.value() for part in parts]), rel=1e-6)
    with pytest.raises(ValueError, match="no Gauss-Newton"):
        function.gauss_newton_product(np.ones(function.size))
    recorders = [each((X, Y), layer_losses=True) for each in (Sharpness, GradientFlow)]
    assert ends_alike(with_layer_losses, *recorders)


@since_keras("3.14")
def test_a_model_that_is_only_half_built_is_refused():
    # Keras cannot trace the first layer, and leaves the second one to the first call.
    x = np.repeat(X[:, None], 3, axis=1)
    y = np.repeat(Y[:, None], 3, axis=1)

    def model():
        stack = layers.TimeDistributed(Squares()), layers.Dense(2)
        model = keras.Sequential([keras.Input((3, 5)), *stack])
        model.compile("sgd", "mse")
        return model

    with pytest.raises(ValueError, match="call it once on a batch"):
        model().fit(x, y, verbose=0, callbacks=[LossCurve((x, y))])
    built, curve = model(), LossCurve((x, y))
    built(x)
    expected = np.mean((built.predict(x, verbose=0) - y) ** 2)
    built.fit(x, y, verbose=0, callbacks=[curve])
    assert curve.rows[0]["clean_loss"] == pytest.approx(expected, rel=1e-5)


class WithOwnLoss(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = layers.Dense(2)

    def call(self, x):
        return self.head(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 3 * keras.ops.mean(keras.ops.square(y - y_pred))


def test_a_model_that_computes_its_loss_itself_needs_a_stated_one():
    model = compiled(WithOwnLoss())
    assert_refused(model, Sharpness((X, Y)), "give the loss to measure as loss=")
    recorder = Sharpness((X, Y), loss="mse")
    weights = weights_of(model)
    fit(model, [recorder], epochs=1)
    exact = top_of(lambda kernel, bias: np.mean((X @ kernel + bias - Y) ** 2), weights)
    assert recorder.rows[0]["lambda_max"] == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("recorder", [GradientFlow, LossCurve])
def test_what_was_changed_after_it_was_traced_is_refused_on_examples_that_have_weight(recorder):
    loss = Scaled()
    model = compiled(dense_net(), loss)
    LossFunction(model, X, Y, batch_norm="batch").gradient()
    clean_metrics(model, X, Y)
    loss.factor = 10.0
    weights = np.repeat([0.0, 1.0], [16, 8])
    assert_refused(model, recorder((X, Y, weights)), "compile the model again")


@pytest.mark.parametrize(
    ("refused", "options"),
    [("losses of layers", {"layer_losses": True}), ("penalties", {"penalties": True})],
)
def test_nothing_is_added_to_a_sum_over_examples(refused, options):
    model = compiled(dense_net(), keras.losses.MeanSquaredError(reduction="sum"))
    assert_refused(model, Sharpness((X, Y), **options), refused + ".*sum_over_batch_size")


# --- Modes, randomness and missing derivatives --------------------------------------------------


class FineTuned(keras.Model):
    def __init__(self):
        super().__init__()
        self.base = keras.Sequential(
            [keras.Input((5,)), layers.Dense(4, "tanh"), layers.BatchNormalization()]
        )
        self.head = layers.Dense(2)

    def call(self, t, training=None):
        return self.head(self.base(t, training=False))


def norm_of_gradient_in_training(model):
    with tf.GradientTape() as tape:
        value = tf.reduce_mean((model(X, training=True) - Y) ** 2)
    slopes = tape.gradient(value, [v.value for v in model.trainable_variables])
    return np.sqrt(sum(np.sum(np.square(s)) for s in slopes))


def test_batch_norm_that_the_model_keeps_in_inference_mode_stays_there():
    model = compiled(FineTuned())
    norm = model.base.layers[-1]
    norm.moving_mean.assign([0.5, -1, 0.2, 0.3])
    norm.moving_variance.assign([0.1, 2, 0.3, 0.01])
    mean, variance = (v.numpy() for v in norm.non_trainable_variables)

    def loss(kernel, bias, gamma, beta, head, head_bias):
        hidden = (np.tanh(X @ kernel + bias) - mean) / np.sqrt(variance + 1e-3)
        return np.mean(((hidden * gamma + beta) @ head + head_bias - Y) ** 2)

    weights, norm_of_gradient = weights_of(model), norm_of_gradient_in_training(model)
    recorders = GradientFlow((X, Y)), Sharpness((X, Y), batch_norm="batch", tol=1e-4)
    fit(model, recorders, epochs=1)
    assert recorders[0].rows[0]["gradient_norm"] == pytest.approx(norm_of_gradient, rel=1e-4)
    assert recorders[1].rows[0]["lambda_max"] == pytest.approx(top_of(loss, weights), rel=1e-3)


class ScaledNorm(layers.BatchNormalization):
    def call(self, inputs, training=None):
        return 2 * super().call(inputs, training=training)


def test_what_else_a_batch_norm_of_the_users_own_computes_is_measured():
    model, flow = stacked(layers.Dense(4), ScaledNorm()), GradientFlow((X, Y))
    exact = norm_of_gradient_in_training(model)
    fit(model, [flow], epochs=1)
    assert flow.rows[0]["gradient_norm"] == pytest.approx(exact, rel=1e-4)


class Literal(layers.Layer):
    """Takes only False itself for inference."""

    def call(self, x, training=None):
        return x if training is False else 2 * x


@pytest.mark.thorough
def test_a_layer_that_asks_whether_training_is_false_is_in_inference_mode():
    found = []
    for model in (dense_net(), stacked(layers.Dense(4, "tanh"), Literal())):
        keras.utils.set_random_seed(0)
        model.set_weights([np.random.normal(size=w.shape) for w in model.get_weights()])
        recorders = [recorder((X, Y)) for recorder in (LossCurve, Sharpness, GradientFlow)]
        fit(model, recorders, epochs=1)
        found.append([v for r in recorders for k, v in r.rows[0].items() if k in MAIN])
    assert len(found[0]) == 3
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)


def test_where_batch_norm_must_tell_the_two_apart_it_is_refused():
    model = stacked(Literal(), layers.BatchNormalization())
    assert_refused(model, GradientFlow((X, Y)), "`not training`")
    curve = LossCurve((X, Y))
    expected = model.evaluate(X, Y, verbose=0)
    fit(model, [curve], epochs=1)
    assert curve.rows[0]["clean_loss"] == pytest.approx(expected, rel=1e-5)


def test_where_batch_norm_is_frozen_there_is_nothing_to_tell_apart():
    model = stacked(Literal(), layers.BatchNormalization(trainable=False))
    flow = GradientFlow((X, Y))
    expected = model.evaluate(X, Y, verbose=0)
    function = LossFunction(model, X, Y, batch_norm="batch")
    assert function.value() == pytest.approx(expected, rel=1e-5)
    fit(model, [flow], epochs=1)


@pytest.mark.parametrize("swapped", thorough_after(1, [True, False]))
def test_freezing_within_a_fit_is_said(swapped):
    first, second = (layers.Dense(5, "tanh") for _ in range(2))
    model = stacked(first, second)

    def freeze(epoch, logs):
        first.trainable = epoch == 0
        second.trainable = epoch > 0 or not swapped  # by as many weights

    second.trainable = not swapped
    recorder = Sharpness((X, Y), by="layer")
    with pytest.warns(RuntimeWarning, match="other trainable weights than it had: .* compile it"):
        fit(model, [recorder, keras.callbacks.LambdaCallback(on_epoch_begin=freeze)])
    assert np.isfinite([row["lambda_max"] for row in recorder.rows]).tolist() == [True, True, False]


class Sampling(layers.Layer):
    def __init__(self, seeded):
        super().__init__()
        self.generator = keras.random.SeedGenerator(1) if seeded else None

    def call(self, x):
        if self.generator is None:
            return x + tf.random.normal(tf.shape(x))
        return x + keras.random.normal(tf.shape(x), seed=self.generator)


class Skipped(layers.Layer):
    """Changes nothing but once in a thousand calls."""

    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def call(self, x):
        return keras.ops.where(self.draw(self) < 1e-3, 2 * x, x)


def of_activations(data):
    return Sparsity(data[0])


class Always(layers.Wrapper):
    """Dropout, in inference mode too."""

    def __init__(self, rate):
        super().__init__(layers.Dropout(rate, seed=0))

    def call(self, x):
        return self.layer(x, training=True)


DRAWING = {
    "seeded": lambda: Sampling(True),
    "unseeded": lambda: Sampling(False),
    "a rare choice of Python": lambda: Skipped(lambda layer: random.random()),
    "a rare choice of NumPy": lambda: Skipped(lambda layer: np.random.random()),
    "a rare choice of TensorFlow": lambda: Skipped(lambda layer: tf.random.uniform(())),
    "a rare choice of Keras": lambda: Skipped(lambda layer: keras.random.uniform(())),
    "a layer of Keras": lambda: Always(0.0025),  # most of the times nothing is dropped
}


@pytest.mark.parametrize(
    ("make", "name"),
    [
        *((make, "a layer of Keras") for make in (Sharpness, GradientFlow)),
        *((make, name) for make in (LossCurve, of_activations) for name in DRAWING),
    ],
)
def test_randomness_in_inference_mode_is_refused(make, name):
    message = "random numbers in inference mode"
    assert_refused(stacked(DRAWING[name]()), make((X, Y)), message)


class DrawsInAThread(layers.Layer):
    """As a generator draws that makes the next batch of training meanwhile."""

    draws = False

    def call(self, x):
        if self.draws:
            thread = threading.Thread(target=np.random.random)
            thread.start()
            thread.join()
        return x


def test_numbers_that_another_thread_draws_meanwhile_stay_drawn():
    layer, curve = DrawsInAThread(), LossCurve((X, Y))
    curve.set_model(stacked(layer, run_eagerly=True))
    curve.prepare()
    layer.draws = True
    np.random.seed(0)
    expected = np.random.random(2)[1]
    np.random.seed(0)
    curve.measure()
    assert np.random.random() == expected


class Calls(layers.Layer):
    """Holds state where Keras does not see it, changes it in every call and may raise an error."""

    def __init__(self, state, change):
        super().__init__()
        self._state, self._change, self.error = state, change, False
        self.limit = math.nan  # which stays as it is, though NaN is not equal to itself
        self.seen = None  # what is kept of the last call for others to look at may change

    def call(self, x, training=False):
        if not training and tf.is_tensor(x) and hasattr(x, "numpy"):
            self._change(self)
            self.seen = x
            if self.error:
                raise TypeError("This layer cannot do that.")
        return x

    def now(self):
        holder = getattr(self._state, "bit_generator", self._state)
        return repr(getattr(holder, "state", getattr(holder, "n", holder)))


class Counter:
    n = 0

    def __init__(self):
        self.add()

    def add(self):
        self.n += 1


class CounterOfAll(Counter):
    @classmethod
    def add(cls):
        cls.n += 1


def attribute(layer):
    layer._state += 1


HELD = {
    "a number": (1.0, attribute),
    "a list": ([0], lambda layer: layer._state.append(1)),
    "a list in a dict": ({"n": [0]}, lambda layer: layer._state["n"].append(1)),
    "a list in a tuple": (([0],), lambda layer: layer._state[0].append(1)),
    "an array": (np.zeros(2), lambda layer: np.add(layer._state, 1, out=layer._state)),
    # All but its ends is left out of its repr, as it is not put back.
    "a large array": (np.zeros(2**18), lambda layer: np.add.at(layer._state, 999, 1)),
    "an object": (Counter(), lambda layer: layer._state.add()),
    "a class": (CounterOfAll(), lambda layer: layer._state.add()),
    "a generator": (np.random.default_rng(0), lambda layer: layer._state.random()),
    "a variable": (tf.Variable(1.0), lambda layer: layer._state.assign_add(1.0)),
    "a generator of TensorFlow": (
        tf.random.Generator.from_seed(1),
        lambda layer: layer._state.uniform(()),
    ),
}


@pytest.mark.parametrize("error", [False, True])
@pytest.mark.parametrize(
    ("make", "name"),
    [*((LossCurve, name) for name in HELD), (Sharpness, "a list"), (of_activations, "a list")],
)
def test_state_that_a_measurement_would_change_is_refused_and_put_back(make, name, error):
    calls = Calls(*HELD[name])
    model = stacked(calls)
    model.run_eagerly, calls.error = True, error
    before = calls.now()
    message = f"changes (n of )?_state of {calls.name} in inference mode"
    if error:
        message = f"layer '{calls.name}' cannot be measured, .*This layer cannot do that"
    assert_refused(model, make((X, Y)), message)
    assert calls.now() == before


COUNT = 0  # of the calls of `counted_in_a_module`


def counted_in_a_module(x):
    global COUNT
    COUNT += 1
    return x


def counted_functions():
    """Functions that count their calls where Keras does not look, and what reads the count."""
    count, calls = 0, []

    def in_a_closure(x):
        nonlocal count
        count += 1
        return x

    def in_a_list(x, calls=calls):
        calls.append(1)
        return x

    return {
        "a module": (counted_in_a_module, lambda: COUNT),
        "a closure": (in_a_closure, lambda: count),
        "a default": (in_a_list, lambda: len(calls)),
        "a part": (functools.partial(in_a_list, calls=calls), lambda: len(calls)),
    }


USES = {
    "Lambda": lambda f: stacked(layers.Lambda(f)),
    "activation": lambda f: stacked(layers.Dense(4, f)),
    "loss": lambda f: compiled(dense_net(), lambda y, p: keras.ops.mean((y - f(p)) ** 2, -1)),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("where", counted_functions())
def test_state_that_functions_of_the_user_change_is_refused_and_put_back(where, use):
    function, count = counted_functions()[where]
    model = USES[use](function)
    before = count()
    assert_refused(model, LossCurve((X, Y)), "changes .* in inference mode")
    assert count() == before


class Link:
    def __init__(self, before, number):
        self.before, self.number = before, number


def test_functions_may_use_what_they_do_not_change():
    factors, names, rng = [1.0, 2.0], {"of": "a loss"}, np.random.default_rng(0)
    chain = functools.reduce(Link, range(2000))

    def loss(targets, outputs, power=2):
        assert rng is not None and names["of"] and chain
        return factors[0] * keras.ops.mean((targets - outputs) ** power, -1)

    model = compiled(dense_net(), loss)
    curve, expected = LossCurve((X, Y)), squares(*weights_of(model))
    fit(model, [curve], epochs=1)
    assert curve.rows[0]["clean_loss"] == pytest.approx(expected, rel=1e-5)


class KeepsTensors(layers.Layer):
    """Computes once what every call needs, so that it can be called within one graph alone."""

    def __init__(self):
        super().__init__()
        self.kept, self.seen, self.means = None, [], {}

    def call(self, x):
        if self.kept is None:
            self.kept = self.means["of x"] = keras.ops.mean(x)
        self.seen.append(x)
        return x + self.kept + self.means["of x"]


def keeping():
    model = Subclassed(KeepsTensors())
    model.head.build((None, 5))
    model.built = True
    model.compile("sgd", "mse")
    return model


def test_the_tensors_that_a_layer_keeps_are_those_of_training():
    recorders = [make((X, Y)) for make in (Sharpness, GradientFlow, LossCurve, of_activations)]
    assert ends_alike(keeping, *recorders)


def test_a_large_vocabulary_is_not_looked_through_for_tensors(monkeypatch):
    gain, calls, is_tensor = Gain(), [], tf.is_tensor
    gain.vocabulary = {str(i): i for i in range(10_000)}
    monkeypatch.setattr(tf, "is_tensor", lambda value: calls.append(1) or is_tensor(value))
    fit(stacked(gain), [LossCurve((X, Y))], epochs=1)
    assert len(calls) < 10_000


def within_a_graph():
    kept = []
    tf.function(lambda x: kept.append(tf.reduce_mean(x)))(X)
    return kept[0]


@pytest.mark.parametrize("make", [Sharpness, LossCurve])
@pytest.mark.parametrize("of", ["loss 'penalised'", "model"])
def test_a_loss_that_holds_a_tensor_of_another_call_is_refused(make, of):
    tensor = within_a_graph() if of != "model" else keras.ops.mean(keras.Input((5,)))

    def penalised(targets, outputs):
        return keras.ops.mean((targets - outputs) ** 2, -1) + tensor

    message = f"{of} cannot be measured, .* computed in another call: compute it anew"
    assert_refused(compiled(dense_net(), penalised), make((X, Y)), message)


def test_state_is_named_as_the_reason_where_it_makes_evaluations_differ():
    kept = []

    def scaled(targets, outputs):
        kept.append(keras.ops.mean(outputs))
        return kept[0] * keras.ops.mean((targets - outputs) ** 2, -1)

    model = compiled(dense_net(), scaled)
    assert_refused(model, LossCurve((X, Y)), "changes kept of scaled in inference mode")


def test_a_model_that_trains_in_float8_is_refused():
    model = dense_net()
    model.layers[0].quantize("float8")
    for recorder in (Sharpness, LossCurve):
        assert_refused(compiled(model), recorder((X, Y)), "quantised to float8")


def test_a_missing_second_derivative_falls_back_to_differences_and_names_the_layer():
    model = stacked(layers.Dense(4, "softsign", name="soft"))

    def loss(kernel, bias, head, head_bias):
        hidden = X @ kernel + bias
        return np.mean(((hidden / (1 + np.abs(hidden))) @ head + head_bias - Y) ** 2)

    with pytest.warns(RuntimeWarning, match=r"does not have \(at fault: soft\)"):
        found, weights = lambda_max(model)
    assert found == pytest.approx(top_of(loss, weights), rel=1e-3)
    function = LossFunction(model, X, Y)
    with pytest.raises(ValueError, match="TensorFlow has none"):
        function.gauss_newton_product(np.ones(function.size))


@tf.custom_gradient
def reversed_gradient(x):
    return tf.identity(x), lambda slope: -slope


NO_DERIVATIVES = {
    "reversed": reversed_gradient,
    "straight-through": lambda x: x + keras.ops.stop_gradient(keras.ops.round(x) - x),
    "stopped": lambda x: x * keras.ops.stop_gradient(keras.ops.sigmoid(x)),
}


@pytest.mark.parametrize("name", thorough_after(1, NO_DERIVATIVES))
def test_gradients_that_are_not_derivatives_have_no_hessian(name):
    function = NO_DERIVATIVES[name]

    class Mixed(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.last = layers.Dense(4, "tanh"), layers.Dense(2)

        def call(self, x):
            hidden = self.first(x)
            return self.last(hidden) + self.last(function(3 * hidden))

    model = compiled(Mixed())
    assert_refused(model, Sharpness((X, Y)), "no Hessian")
    fit(model, [GradientFlow((X, Y)), LossCurve((X, Y))], epochs=1)
    # As all that the loss sees, some of them have a symmetric derivative of the gradient.
    model = stacked()
    model.compile("sgd", lambda y, p: keras.ops.mean((y - function(p)) ** 2, -1))
    assert_refused(model, Sharpness((X, Y)), "no Hessian")


@tf.custom_gradient
def slightly_wrong_gradient(x):
    return tf.identity(x), lambda slope: 1.03 * slope


def test_gradients_that_are_nearly_derivatives_are_no_rounding():
    """Where slopes are small, the rounding of float32 would hide the difference."""
    model = stacked(layers.Dense(4, "tanh"), layers.Lambda(slightly_wrong_gradient))
    model.compile("sgd", lambda y, p: 1e-2 * keras.ops.mean((y - p) ** 2, -1) + 100.0)
    assert_refused(model, Sharpness((X, Y)), "no Hessian")


class Adversaries(keras.Model):
    """A GAN without a call of its own, which trains both of its networks."""

    def __init__(self):
        super().__init__()
        self.generator = keras.Sequential([keras.Input((2,)), layers.Dense(5)])
        stack = layers.Dense(4, "tanh"), layers.Dense(2)
        self.discriminator = keras.Sequential([keras.Input((5,)), *stack])
        self.compile()
        self.optimizers = keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1)

    def train_step(self, data):
        x, y = data
        for network, optimizer, sign in zip(
            (self.discriminator, self.generator), self.optimizers, (1, -1), strict=True
        ):
            with tf.GradientTape() as tape:
                outputs = self.discriminator(x + self.generator(y))
                value = sign * tf.reduce_mean((outputs - y) ** 2)
            weights = network.trainable_weights
            optimizer.apply(tape.gradient(value, weights), weights)
        return {"loss": value}


@pytest.mark.thorough
def test_each_network_of_a_gan_can_be_watched():
    class OfDiscriminator(Sharpness):
        def set_model(self, model):
            super().set_model(model.discriminator)

    class OfGenerator(Sharpness):
        def set_model(self, model):
            super().set_model(keras.Sequential([model.generator, model.discriminator]))

    model = Adversaries()
    weights = weights_of(model.discriminator)
    recorder = OfDiscriminator((X, Y), loss="mse", tol=1e-4)
    other = OfGenerator((Y, Y), loss="mse", by={"generator": "*"})
    with pytest.raises(ValueError, match="needs a built model"):
        fit(model, [Sharpness((X, Y), loss="mse")])
    fit(model, [recorder, other])
    assert recorder.rows[0]["lambda_max"] == pytest.approx(top_of(squares, weights), rel=1e-3)
    assert [row["epoch"] for row in recorder.rows + other.rows] == [0, 1, 2] * 2
    assert ends_alike(Adversaries, OfDiscriminator((X, Y), loss="mse"))


# --- Later epochs of a dataset of unknown length ------------------------------------------------


@pytest.mark.thorough
def test_a_fit_taken_up_later_on_a_dataset_of_unknown_length_counts_on():
    def batches():
        for start in range(0, 24, 5):
            yield X[start : start + 5], Y[start : start + 5]

    def dataset():
        signature = tuple(tf.TensorSpec((None, n), tf.float32) for n in (5, 2))
        return tf.data.Dataset.from_generator(batches, output_signature=signature)

    def rows(*parts):
        model = dense_net()
        for first, last in parts:
            recorder = GradientFlow((X, Y), every_n_batches=3, steps=[13])
            model.fit(dataset(), initial_epoch=first, epochs=last, callbacks=[recorder], verbose=0)
        return [(row["epoch"], row["step"]) for row in recorder.rows]

    whole = rows((0, 3))
    assert rows((0, 2), (2, 3)) == [row for row in whole if row[1] >= 10]
    assert (None, 13) in whole and (3, 15) in whole


ROUGH = keras.losses.MeanSquaredError(dtype="bfloat16")  # measured in full precision


@pytest.mark.parametrize("given", thorough_after(1, [["mse"], {"out": "mse"}, ROUGH]))
def test_one_loss_in_any_form_is_one_loss(given):
    inputs = keras.Input((5,))
    model = keras.Model(inputs, layers.Dense(2, name="out")(inputs))
    model.compile("sgd", given)
    curve = LossCurve((X, Y))
    expected = np.mean((model.predict(X, verbose=0) - Y) ** 2)
    fit(model, [curve, Sharpness((X, Y))], epochs=1)
    assert curve.rows[0]["clean_loss"] == pytest.approx(expected, rel=1e-5)
