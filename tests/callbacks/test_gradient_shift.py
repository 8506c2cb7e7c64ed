"""GradientShift where the gradients before and after are known in closed form."""

import keras
import numpy as np
import pytest
from callback_models import TRAIN, conv_net, same, state

from callbacks import GradientShift


def chain(*weights, use_bias=False):
    """y = w_n ... w_1 x, least squares."""
    dense = [keras.layers.Dense(1, use_bias=use_bias) for _ in weights]
    model = keras.Sequential([keras.Input((1,)), *dense])
    for layer, weight in zip(dense, weights, strict=True):
        layer.kernel.assign([[weight]])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


def measured(model, data, **options):
    recorder = GradientShift(data, **options)
    recorder.set_model(model)
    recorder.prepare()
    return recorder.measure()


ONE = np.ones((1, 1)), np.zeros((1, 1))


def test_a_chain_by_hand():
    # f = (a b c)^2: gradients 2 f / a, 2 f / b, 2 f / c, each layer's after those before it moved.
    (a, b, c), step = (1.0, 2.0, 3.0), 0.01
    before = {"a": 2 * a * (b * c) ** 2, "b": 2 * b * (a * c) ** 2, "c": 2 * c * (a * b) ** 2}
    moved_a, moved_b = a - step * before["a"], b - step * before["b"]
    after_b, after_c = 2 * b * (moved_a * c) ** 2, 2 * c * (moved_a * moved_b) ** 2
    values, details = measured(chain(a, b, c), ONE, step_length=step)
    second, third = details["layers"]
    assert second["norm"] == pytest.approx(before["b"])
    # Float32 gradients of a few dozens.
    assert second["distance"] == pytest.approx(before["b"] - after_b, rel=1e-5)
    assert third["distance"] == pytest.approx(before["c"] - after_c, rel=1e-5)
    assert third["relative"] == pytest.approx(1 - after_c / before["c"], rel=1e-5)
    assert values["shift_distance"] == pytest.approx((second["distance"] + third["distance"]) / 2)
    assert values["shift_cosine"] == pytest.approx(1)


def test_a_step_past_the_minimum_turns_the_gradient_of_the_next_layer_around():
    # G_b = 2 b a^2 - 2 a t with target t: positive at a = 1, negative once a is below t / b.
    data = np.ones((1, 1)), np.full((1, 1), 1.0)
    values, _ = measured(chain(1.0, 2.0), data, step_length=0.2)
    # a goes to 1 - .2 * 2 * 2 (2 - 1) = .2, where G_b = 2 * .2 * (.4 - 1).
    assert values["shift_cosine"] == pytest.approx(-1)
    assert values["shift_distance"] == pytest.approx(2 + 0.24, rel=1e-5)
    assert values["shift_relative"] == pytest.approx(1.12, rel=1e-5)


def test_layers_behind_and_the_kernel_itself_stay_where_they_are():
    # Two layers: only the first moves, so the step of the second and its bias cannot show.
    _, details = measured(chain(1.0, 1.0, use_bias=True), ONE, step_length=0.25)
    (row,) = details["layers"]
    # a = 1 - .5, its bias -.5: the output is 0, and with it the gradient.
    assert row["distance"] == pytest.approx(row["norm"])
    assert np.isnan(row["cosine"])


def test_without_a_length_the_step_is_the_optimizer_s():
    model = chain(1.0, 2.0)
    given, _ = measured(model, ONE, step_length=0.01)
    assert measured(model, ONE)[0] == pytest.approx(given)


def test_a_gradient_that_is_zero_or_overflows_does_not_raise():
    values, _ = measured(chain(0.0, 1.0), ONE, step_length=0.1)
    assert values["shift_distance"] == 0 and np.isnan(values["shift_relative"])
    values, _ = measured(chain(1e20, 1e20), ONE, step_length=0.1)
    assert not np.isfinite(values["shift_distance"])


def test_nothing_is_updated_and_batch_norm_normalises_by_the_batch():
    model = conv_net(dropout=0.0)
    before = state(model)
    _, details = measured(model, TRAIN, step_length=0.1)
    assert same(state(model), before)
    assert [row["layer"] for row in details["layers"]] == ["dense1", "logits"]
    # The kernel before a batch normalization by batch statistics may be scaled as one likes.
    model.get_layer("conv1").kernel.assign(100 * before[0])
    _, scaled = measured(model, TRAIN, step_length=1e-9)
    for row, other in zip(details["layers"], scaled["layers"], strict=True):
        assert other["norm"] == pytest.approx(row["norm"], rel=1e-2)  # epsilon in the variance


@pytest.mark.parametrize("length", [0, -1.0, float("inf")])
def test_wrong_lengths(length):
    with pytest.raises(ValueError, match="step_length must be None or a length above 0"):
        GradientShift(TRAIN, step_length=length)


def test_one_layer_has_none_before_it():
    with pytest.raises(ValueError, match="two trainable conv or dense kernels or more"):
        measured(chain(1.0), ONE)
