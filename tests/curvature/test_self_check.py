import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
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

from dlip_reg.curvature import LossFunction

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

    true = hessian(loss, function.parameters()) @ vector
    assert relative(product, true) < tolerance


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
