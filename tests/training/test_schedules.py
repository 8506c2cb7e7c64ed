"""Learning rates against the numbers of Goyal et al. 2017."""

import keras
import numpy as np
import pytest

from dlip_reg.training import WarmUp, linear_scaling

EPOCH = 156  # steps of 8,192 images in ImageNet's 1.28 million
GOYAL = {"warmup_steps": 5 * EPOCH, "warmup_from": 1 / 32}


def rates(schedule, steps):
    return np.array([float(schedule(step)) for step in steps])


def test_linear_scaling_is_a_tenth_for_256_images_and_3_2_for_8192():
    assert linear_scaling(256) == 0.1
    assert linear_scaling(8192) == pytest.approx(3.2)  # section 5.1, table 1
    assert linear_scaling(96, base_learning_rate=0.02, base_batch_size=32) == pytest.approx(0.06)


def test_gradual_warm_up_adds_a_constant_per_step_from_the_base_rate_to_the_scaled_one():
    schedule = WarmUp(linear_scaling(8192), **GOYAL)
    warming = rates(schedule, range(0, 5 * EPOCH + 1))
    # Float32 rates of up to 3.2: to 7 digits of that.
    assert warming[0] == pytest.approx(0.1, abs=1e-6)
    np.testing.assert_allclose(np.diff(warming), (3.2 - 0.1) / (5 * EPOCH), atol=1e-6)
    np.testing.assert_allclose(rates(schedule, [5 * EPOCH, 10**6]), 3.2, rtol=1e-6)


def test_the_steps_of_another_schedule_count_from_the_beginning():
    # Goyal et al. divide by ten after 30, 60 and 80 epochs, the warm-up among them.
    steps = keras.optimizers.schedules.PiecewiseConstantDecay(
        [30 * EPOCH, 60 * EPOCH, 80 * EPOCH], [3.2, 0.32, 0.032, 0.0032]
    )
    met = rates(WarmUp(steps, **GOYAL), [0, 29 * EPOCH, 31 * EPOCH, 79 * EPOCH, 90 * EPOCH])
    np.testing.assert_allclose(met, [0.1, 3.2, 0.32, 0.032, 0.0032], rtol=1e-6)


@pytest.mark.parametrize("steps", [0, 3])
def test_a_warm_up_is_over_after_its_steps(steps):
    schedule = WarmUp(2, warmup_steps=steps)
    expected = [2 * min(1, step / steps) if steps else 2 for step in range(5)]
    np.testing.assert_allclose(rates(schedule, range(5)), expected, rtol=1e-6)


def slope(schedule):
    """y = w with w = 0 and loss (w - 1)^2, whose gradient there is -2."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.zeros((1, 1))])
    model.compile(keras.optimizers.SGD(schedule), "mse")
    return model


def step(model):
    """The weight after another step."""
    model.train_on_batch(np.ones((1, 1)), np.ones((1, 1)))
    return model.get_weights()[0].item()


@pytest.mark.parametrize(
    "rate", [0.5, keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)], ids=["number", "decay"]
)
def test_a_saved_model_goes_on_where_it_stood(tmp_path, rate):
    model = slope(WarmUp(rate, warmup_steps=4, warmup_from=0.2))
    assert step(model) == pytest.approx(2 * 0.5 * 0.2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert step(loaded) == pytest.approx(step(model)) != pytest.approx(2 * 0.5 * 0.2)
    assert float(loaded.optimizer.learning_rate) == float(model.optimizer.learning_rate)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linear_scaling(0), "batch_size must be a number above 0, not 0"),
        (lambda: linear_scaling(32, -0.1), "base_learning_rate must be"),
        (lambda: WarmUp(0.1, -1), "warmup_steps must be a number of 0 or more, not -1"),
        (lambda: WarmUp(0.1, 5, 1.5), "warmup_from must be a share from 0 to 1, not 1.5"),
    ],
)
def test_impossible_rates_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
