"""What a search optimizes: validation loss or accuracy without the penalty that is being tuned."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.errors import FatalValueError

from callbacks.data import read_split
from callbacks.evaluation import clean_metrics
from callbacks.scheduled import Recorder
from dlip_reg.tuning import OBJECTIVES

_logger = logging.getLogger(__name__)


class CleanValidation(Recorder):
    """Adds `clean_val_loss` and `clean_val_accuracy` to the logs at the end of each epoch.

    They are those of `callbacks.LossCurve`, for validation alone: the compiled loss without weight
    penalties, in inference mode, over the whole of `validation` = (x, y). Keras' own `val_loss`
    includes the penalties, so a search on it favours weak ones. Accuracy only for cross-entropies.
    Put it before whatever reads its logs. ValueError as `callbacks.evaluation.clean_metrics`.
    """

    _data = ("validation",)

    def __init__(self, validation: tuple[Any, Any]) -> None:
        super().__init__()
        x, y, _ = read_split("validation", validation)
        self.validation = x, y

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = clean_metrics(self.model, *self.validation)
        if logs is not None:
            logs.update({f"clean_val_{name}": value for name, value in values.items()})


def make_objective(name: str = "clean_val_accuracy") -> keras_tuner.Objective:
    """The objective of that name with its direction; ValueError for one that is not clean."""
    if name not in OBJECTIVES:
        raise ValueError(
            f"The objective must be {' or '.join(OBJECTIVES)}, not {name!r}: the losses of Keras "
            "include the penalty that is searched."
        )
    return keras_tuner.Objective(name, OBJECTIVES[name])


def parts_of(objective: keras_tuner.Objective) -> list[keras_tuner.Objective]:
    """Return the objectives that are summed, or the only one."""
    return list(getattr(objective, "objectives", [objective]))


def require_measured(objective: keras_tuner.Objective, logs: Mapping[str, Any]) -> None:
    """Raise an error if the objective is not among what was measured, or is not one number.

    Raises:
        FatalValueError: So it will be in all trials.
    """
    if not objective.has_value(logs):
        names = ", ".join(part.name for part in parts_of(objective))
        raise FatalValueError(
            f"The oracle's objective {names} is not among what training measures: "
            f"{', '.join(logs)}."
        )
    for part in parts_of(objective):
        if (size := np.size(logs[part.name])) != 1:
            raise FatalValueError(
                f"The oracle's objective {part.name} must be one number, not {size}: give its "
                'metric an average, such as average="macro".'
            )


def check_objective(objective: keras_tuner.Objective, penalties_are_searched: bool) -> None:
    """Warn of an objective that is biased; ValueError for a direction that cannot be meant."""
    for part in parts_of(objective):
        right = OBJECTIVES.get(part.name)
        if right is not None and part.direction != right:
            raise ValueError(
                f"{part.name} must have the direction {right!r}, not {part.direction!r}."
            )
        if penalties_are_searched and part.name.endswith("loss") and right is None:
            _logger.warning(
                "The objective %s includes the penalty that is searched, so it favours weak "
                "penalties; clean_val_loss does not.",
                part.name,
            )
