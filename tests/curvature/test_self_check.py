import math
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from further_cases import thorough_after
from numpy_references import cross_entropies, cut, hessian, normalise
from random_models import (
    IMAGES,
    LABELS,
    LOGITS,
    RNG,
    StoppedMean,
    X,
    randomised,
    relative,
    sequential,
)

from dlip_reg.curvature import LossFunction, loss_function

layers = keras.layers


class InFloat32(StoppedMean):
    def call(self, x):
        return super().call(x * tf.constant(1.0))


class Composite(layers.Layer):
    def __init__(self, inner, **options):
        super().__init__(**options)
        self.dense = layers.Dense(4, kernel_regularizer=keras.regularizers.L2(0.05))
        self.inner = inner

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
    function = LossFunction(model, X, LABELS, loss=LOGITS, penalties=True)
    with pytest.warns(RuntimeWarning, match="culprit"):
        warnings.simplefilter("error", DeprecationWarning)
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
        losses = cross_entropies(hidden @ head + head_bias, LABELS)
        return losses.mean() + 0.05 * np.sum(kernel**2)

    matrix = hessian(loss, function.parameters())
    true, part = matrix @ vector, slice(28)
    assert relative(product, true) < tolerance
    # The culprit stands behind the first layer. Its block is not traced by itself either.
    found = function.to_scipy(block=[0, 1], trace=True) @ vector[part]
    assert relative(found, matrix[part, part] @ vector[part]) < tolerance
    # A difference's step has the same length whatever the vector's.
    assert relative(function.hessian_product(1e6 * vector) / 1e6, true) < tolerance


class Between(keras.Model):
    """Normalises between two layers, by TensorFlow alone and with a float32 constant."""

    def __init__(self, stopped, activation):
        super().__init__()
        self.first, self.last = layers.Dense(16, activation), layers.Dense(3)
        self.stopped = stopped

    def call(self, x):
        hidden = self.first(x) * tf.constant(1.0)
        mean = tf.reduce_mean(hidden, -1, keepdims=True)
        fixed = tf.stop_gradient(mean) if self.stopped else mean
        variance = tf.reduce_mean(tf.square(hidden - fixed), -1, keepdims=True)
        return self.last((hidden - mean) / tf.sqrt(variance + 1e-3))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.thorough
def test_what_goes_wrong_between_layers_in_float32_is_found(activation):
    for seed in range(3):
        for stopped in (True, False):
            model = Between(stopped, activation)
            model(X)
            function = LossFunction(randomised(model, seed), X, LABELS, loss=LOGITS)
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                report = function.self_check()
            assert report.passed is not stopped and report.dtype == "float32"
            assert report.layers == ()
            assert sum("between its layers" in str(w.message) for w in told) == stopped


def correlation_loss(moments, cast):
    """1 - the correlation of targets and outputs, row by row."""

    def loss(targets, outputs):
        if cast:
            targets = tf.cast(targets, tf.float32)
        (mean, variance), (other, spread) = moments(targets), moments(outputs)
        products = (targets - mean) * (outputs - other)
        return 1 - tf.reduce_mean(products / tf.sqrt(variance * spread + 1e-3), -1)

    return loss


@pytest.mark.parametrize("cast", [False, True], ids=["float64", "float32"])
def test_second_derivatives_of_a_loss_are_corrected_too_and_wrong_ones_found(cast):
    def stopped(x):
        mean = tf.reduce_mean(x, -1, keepdims=True)
        return mean, tf.reduce_mean(tf.square(x - tf.stop_gradient(mean)), -1, keepdims=True)

    def tensorflows(x):
        return tf.nn.moments(x, [-1], keepdims=True)

    model = sequential(layers.Dense(4, "tanh"), layers.Dense(3), dtype="float32")
    targets = RNG.normal(size=(12, 3))
    function = LossFunction(model, X, targets, loss=correlation_loss(tensorflows, cast))
    assert function.self_check().passed and function.method != "differences"

    def loss(w):
        kernel, bias, head, head_bias = cut(w, (6, 4), (4,), (4, 3), (3,))
        outputs = np.tanh(X @ kernel + bias) @ head + head_bias
        a, b = (x - x.mean(-1, keepdims=True) for x in (targets, outputs))
        scale = np.sqrt((a**2).mean(-1) * (b**2).mean(-1) + 1e-3)
        return (1 - (a * b).mean(-1) / scale).mean()

    true = hessian(loss, function.parameters())
    vector = RNG.normal(size=function.size)
    assert relative(function.hessian_product(vector), true @ vector) < 1e-4  # float32
    wrong = LossFunction(model, X, targets, loss=correlation_loss(stopped, cast))
    with pytest.warns(RuntimeWarning, match="the loss"):
        assert not wrong.self_check().passed


def test_products_of_a_loss_that_rounds_to_float32_are_not_taken_for_wrong():
    """Over a step that is lost in the rounding, the gradients of few examples do not differ."""

    def loss(targets, outputs):
        return tf.reduce_mean(tf.square(tf.cast(targets - outputs, tf.float32)), -1)

    model = sequential(layers.Dense(1, use_bias=False), shape=(1,), dtype="float32")
    for x in np.linspace(0.5, 2, 4):
        function = LossFunction(model, np.full((1, 1), x), np.ones((1, 1)), loss=loss)
        assert function.hessian_product(np.ones(1)) == pytest.approx(2 * x**2, rel=1e-6)


def test_a_float64_model_whose_loss_rounds_to_float32_is_refused_in_one_sentence():
    def loss(targets, outputs):
        return tf.cast(
            tf.reduce_mean(tf.square(tf.cast(targets - outputs, tf.float32)), -1), "float64"
        )

    model = sequential(layers.Dense(1, use_bias=False), shape=(1,), dtype="float64")
    function = LossFunction(model, np.full((1, 1), 1.3), np.ones((1, 1)), loss=loss)
    with pytest.raises(ValueError, match="Second derivatives cannot be checked"):
        function.hessian_product(np.ones(1))


def certain_of_the_first(loss, labels, margin):
    """A loss function of a softmax or of logits that are certain of class 0."""
    activation = "softmax" if isinstance(loss, keras.losses.KLDivergence) else None
    model = sequential(layers.Dense(4, "tanh"), layers.Dense(3, activation), dtype="float32")
    model.layers[-1].bias.assign([margin, 0, 0])
    return LossFunction(model, X, labels, loss=loss)


@pytest.mark.parametrize("margin", [30, 50])
def test_gradients_that_are_all_rounding_are_not_taken_for_wrong(margin):
    one_hot = np.eye(3)[np.zeros(len(X), int)]
    function = certain_of_the_first(keras.losses.KLDivergence(), one_hot, margin)
    with pytest.warns(RuntimeWarning, match="differences"):
        assert not function.self_check().passed


@pytest.mark.parametrize("margin", [30, 50])
@pytest.mark.filterwarnings("error")
def test_a_cross_entropy_of_about_zero_passes(margin):
    function = certain_of_the_first(LOGITS, np.zeros(len(X)), margin)
    assert function.self_check().passed


@pytest.mark.parametrize("large", [False, True])
def test_examples_without_weight_do_not_hide_a_fault(monkeypatch, large):
    monkeypatch.setattr(loss_function, "_LARGE", 0 if large else math.inf)
    stack = [layers.Dense(4, "tanh"), StoppedMean(name="culprit"), layers.Dense(3)]
    model = randomised(keras.Sequential([keras.Input((6,)), *stack]))
    weights = np.zeros(len(X))
    weights[-2:] = 1
    function = LossFunction(model, X, LABELS, loss=LOGITS, sample_weight=weights)
    with pytest.warns(RuntimeWarning, match="culprit"):
        assert not function.self_check().passed


@pytest.mark.parametrize(
    "method", thorough_after(1, ["bicubic", "bilinear", "lanczos3", "nearest"])
)
def test_resizing_has_exact_second_derivatives(method):
    upsampling = layers.UpSampling2D(interpolation=method)
    model = sequential(
        layers.Conv2D(2, 3), upsampling, layers.Activation("tanh"), layers.Flatten(),
        layers.Dense(3), shape=(6, 6, 2), dtype="float32",
    )  # fmt: skip
    function = LossFunction(model, IMAGES, LABELS, loss=LOGITS)
    # Resizing as a matrix: a row for each pixel.
    pixels = np.eye(16, dtype="float32").reshape(16, 4, 4, 1)
    resize = tf.image.resize(pixels, (8, 8), method).numpy().reshape(16, 64).astype(float)
    windows = np.lib.stride_tricks.sliding_window_view(IMAGES.astype("float32"), (3, 3), (1, 2))

    def loss(w):
        kernel, bias, head, head_bias = cut(w, (3, 3, 2, 2), (2,), (128, 3), (3,))
        maps = np.einsum("nyxcij,ijck->nyxk", windows, kernel) + bias
        large = np.einsum("npk,pq->nqk", maps.reshape(12, 16, 2), resize)
        return cross_entropies(np.tanh(large).reshape(12, 128) @ head + head_bias, LABELS).mean()

    assert function.method == "reverse-over-reverse"
    w, step = function.parameters(), 1e-5
    a, *others = RNG.normal(size=(6, function.size))
    product = function.hessian_product(a)
    for b in others:
        # b'Ha: a complex step along b, differences along a.
        high, low = (loss(w + sign * step * a + 1e-30j * b).imag / 1e-30 for sign in (1, -1))
        allowed = 1e-4 * np.linalg.norm(b) * np.linalg.norm(product)  # float32
        assert b @ product == pytest.approx((high - low) / (2 * step), abs=allowed)
