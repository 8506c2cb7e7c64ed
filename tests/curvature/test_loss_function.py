import gc
import subprocess
import sys
import warnings
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy_references import (
    complex_step_jacobian,
    cross_entropies,
    cut,
    hessian,
    normalise,
    softmax,
)

from dlip_reg.curvature import LossFunction

layers = keras.layers
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 6))
LABELS = RNG.integers(3, size=12)
IMAGES = RNG.normal(size=(12, 6, 6, 2))
TOKENS = np.array([[1, 4, 2, 0], [3, 0, 0, 0], [2, 2, 1, 4]] * 4)  # 0 is masked


def randomised(model, seed=1):
    """Random weights and statistics, for new biases are zeros and new scales are ones."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "seed" not in variable.path:
            spread = rng.normal(0, 0.3, size=variable.shape)
            positive = variable.name in ("gamma", "moving_variance")
            variable.assign(np.exp(spread) if positive else spread)
    return model


def sequential(*stack, shape=(6,), dtype="float64"):
    with_dtype = [type(layer).from_config(layer.get_config() | {"dtype": dtype}) for layer in stack]
    inputs = keras.Input(shape, dtype="float64" if dtype == "float64" else "float32")
    return randomised(keras.Sequential([inputs, *with_dtype]))


def matrix(product, size):
    return np.stack([product(unit) for unit in np.eye(size)])


def snapshot(model):
    values = [keras.ops.convert_to_numpy(variable).copy() for variable in model.variables]
    return values, [layer.dtype_policy for layer in model._flatten_layers()], tf.nn.moments


def unchanged(before, model):
    now = snapshot(model)
    return now[1:] == before[1:] and all(map(np.array_equal, now[0], before[0]))


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


# --- Normalization: the second derivatives that TensorFlow gets wrong by itself -----------------

NORMS = {
    "batch statistics": (layers.BatchNormalization(), "batch"),
    "moving statistics": (layers.BatchNormalization(), "inference"),
    "layer": (layers.LayerNormalization(), "inference"),
    "group": (layers.GroupNormalization(groups=2), "inference"),
}


def numpy_logits(w, x, norm, statistics):
    kernel, bias, gamma, beta, head, head_bias = cut(w, (6, 4), (4,), (4,), (4,), (4, 3), (3,))
    hidden = np.tanh(x @ kernel + bias)
    if norm == "batch statistics":
        hidden = normalise(hidden, 0)
    elif norm == "moving statistics":
        hidden = (hidden - statistics[0]) / np.sqrt(statistics[1] + 1e-3)
    elif norm == "layer":
        hidden = normalise(hidden, -1)
    else:
        hidden = normalise(hidden.reshape(len(x), 2, 2), -1).reshape(len(x), 4)
    return (hidden * gamma + beta) @ head + head_bias


@pytest.mark.parametrize(
    "name, dtype", [*((name, "float64") for name in NORMS), ("batch statistics", "float32")]
)
def test_all_of_the_hessian_through_normalization(name, dtype):
    norm, mode = NORMS[name]
    stack = layers.Dense(4, "tanh"), norm, layers.Dense(3)
    model = sequential(*stack, dtype=dtype)
    statistics = [keras.ops.convert_to_numpy(v) for v in model.non_trainable_variables]
    function = LossFunction(model, X, LABELS, loss=LOGITS, batch_norm=mode)
    w, x = function.parameters(), X.astype(dtype).astype("float64")

    def logits(point):
        return numpy_logits(point, x, name, statistics)

    def loss(point):
        return cross_entropies(logits(point), LABELS).mean()

    # Rounding alone: there is no kink in this model.
    tolerance = 1e-7 if dtype == "float64" else 2e-5
    value, gradient = function.gradient()
    assert value == pytest.approx(loss(w), rel=tolerance)
    assert relative(gradient, complex_step_jacobian(loss, w)) < tolerance
    found = matrix(function.hessian_product, function.size)
    assert relative(found, hessian(loss, w)) < tolerance
    jacobian, p = complex_step_jacobian(logits, w), softmax(logits(w))
    outer = np.einsum("ni,ij->nij", p, np.eye(3)) - np.einsum("ni,nj->nij", p, p)
    gauss_newton = np.einsum("nip,nij,njq->pq", jacobian, outer, jacobian) / len(X)
    found = matrix(function.gauss_newton_product, function.size)
    assert relative(found, gauss_newton) < tolerance
    report = function.self_check()
    assert report.passed and report.dtype == "float64"
    assert function.method == "reverse-over-reverse"


# --- Closed forms -------------------------------------------------------------------------------


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_linear_softmax_has_its_known_hessian_and_gauss_newton_is_it(activation, one_hot):
    model = sequential(layers.Dense(3, activation))
    name = "CategoricalCrossentropy" if one_hot else "SparseCategoricalCrossentropy"
    loss = getattr(keras.losses, name)(from_logits=activation is None)
    targets = np.eye(3)[LABELS] if one_hot else LABELS
    weights = RNG.random(12)
    function = LossFunction(
        model, X, targets, loss=loss, sample_weight=weights, class_weight={0: 2.0, 2: 0.5}
    )
    kernel, bias = cut(function.parameters(), (6, 3), (3,))
    p = softmax(X @ kernel + bias)
    weights = weights * np.array([2.0, 1.0, 0.5])[LABELS]
    inputs = np.hstack([X, np.ones((12, 1))])
    blocks = np.einsum("ni,ij->nij", p, np.eye(3)) - np.einsum("ni,nj->nij", p, p)
    known = np.einsum("n,na,nij,nb->aibj", weights, inputs, blocks, inputs).reshape(21, 21) / 12
    assert relative(matrix(function.hessian_product, 21), known) < 1e-12
    assert relative(matrix(function.gauss_newton_product, 21), known) < 1e-12
    expected = (weights * cross_entropies(X @ kernel + bias, LABELS)).mean()
    assert function.value() == pytest.approx(expected, rel=1e-12)


def test_least_squares_has_the_hessian_two_x_transposed_x_over_n_d():
    model = sequential(layers.Dense(2, use_bias=False))
    function = LossFunction(model, X, RNG.normal(size=(12, 2)), loss="mse", batch_size=5)
    known = np.kron(2 * X.T @ X / (12 * 2), np.eye(2))
    assert relative(matrix(function.hessian_product, 12), known) < 1e-12
    assert relative(matrix(function.gauss_newton_product, 12), known) < 1e-12


def test_binary_classification_from_probabilities_and_a_flat_target():
    model = sequential(layers.Dense(1, "sigmoid", use_bias=False))
    labels = LABELS > 0
    function = LossFunction(model, X, labels, loss="binary_crossentropy")
    p = 1 / (1 + np.exp(-X @ function.parameters()))
    known = (X * (p * (1 - p))[:, None]).T @ X / 12
    assert relative(matrix(function.hessian_product, 6), known) < 1e-12
    assert relative(matrix(function.gauss_newton_product, 6), known) < 1e-12


def test_gauss_newton_of_a_loss_that_does_not_go_to_the_logits_is_taken_at_the_outputs():
    model = sequential(layers.Dense(3, "softmax", use_bias=False))
    function = LossFunction(model, X, np.eye(3)[LABELS], loss="mse")
    w = function.parameters()
    jacobian = complex_step_jacobian(lambda point: softmax(X @ point.reshape(6, 3)), w)
    known = 2 * np.einsum("nip,niq->pq", jacobian, jacobian) / (12 * 3)
    assert relative(matrix(function.gauss_newton_product, 18), known) < 1e-12


def test_penalties_only_when_asked_for():
    kernel_regularizer = keras.regularizers.L2(0.05)
    model = sequential(layers.Dense(3, kernel_regularizer=kernel_regularizer))
    plain = LossFunction(model, X, LABELS, loss=LOGITS)
    penalised = LossFunction(model, X, LABELS, loss=LOGITS, penalties=True)
    w, v = plain.parameters(), RNG.normal(size=21)
    kernel = np.arange(21) < 18
    assert penalised.value() - plain.value() == pytest.approx(0.05 * np.sum(w[:18] ** 2))
    assert np.allclose(penalised.gradient()[1] - plain.gradient()[1], 0.1 * w * kernel)
    for name in ("hessian_product", "gauss_newton_product"):
        assert np.allclose(getattr(penalised, name)(v) - getattr(plain, name)(v), 0.1 * v * kernel)


# --- All kinds of models, in float64 against differences of gradients ----------------------------


def convolutional(pool):
    return sequential(
        layers.Conv2D(3, 2, activation="relu"),
        pool,
        layers.DepthwiseConv2D(2, activation="softplus"),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(3),
        shape=(6, 6, 2),
    ), IMAGES


def several_inputs():
    a, b = keras.Input((6,), name="a", dtype="float64"), keras.Input((6,), name="b")
    shared = layers.Dense(4, "tanh", dtype="float64")
    frozen = layers.Dense(4, "gelu", dtype="float64", trainable=False)
    hidden = layers.Concatenate(dtype="float64")([shared(a), frozen(shared.output), shared(b)])
    outputs = layers.Dense(3, dtype="float64")(hidden)
    return randomised(keras.Model({"a": a, "b": b}, outputs)), {"a": X, "b": X[::-1]}


class WithUnused(layers.Layer):
    def build(self, shape):
        self.unused = self.add_weight(shape=(2,), name="unused")
        self.scale = self.add_weight(shape=(1,), name="scale")

    def call(self, x):
        return x * keras.ops.exp(self.scale)


def unused():
    return sequential(layers.Dense(3, "tanh"), WithUnused(), layers.Dense(3)), X


def embedded():
    return sequential(
        layers.Embedding(6, 3, mask_zero=True), layers.SimpleRNN(2), layers.Dense(3), shape=(4,)
    ), TOKENS


MODELS = {
    "conv and max-pooling": lambda: convolutional(layers.MaxPool2D()),
    "max-pooling that overlaps": lambda: convolutional(layers.MaxPool2D(3, 2, padding="same")),
    "several inputs, shared and frozen weights": several_inputs,
    "unused weights": unused,
    "embedding, mask and recurrence": embedded,
}


@pytest.mark.parametrize("name", MODELS)
def test_products_are_differences_of_gradients_and_those_are_keras_own(name):
    model, x = MODELS[name]()
    function = LossFunction(model, x, LABELS, loss=LOGITS, batch_size=5)
    with tf.GradientTape() as tape:
        inputs = keras.tree.map_structure(tf.constant, x)
        loss = tf.reduce_mean(LOGITS.call(LABELS, model(inputs, training=False)))
    own = [
        tf.convert_to_tensor(g)
        for g in tape.gradient(
            loss, [v.value for v in model.trainable_variables], unconnected_gradients="zero"
        )
    ]
    value, gradient = function.gradient()
    assert value == pytest.approx(float(loss), rel=1e-6)  # Keras' loss is in float32
    assert relative(gradient, np.concatenate([np.ravel(g) for g in own])) < 1e-6
    w, step = function.parameters(), 1e-6
    a, b = RNG.normal(size=(2, function.size))
    high, low = (function.gradient(w + sign * step * a)[1] for sign in (1, -1))
    product = function.hessian_product(a)
    assert relative(product, (high - low) / (2 * step)) < 1e-6
    assert b @ product == pytest.approx(a @ function.hessian_product(b), rel=1e-9)
    assert function.self_check().passed
    curvature = a @ function.gauss_newton_product(a)
    assert curvature > 0  # for a loss that is convex in the outputs
    if name == "unused weights":
        unused = next(p for p in function.layout if p.name.endswith("unused"))
        assert not product[unused.offset : unused.offset + 2].any()


def test_the_loss_is_that_of_evaluate_with_weights_and_masks():
    model = sequential(
        layers.Embedding(6, 3, mask_zero=True),
        layers.Dense(3),
        shape=(4,),
        dtype="float32",
    )
    model.compile(loss=LOGITS)
    labels, weights = RNG.integers(3, size=(12, 4)), RNG.random((12, 4))
    for sample_weight in (None, weights):
        function = LossFunction(model, TOKENS, labels, sample_weight=sample_weight, batch_size=5)
        expected = model.evaluate(
            TOKENS, labels, sample_weight=sample_weight, batch_size=12, verbose=0
        )
        assert function.value() == pytest.approx(expected, rel=1e-5)


def test_a_loss_may_divide_by_the_sum_of_weights():
    model, weights = sequential(layers.Dense(3)), RNG.random(12)
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    function = LossFunction(model, X, LABELS, loss=loss, sample_weight=weights, batch_size=5)
    kernel, bias = cut(function.parameters(), (6, 3), (3,))
    expected = np.average(cross_entropies(X @ kernel + bias, LABELS), weights=weights)
    assert function.value() == pytest.approx(expected, rel=1e-12)


# --- Chunks, batches and precision --------------------------------------------------------------


def test_chunks_change_nothing_but_batch_statistics():
    model = sequential(layers.Dense(4), layers.BatchNormalization(), layers.Dense(3))
    v = RNG.normal(size=LossFunction(model, X, LABELS, loss=LOGITS).size)

    def all_of(n, **options):
        function = LossFunction(model, X[:n], LABELS[:n], loss=LOGITS, **options)
        products = function.hessian_product(v), function.gauss_newton_product(v)
        return np.hstack([function.value(), function.gradient()[1], *products])

    whole = all_of(12, batch_size=100)
    for batch_size in (1, 5, 12):
        assert relative(all_of(12, batch_size=batch_size), whole) < 1e-12
    # Batches of 8 and 4: the loss is the mean over the examples, each under its own batch.
    batches = all_of(12, batch_norm="batch", batch_size=8)
    first = all_of(8, batch_norm="batch", batch_size=8)
    rest = LossFunction(model, X[8:], LABELS[8:], loss=LOGITS, batch_norm="batch")
    assert batches[0] == pytest.approx((8 * first[0] + 4 * rest.value()) / 12, rel=1e-12)
    assert relative(batches, whole) > 0.01


def test_half_precision_policies_are_lifted():
    def conv_net(dtype):
        return sequential(
            layers.Conv2D(3, 3), layers.BatchNormalization(), layers.ReLU(), layers.Flatten(),
            layers.Dense(3), shape=(6, 6, 2), dtype=dtype,
        )  # fmt: skip

    results = []
    for policy in ("float32", "mixed_float16", "mixed_bfloat16"):
        model = conv_net(policy)
        function = LossFunction(model, IMAGES, LABELS, loss=LOGITS, batch_norm="batch")
        before = snapshot(model)
        results.append(function.hessian_product(np.ones(function.size)))
        assert unchanged(before, model)
    assert relative(results[1], results[0]) < 1e-6
    assert relative(results[2], results[0]) < 1e-6


# --- The model is left alone --------------------------------------------------------------------


def test_evaluating_elsewhere_changes_nothing():
    model = sequential(
        layers.Dense(4), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(3)
    )
    model.compile("adam", LOGITS, metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)
    function = LossFunction(model, X, LABELS, batch_norm="batch", batch_size=5)
    before, optimizer = snapshot(model), [v.numpy() for v in model.optimizer.variables]
    random = np.random.default_rng(3).normal(size=function.size)
    elsewhere = function.value(random), function.gradient(random)[1]
    product = function.hessian_product(random, random)
    function.gauss_newton_product(random, random)
    with pytest.raises(ValueError, match="vector must have shape"):
        function.hessian_product(random[:-1])
    assert unchanged(before, model)
    assert all(map(np.array_equal, optimizer, [v.numpy() for v in model.optimizer.variables]))
    for variable, part in zip(model.trainable_variables, function.layout, strict=True):
        part = random[part.offset : part.offset + part.size].reshape(part.shape)
        variable.assign(part)
    assert np.array_equal(function.parameters(), random)
    assert function.value() == elsewhere[0]
    assert np.array_equal(function.gradient()[1], elsewhere[1])
    assert np.array_equal(function.hessian_product(random), product)


class Counting(layers.Layer):
    calls = 0

    def call(self, x):
        Counting.calls += 1
        return x


def test_traced_once_for_all_that_share_a_model_and_a_loss():
    model = sequential(layers.Dense(4), Counting(), layers.Dense(3), dtype="float32")

    def use(n, loss):
        function = LossFunction(model, X[:n], LABELS[:n], loss=loss, batch_size=n)
        return function.gradient(), function.hessian_product(np.ones(function.size))

    def cross_entropy():
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    use(12, cross_entropy())
    before = Counting.calls
    for n in (12, 7, 3):
        randomised(model, seed=n)
        use(n, cross_entropy())
    assert Counting.calls == before
    use(12, keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=2))
    assert Counting.calls > before


def test_a_model_is_freed_with_all_that_was_traced_of_it():
    model = sequential(layers.Dense(3))
    function = LossFunction(model, X, LABELS, loss=LOGITS)
    function.hessian_product(np.ones(function.size))
    alive = weakref.ref(model)
    del model, function
    keras.utils.clear_session()
    gc.collect()
    assert alive() is None


def test_freezing_a_layer_is_seen():
    model = sequential(layers.Dense(4), layers.Dense(3))
    assert LossFunction(model, X, LABELS, loss=LOGITS).gradient()[1].shape == (43,)
    model.layers[0].trainable = False
    function = LossFunction(model, X, LABELS, loss=LOGITS)
    assert function.gradient()[1].shape == (15,)
    assert [p.layer for p in function.layout] == [model.layers[1].name] * 2


# --- The self-check -----------------------------------------------------------------------------


class StoppedMean(layers.Layer):
    """Normalises as TensorFlow's own moments do, with a gradient stopped."""

    def call(self, x):
        mean = keras.ops.mean(x, -1, keepdims=True)
        spread = keras.ops.square(x - keras.ops.stop_gradient(mean))
        return (x - mean) / keras.ops.sqrt(keras.ops.mean(spread, -1, keepdims=True) + 1e-3)


class InFloat32(StoppedMean):
    def call(self, x):
        return super().call(x * tf.constant(1.0))


class Composite(layers.Layer):
    def __init__(self, inner, **options):
        super().__init__(**options)
        self.dense, self.inner = layers.Dense(4), inner

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.inner(self.dense(x))


@pytest.mark.parametrize(
    "stopped, tolerance", [(StoppedMean, 1e-6), (InFloat32, 2e-2)], ids=["float64", "float32"]
)
def test_a_layer_with_a_stopped_gradient_is_named_and_differences_are_used(stopped, tolerance):
    inner = stopped(name="culprit")
    stack = [layers.Activation("tanh"), Composite(inner, name="block"), layers.Dense(3)]
    model = randomised(keras.Sequential([keras.Input((6,)), *stack]))
    function = LossFunction(model, X, LABELS, loss=LOGITS)
    with pytest.warns(RuntimeWarning, match="culprit"):
        report = function.self_check()
    assert not report.passed and report.layers == ("culprit",)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # said once
        vector = RNG.normal(size=function.size)
        product = function.hessian_product(vector)
    assert function.method == "differences"

    def loss(w):
        kernel, bias, head, head_bias = cut(w, (6, 4), (4,), (4, 3), (3,))
        hidden = normalise(np.tanh(X.astype("float32")) @ kernel + bias, -1)
        return cross_entropies(hidden @ head + head_bias, LABELS).mean()

    true = hessian(loss, function.parameters()) @ vector
    assert relative(product, true) < tolerance


# --- Bad input ----------------------------------------------------------------------------------


def test_without_second_derivatives_there_are_gradients_and_one_clear_error():
    upsampling = layers.UpSampling2D(interpolation="bicubic")
    model = sequential(
        layers.Conv2D(2, 3), upsampling, layers.Flatten(), layers.Dense(3),
        shape=(6, 6, 2), dtype="float32",
    )  # fmt: skip
    function = LossFunction(model, IMAGES, LABELS, loss=LOGITS)
    assert np.isfinite(function.gradient()[1]).all()
    with pytest.raises(ValueError, match="ResizeBicubicGrad"):
        function.hessian_product(np.ones(function.size))


def test_a_loss_that_is_not_finite_has_a_value_but_no_product():
    model = sequential(layers.Dense(3))
    function = LossFunction(model, np.where(X > 1, np.nan, X), LABELS, loss=LOGITS)
    assert np.isnan(function.value()) and np.isnan(function.gradient()[0])
    with pytest.raises(ValueError, match="finite"):
        function.hessian_product(np.ones(function.size))
    with pytest.raises(ValueError, match="parameters must be finite"):
        function.value(np.full(function.size, np.nan))


def unbuilt():
    return keras.Sequential([layers.Dense(3)])


def frozen():
    model = sequential(layers.Dense(3))
    model.trainable = False
    return model


def two_outputs():
    inputs = keras.Input((6,))
    return keras.Model(inputs, [layers.Dense(3)(inputs), layers.Dense(3)(inputs)])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": unbuilt}, "built model"),
        ({"model": frozen}, "no trainable weights"),
        ({"model": two_outputs}, "one output"),
        ({"loss": None}, "one loss"),
        ({"loss": {"a": "mse", "b": "mse"}}, "one loss"),
        ({"loss": keras.metrics.MeanSquaredError()}, "keeps state"),
        ({"loss": "no such loss"}, "loss identifier"),
        ({"x": X[:0], "y": LABELS[:0]}, "one or more examples"),
        ({"y": LABELS[:-1]}, "lengths 11, 12"),
        ({"y": None}, "targets"),
        ({"y": list(LABELS)}, "must be arrays"),
        ({"x": tf.data.Dataset.from_tensors(X)}, "must be arrays"),
        ({"sample_weight": np.ones(3)}, "sample_weight"),
        ({"sample_weight": np.full(12, np.nan)}, "sample_weight"),
        ({"batch_norm": "training"}, "batch_norm"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_one_clear_error(change, message):
    options = {"model": lambda: sequential(layers.Dense(3)), "x": X, "y": LABELS, "loss": LOGITS}
    options |= change
    with pytest.raises(ValueError, match=message):
        LossFunction(options.pop("model")(), **options).value()


def test_subsets_are_seeded_draws_without_replacement():
    model = sequential(layers.Dense(1, use_bias=False))
    function = LossFunction(model, X, X[:, 0], loss="mae", sample_weight=np.arange(1.0, 13.0))
    w = np.zeros(6)
    losses = np.abs(X[:, 0]) * np.arange(1, 13)
    part = function.subset(5, seed=3)
    sums = {part.value(w), function.subset(5, seed=4).value(w)}
    assert part.examples == 5 and len(sums) == 2
    assert part.value(w) == function.subset(5, seed=3).value(w)
    assert min(losses) <= part.value(w) <= max(losses)
    assert function.subset(12, seed=1).value(w) == pytest.approx(losses.mean(), rel=1e-12)
    for n in (0, 13):
        with pytest.raises(ValueError, match="1 to 12"):
            function.subset(n, seed=0)


def test_the_layout_names_every_weight():
    model = sequential(
        layers.Conv2D(3, 3, name="conv"),
        layers.BatchNormalization(name="norm"),
        layers.Flatten(),
        layers.Dense(3, name="dense"),
        shape=(6, 6, 2),
    )
    layout = LossFunction(model, IMAGES, LABELS, loss=LOGITS).layout
    assert [(p.layer, p.kind, p.shape) for p in layout] == [
        ("conv", "conv", (3, 3, 2, 3)),
        ("conv", "bias", (3,)),
        ("norm", "norm", (3,)),
        ("norm", "norm", (3,)),
        ("dense", "dense", (48, 3)),
        ("dense", "bias", (3,)),
    ]
    assert [p.offset for p in layout] == [0, 54, 57, 60, 63, 207]


def test_importing_the_package_imports_no_tensorflow():
    check = (
        "import sys, dlip_reg.curvature as c; "
        "assert {'LossFunction', 'top_eigenvalue', 'keskar_sharpness'} <= set(dir(c)); "
        "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
