"""The interfaces of the functions that the curvature measures take."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from dlip_reg.curvature.layout import Parameter


class Values(Protocol):
    """A function f of P weights, known by its values. Parameters of None are the present weights w.

    `LossFunction` is one, and so is `Reestimated`.
    """

    def parameters(self) -> np.ndarray:
        """The present weights w, float64 of shape (P,)."""

    def value(self, parameters: np.ndarray | None = None) -> float:
        """f there."""


class LaidOut(Values, Protocol):
    """A function that tells where each weight lies in the vector of all of them."""

    @property
    def layout(self) -> Sequence[Parameter]:
        """The places of the weights, in their order."""


class Function(Values, Protocol):
    """A loss f as a function of its P weights; `LossFunction` is one, a plain quadratic may be."""

    def gradient(self, parameters: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """f and its gradient (P,) there."""

    def hessian_product(self, vector: np.ndarray) -> np.ndarray:
        """The Hessian at w times `vector`, (P,); only `batch_sharpness` takes it."""


class Chunk(Function, Protocol):
    """The loss over some examples, such as one of
    `(LossFunction(model, x[i : i + m], y[i : i + m]) for i in range(0, len(x), m))`.

    All loss functions of one model share what was traced.
    """

    examples: int
