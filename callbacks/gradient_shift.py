"""How much a layer's gradient changes because the layers before it have learnt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from callbacks.evaluation import check_split
from callbacks.layers import kernel_places
from callbacks.scheduled import ScheduledRecorder
from dlip_reg.curvature import LossFunction


class GradientShift(ScheduledRecorder):
    """Measures Santurkar's internal covariate shift, on a batch held fixed.

        shift = GradientShift((x_train[:256], y_train[:256]), step_length=0.1)
        history = model.fit(x_train, y_train, epochs=2, callbacks=[shift])
        [(row["layer"], row["cosine"]) for row in shift.rows[0]["layers"]]
        history.history["shift_cosine"]

    Of each layer i with a trainable conv or dense kernel but the first: G is the gradient in the
    kernel, and G' the same after all weights before that kernel (in the order of the model's
    `trainable_variables`) took one step of gradient descent, of `step_length` times their own
    gradient on the same batch. `distance` is |G' - G|, the internal covariate shift (Santurkar et
    al. 2018, definition 2.1); `relative` is that over |G|; and `cosine` that of the angle between
    the two. A layer that learns independently of those before it has 0, 0 and 1. `step_length` is
    a learning rate, None the optimizer's present one; nets that are compared should be given the
    same. The loss is the compiled one without penalties and dropout; batch normalization normalises
    by the statistics of the batch, all of `data` at once.

    Before the first step and on measured epochs and steps (see `callbacks.scheduled`) `rows` gets
    {"epoch", "step", "shift_distance", "shift_relative", "shift_cosine", "layers": [{"layer",
    "kind", "norm" (|G|), "distance", "relative", "cosine"}]}, and `logs` its numbers, which are
    means over the layers. NaN where a gradient is zero or not finite.

    ValueError for wrong settings, and at fit for a model that is unbuilt, has fewer than two
    trainable kernels, or has not one loss for one output, and for no step length without an
    optimizer.
    """

    _data = ("data",)
    _transient = ("_function",)

    def __init__(
        self,
        data: tuple[Any, Any],
        *,
        step_length: float | None = None,
        every_n_epochs: int | None = 1,
        every_n_batches: int | None = None,
        steps: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            every_n_epochs=every_n_epochs, every_n_batches=every_n_batches, steps=steps
        )
        check_split("data", data)
        if step_length is not None and not 0 < step_length < math.inf:
            raise ValueError(f"step_length must be None or a length above 0, not {step_length!r}.")
        self.data = data
        self.step_length = step_length
        self._function: LossFunction | None = None

    def prepare(self) -> None:
        if self.step_length is None and math.isnan(self.learning_rate()):
            raise ValueError("GradientShift needs a step_length for a model without an optimizer.")
        if len(kernel_places(self.model)) < 2:
            raise ValueError(
                "GradientShift needs a model with two trainable conv or dense kernels or more."
            )
        one_batch = len(self.data[1])
        self._function = LossFunction(
            self.model, *self.data, batch_norm="batch", batch_size=one_batch
        )

    def measure(self) -> tuple[dict[str, float], dict[str, Any]]:
        length = self.step_length
        if length is None:
            length = self.learning_rate()
        weights = self._function.parameters()
        _, gradient = self._function.gradient()
        step = length * gradient
        layers = []
        for name, kind, place in kernel_places(self.model)[1:]:
            moved = weights.copy()
            moved[: place.start] -= step[: place.start]
            after = np.full_like(gradient, math.nan)
            if np.isfinite(moved).all():
                _, after = self._function.gradient(moved)
            layers.append({"layer": name, "kind": kind} | _shift(gradient[place], after[place]))
        values = {
            f"shift_{name}": float(np.mean([layer[name] for layer in layers]))
            for name in ("distance", "relative", "cosine")
        }
        return values, {"layers": layers}


def _shift(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    norm, distance = np.linalg.norm(before), np.linalg.norm(after - before)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.divide(distance, norm)
        cosine = np.divide(before @ after, norm * np.linalg.norm(after))
    numbers = {"norm": norm, "distance": distance, "relative": relative, "cosine": cosine}
    return {name: float(number) for name, number in numbers.items()}
