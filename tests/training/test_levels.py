"""Measurements at loss levels: closed forms, and that they leave the training as it is."""

import math
from dataclasses import replace

import keras
import numpy as np
import pytest
from training_samples import DATA, load, measured

from callbacks.evaluation import clean_metrics
from dlip_reg.curvature import LossFunction, recalibrate_batch_norm
from dlip_reg.regularization import Regularization
from dlip_reg.training import RunSpec, levels, trained
from dlip_reg.training.records import loads
from dlip_reg.training.specification import LEVEL_PROBES

SPEC = RunSpec(
    "lenet5",
    DATA,
    Regularization(batch_norm=True),
    optimizer="momentum",
    learning_rate=0.02,
    batch_size=10,
    epochs=5,
    measures=("test", *LEVEL_PROBES),
    loss_levels=(0.5, 2.0, 1e-6),
)


class Quadratic:
    """1 + half of w H w, at given weights."""

    batch_norm = "batch"

    def __init__(self, hessian, weights):
        self.hessian, self.weights = np.asarray(hessian, float), np.asarray(weights, float)

    def parameters(self):
        return self.weights

    def value(self, weights=None):
        return self.gradient(weights)[0]

    def gradient(self, weights=None):
        weights = self.weights if weights is None else weights
        slope = self.hessian @ weights
        return 1 + weights @ slope / 2, slope


@pytest.fixture(scope="module")
def record(train):
    return loads(train(SPEC))


@pytest.mark.thorough
def test_probing_leaves_the_training_bit_identical(train, record):
    silent = loads(train(replace(SPEC, measures=("test",), loss_levels=())))
    assert measured(silent.measures) == measured(record.measures)
    assert record.levels and not silent.levels


@pytest.mark.thorough
def test_the_record_repeats_bit_for_bit(train, record):
    assert loads(train(SPEC)) == record


def test_each_level_has_a_row_and_the_end_has_one(record):
    assert [row.level for row in record.levels] == [2.0, 0.5, 1e-6, None]
    first, second, never, end = record.levels
    assert 0 < first.step < second.step <= end.step == 30
    assert first.loss <= 2.0 and second.loss <= 0.5
    assert never.step is None and never.landscape is None and not never.independence
    assert first.landscape.rate == pytest.approx(0.2)  # 0.02 under momentum 0.9
    assert [layer.layer for layer in end.independence] == ["conv2", "dense1", "dense2", "logits"]
    assert first.activations[0].distance is None and second.activations[0].distance > 0
    assert second.activations[0].gained == pytest.approx(first.loss - second.loss, rel=1e-5)


def test_losses_take_the_statistics_of_the_batch_and_not_stale_ones(record):
    model, data = trained(SPEC, load(SPEC)), load(SPEC)
    batch = data.x_train[: levels.LEVEL_IMAGES], data.y_train[: levels.LEVEL_IMAGES]
    loss = LossFunction(model, *batch, batch_norm="batch", batch_size=len(batch[1])).value()
    assert record.levels[-1].loss == pytest.approx(loss, rel=1e-3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(layer.moving_mean + 3.0)
    assert abs(clean_metrics(model, *batch)["loss"] - loss) > 0.1
    again = LossFunction(model, *batch, batch_norm="batch", batch_size=len(batch[1])).value()
    assert again == loss
    stale = LossFunction(model, *batch, batch_norm="inference")
    model.optimizer.learning_rate = 0.1
    with pytest.raises(ValueError, match="moving statistics of batch normalization are wrong"):
        levels.landscape(stale)


def test_the_gap_is_of_the_training_images_own_statistics_and_changes_nothing():
    model, data = trained(SPEC, load(SPEC)), load(SPEC)
    before = model.get_weights()
    gap = levels.gap(data, LossFunction(model, data.x_train, data.y_train))
    assert all(map(np.array_equal, before, model.get_weights()))
    whole = LossFunction(model, data.x_train, data.y_train, batch_norm="batch", batch_size=60)
    assert gap["train_loss"] == pytest.approx(whole.value(), rel=1e-3)
    recalibrate_batch_norm(model, data.x_train, batch_size=60)
    test = clean_metrics(model, data.x_test, data.y_test)
    assert gap["test_loss"] == pytest.approx(test["loss"], rel=1e-5)


def test_independence_of_a_quadratic():
    # Two weights of an earlier layer and two of a later one, coupled.
    hessian = np.array([[2, 0, 0.3, 0], [0, 1, 0, 0.5], [0.3, 0, 1, 0], [0, 0.5, 0, 3.0]])
    weights = np.array([1.0, -0.5, 0.7, 0.4])
    function = Quadratic(hessian, weights)
    places = [("first", "dense", slice(0, 2)), ("second", "dense", slice(2, 4))]
    (row,) = levels.independence(function, places)
    loss, gradient = function.gradient()
    early = gradient[:2]
    # s |g|^2 - s^2 g A g / 2 is what a step of s gains.
    a, b, c = early @ hessian[:2, :2] @ early / 2, -early @ early, levels.DECREASE * loss
    step = (-b - math.sqrt(b**2 - 4 * a * c)) / (2 * a)
    after = gradient[2:] - step * hessian[2:, :2] @ early
    cosine = gradient[2:] @ after / np.linalg.norm(gradient[2:]) / np.linalg.norm(after)
    assert row["decrease"] == pytest.approx(levels.DECREASE, rel=0.02)
    # The step is found to 2 % of what it gains, and 1 - cosine goes with its square.
    assert 1 - row["cosine"] == pytest.approx(1 - cosine, rel=0.05)


def test_layers_that_are_not_coupled_are_independent():
    places = [("first", "dense", slice(0, 2)), ("second", "dense", slice(2, 4))]
    (row,) = levels.independence(Quadratic(np.diag([2, 1, 1, 3.0]), [1, 1, 1, 1.0]), places)
    assert row["cosine"] == pytest.approx(1, abs=1e-12)


def test_a_decrease_that_no_step_reaches_is_none():
    # The earlier layer is so near its minimum that it cannot lower the loss by one per cent.
    places = [("first", "dense", slice(0, 1)), ("second", "dense", slice(1, 2))]
    (row,) = levels.independence(Quadratic(np.diag([1.0, 1.0]), [0.01, 1.0]), places)
    assert row["cosine"] is None and row["decrease"] is None


def test_a_shift_is_the_wasserstein_distance_over_units():
    before = np.sort(np.random.default_rng(0).normal(size=(1000, 2)), axis=0)
    found = levels.shift(before, before + np.array([0.5, -0.1]))
    assert found["distance"] == pytest.approx(0.3)  # a translation: its length
    assert found["spread"] == pytest.approx(before.std(axis=0).mean())
    stretched = levels.shift(before, 2 * before)
    assert stretched["distance"] == pytest.approx(np.abs(before).mean())
    assert stretched["spread"] == pytest.approx(1.5 * before.std(axis=0).mean())


def test_images_that_change_places_shift_no_distribution():
    net = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, "tanh", use_bias=False, kernel_initializer="ones"),
            keras.layers.Dense(2),
        ]
    )
    net.compile("sgd", "mse")
    images = np.array([[-2], [-1], [1], [2]], np.float32)
    shifted = levels.ActivationShift(images)
    function = LossFunction(net, images, np.zeros((4, 2)))
    shifted(function)
    net.layers[0].kernel.assign([[-1.0]])
    (row,) = shifted(function)
    assert row["distance"] == pytest.approx(0, abs=1e-6)  # float32
    assert row["spread"] == pytest.approx(np.tanh(images).std())


def test_momentum_makes_the_own_step_longer():
    assert levels.own_step(keras.optimizers.SGD(0.1)) == pytest.approx(0.1)
    assert levels.own_step(keras.optimizers.SGD(0.1, momentum=0.9)) == pytest.approx(1.0)
