import math

import keras
import numpy as np
import pytest
import scipy.sparse.linalg
import tensorflow as tf
from further_cases import thorough_after
from numpy_references import (
    complex_step_jacobian,
    cross_entropies,
    cut,
    hessian,
    normalise,
    softmax,
)
from random_models import (
    IMAGES,
    LABELS,
    LOGITS,
    RNG,
    TOKENS,
    X,
    matrix,
    randomised,
    relative,
    sequential,
)

from dlip_reg.curvature import LossFunction

layers = keras.layers

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
    "name, dtype",
    thorough_after(
        1,
        [
            pytest.param("batch statistics", "float64"),
            pytest.param("layer", "float64"),
            pytest.param("group", "float64"),
            pytest.param("moving statistics", "float64"),
            pytest.param("batch statistics", "float32"),
        ],
    ),
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


@pytest.mark.parametrize("one_hot", thorough_after(1, [False, True]))
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


@pytest.mark.parametrize(
    ("loss", "margin"),
    thorough_after(
        3,
        [
            pytest.param(loss, margin, id=f"{loss}-{margin}")
            for margin in (40.0, 1.0, 16.0, 80.0)
            for loss in ("sparse", "one-hot", "binary")
        ],
    ),
)
@pytest.mark.filterwarnings("error")
def test_products_are_right_where_an_example_is_classified_with_certainty(loss, margin):
    """The Hessian in the weights of the logit is p (1 - p) x x', p that of the wrong class.

    In float32 1 - p is 1 for margins above 16.6, and TensorFlow's own gradients are rounding.
    """
    x = np.array([[1.0, 2.0]], "float32")
    kernel = margin * x.T / 5  # of logit `margin`
    p = 1 / (1 + math.exp(margin))
    if loss == "binary":
        units, y, kernels = 1, np.array([[1.0]]), kernel
        expected = p * (1 - p) * (x.T @ x)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
    else:
        units, y, kernels = 2, np.array([1]), np.concatenate([0 * kernel, kernel], axis=1)
        expected = p * (1 - p) * np.kron(x.T @ x, [[1, -1], [-1, 1]])
        kind = keras.losses.SparseCategoricalCrossentropy
        if loss == "one-hot":
            kind, y = keras.losses.CategoricalCrossentropy, np.array([[0.0, 1.0]])
        loss = kind(from_logits=True)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units, use_bias=False)])
    model.set_weights([kernels])
    function = LossFunction(model, x, y, loss=loss)
    np.testing.assert_allclose(matrix(function.hessian_product, function.size), expected, 1e-5)
    np.testing.assert_allclose(
        function.gradient()[1].reshape(2, units)[:, -1], -p * x[0], rtol=1e-5
    )
    np.testing.assert_allclose(function.value(), math.log1p(math.exp(-margin)), rtol=1e-5)


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
        products = (getattr(function, name)(v) for function in (penalised, plain))
        assert np.allclose(np.subtract(*products), 0.1 * v * kernel)
    # A strength that changed since counts.
    for change in (lambda k: setattr(k.regularizer, "l2", 0.3), with_another_regularizer):
        change(model.layers[-1].kernel)
        strength = float(model.layers[-1].kernel.regularizer.l2)
        expected = strength * np.sum(w[:18] ** 2)
        assert penalised.value() - plain.value() == pytest.approx(expected)


def with_another_regularizer(kernel):
    kernel.regularizer = keras.regularizers.L2(0.7)


@pytest.mark.parametrize("kind", thorough_after(1, ["hessian", "gauss_newton"]))
def test_operators_for_scipy_are_the_matrix_or_the_block_of_a_layer(kind):
    model = sequential(layers.Dense(4, "tanh"), layers.Dense(4, name="head"))
    function = LossFunction(model, X, LABELS, loss=LOGITS)
    whole = matrix(getattr(function, f"{kind}_product"), function.size)
    values = scipy.sparse.linalg.eigsh(function.to_scipy(kind), k=3, which="LA")[0]
    assert np.sort(values) == pytest.approx(np.linalg.eigvalsh(whole)[-3:], rel=1e-8)
    starts = np.cumsum([0, *(parameter.size for parameter in function.layout)])
    for block in (*function.blocks().values(), [0, 3], [1], [3]):  # two of one size
        places = np.concatenate([np.arange(*starts[[i, i + 1]]) for i in block])
        for trace in (False, True):
            found = function.to_scipy(kind, block, trace=trace) @ np.eye(len(places))
            assert relative(found, whole[np.ix_(places, places)]) < 1e-12
    for wrong, message in (
        ({"kind": "fisher"}, 'kind must be "hessian" or "gauss_newton"'),
        ({"preconditioner": np.zeros(function.size)}, "preconditioner must be above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            function.to_scipy(**({"kind": kind} | wrong))


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
    recurrence = layers.GRU(3, return_sequences=True), layers.SimpleRNN(4, "relu")
    return sequential(
        layers.Embedding(6, 3, mask_zero=True), *recurrence, layers.Dense(3), shape=(4,)
    ), TOKENS


MODELS = {
    "conv and max-pooling": lambda: convolutional(layers.MaxPool2D()),
    "max-pooling that overlaps": lambda: convolutional(layers.MaxPool2D(3, 2, padding="same")),
    "several inputs, shared and frozen weights": several_inputs,
    "unused weights": unused,
    "embedding, mask and recurrence": embedded,
}


@pytest.mark.parametrize("name", thorough_after(1, MODELS))
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
    assert a @ function.gauss_newton_product(a) > 0  # for a loss that is convex in the outputs
    if name == "unused weights":
        unused = next(p for p in function.layout if p.name.endswith("unused"))
        assert not product[unused.offset : unused.offset + 2].any()
