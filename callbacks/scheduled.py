"""What the recorders share that measure on a schedule: when, where to, and what may go wrong."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from callbacks.recorder import Recorder
from dlip_reg.curvature.function import require_whole


class ScheduledRecorder(Recorder):
    """Measures at chosen epochs and steps, and keeps one plain dict a measurement in `rows`.

    It measures before the first step (epoch 0), every `every_n_epochs` epochs (None: none), at
    the end, and within epochs at the first batch end at or after every `every_n_batches`-th step
    and after each of `steps` (steps are batches trained on, the first is 1; under
    `steps_per_execution` Keras reports only every k-th).

    A row begins with "epoch" (epochs completed; None on a row taken within an epoch) and "step".
    Subclasses give the rest in `measure`, and may check their setting-up in `prepare`. The numbers
    go to the `logs` of the epoch, and of the batch after which they were measured. What goes wrong
    there, or in the measurement before the first step, is raised; an error later on turns
    into NaN in `logs` and None for the details of the row, and is told once, in a RuntimeWarning.
    """

    def __init__(
        self,
        *,
        every_n_epochs: int | None = 1,
        every_n_batches: int | None = None,
        steps: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if every_n_epochs is not None:
            every_n_epochs = require_whole("every_n_epochs", every_n_epochs)
        if every_n_batches is not None:
            every_n_batches = require_whole("every_n_batches", every_n_batches)
        steps = () if steps is None else steps
        if not np.iterable(steps):
            raise ValueError(f"steps must be a list of whole numbers of 1 or more, not {steps!r}.")
        self.every_n_epochs = every_n_epochs
        self.every_n_batches = every_n_batches
        self.steps = tuple(require_whole("Every one of steps", step) for step in steps)
        self.rows: list[dict[str, Any]] = []
        self._step = self._epoch_start = self._completed = 0
        self._names: tuple[list[str], list[str]] = ([], [])
        self._warned: set[str] = set()

    def prepare(self) -> None:
        """Called once a fit before its first step; ValueError for what can't be measured."""

    def measure(self) -> tuple[dict[str, float], dict[str, Any]]:
        """The numbers that go to the row and to `logs`, and the details for the row alone."""
        raise NotImplementedError

    def release(self) -> None:
        """Lets go, at the end of a fit, of what the next one makes again."""
        for name in self._transient:
            setattr(self, name, None)

    def on_fit_start(self, completed: int) -> None:
        self.release()
        self.prepare()
        self._warned = set()
        self._completed = completed
        self._step = self._epoch_start = self._steps_before(completed)
        self.rows = [r for r in self.rows if completed and r["step"] <= self._step]
        if not self._is_measured():
            self._record(completed, *self.measure())

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._epoch_start = self._step

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        before = self._step
        # The last execution of several steps may find fewer batches left than its index tells.
        self._step = self._epoch_start + min(batch + 1, self._steps_per_epoch() or batch + 1)
        n = self.every_n_batches
        if (n and self._step // n > before // n) or any(
            before < step <= self._step for step in self.steps
        ):
            self._measure_in_training(None, logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._completed = epoch + 1
        stopping = getattr(self.model, "stop_training", False)
        last = stopping or self._completed == (self.params or {}).get("epochs")
        due = self.every_n_epochs and self._completed % self.every_n_epochs == 0
        if last or due or self._is_measured():
            self._measure_in_training(self._completed, logs)

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._begun and not self._is_measured():
            self._measure_in_training(self._completed)
        self.release()

    def warn_once(self, kind: str, message: str) -> None:
        """A RuntimeWarning, of which there is one of each kind in a fit."""
        if kind not in self._warned:
            self._warned.add(kind)
            text = f"{type(self).__name__}, after step {self._step}: {message}"
            warnings.warn(text, RuntimeWarning, stacklevel=3)

    def learning_rate(self) -> float:
        """The optimizer's present one; NaN for a model without an optimizer."""
        rate = getattr(self.model.optimizer, "learning_rate", math.nan)
        return float(keras.ops.convert_to_numpy(rate))

    def _measure_in_training(self, epoch: int | None, logs: dict | None = None) -> None:
        if self._is_measured():  # the last batch of an epoch and its end are one
            self.rows[-1]["epoch"] = epoch
        else:
            self._record(epoch, *self._measured_or_nan())
        if logs is not None:
            logs.update({name: self.rows[-1][name] for name in self._names[0]})

    def _measured_or_nan(self) -> tuple[dict[str, float], dict[str, Any]]:
        try:
            return self.measure()
        except Exception as error:
            self.warn_once("error", f"could not measure and records NaN: {error}")
            numbers, others = self._names
            return dict.fromkeys(numbers, math.nan), dict.fromkeys(others)

    def _record(self, epoch: int | None, values: dict[str, float], details: dict) -> None:
        self._names = list(values), list(details)
        self.rows.append({"epoch": epoch, "step": self._step} | values | details)

    def _is_measured(self) -> bool:
        return bool(self.rows) and self.rows[-1]["step"] == self._step

    def _steps_before(self, completed: int) -> int:
        """How many batches the `completed` epochs had, by the rows or else by this fit's."""
        known = [row["step"] for row in self.rows if row["epoch"] == completed]
        return known[0] if known else completed * (self._steps_per_epoch() or 0)

    def _steps_per_epoch(self) -> int | None:
        return (self.params or {}).get("steps")
