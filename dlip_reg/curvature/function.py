"""What the measures of this room ask of the function they measure."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np


class Function(Protocol):
    """A loss f as a function of its P weights; `LossFunction` is one, a plain quadratic may be.

    Parameters of None are the present weights w. What takes `chunks` of examples wants functions
    that have their number as `examples`, too, such as
    `(LossFunction(model, x[i : i + m], y[i : i + m]) for i in range(0, len(x), m))`: all loss
    functions of one model share what was traced.
    """

    def parameters(self) -> np.ndarray:
        """The present weights w, float64 of shape (P,)."""
        ...

    def value(self, parameters: np.ndarray | None = None) -> float:
        """f there."""
        ...

    def gradient(self, parameters: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """f and its gradient (P,) there."""
        ...


def require_positive(name: str, value: Any) -> float:
    """The value as a float; ValueError unless it is a finite number above 0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be a finite number above 0, not {value!r}.")
    return number


def require_whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """The value as an int; ValueError unless it is a whole number from `least` to `most`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        limits = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number {limits}, not {value!r}.")
    return int(value)
