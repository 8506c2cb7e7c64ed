"""Landscape and GradientNoise where least squares or Keras itself give the answer."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from callback_models import TRAIN, least_squares, measured

from callbacks import GradientNoise, Landscape, Sharpness

layers = keras.layers

ONES = np.ones((4, 1)), np.zeros((4, 1))  # examples and targets


def test_a_parabola_by_hand():
    # (3 w)^2 at w = 1: loss 9, gradient 18, second derivative 18.
    recorder = Landscape((np.full((4, 1), 3.0), np.zeros((4, 1))), step_lengths=[0.01, 0.02])
    values, details = measured(least_squares([1.0]), recorder)
    moved = 1 - 18 * np.array([0.01, 0.02])
    assert details["losses"] == pytest.approx(9 * moved**2, rel=1e-6)  # float32
    assert values["loss_range"] == pytest.approx(9 * (moved[0] ** 2 - moved[1] ** 2), rel=1e-5)
    assert (details["loss_low"], details["loss_high"]) == (
        min(details["losses"]),
        max(details["losses"]),
    )
    assert details["gradient_distances"] == pytest.approx([18 * 0.18, 18 * 0.36], rel=1e-6)
    assert values["gradient_distance_range"] == pytest.approx(18 * 0.18, rel=1e-5)
    assert values["effective_beta"] == pytest.approx(18, rel=1e-5)
    assert details["step_lengths"] == [0.01, 0.02]


def test_the_default_steps_go_from_half_to_four_times_the_present_learning_rate():
    model = least_squares([1.0])
    model.optimizer.learning_rate = 0.02
    _, details = measured(model, Landscape(ONES))
    ratios = np.divide(details["step_lengths"][1:], details["step_lengths"][:-1])
    assert details["step_lengths"][0] == pytest.approx(0.01)
    assert details["step_lengths"][-1] == pytest.approx(0.08)
    assert ratios == pytest.approx([8 ** (1 / 7)] * 7)


def test_a_learning_rate_of_0_moves_nothing():
    values, details = measured(least_squares([1.0], 0.0), Landscape(ONES))
    assert np.isnan([*values.values(), details["loss_low"], *details["losses"]]).all()
    assert details["step_lengths"] == [0.0] * 8


def test_a_moved_loss_that_is_not_finite_leaves_no_range_and_no_ends():
    # The second step overflows float32.
    recorder = Landscape(ONES, step_lengths=[0.1, 1e30])
    values, details = measured(least_squares([1.0]), recorder)
    assert details["losses"][0] == pytest.approx(0.8**2, rel=1e-6)
    assert not np.isfinite(details["losses"][1])
    assert np.isnan([values["loss_range"], details["loss_low"], details["loss_high"]]).all()
    assert np.isfinite([values["effective_beta"], details["gradient_distance_high"]]).all()


def test_the_noise_of_single_examples_is_their_variance():
    # f = (w - y)^2 with x = 1: gradients 2 (w - y), their sample variance and mean in closed form.
    targets = np.random.default_rng(0).normal(1, 2, size=50)
    recorder = GradientNoise((np.ones((50, 1)), targets[:, None]), batch_size=1)
    values, _ = measured(least_squares([4.0]), recorder)
    gradients = 2 * (4 - targets)
    trace = gradients.var(ddof=1)
    squared_norm = gradients.mean() ** 2 - trace / 50
    # Float32 gradients.
    assert values["gradient_noise_trace"] == pytest.approx(trace, rel=1e-5)
    assert values["gradient_squared_norm"] == pytest.approx(squared_norm, rel=1e-5)
    assert values["gradient_noise_scale"] == pytest.approx(trace / squared_norm, rel=1e-5)


def test_batches_are_disjoint_seeded_and_of_the_size_asked_for():
    x = np.arange(50, dtype="float32")[:, None]
    drawn = []
    for seed in (0, 0, 1):
        recorder = GradientNoise((x, x), batch_size=8, batches=4, seed=seed)
        recorder.set_model(least_squares([1.0]))
        recorder.prepare()
        drawn.append([batch._data[0].ravel() for batch in recorder._batches])
    assert [len(batch) for batch in drawn[0]] == [8] * 4
    assert len(set(np.concatenate(drawn[0]))) == 32
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_each_batch_is_normalised_by_its_own_statistics():
    """Against gradients of Keras in training mode, and their central differences."""
    keras.utils.set_random_seed(0)
    kinds = (layers.Dense, 4), (layers.BatchNormalization,), (layers.Dense, 1)
    stack = [kind(*units, dtype="float64") for kind, *units in kinds]
    model = keras.Sequential([keras.Input((3,), dtype="float64"), *stack])
    model.compile("sgd", "mse")
    rng, variables = np.random.default_rng(0), model.trainable_variables
    # More data than the subset of other measures, and batches of more than the 256 examples that
    # those normalise together.
    x, y = rng.normal(2, 3, size=(600, 3)), rng.normal(size=(600, 1))
    batches = np.random.default_rng(0).permutation(600).reshape(2, 300)
    before = model.get_weights()

    def gradient(batch, move=None):
        model.set_weights(before)
        for variable, part in zip(variables, move or [], strict=move is not None):
            variable.assign_add(part)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x[batch], training=True) - y[batch]) ** 2)
        return [slope.numpy() for slope in tape.gradient(loss, variables)]

    def flat(parts):
        return np.concatenate([np.ravel(part) for part in parts])

    gradients, curvatures = [], []
    for batch in batches:
        slopes = gradient(batch)
        gradients.append(flat(slopes))
        length = np.linalg.norm(gradients[-1])
        high, low = (flat(gradient(batch, [t * s / length for s in slopes])) for t in (1e-4, -1e-4))
        curvatures.append((high - low) @ gradients[-1] / (2e-4 * length))
    model.set_weights(before)
    sharpness = Sharpness((x, y), measures="batch_sharpness", batch_size=300)
    assert measured(model, sharpness)[0]["batch_sharpness"] == pytest.approx(
        np.mean(curvatures), rel=1e-5
    )
    values, _ = measured(model, GradientNoise((x, y), batch_size=300))
    small, big = np.mean([g @ g for g in gradients]), np.sum(np.mean(gradients, axis=0) ** 2)
    assert values["gradient_noise_trace"] == pytest.approx(600 * (small - big), rel=1e-6)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (Landscape, {"step_lengths": []}, "step_lengths must be None or lengths above 0"),
        (Landscape, {"step_lengths": [0.1, 0]}, "step_lengths must be None or lengths above 0"),
        (Landscape, {"step_lengths": "low"}, "step_lengths must be None or lengths above 0"),
        (GradientNoise, {"batch_size": 0}, "batch_size must be a whole number"),
        (GradientNoise, {"seed": None}, "seed must be a whole number of 0 or more"),
        (GradientNoise, {"batch_size": 40}, "two batches or more, not 1 of 40 examples"),
        (GradientNoise, {"batches": 1}, "two batches or more, not 1"),
    ],
)
def test_wrong_settings(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(TRAIN, **options)
