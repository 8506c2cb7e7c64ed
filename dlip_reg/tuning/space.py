"""Which strengths are searched, in which ranges, and what a trial's values mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dlip_reg.checks import (
    Checked,
    checked,
    optional,
    require_bool,
    require_positive,
    require_whole,
)
from dlip_reg.regularization import DROPOUT_RANGE, L1_RANGE, L2_RANGE, Regularization

Range = tuple[float, float]

_KINDS = ("conv", "dense")
_TERMS = ("l1", "l2", "dropout")


def _range(name: str, value: Any) -> Range:
    try:
        low, high = (float(end) for end in value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a range (low, high), not {value!r}.") from None
    if not low < high < math.inf:
        raise ValueError(f"{name} must be a range (low, high) with low < high, not {value!r}.")
    if name == "dropout":
        if low < 0 or high >= 1:
            raise ValueError(f"dropout must be a range of rates in [0, 1), not {value!r}.")
    elif low <= 0:
        raise ValueError(
            f"{name} is searched on a log scale, so its range must begin above 0, not at {low:g}; "
            'for "no penalty" there is none=True.'
        )
    return low, high


def _rate(name: str, value: Any) -> float | Range:
    if isinstance(value, tuple | list):
        return _range(name, value)
    return require_positive(name, value, "a number above 0 or a range")


@dataclass(frozen=True, kw_only=True)
class SearchSpace(Checked):
    """What is searched: ranges (low, high), strengths on a log scale and dropout on a linear one.

    Each of `l1`, `l2` and `dropout` that is not None gives two hyperparameters, named like the
    fields of `Regularization` (`conv_l2`, `dense_l2`), or with `tied` one for both kinds of layers
    (`l2`). With `none` each may also be absent: a Boolean (`use_conv_l2`) decides, and the strength
    is there only where it is True. With `points` each is one of so many values from low to high
    instead, and "none" is one more of them, 0.

    `learning_rate` is a number, or a range on a log scale.

    ValueError for a range that is empty or inverted, begins at 0 or below on a log scale, or leaves
    [0, 1) for dropout.
    """

    l1: Range | None = checked(optional(_range), L1_RANGE)
    l2: Range | None = checked(optional(_range), L2_RANGE)
    dropout: Range | None = checked(optional(_range), DROPOUT_RANGE)
    tied: bool = checked(require_bool, False)
    none: bool = checked(require_bool, True)
    points: int | None = checked(optional(partial(require_whole, least=2)), None)
    learning_rate: float | Range = checked(_rate, 1e-3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.names:
            raise ValueError("Nothing is left to search: give a range for l1, l2 or dropout.")

    @property
    def names(self) -> tuple[str, ...]:
        """The hyperparameters that are strengths or rates, in their order."""
        terms = [term for term in _TERMS if getattr(self, term) is not None]
        names = terms if self.tied else [f"{kind}_{term}" for term in terms for kind in _KINDS]
        return (*names, *(["learning_rate"] if isinstance(self.learning_rate, tuple) else []))

    def declare(self, hp: Any) -> None:
        """Add what is searched to `keras_tuner.HyperParameters`."""
        for name in self.names:
            low, high = getattr(self, name if name == "learning_rate" else name.rpartition("_")[2])
            sampling = "linear" if name.endswith("dropout") else "log"
            may_be_none = self.none and name != "learning_rate"
            if self.points is not None:
                spaced = np.geomspace if sampling == "log" else np.linspace
                # Three digits are enough, and are what people are shown.
                grid = [float(f"{value:.3g}") for value in spaced(low, high, self.points)]
                grid = [min(max(value, low), high) for value in grid]
                hp.Choice(name, [0.0] * may_be_none + grid)
            elif not may_be_none:
                hp.Float(name, low, high, sampling=sampling)
            else:
                hp.Boolean(f"use_{name}", default=True)
                with hp.conditional_scope(f"use_{name}", [True]):
                    hp.Float(name, low, high, sampling=sampling)

    def regularization(self, values: Mapping[str, Any]) -> Regularization:
        """The strengths that a trial's `values` (by hyperparameter) stand for."""
        found: dict[str, float] = {}
        for name in self.names:
            if name != "learning_rate":
                value = float(values.get(name) or 0.0)
                kinds = [f"{kind}_{name}" for kind in _KINDS] if self.tied else [name]
                found |= dict.fromkeys(kinds, value)
        return Regularization.from_json(found)

    def rate(self, values: Mapping[str, Any]) -> float:
        """The learning rate of a trial with these values."""
        rate = self.learning_rate
        return float(values["learning_rate"]) if isinstance(rate, tuple) else rate
