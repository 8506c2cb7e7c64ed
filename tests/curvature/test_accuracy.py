"""Accuracy at any weights, for the classifiers that Keras knows."""

import math

import keras
import numpy as np
import pytest

from dlip_reg.curvature import Accuracy

X = np.array([[1.0], [-1.0], [0.2], [-0.2]], "float32")


def classifier(units, activation=None, loss=None):
    dense = keras.layers.Dense(units, activation, use_bias=False)
    model = keras.Sequential([keras.Input((1,)), dense])
    model.compile(loss=loss)
    model.set_weights([np.arange(1.0, units + 1)[None]])
    return model


@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize("labels", [[1, 0, 1, 1], [[1], [0], [1], [1]], np.eye(2)[[1, 0, 1, 1]]])
def test_the_largest_of_several_outputs_is_the_class(labels, activation):
    # Logits x and 2x: class 1 for positive x.
    accuracy = Accuracy(classifier(2, activation), X, labels, batch_size=3)
    assert accuracy.value() == 3 / 4
    assert accuracy.value(np.array([2.0, 1.0])) == 1 / 4


@pytest.mark.parametrize(
    ("activation", "logits"), [(None, True), ("sigmoid", False)], ids=["logits", "probabilities"]
)
def test_one_output_is_a_class_above_its_threshold(activation, logits):
    model = classifier(1, activation, keras.losses.BinaryCrossentropy(from_logits=logits))
    assert Accuracy(model, X, [1, 0, 1, 1]).value() == 3 / 4
    assert Accuracy(model, X, [[1], [0], [1], [0]]).value() == 1


def test_outputs_of_nan_have_no_accuracy_and_data_are_checked():
    model = classifier(2)
    assert math.isnan(Accuracy(model, X, [1, 0, 1, 1]).value(np.array([math.nan, 1.0])))
    with pytest.raises(ValueError, match="as many targets, not arrays of lengths 2, 4"):
        Accuracy(model, X, [1, 0]).value()
    with pytest.raises(ValueError, match="batch_norm must be"):
        Accuracy(model, X, [1, 0, 1, 1], batch_norm="moving")
    with pytest.raises(ValueError, match="batch_size must be"):
        Accuracy(model, X, [1, 0, 1, 1], batch_size=0).value()
