"""Curvature along the steps of training, and what optimizers make of it."""

import math
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from analytic_functions import Given, Quadratic, linear
from further_cases import thorough_after
from random_models import LABELS, LOGITS, X, sequential

from dlip_reg.curvature import (
    LossFunction,
    batch_sharpness,
    critical_sharpness,
    preconditioner,
    stability_threshold,
    update_direction,
)

layers, optimizers = keras.layers, keras.optimizers
RNG = np.random.default_rng(0)


def quadratic(seed=0, size=6):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(size, size))
    return Quadratic(factor @ factor.T, rng.normal(size=size))


# --- Batch sharpness ----------------------------------------------------------------------------


def test_batch_sharpness_at_a_minimum_is_nan_and_needs_a_batch():
    flat = Quadratic(np.eye(3), np.zeros(3))
    assert math.isnan(batch_sharpness([quadratic(size=3), flat]).value)
    assert math.isnan(batch_sharpness([quadratic()]).standard_error)
    with pytest.raises(ValueError, match="needs one batch"):
        batch_sharpness([])


# --- Critical sharpness -------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1e-3, 0.1, 10.0, 1e5])
def test_critical_sharpness_of_a_quadratic_is_known(step):
    function = quadratic()
    _, gradient = function.gradient()
    for direction in (gradient, gradient / (1 + np.arange(6))):
        exact = direction @ function.hessian @ direction / (gradient @ direction)
        found = critical_sharpness(function, direction, step=step)
        assert found.value == pytest.approx(exact, rel=1e-9)
        assert found.step == pytest.approx(2 / exact, rel=1e-9)
        assert critical_sharpness(function, direction, step=2.1 / exact).evaluations <= 4
    # Where evaluations run out, the shortest step that was seen to raise the loss.
    found = critical_sharpness(function, direction, step=1e9, max_evaluations=4)
    assert 0 < found.value < exact and found.evaluations <= 5


def test_a_direction_made_of_the_gradient_takes_no_second_one():
    function = quadratic()
    _, gradient = function.gradient()
    expected = critical_sharpness(function, 2 * gradient, step=1.0)
    function.gradient = mock.Mock(side_effect=function.gradient)
    assert critical_sharpness(function, lambda gradient: 2 * gradient, step=1.0) == expected
    assert function.gradient.call_count == 1


def test_critical_sharpness_of_other_losses():
    def steep(w):
        with np.errstate(over="ignore"):
            return np.exp(3 * w[0]) + np.exp(-w[0])

    function = Given([1.0], steep, lambda w: 3 * np.exp(3 * w) - np.exp(-w))
    value, gradient = function.gradient()
    # The other point as high as w = 1 is where exp(-w) is nearly all of the loss.
    other = -math.log(value - np.exp(-3 * math.log(value)))
    for step in (1e-3, 1.0, 1e4):  # the last overflows
        found = critical_sharpness(function, gradient, step=step)
        assert found.value == pytest.approx(2 * gradient[0] / (1 - other), rel=0.01)
    assert math.isnan(critical_sharpness(function, -gradient, step=1.0).value)
    assert critical_sharpness(linear(np.ones(2), np.ones(2)), np.ones(2), step=1.0).value == 0


# --- Preconditioners ----------------------------------------------------------------------------


def trained(optimizer, steps=7):
    """A model after some steps, its weights, and the gradients of these steps."""
    model = sequential(layers.Dense(4, "tanh"), layers.Dense(3, name="head"), dtype="float32")
    model.compile(optimizer, LOGITS)
    gradients = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            gradients.append(LossFunction(model, X, LABELS).gradient()[1])

    model.fit(X, LABELS, batch_size=12, epochs=steps, verbose=0, callbacks=[Watch()])
    return model, np.array(gradients)


def moments(gradients, decay, power=2):
    average = np.zeros_like(gradients[0])
    for gradient in gradients:
        average = decay * average + (1 - decay) * gradient**power
    return average


@pytest.mark.parametrize("kind", thorough_after(1, ["Adam", "mixed", "AdamW", "amsgrad"]))
def test_the_preconditioner_of_adam_is_that_of_its_update(kind):
    options = {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3, "amsgrad": kind == "amsgrad"}
    optimizer = (optimizers.AdamW if kind == "AdamW" else optimizers.Adam)(0.01, **options)
    if kind == "mixed":
        optimizer = optimizers.LossScaleOptimizer(optimizer, initial_scale=4.0)
    model, gradients = trained(optimizer)
    second = moments(gradients, 0.95)
    if kind == "amsgrad":
        second = np.max([moments(gradients[:i], 0.95) for i in range(1, 8)], axis=0)
    expected = (1 - 0.8**7) * (np.sqrt(second) + 1e-3) / np.sqrt(1 - 0.95**7)
    found = preconditioner(model.optimizer, model.trainable_variables)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert stability_threshold(model.optimizer) == pytest.approx(3.6 / (0.2 * 0.01), rel=1e-5)


@pytest.mark.parametrize("centered", thorough_after(1, [True, False]))
def test_the_preconditioner_of_rmsprop(centered):
    optimizer = optimizers.RMSprop(0.01, rho=0.8, epsilon=1e-4, centered=centered)
    model, gradients = trained(optimizer)
    second = moments(gradients, 0.8)
    if centered:
        second = second - moments(gradients, 0.8, power=1) ** 2
    found = preconditioner(model.optimizer, model.trainable_variables)
    np.testing.assert_allclose(found, np.sqrt(second + 1e-4), rtol=1e-3)


def test_what_is_known_of_other_optimizers():
    model = sequential(layers.Dense(3))
    assert np.isnan(preconditioner(optimizers.Adam(), model.trainable_variables)).all()
    assert (preconditioner(optimizers.SGD(), model.trainable_variables) == 1).all()
    with pytest.raises(ValueError, match="SGD, Adam, AdamW and RMSprop, not for Lion"):
        preconditioner(optimizers.Lion(), model.trainable_variables)
    assert math.isnan(stability_threshold(optimizers.Lion()))


def test_an_optimizer_that_was_built_for_other_weights_is_refused():
    # As after layers of the same shapes were frozen and unfrozen.
    model, other = sequential(layers.Dense(3)), sequential(layers.Dense(3))
    optimizer = optimizers.Adam()
    optimizer.build(other.trainable_variables)
    optimizer.iterations.assign(1)
    with pytest.raises(ValueError, match="built for other weights"):
        preconditioner(optimizer, model.trainable_variables)
    with pytest.raises(ValueError, match="built for other weights"):
        update_direction(optimizer, model.trainable_variables, np.ones(model.count_params()))


def test_steps_on_weights_in_half_precision_are_refused():
    weights = [keras.Variable(np.ones(3), dtype="bfloat16")]
    with pytest.raises(ValueError, match="weights in bfloat16"):
        preconditioner(optimizers.Adam(), weights)
    with pytest.raises(ValueError, match="weights in bfloat16"):
        update_direction(optimizers.Adam(), weights, np.ones(3))


# --- Thresholds and updates ---------------------------------------------------------------------

# A large epsilon and tiny gradients make the preconditioner of Adam and RMSprop a constant.
THRESHOLDS = {
    "gradient descent": (lambda: optimizers.SGD(0.1), 1),
    "heavy ball": (lambda: optimizers.SGD(0.1, momentum=0.8), 1),
    "Nesterov": (lambda: optimizers.SGD(0.1, momentum=0.8, nesterov=True), 1),
    "Adam": (lambda: optimizers.Adam(0.1, beta_2=0.5, epsilon=1.0), 1),
    "RMSprop": (lambda: optimizers.RMSprop(0.1, epsilon=4.0), 2),
    "RMSprop with momentum": (lambda: optimizers.RMSprop(0.1, momentum=0.5, epsilon=4.0), 2),
}


def growth(optimizer, curvature, steps):
    """By how much a weight of this curvature grows in so many steps."""
    weight = keras.Variable(1e-20, dtype="float64")
    optimizer.build([weight])

    @tf.function
    def step():
        optimizer.apply([curvature * weight.value], [weight])

    for _ in range(steps):
        step()
    return abs(float(weight.value)) / 1e-20


@pytest.mark.parametrize("name", thorough_after(2, THRESHOLDS))
def test_an_optimizer_diverges_above_its_threshold_and_converges_below(name):
    make, scale = THRESHOLDS[name]
    threshold, steps = scale * stability_threshold(make()), 800 if name == "Adam" else 300
    assert growth(make(), 0.98 * threshold, steps) < 0.1
    assert growth(make(), 1.02 * threshold, steps) > 10


class Inverse(optimizers.schedules.LearningRateSchedule):
    """A schedule without a configuration."""

    def __call__(self, step):
        return 0.01 / (1 + keras.ops.cast(step, "float32"))


class Warm(optimizers.SGD):
    """Takes no learning rate."""

    def __init__(self, peak=0.1):
        super().__init__(optimizers.schedules.ExponentialDecay(peak, 5, 0.5), name="warm")
        self.peak = peak

    def get_config(self):
        return {"peak": self.peak}


def decaying_kernels_alone():
    optimizer = optimizers.AdamW(0.01, weight_decay=5.0)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


@pytest.mark.parametrize(
    "optimizer",
    thorough_after(
        1,
        [
            optimizers.Adam(0.01, clipnorm=0.1),
            optimizers.SGD(0.1, momentum=0.9, nesterov=True),
            decaying_kernels_alone(),
            optimizers.Lion(1e-3),
            optimizers.Adagrad(optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
            optimizers.Adam(Inverse(), name="own_schedule"),
            optimizers.SGD(lambda: 0.1, name="callable_rate"),
            optimizers.SGD(0.1, loss_scale_factor=8.0, name="loss_scale"),
            Warm(),
            optimizers.Muon(0.01, exclude_layers=["head"]),
        ],
    ),
    ids=lambda optimizer: optimizer.name,
)
def test_the_update_direction_is_the_optimizers_next_step(optimizer):
    model, _ = trained(optimizer, steps=3)
    before = [v.numpy() for v in (*model.trainable_variables, *model.optimizer.variables)]
    function = LossFunction(model, X, LABELS)
    weights, (_, gradient) = function.parameters(), function.gradient()
    direction = update_direction(model.optimizer, model.trainable_variables, gradient)
    after = [v.numpy() for v in (*model.trainable_variables, *model.optimizer.variables)]
    assert all(map(np.array_equal, before, after))
    rate = float(model.optimizer.learning_rate)
    model.fit(X, LABELS, batch_size=12, verbose=0)
    step = (weights - function.parameters()) / rate
    np.testing.assert_allclose(direction, step, rtol=1e-3, atol=1e-3 * np.abs(step).max())


@pytest.mark.thorough
@pytest.mark.parametrize("accumulated", [0, 2])
@pytest.mark.parametrize("make", [optimizers.Adam, optimizers.RMSprop])
def test_gradients_accumulated_so_far_are_no_part_of_the_update_direction(make, accumulated):
    directions = []
    for steps in (None, 3):
        # Two updates, and of three batches for the next one none or two.
        model, _ = trained(make(0.01, gradient_accumulation_steps=steps), steps=2 * (steps or 1))
        if steps and accumulated:
            model.fit(X, LABELS, batch_size=12, epochs=accumulated, verbose=0)
        gradient = np.random.default_rng(2).normal(size=LossFunction(model, X, LABELS).size)
        directions.append(update_direction(model.optimizer, model.trainable_variables, gradient))
    assert np.linalg.norm(directions[0]) > 0
    np.testing.assert_allclose(directions[1], directions[0], rtol=1e-3, atol=1e-6)


@pytest.mark.thorough
def test_weights_that_an_average_overwrites_next_are_no_part_of_the_update_direction():
    directions = []
    for options in ({}, {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}):
        model, _ = trained(optimizers.SGD(0.1, **options), steps=1)
        gradient = RNG.normal(size=LossFunction(model, X, LABELS).size)
        direction = update_direction(model.optimizer, model.trainable_variables, gradient)
        directions.append((direction, gradient))
    for direction, gradient in directions:
        np.testing.assert_allclose(direction, gradient, rtol=1e-4, atol=1e-6)


class Scaled(optimizers.SGD):
    """Its configuration leaves out what it needs."""

    def __init__(self, factor, **options):
        super().__init__(factor * 0.1, **options)


def test_an_optimizer_that_its_configuration_does_not_describe():
    model, _ = trained(Scaled(2.0), steps=1)
    with pytest.raises(ValueError, match=r"Scaled cannot be copied.*'factor'"):
        update_direction(model.optimizer, model.trainable_variables, np.ones(model.count_params()))
