"""SAM against its definition, and as a Keras model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from further_cases import thorough_after
from warm_processes import run_script

from callbacks import LossCurve, Sharpness
from dlip_reg.sam import SAM, _perturbed

layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 6)).astype("float32")
Y = RNG.integers(3, size=64)
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net(dropout=0.0, norm=False, dtype=None, **last):
    keras.utils.set_random_seed(1)
    stack = [layers.Dense(8, "tanh", kernel_regularizer="l2", dtype=dtype)]
    stack += [layers.BatchNormalization(dtype=dtype)] * norm
    stack += [layers.Dropout(dropout, dtype=dtype)] * (dropout > 0)
    return keras.Sequential([keras.Input((6,)), *stack, layers.Dense(3, dtype=dtype, **last)])


def fit(model, callbacks=(), **options):
    keras.utils.set_random_seed(2)
    options = {"batch_size": 16, "epochs": 2, "verbose": 0} | options
    return model.fit(X, Y, callbacks=list(callbacks), **options).history


def weights_of(model):
    return [keras.ops.convert_to_numpy(variable) for variable in model.variables]


def gradient_at(model, weights):
    """The gradient of the training loss at other weights, by a tape, and the model as before."""
    own = model.get_weights()
    for variable, value in zip(model.trainable_variables, weights, strict=True):
        variable.assign(value)
    with tf.GradientTape() as tape:
        loss = LOGITS(Y, model(X)) + sum(model.losses)
    gradients = [g.numpy() for g in tape.gradient(loss, model.trainable_variables)]
    model.set_weights(own)
    return gradients


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_step_is_the_optimizers_for_the_gradient_at_the_perturbed_weights(adaptive):
    rho, rate = 0.3, 0.1
    model = net()
    before = [v.numpy() for v in model.trainable_variables]
    first = gradient_at(model, before)
    scale = [np.abs(w) if adaptive else np.ones_like(w) for w in before]
    pairs = list(zip(first, scale, strict=True))
    length = np.sqrt(sum(np.sum((g * t) ** 2) for g, t in pairs))
    steps = [rho * t**2 * g / length for g, t in pairs]
    perturbed = gradient_at(model, [w + e for w, e in zip(before, steps, strict=True)])
    difference = np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(first, perturbed, strict=True)))
    assert difference > 0.01
    sam = SAM(model, rho, adaptive)
    sam.compile(keras.optimizers.SGD(rate), LOGITS)
    sam.fit(X, Y, batch_size=64, verbose=0)
    for variable, w, g in zip(model.trainable_variables, before, perturbed, strict=True):
        np.testing.assert_allclose(variable.numpy(), w - rate * g, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("size", [1e-5, 300.0])
def test_weights_of_half_and_single_precision_move_by_rho_together(size, adaptive):
    weights = [tf.ones(4, dtype) for dtype in ("float16", "float32")]
    moved = _perturbed(weights, [size * weight for weight in weights], 0.5, adaptive)
    for weight in moved:
        np.testing.assert_allclose(weight, np.full(4, 1 + 0.5 / np.sqrt(8)), rtol=1e-3)


@pytest.mark.parametrize(
    "options", thorough_after(1, [{}, {"run_eagerly": True}, {"jit_compile": True}]), ids=str
)
def test_the_weights_come_back_bit_for_bit_and_state_is_updated_by_the_first_pass_alone(options):
    ends = []
    for rho in (0.0, 5.0):
        model = net(dropout=0.5, norm=True)
        before = [v.numpy() for v in model.trainable_variables]
        sam = SAM(model, rho)
        sam.compile(keras.optimizers.SGD(0.0), LOGITS, **options)
        fit(sam)
        ends.append(weights_of(model))
        assert all(map(np.array_equal, before, (v.numpy() for v in model.trainable_variables)))
    assert all(map(np.array_equal, *ends))


class Addition(layers.Layer):
    """Adds a loss of its own, from its input."""

    def call(self, x):
        self.add_loss(0.5 * keras.ops.mean(keras.ops.square(x)))
        return x


def two_headed():
    inputs = keras.Input((6,), name="x")
    hidden = Addition()(layers.Dense(5, "tanh")(inputs))
    # A list of outputs, whose losses go by the names of their layers.
    return keras.Model(
        inputs, [layers.Dense(3, name="a")(hidden), layers.Dense(1, name="b")(hidden)]
    )


class Subclassed(keras.Model):
    """Takes neither a mask nor a mode."""

    def __init__(self):
        super().__init__()
        self.head = layers.Dense(3)
        self(X)

    def call(self, x):
        return {"a": self.head(x)}


def masked():
    return keras.Sequential(
        [keras.Input((4,)), layers.Embedding(5, 4, mask_zero=True), layers.Dense(3)]
    )


TOKENS = np.array([[1, 2, 0, 0], [3, 0, 0, 0], [4, 1, 2, 3]])
ACCURACY = {"loss": LOGITS, "metrics": ["accuracy"], "weighted_metrics": ["accuracy"]}
TWO_LOSSES = {"loss": {"a": LOGITS, "b": "mse"}, "loss_weights": {"a": 1.0, "b": 0.3}}
# By name: the model, its inputs and targets, and what it is compiled with.
MODELS = {
    "eager": (lambda: net(0.3, True), X, Y, ACCURACY | {"run_eagerly": True}),
    "half precision": (lambda: net(0.3, True, "mixed_float16"), X, Y, ACCURACY),
    "losses of layers and several outputs": (
        two_headed,
        X,
        {"a": Y, "b": X[:, :1]},
        TWO_LOSSES | {"metrics": {"b": ["mae"]}},
    ),
    "subclassed": (Subclassed, X, {"a": Y}, {"loss": {"a": LOGITS}}),
    "masked": (masked, TOKENS, np.tile([0, 1, 2, 0], (3, 1)), ACCURACY),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", MODELS)
def test_with_rho_0_training_and_what_is_measured_are_what_they_are_without(name):
    make, x, y, options = MODELS[name]
    weights = np.linspace(0, 2, 64) if y is Y else None
    ends = []
    for wrap in (lambda plain: plain, lambda plain: SAM(plain, rho=0)):
        keras.utils.set_random_seed(3)
        model = make()
        trained = wrap(model)
        # Unlike Adam's, its steps are as long as the gradients, which it scales before and after.
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=8)
        trained.compile(optimizer, **options)
        keras.utils.set_random_seed(2)
        callbacks = [LossCurve((x, y))]
        fitted = trained.fit(
            *(x, y, 24, 2), verbose=0, sample_weight=weights, validation_data=(x, y),
            callbacks=callbacks,
        )  # fmt: skip
        ends.append((fitted.history, weights_of(model)))
    assert ends[0][0] == ends[1][0]
    assert all(map(np.array_equal, ends[0][1], ends[1][1]))


@pytest.mark.thorough
def test_it_fits_with_sample_weights_datasets_and_callbacks():
    model = net()
    sam = SAM(model)
    sam.compile("adam", LOGITS, metrics=["accuracy"])
    sharpness = Sharpness((X, Y), measures=("lambda_max", "sam_sharpness"))
    history = fit(sam, [LossCurve((X, Y)), sharpness], sample_weight=RNG.random(64))
    assert np.isfinite(history["lambda_max"]).all()
    plain = net()
    plain.set_weights(model.get_weights())
    plain.compile("adam", LOGITS)
    assert sharpness.rows[-1]["lambda_max"] == pytest.approx(top(plain), rel=1e-3)
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
    sam.fit(dataset, verbose=0)
    np.testing.assert_array_equal(sam.predict(X, verbose=0), model.predict(X, verbose=0))


def top(model):
    recorder = Sharpness((X, Y))
    recorder.set_model(model)
    recorder.prepare()
    return recorder.measure()[0]["lambda_max"]


def test_the_loss_is_scaled_where_the_models_own_would_be():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = net()
    finally:
        keras.config.set_dtype_policy("float32")
    sam = SAM(model)
    sam.compile("sgd", LOGITS)
    assert isinstance(sam.optimizer, keras.optimizers.LossScaleOptimizer)


def test_it_is_saved_exported_and_loaded(tmp_path):
    sam = SAM(net(), rho=0.1, adaptive=True)
    sam.compile("adam", LOGITS)
    fit(sam)
    sam.save(tmp_path / "sam.keras")
    loaded = keras.models.load_model(tmp_path / "sam.keras")
    assert (loaded.rho, loaded.adaptive) == (0.1, True)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), sam.predict(X, verbose=0))
    sam.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(exported.serve(X), sam.predict(X, verbose=0), rtol=1e-5)


REPLICAS = """
import keras, numpy as np, tensorflow as tf
cpus = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], cpus)
from test_sam import LOGITS, SAM, X, Y, net
results = []
for rho in (None, 0.0, 0.3):
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = net()
        trained = model if rho is None else SAM(model, rho)
        trained.compile(keras.optimizers.SGD(0.1), LOGITS, metrics=["accuracy"])
    history = trained.fit(X, Y, batch_size=64, verbose=0, shuffle=False).history
    results.append((history, model.get_weights()))
plain, zero, sam = results
assert plain[0].keys() == sam[0].keys()
np.testing.assert_allclose(plain[0]["loss"], zero[0]["loss"], rtol=1e-6)
np.testing.assert_allclose(plain[0]["loss"], sam[0]["loss"], rtol=1e-6)
for a, b, c in zip(plain[1], zero[1], sam[1]):
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
assert any(np.abs(a - c).max() > 1e-4 for a, c in zip(plain[1], sam[1]))
"""


@pytest.mark.thorough
def test_under_a_strategy_of_two_replicas(tmp_path):
    (tmp_path / "replicas.py").write_text(REPLICAS)
    run = run_script(tmp_path / "replicas.py")
    assert run.returncode == 0, run.stderr


@pytest.mark.thorough
def test_it_finds_flatter_minima_than_gradient_descent_on_a_small_problem():
    ends = {}
    for rho in (0.0, 0.5):
        model = net()
        sam = SAM(model, rho)
        sam.compile(keras.optimizers.SGD(0.2), LOGITS)
        steps = np.tile(X, (60, 1)), np.tile(Y, 60)  # each with all the data
        sam.fit(*steps, batch_size=64, shuffle=False, verbose=0)
        model.compile("sgd", LOGITS)
        ends[rho] = top(model)
    assert ends[0.5] < ends[0.0]


class Own(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SAM(net(), rho=-1), "rho must be a finite number of 0 or more"),
        (lambda: SAM(net(), adaptive=1), "adaptive must be True or False"),
        (lambda: SAM(keras.Sequential([layers.Dense(1)])), "needs a built keras.Model"),
        (lambda: SAM(net), "needs a built keras.Model"),
        (lambda: SAM(Own([keras.Input((2,)), layers.Dense(1)])), "Own has a train_step of its own"),
    ],
)
def test_what_it_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
