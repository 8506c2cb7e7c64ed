"""Central differences of gradients, and whether a Hessian product can be held against them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# By precision: the relative tolerance, and the steps from the longest to the shortest.
_SETTINGS = {"float64": (1e-4, (1e-8,)), "float32": (2e-3, (2e-3, 1e-3, 5e-4))}


@dataclass(frozen=True, eq=False)
class Difference:
    """The derivative (P,) of a gradient along a direction, by a `step` of it to either side.

    `decided` says that the difference over twice the step is the same within `allowed`: an error of
    higher order or from a kink would differ between the two. Rounding is part of `allowed`.
    """

    value: np.ndarray
    step: float
    allowed: float
    decided: bool

    def agrees_with(self, product: np.ndarray) -> bool:
        """Whether the product is the difference, within what that may itself be off."""
        return bool(np.linalg.norm(product - self.value) <= 2 * self.allowed)


def central_difference(gradient: Callable[[float], np.ndarray], dtype: str) -> Difference:
    """The first difference that is decided, or else the last, of `gradient(t)` at t = 0.

    The gradient is taken t times the direction away, whose entries are like the weights'. The steps
    are halved because a kink (of ReLU, max-pooling) counts twice as much in half the step, until
    it is no longer crossed.
    """
    tolerance, steps = _SETTINGS[dtype]

    def over(step: float) -> tuple[np.ndarray, float]:
        high, low = gradient(step), gradient(-step)
        rounding = 10 * np.finfo(dtype).eps / step * np.linalg.norm(high)
        return (high - low) / (2 * step), rounding

    wider, _ = over(2 * steps[0])
    for step in steps:
        value, rounding = over(step)
        allowed = float(tolerance * np.linalg.norm(value) + rounding)
        difference = Difference(
            value, step, allowed, bool(np.linalg.norm(value - wider) <= allowed)
        )
        if difference.decided:
            break
        wider = value
    return difference
