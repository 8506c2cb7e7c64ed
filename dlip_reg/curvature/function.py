"""The interface of the functions that the curvature measures take."""

from __future__ import annotations

from typing import Protocol

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

    def hessian_product(self, vector: np.ndarray) -> np.ndarray:
        """The Hessian at w times `vector`, (P,); only `batch_sharpness` takes it."""
        ...
