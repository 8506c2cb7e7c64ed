"""Every measure of Sharpness against a dense float64 Hessian that knows nothing of the package."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from callback_models import driven
from further_cases import thorough_after

import callbacks.sharpness
from callbacks import GradientFlow, Sharpness

layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 5))
Y = RNG.normal(size=(48, 2))
SHAPES = {"first/kernel": (5, 4), "first/bias": (4,), "last/kernel": (4, 2), "last/bias": (2,)}
ENDS = np.cumsum([math.prod(shape) for shape in SHAPES.values()])
FIRST, LAST = slice(0, 24), slice(24, 34)


def compiled(optimizer="sgd", seed=0):
    keras.utils.set_random_seed(seed)
    stack = layers.Dense(4, "tanh", name="first"), layers.Dense(2, name="last")
    model = keras.Sequential([keras.Input((5,)), *stack])
    model.compile(optimizer, "mse")
    return model


def flat(model):
    return np.concatenate([v.numpy().ravel() for v in model.trainable_variables]).astype(float)


def loss_of(weights, x=X, y=Y):
    """The model's loss as a function of its flat weights, written out."""
    parts = tf.split(weights, np.diff([0, *ENDS]).tolist())
    w, b, v, c = (tf.reshape(p, s) for p, s in zip(parts, SHAPES.values(), strict=True))
    return tf.reduce_mean((tf.tanh(x @ w + b) @ v + c - y) ** 2)


@tf.function
def derivatives(weights, x, y):
    with tf.GradientTape() as outer:
        outer.watch(weights)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = loss_of(weights, x, y)
        gradient = tape.gradient(loss, weights)
    return gradient, outer.jacobian(gradient, weights)


def gradient_and_hessian(weights, x=X, y=Y):
    return [tensor.numpy() for tensor in derivatives(*map(tf.constant, (weights, x, y)))]


def measured(model, data=(X, Y), **options):
    """The row before the first step."""
    recorder = Sharpness(data, subset=None, **options)
    driven(model, recorder)
    return recorder.rows[0]


def check(row, name, exact, group="", sign=1):
    """An eigenvalue within 1e-3 of the exact one, which its bound covers; rounding is float32's."""
    value, bound = row[f"{name}{group}"], row[f"{name}_bound{group}"]
    rounding = 1e-5 * (1 + abs(exact))
    assert value == pytest.approx(exact, rel=1e-3, abs=1e-6)
    assert -rounding <= sign * (exact - value) <= bound + rounding


def test_both_ends_of_the_spectrum_and_the_top_k():
    model = compiled()
    _, hessian = gradient_and_hessian(flat(model))
    exact = np.linalg.eigvalsh(hessian)
    row = measured(model, measures=("lambda_max", "lambda_min"), top_k=3, tol=1e-4)
    for i, name in enumerate(("", "_2", "_3")):
        check(row, f"lambda_max{name}", exact[-1 - i])
        check(row, f"lambda_min{name}", exact[i], sign=-1)
    assert row["lambda_max"] > row["lambda_max_2"] > row["lambda_max_3"]
    assert row["lambda_min"] < row["lambda_min_2"] < 0


@pytest.mark.parametrize(
    ("by", "groups"),
    thorough_after(
        2,
        [
            pytest.param("layer", {"first": FIRST, "last": LAST}),
            pytest.param({"kernels": "*/kernel"}, {"kernels": [*range(20), *range(24, 32)]}),
            pytest.param({"ends": ["first", "*last/bias"]}, {"ends": [*range(24), 32, 33]}),
        ],
    ),
    ids=["layer", "pattern", "patterns"],
)
def test_blocks_of_the_hessian(by, groups):
    model = compiled()
    _, hessian = gradient_and_hessian(flat(model))
    row = measured(model, measures=("lambda_max", "lambda_min", "trace"), by=by, top_k=2)
    check(row, "lambda_max", np.linalg.eigvalsh(hessian)[-1])
    for name, places in groups.items():
        block = hessian[places][:, places]
        exact = np.linalg.eigvalsh(block)
        check(row, "lambda_max", exact[-1], f"/{name}")
        check(row, "lambda_max_2", exact[-2], f"/{name}")
        check(row, "lambda_min", exact[0], f"/{name}", sign=-1)
        allowed = 5 * row[f"trace_standard_error/{name}"] + 1e-4
        assert row[f"trace/{name}"] == pytest.approx(np.trace(block), abs=allowed)


def test_layers_of_one_name_are_told_apart_by_their_paths():
    inner = [
        keras.Sequential([keras.Input((4,)), layers.Dense(4, name="same")], name=f"inner{i}")
        for i in range(2)
    ]
    model = keras.Sequential([keras.Input((4,)), *inner])
    model.compile("sgd", "mse")
    row = measured(model, (X[:, :4], X[:, :4]), by="layer")
    blocks = [name for name in row if name.startswith("lambda_max/")]
    assert len(blocks) == 2 and all("same" in name for name in blocks)


def test_layers_that_share_a_path_are_numbered():
    inputs = keras.Input((5,))
    keras.utils.set_random_seed(0)
    # Called before the model around it is made, a layer has no path but its name.
    inner = keras.Model(inputs, layers.Dense(4, "tanh", name="same")(inputs))
    model = keras.Model(inputs, layers.Dense(2, name="same")(inner(inputs)))
    model.compile("sgd", "mse")
    gradient, hessian = gradient_and_hessian(flat(model))
    row = measured(model, by="layer")
    flow = GradientFlow((X, Y))
    driven(model, flow)
    norms = {line["layer"]: line["norm"] for line in flow.rows[0]["layers"]}
    for name, places, kernel in (("same#1", FIRST, slice(20)), ("same#2", LAST, slice(24, 32))):
        check(row, "lambda_max", np.linalg.eigvalsh(hessian[places, places])[-1], f"/{name}")
        assert norms[name] == pytest.approx(np.linalg.norm(gradient[kernel]), rel=1e-4)


def test_trace_and_density():
    model = compiled()
    _, hessian = gradient_and_hessian(flat(model))
    row = measured(model, measures=("trace", "spectral_density"), by={"last": "last"})
    assert row["trace"] == pytest.approx(
        np.trace(hessian), abs=5 * row["trace_standard_error"] + 1e-4
    )
    # Smaller than a third of the products: exact.
    assert row["trace/last"] == pytest.approx(np.trace(hessian[LAST, LAST]), rel=1e-5)
    for name, matrix in (("", hessian), ("/last", hessian[LAST, LAST])):
        density = row[f"spectral_density{name}"]
        assert np.trapezoid(density["density"], density["grid"]) == pytest.approx(1)
        extremes = np.linalg.eigvalsh(matrix)[[0, -1]]
        np.testing.assert_allclose(
            [min(density["nodes"]), max(density["nodes"])], extremes, rtol=1e-3, atol=1e-5
        )


def test_the_preconditioned_hessian_of_adam():
    model = compiled(keras.optimizers.Adam(0.01, beta_1=0.8))
    second, first_row = np.zeros(34), measured(model, measures="preconditioned")
    assert math.isnan(first_row["preconditioned"])
    for _ in range(5):
        second = 0.999 * second + 0.001 * gradient_and_hessian(flat(model))[0] ** 2
        model.train_on_batch(X, Y)
    scale = (1 - 0.8**5) * (np.sqrt(second) + 1e-7) / np.sqrt(1 - 0.999**5)
    _, hessian = gradient_and_hessian(flat(model))
    exact = hessian / np.sqrt(np.outer(scale, scale))
    row = measured(model, measures=("preconditioned", "lambda_max"), by="layer")
    check(row, "preconditioned", np.linalg.eigvalsh(exact)[-1])
    check(row, "preconditioned", np.linalg.eigvalsh(exact[LAST, LAST])[-1], "/last")
    check(row, "lambda_max", np.linalg.eigvalsh(hessian)[-1])
    over = row["preconditioned"] * 0.01 * 0.2 / 3.6
    assert row["preconditioned_over_threshold"] == pytest.approx(over, rel=1e-5)


@pytest.mark.thorough
def test_batch_sharpness_is_the_mean_over_batches_of_the_size_asked_for():
    model = compiled(keras.optimizers.SGD(0.2))
    row = measured(model, measures="batch_sharpness", batch_size=8, seed=3)
    order = np.random.default_rng(3).permutation(48).reshape(6, 8)
    quotients = []
    for batch in order:
        gradient, hessian = gradient_and_hessian(flat(model), X[batch], Y[batch])
        quotients.append(gradient @ hessian @ gradient / (gradient @ gradient))
    assert row["batch_sharpness"] == pytest.approx(np.mean(quotients), rel=1e-4)
    error = np.std(quotients, ddof=1) / np.sqrt(6)
    assert row["batch_sharpness_error"] == pytest.approx(error, rel=1e-3)
    over = row["batch_sharpness"] * 0.1
    assert row["batch_sharpness_over_threshold"] == pytest.approx(over, rel=1e-5)
    # All the data in one batch, with many more asked for than there are.
    gradient, hessian = gradient_and_hessian(flat(model))
    row = measured(model, measures="batch_sharpness", batch_size=48, batches=9)
    exact = gradient @ hessian @ gradient / (gradient @ gradient)
    assert row["batch_sharpness"] == pytest.approx(exact, rel=1e-4)
    for optimizer in (
        *("adam", keras.optimizers.SGD(0.2, momentum=0.5), keras.optimizers.SGD(0.2, clipnorm=1)),
        keras.optimizers.SGD(0.2, weight_decay=0.1),
        keras.optimizers.SGD(0.2, gradient_accumulation_steps=2),
    ):
        other = measured(compiled(optimizer), measures="batch_sharpness")
        assert math.isnan(other["batch_sharpness_over_threshold"])


def test_critical_sharpness_is_where_the_next_update_would_not_lower_the_loss():
    model = compiled(keras.optimizers.Adam(0.01))
    for _ in range(3):
        model.train_on_batch(X, Y)
    row = measured(model, measures="critical_sharpness")
    before, start = flat(model), float(loss_of(tf.constant(flat(model))))
    model.train_on_batch(X, Y)
    direction = (before - flat(model)) / 0.01
    critical = 2 / row["critical_sharpness"]
    rises = [
        float(loss_of(tf.constant(before - factor * critical * direction))) - start
        for factor in (0.97, 1.03)
    ]
    assert rises[0] < 0 < rises[1]
    assert row["critical_sharpness_evaluations"] <= 12
    expected = row["critical_sharpness"] * 0.005
    assert row["critical_sharpness_over_threshold"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("make", thorough_after(1, [keras.optimizers.SGD, keras.optimizers.Adam]))
def test_a_schedule_may_begin_and_end_with_a_learning_rate_of_0(make):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1, 3], [0.0, 0.1, 0.0])
    measures = "lambda_max", "preconditioned", "batch_sharpness", "critical_sharpness"
    recorder = Sharpness((X, Y), measures=measures)
    compiled(make(schedule)).fit(X, Y, epochs=3, verbose=0, callbacks=[recorder])
    for row in (recorder.rows[0], recorder.rows[-1]):
        assert row["lambda_max"] > 0 and row["lambda_max_lr_half"] == 0
        assert row["batch_sharpness"] > 0
        assert math.isnan(row["critical_sharpness"])  # there is no next update
    assert recorder.rows[-1]["preconditioned"] > 0
    assert recorder.rows[-1]["preconditioned_over_threshold"] == 0
    assert recorder.rows[1]["critical_sharpness"] > 0


def test_without_a_certificate_there_are_fewer_products_and_no_bound():
    model = compiled()
    rows = {}
    for certificate in (True, False):
        recorder = Sharpness((X, Y), subset=None, certificate=certificate)
        model.set_weights(compiled().get_weights())
        model.fit(X, Y, epochs=4, verbose=0, callbacks=[recorder])
        rows[certificate] = recorder.rows
    for certified, other in zip(rows[True], rows[False], strict=True):
        assert other["lambda_max"] == pytest.approx(certified["lambda_max"], rel=1e-3)
        assert math.isnan(other["lambda_max_bound"])
        assert other["lambda_max_products"] < certified["lambda_max_products"]
    assert rows[False][-1]["lambda_max_products"] <= 3


def test_bounds_may_be_taken_at_every_nth_measurement_alone():
    recorder = Sharpness((X, Y), certify_every=3, by="layer")
    compiled().fit(X, Y, epochs=4, verbose=0, callbacks=[recorder])
    for name in ("lambda_max_bound", "lambda_max_bound/last"):
        bounds = [row[name] for row in recorder.rows]
        assert np.isfinite(bounds).tolist() == [True, False, False, True, False]


def test_a_search_over_many_examples_begins_with_an_eighth_of_them(monkeypatch):
    data = np.tile(X, (43, 1)), np.tile(Y, (43, 1))
    _, hessian = gradient_and_hessian(flat(compiled()))
    products = []
    for least in (2048, 10_000):
        monkeypatch.setattr(callbacks.sharpness, "_APPROXIMATE_FROM", least)
        row = measured(compiled(), data)
        check(row, "lambda_max", np.linalg.eigvalsh(hessian)[-1])
        products.append(row["lambda_max_products"])
    assert products[0] < products[1]


def test_penalties_are_measured_if_asked_for():
    rows = []
    for strength in (0.0, 0.3):
        model = compiled()
        model.layers[0].kernel.regularizer = keras.regularizers.L2(strength)
        rows += [measured(model, penalties=penalties) for penalties in (False, True)]
    assert rows[0]["lambda_max"] == rows[1]["lambda_max"] == rows[2]["lambda_max"]
    _, hessian = gradient_and_hessian(flat(compiled()))
    hessian[range(20), range(20)] += 0.6
    check(rows[3], "lambda_max", np.linalg.eigvalsh(hessian)[-1])


def test_what_a_large_model_takes_is_said_before_the_first_measurement():
    with pytest.warns(RuntimeWarning, match="Hessian of 34 weights is measured with up to 12 vec"):
        row = measured(
            compiled(),
            measures=("lambda_max", "trace", "spectral_density"),
            memory=4 * 34 * 12,
        )
    assert row["lambda_max"] > 0
    # 6 in double precision: 4 probes of as many products, and a trace of 6 products and not 48.
    assert len(row["spectral_density"]["nodes"]) == 4 * 6
    free = measured(compiled(), measures="trace")
    assert row["trace_standard_error"] > 2 * free["trace_standard_error"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measures": "flatness"}, "measures must be one or more of lambda_max, "),
        ({"measures": 3}, "measures must be one or more of lambda_max, "),
        ({"batch_norm": "training"}, 'batch_norm must be "inference" or "batch"'),
        ({"top_k": 0}, "top_k must be"),
        ({"by": "kernel"}, 'by must be "layer"'),
        ({"by": {}}, 'by must be "layer"'),
        ({"by": {"a": "nothing*"}}, "No weight matches"),
        ({"by": {"a": 3}}, "No weight matches"),
        ({"seed": "a"}, "seed must be a whole number of 0 or more"),
        (
            {"by": {"a": "dense$"}},
            r'No weight .* "\*" is any text; the weights are .*/first/kernel',
        ),
        ({"measures": "preconditioned"}, "not for Lion"),
        ({"measures": "batch_sharpness", "batch_size": 49}, "needs as many, not 48"),
        ({"certificate": 1}, "certificate must be"),
        ({"certify_every": 0}, "certify_every must be"),
        ({"memory": 0}, "memory must be"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_before_training(options, message):
    with pytest.raises(ValueError, match=message):
        measured(compiled(keras.optimizers.Lion()), **options)
