"""The note's two formulas: the mean loss over the examples, and one step of SGD on a batch."""

import keras
import numpy as np
import pytest

from dlip_reg.curvature import LossFunction
from dlip_reg.models import mlp

RATE = 0.3


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    model = mlp((6,), 3, hidden=(5,))
    model.compile(
        keras.optimizers.SGD(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(12, 6)).astype("float32"), rng.integers(0, 3, 12)


def test_the_loss_is_the_mean_over_the_examples(model, data):
    x, y = data
    each = [LossFunction(model, x[i : i + 1], y[i : i + 1]).value() for i in range(len(x))]
    # f(x) = 1/M sum f_i(x); Keras adds up in float32.
    assert LossFunction(model, x, y).value() == pytest.approx(sum(each) / len(x), rel=1e-6)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(sum(each) / len(x), rel=1e-6)


def test_a_step_is_the_rate_times_the_mean_gradient_of_the_batch(model, data):
    x, y = data[0][:4], data[1][:4]
    functions = [LossFunction(model, x[i : i + 1], y[i : i + 1]) for i in range(4)]
    start = functions[0].parameters()
    gradients = [function.gradient()[1] for function in functions]
    model.train_on_batch(x, y)
    # x' = x - lr / |B| sum over B of grad f_i(x), to float32 rounding.
    expected = start - RATE / 4 * sum(gradients)
    np.testing.assert_allclose(functions[0].parameters(), expected, rtol=1e-5, atol=1e-7)
