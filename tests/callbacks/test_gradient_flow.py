"""Gradients by layer that can be worked out by hand, and those that flow in training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from callback_models import TRAIN, conv_net, measured, same, state

from callbacks import GradientFlow
from callbacks.layers import kernel_layers

layers = keras.layers


def chain(*weights):
    """A product of single weights: f(x) = w1 w2 ... x."""
    stack = [layers.Dense(1, use_bias=False, name=f"w{i + 1}") for i in range(len(weights))]
    model = keras.Sequential([keras.Input((1,)), *stack])
    model.set_weights([np.full((1, 1), weight) for weight in weights])
    model.compile("sgd", "mse")
    return model


def test_a_product_of_weights_by_hand():
    # f = 0.5 * 2 * 8 * 1 = 8 against 5: the loss's gradient is 2 * 3 * 8 / w.
    values, details = measured(
        chain(0.5, 2, 8), GradientFlow((np.ones((2, 1)), np.full((2, 1), 5.0)))
    )
    assert [row["layer"] for row in details["layers"]] == ["w1", "w2", "w3"]
    assert [row["kind"] for row in details["layers"]] == ["dense"] * 3
    assert [row["norm"] for row in details["layers"]] == pytest.approx([96, 24, 6])
    assert values["gradient_norm"] == pytest.approx(np.sqrt(96**2 + 24**2 + 6**2))
    assert values["gradient_first_over_last"] == pytest.approx(16)
    assert values["gradient_growth"] == pytest.approx(4)


def test_one_layer_and_frozen_layers():
    model = chain(2, 3)
    model.layers[0].trainable = False
    values, details = measured(model, GradientFlow((np.ones((1, 1)), np.zeros((1, 1)))))
    assert [(row["layer"], row["norm"]) for row in details["layers"]] == [("w2", 24)]
    assert values["gradient_first_over_last"] == values["gradient_growth"] == 1


def test_rms_compares_layers_of_different_sizes():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, use_bias=False)])
    model.compile("sgd", "mse")
    model.set_weights([np.zeros((3, 2))])
    _, details = measured(model, GradientFlow((np.ones((1, 3)), np.ones((1, 2)))))
    # d/dw of the mean of (0 - 1)^2 over two outputs: -1 for each of the 6 weights.
    assert details["layers"][0]["rms"] == pytest.approx(1)
    assert details["layers"][0]["norm"] == pytest.approx(np.sqrt(6))


def test_a_gradient_of_zero_and_one_that_overflows_do_not_raise():
    flow = GradientFlow((np.ones((1, 1)), np.ones((1, 1))))
    values, _ = measured(chain(0, 1, 0), flow)
    assert values["gradient_norm"] == 0 and np.isnan(values["gradient_first_over_last"])
    values, _ = measured(chain(1e20, 1e20, 1e20), flow)
    assert not np.isfinite(values["gradient_norm"])


def test_batch_norm_flows_as_in_training_and_updates_nothing():
    model = conv_net(dropout=0.0)
    x, y = TRAIN  # more than one batch of training
    before = state(model)
    values, details = measured(model, GradientFlow((x, y)))
    assert same(state(model), before)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x, training=True))
        )
    kernels = [layer.kernel.value for _, layer in kernel_layers(model).values()]
    expected = [float(tf.norm(gradient)) for gradient in tape.gradient(loss, kernels)]
    # Both are float32: 1e-5 is what sums over a batch of convolutions leave of 7 digits.
    assert [row["norm"] for row in details["layers"]] == pytest.approx(expected, rel=1e-5)
    ratio = expected[0] / expected[-1]  # of norms, although the kernels have other sizes
    assert values["gradient_first_over_last"] == pytest.approx(ratio, rel=1e-4)
