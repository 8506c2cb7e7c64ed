"""The note's two formulas: the mean loss over the examples, and one step of SGD on a batch."""

import keras
import numpy as np
import pytest

from dlip_reg.curvature import LossFunction
from dlip_reg.models import mlp

RATE = 0.3


def test_the_loss_is_a_mean_over_the_examples_and_a_step_goes_against_its_gradient():
    keras.utils.set_random_seed(0)
    model = mlp((6,), 3, hidden=(5,))
    model.compile(
        keras.optimizers.SGD(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 6)).astype("float32"), rng.integers(0, 3, 12)
    each = [LossFunction(model, x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
    # f(x) = 1/M sum f_i(x); Keras adds up in float32.
    mean = sum(function.value() for function in each) / len(x)
    assert LossFunction(model, x, y).value() == pytest.approx(mean, rel=1e-6)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(mean, rel=1e-6)
    # x' = x - lr / |B| sum over B of grad f_i(x), to float32 rounding.
    start, batch = each[0].parameters(), range(4)
    expected = start - RATE / 4 * sum(each[i].gradient()[1] for i in batch)
    model.train_on_batch(x[:4], y[:4])
    np.testing.assert_allclose(each[0].parameters(), expected, rtol=1e-5, atol=1e-7)
