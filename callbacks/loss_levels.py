"""Measure a net where its training loss first reaches given levels, whenever that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from callbacks.scheduled import SplitRecorder
from dlip_reg.checks import require_positive, several
from dlip_reg.curvature import LossFunction


class LossLevels(SplitRecorder):
    """Calls measurements at the first states whose clean training loss is at or below each level.

        def gradient_norm(function):
            return float(np.linalg.norm(function.gradient()[1]))

        levels = LossLevels((x_train[:256], y_train[:256]), (1.0, 0.5), {"norm": gradient_norm})
        model.fit(x_train, y_train, epochs=5, callbacks=[levels])
        [(row["level"], row["step"], row["norm"]) for row in levels.rows]

    Nets that learn at different speeds can be compared at the same training loss in this way: give
    each fit the same data and levels. Before the first step and after every `every_n_batches`-th
    step the loss is evaluated on `data`, held fixed: the compiled one without penalties and
    dropout, batch normalization taking the statistics of all of `data` at once.

    What is measured is a state that training passed through, and not weights interpolated between
    two evaluations: an average of two states lies lower in the valley between them, and flatter,
    than training ever was. So the loss lies below its level by what the steps since the last
    evaluation gained; the row says where it lies.

    `rows` has, after the fit, for each level in falling order {"level", "step", "loss", and the
    result of each of `measures` by name}, all but the level None where it was not reached; and
    last, with the level None, the same at the end of training. A measure is called with the
    `LossFunction` of the model on `data`, once for all levels that are first reached at one
    evaluation. A fit that is taken up again needs the same recorder, or a pickled copy: a new one
    takes the levels that were passed before for reached at its first step.

    Args:
        data: The data, in one batch; see `callbacks.scheduled.SplitRecorder`.
        levels: Losses above 0.
        measures: Name -> measurement.
        every_n_batches: Steps between two evaluations of the loss.
        options: `loss`, `layer_losses`, `class_weight` and `data_batches` of `SplitRecorder`.

    Raises:
        ValueError: Levels that are not above 0; data of another form. At fit: a model that is
            unbuilt, or has no loss.
    """

    def __init__(
        self,
        data: Any,
        levels: Sequence[float],
        measures: Mapping[str, Callable[[LossFunction], Any]] | None = None,
        *,
        every_n_batches: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(data, every_n_batches=every_n_batches, **options)
        losses = [require_positive("levels", level, "losses above 0") for level in several(levels)]
        self.levels = tuple(sorted(losses, reverse=True))
        measures = {} if measures is None else measures
        is_named = isinstance(measures, Mapping) and all(map(callable, measures.values()))
        if not is_named or {"level", "step", "loss"} & set(measures):
            raise ValueError(
                "measures must be a dict of functions, by other names than level, step and loss, "
                f"not {measures!r}."
            )
        self.measures = dict(measures)

    def on_fit_start(self, completed: int) -> None:
        self._step = self._steps_of(completed)
        self.prepare()
        self.rows = [row for row in self.rows if completed and self._has_passed(row)]
        self._look()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Epochs are of no account here, only steps."""

    def _measure_in_training(self, epoch: int | None, logs: dict[str, Any] | None = None) -> None:
        self._look()

    def _look(self) -> None:
        """Measure if a further level is reached."""
        waiting = self.levels[len(self.rows) :]
        if not waiting:
            return
        loss = self._loss()
        reached = [level for level in waiting if loss <= level]
        if reached:
            measured = self._measured()
            self.rows += [self._row(level, loss, measured) for level in reached]

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._begun = False
        if self._function is None:
            return
        nothing = dict.fromkeys(self.measures)
        self.rows += [
            {"level": level, "step": None, "loss": None, **nothing}
            for level in self.levels[len(self.rows) :]
        ]
        loss = self._loss()
        measured = self._measured() if math.isfinite(loss) else nothing
        self.rows.append(self._row(None, loss, measured))
        self.release()

    def _loss(self) -> float:
        function: Any = self._function  # made before the first step
        weights = function.parameters()
        return function.value(weights) if np.isfinite(weights).all() else math.nan

    def _measured(self) -> dict[str, Any]:
        return {name: measure(self._function) for name, measure in self.measures.items()}

    def _row(self, level: float | None, loss: float, measured: dict[str, Any]) -> dict[str, Any]:
        return {"level": level, "step": self._step, "loss": loss, **measured}

    def _has_passed(self, row: dict[str, Any]) -> bool:
        """Whether a row of the fit that this one resumes still holds."""
        return None not in (row["level"], row["step"]) and row["step"] <= self._step
