"""Measurements where a run first reaches given levels of its clean training loss.

Networks that learn at different speeds are in different states after the same number of steps.
With `loss_levels` in its specification a run is probed at the first evaluation of its clean
training loss at or below each level, whenever that is, and once more at the end (see
`callbacks.LossLevels`, which also says why states are not interpolated). The levels are those of
the specification, so every run is probed by itself and runs are compared at equal levels. The loss
is evaluated every `LEVEL_STEPS` steps on the first `LEVEL_IMAGES` training images; batch
normalization takes the statistics of these images, all at once, there and in whatever moves the
weights: moving statistics belong to the weights of training. Only first derivatives are used, since
TensorFlow's second derivatives through batch statistics are wrong.

The measurements, each a part of a `LevelRow`:

- "level_landscape": loss and gradient after steps against the gradient, of multiples of the run's
  own step length: its learning rate, which momentum m makes 1 / (1 - m) times as long;
- "level_independence": of each layer but the first, the cosine between its gradient before and
  after all earlier layers took a step against theirs that lowers the loss by the share `DECREASE`
  (Santurkar et al. 2018, definition 2.1, with steps of equal effect in place of equal length);
- "level_activations": of each hidden activation, how far the distribution of its outputs, which the
  next layer sees, moved since the level before;
- "level_gap": the losses on all training images and on the test images.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from callbacks.evaluation import clean_metrics
from callbacks.layers import activation_outputs, kernel_places
from callbacks.loss_levels import LossLevels
from dlip_reg.chunks import as_tensors
from dlip_reg.curvature import LossFunction, gradient_landscape, recalibrate_batch_norm
from dlip_reg.curvature.landscape import cosine
from dlip_reg.datasets import Dataset
from dlip_reg.training.endings import preserve_weights
from dlip_reg.training.specification import RunSpec

LEVEL_IMAGES = 256
LEVEL_STEPS = 2
# From half of to four times the step, as Santurkar et al. 2018 (section 3.1).
MULTIPLES = (0.5, 1.0, 2.0, 4.0)
DECREASE = 0.01
_TOLERANCE = 0.02  # of the decrease
_ACTIVATION_IMAGES = 128


def recorder(spec: RunSpec, dataset: Dataset) -> LossLevels:
    """The recorder of a run that has loss levels."""
    batch = dataset.x_train[:LEVEL_IMAGES], dataset.y_train[:LEVEL_IMAGES]
    known: dict[str, Callable[[LossFunction], Any]] = {
        "landscape": landscape,
        "independence": independence,
        "activations": ActivationShift(dataset.x_train[:_ACTIVATION_IMAGES]),
        "gap": functools.partial(gap, dataset),
    }
    measures = {name: known[name] for name in known if f"level_{name}" in spec.measures}
    return LossLevels(batch, spec.loss_levels, measures, every_n_batches=LEVEL_STEPS)


def landscape(function: LossFunction) -> dict[str, Any]:
    """Loss and gradient along the gradient, at multiples of the run's own step length."""
    rate = own_step(function.model.optimizer)
    met = gradient_landscape(function, [multiple * rate for multiple in MULTIPLES])
    return {
        "rate": rate,
        "weight_norm": float(np.linalg.norm(function.parameters())),
        "gradient_norm": met.gradient_norm,
        "multiples": MULTIPLES,
        "losses": met.losses,
        "gradient_distances": met.gradient_distances,
        "cosines": met.cosines,
    }


def own_step(optimizer: Any) -> float:
    """How far the optimizer moves in the end for each gradient, per length of the gradient.

    Under momentum m a constant gradient is followed by learning rate / (1 - m) times its length.
    """
    return float(optimizer.learning_rate) / (1 - float(getattr(optimizer, "momentum", 0.0)))


def independence(function: LossFunction, places: Any = None) -> list[dict[str, Any]]:
    """Of each kernel but the first, its gradient's cosine with that after the earlier update.

    Args:
        function: The loss.
        places: (layer, kind, slice of the flat weights) of each kernel; by default the model's.
    """
    places = kernel_places(function.model) if places is None else places
    weights = function.parameters()
    loss, gradient = function.gradient()
    rows = []
    for name, _, place in places[1:]:
        earlier = np.zeros_like(gradient)
        earlier[: place.start] = gradient[: place.start]
        step, gained = _step_that_gains(function, weights, earlier, loss, DECREASE * loss)
        row: dict[str, Any] = {"layer": name, "cosine": None, "decrease": None}
        if step is not None:
            _, after = function.gradient(weights - step * earlier)
            row["cosine"] = cosine(gradient[place], after[place])
            row["decrease"] = gained / loss
        rows.append(row)
    return rows


def _step_that_gains(
    function: LossFunction, weights: np.ndarray, direction: np.ndarray, loss: float, gain: float
) -> tuple[float | None, float]:
    """The first step against `direction` that lowers the loss by `gain`, and what it gains.

    None if doubling or halving the step finds none.
    """
    slope = float(direction @ direction)
    if not 0 < slope < math.inf:
        return None, 0.0
    low, step, high = 0.0, gain / slope, math.inf
    gained_low = 0.0
    for _ in range(12):
        gained = loss - function.value(weights - step * direction)
        if abs(gained - gain) <= _TOLERANCE * gain:
            return step, gained
        if gained > gain:
            high = step
        elif high == math.inf and gained < gained_low:
            return None, 0.0  # beyond the bottom of the valley
        else:
            low, gained_low = step, gained
        if high < math.inf:
            step = (low + high) / 2
        else:
            # What is still to be gained at the mean slope so far, at most twice as far.
            step *= min(2.0, max(1.1, gain / gained if gained > 0 else 2.0))
    return None, 0.0


class ActivationShift:
    """The Wasserstein-1 distance of each unit's outputs from those at the call before.

    Of equally many values the distance is the mean difference of the sorted ones. A channel of a
    convolution takes its values over all positions. Means over units are taken of distance and
    spread apart: a unit that is constant has no spread of its own to divide by.
    """

    def __init__(self, images: np.ndarray) -> None:
        self._images = images
        self._before: dict[str, np.ndarray] = {}
        self._loss = math.nan

    def __call__(self, function: LossFunction) -> list[dict[str, Any]]:
        outputs = activation_outputs(function.model, *as_tensors(self._images))
        now = {
            name: np.sort(values.reshape(-1, values.shape[-1]), axis=0)
            for name, values in outputs.items()
        }
        before, self._before = self._before, now
        loss = function.value()
        gained, self._loss = self._loss - loss, loss
        return [
            {"layer": name, "gained": gained} | shift(before.get(name), values)
            for name, values in now.items()
        ]


def shift(before: np.ndarray | None, after: np.ndarray) -> dict[str, float | None]:
    """Distance and spread of two tables of sorted values, value x unit; means over units."""
    if before is None:
        return {"distance": None, "spread": None}
    spread = (before.std(axis=0) + after.std(axis=0)) / 2
    return {
        "distance": float(np.abs(after - before).mean()),
        "spread": float(spread.mean()),
    }


def gap(dataset: Dataset, function: LossFunction) -> dict[str, float]:
    """The losses on all training and all test images.

    Batch normalization takes the statistics of the training images, all at once, for both.
    """
    model = function.model
    with preserve_weights(model):
        recalibrate_batch_norm(model, dataset.x_train, batch_size=len(dataset.x_train))
        train = clean_metrics(model, dataset.x_train, dataset.y_train)
        test = clean_metrics(model, dataset.x_test, dataset.y_test)
    return {"train_loss": train["loss"], "test_loss": test["loss"]}
