"""What holds whatever Keras runs on: tests that `test_other_backends` runs on other backends.

Their references are NumPy's; none knows TensorFlow.
"""

import keras
import numpy as np
import pytest
from numpy_references import (
    cross_entropies,
    cut,
    difference_hessian,
    hessian,
    mlp_gradient,
    normalise,
    softmax,
)
from random_models import (
    IMAGES,
    LABELS,
    LOGITS,
    RNG,
    TOKENS,
    StoppedMean,
    X,
    matrix,
    randomised,
    relative,
    sequential,
)

from dlip_reg.curvature import LossFunction

layers = keras.layers
# Rounding alone, in models without kinks.
PRECISIONS = {"float32": 2e-5, "float64": 1e-8}


def values(model):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.variables]


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_softmax_regression_with_weights_and_a_penalty(activation, dtype):
    penalty = keras.regularizers.L2(0.05)
    model = sequential(layers.Dense(3, activation, kernel_regularizer=penalty), dtype=dtype)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None)
    weights = RNG.random(12)
    function = LossFunction(
        model, X, LABELS, loss=loss, sample_weight=weights, class_weight={0: 2.0, 2: 0.5},
        penalties=True, batch_size=5,
    )  # fmt: skip
    kernel, bias = cut(function.parameters(), (6, 3), (3,))
    x, tolerance = X.astype(dtype).astype("float64"), PRECISIONS[dtype]
    p = softmax(x @ kernel + bias)
    weights = weights * np.array([2.0, 1.0, 0.5])[LABELS]
    inputs = np.hstack([x, np.ones((12, 1))])
    blocks = np.einsum("ni,ij->nij", p, np.eye(3)) - np.einsum("ni,nj->nij", p, p)
    known = np.einsum("n,na,nij,nb->aibj", weights, inputs, blocks, inputs).reshape(21, 21) / 12
    known += np.diag(0.1 * (np.arange(21) < 18))
    assert relative(matrix(function.hessian_product, 21), known) < tolerance
    assert relative(matrix(function.gauss_newton_product, 21), known) < tolerance
    slope = (inputs.T @ (weights[:, None] * (p - np.eye(3)[LABELS])) / 12).ravel()
    slope[:18] += 0.1 * kernel.ravel()
    value, gradient = function.gradient()
    losses = weights * cross_entropies(x @ kernel + bias, LABELS)
    assert value == pytest.approx(losses.mean() + 0.05 * np.sum(kernel**2), rel=tolerance)
    assert function.value() == pytest.approx(value, rel=tolerance)
    assert relative(gradient, slope) < tolerance


def test_a_tanh_network_against_differences_of_its_gradient_by_hand():
    model = sequential(layers.Dense(4, "tanh"), layers.Dense(3))
    function = LossFunction(model, X, LABELS, loss=LOGITS)

    def gradient(w):
        return mlp_gradient(w, (6, 4, 3), X, LABELS)

    known = difference_hessian(gradient, function.parameters())
    assert relative(matrix(function.hessian_product, function.size), known) < 1e-8
    report = function.self_check()
    assert report.passed and report.dtype == "float64" and report.difference_error < 1e-5


@pytest.mark.parametrize("norm, mode", [("batch", "batch"), ("batch", "inference"), ("layer", "")])
def test_through_normalization_with_statistics_as_they_are_when_asked(norm, mode):
    layer = layers.BatchNormalization() if norm == "batch" else layers.LayerNormalization()
    model = sequential(layers.Dense(4, "tanh"), layer, layers.Dense(3))
    function = LossFunction(model, X, LABELS, loss=LOGITS, batch_norm=mode or "inference")

    def loss(w):
        kernel, bias, gamma, beta, head, head_bias = cut(w, (6, 4), (4,), (4,), (4,), (4, 3), (3,))
        hidden = np.tanh(X @ kernel + bias)
        if mode == "inference":
            mean, variance = values(model.layers[1])[-2:]
            hidden = (hidden - mean) / np.sqrt(variance + 1e-3)
        else:
            hidden = normalise(hidden, 0 if norm == "batch" else -1)
        return cross_entropies((hidden * gamma + beta) @ head + head_bias, LABELS).mean()

    w, v = function.parameters(), RNG.normal(size=function.size)
    before = values(model)
    assert relative(matrix(function.hessian_product, function.size), hessian(loss, w)) < 1e-7
    assert v @ function.gauss_newton_product(v) > 0
    assert all(map(np.array_equal, before, values(model)))
    if mode == "inference":
        model.layers[1].moving_mean.assign([0.5, -0.5, 1.0, 2.0])
        assert relative(function.hessian_product(v), hessian(loss, w) @ v) < 1e-7
    assert function.method != "differences"


def convolutional(pool):
    return sequential(
        layers.Conv2D(3, 2, activation="softplus"), pool, layers.Dropout(0.5), layers.Flatten(),
        layers.Dense(3), shape=(6, 6, 2),
    ), IMAGES  # fmt: skip


def attentive():
    inputs = keras.Input((3, 2), dtype="float64")
    attention = layers.MultiHeadAttention(2, 2, dtype="float64")(inputs, inputs)
    outputs = layers.Dense(3, dtype="float64")(layers.Flatten(dtype="float64")(attention))
    return keras.Model(inputs, outputs), X.reshape(12, 3, 2)


MODELS = {
    "max-pooling": lambda: convolutional(layers.MaxPool2D()),
    "max-pooling that overlaps": lambda: convolutional(layers.MaxPool2D(3, 2, padding="same")),
    "mask and recurrence": lambda: (
        sequential(
            layers.Embedding(6, 3, mask_zero=True), layers.LSTM(2), layers.Dense(3), shape=(4,)
        ),
        TOKENS,
    ),
    "attention": attentive,
}


@pytest.mark.parametrize("name", MODELS)
def test_products_are_symmetric_differences_of_gradients(name):
    model, x = MODELS[name]()
    function = LossFunction(model, x, LABELS, loss=LOGITS, batch_size=5)
    # Attention on JAX takes its softmax in float32, whatever the model is in.
    step, tolerance = (1e-3, 1e-3) if name == "attention" else (1e-6, 1e-6)
    w = function.parameters()
    a, b = RNG.normal(size=(2, function.size))
    high, low = (function.gradient(w + sign * step * a)[1] for sign in (1, -1))
    product = function.hessian_product(a)
    assert function.method != "differences"
    assert relative(product, (high - low) / (2 * step)) < tolerance
    assert b @ product == pytest.approx(a @ function.hessian_product(b), rel=tolerance)


def test_the_loss_is_that_of_evaluate_with_weights_and_masks():
    model = sequential(
        layers.Embedding(6, 3, mask_zero=True), layers.Dense(3), shape=(4,), dtype="float32"
    )
    model.compile(loss=LOGITS)
    labels, weights = RNG.integers(3, size=(12, 4)), RNG.random((12, 4))
    function = LossFunction(model, TOKENS, labels, sample_weight=weights, batch_size=5)
    expected = model.evaluate(TOKENS, labels, sample_weight=weights, batch_size=12, verbose=0)
    assert function.value() == pytest.approx(expected, rel=1e-5)


def test_a_layer_with_a_stopped_gradient_is_named_and_differences_are_used():
    penalised = layers.Dense(4, "tanh", kernel_regularizer=keras.regularizers.L2(0.05))
    stack = penalised, StoppedMean(name="culprit"), layers.Dense(3)
    model = randomised(keras.Sequential([keras.Input((6,)), *stack]))
    function = LossFunction(model, X, LABELS, loss=LOGITS, penalties=True)
    vector = RNG.normal(size=function.size)
    with pytest.warns(RuntimeWarning, match="culprit"):
        product = function.hessian_product(vector)
    assert function.method == "differences"
    assert function.self_check().layers == ("culprit",)

    def loss(w):
        kernel, bias, head, head_bias = cut(w, (6, 4), (4,), (4, 3), (3,))
        hidden = normalise(np.tanh(X.astype("float32") @ kernel + bias), -1)
        losses = cross_entropies(hidden @ head + head_bias, LABELS)
        return losses.mean() + 0.05 * np.sum(kernel**2)

    assert relative(product, hessian(loss, function.parameters()) @ vector) < 1e-6
