"""How Keras' backends differentiate: for each of them one small module with the same few functions.

No other module here uses a backend's own functions; the rest is written with `keras.ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any, Protocol

import keras
from keras.src.backend.common import dtypes

from dlip_reg.curvature.replaced import replaced

NAMES = ("tensorflow", "jax", "torch")


class Backend(Protocol):
    """What a module of this folder has to offer; everything in it may be nested."""

    METHOD: str  # of products with the Hessian

    @staticmethod
    def vjp(function: Callable, point: Any) -> tuple[Any, Any, Callable]:
        """The target and aux of `function(point) -> (target, aux)`, and the target's pullback.

        The pullback takes a tensor u like the target to J^T u, like `point`, with J the target's
        Jacobian: zeros where the target does not depend on `point`. NotImplementedError where an
        operation has no derivative.
        """
        ...

    @staticmethod
    def symmetric_product(function: Callable, point: Any, vector: Any) -> tuple[Any, Any]:
        """The Jacobian of `function(point) -> (target, aux)` times `vector`, and aux.

        Only for a Jacobian that is symmetric, such as a gradient's: by `METHOD`.
        """
        ...

    @staticmethod
    def compiled(function: Callable, variables: list, few: bool) -> Callable:
        """`function(chunk, *tensors)` made quick, for chunks of any number of examples.

        `variables` are those of which `function` is to see the present values; `few` tells that a
        handful of calls is all there will be.
        """
        ...

    @staticmethod
    def corrected() -> AbstractContextManager:
        """While open, what Keras calls has right second derivatives, if need be by a patch."""
        ...

    @staticmethod
    def precision(dtype: str) -> AbstractContextManager:
        """While open, operations on tensors of `dtype` have results of it, float64 too."""
        ...


@contextmanager
def float64_kept() -> Iterator[None]:
    """While open, Keras' operations on float64 have results of float64.

    On JAX and PyTorch they have float32 without this.
    """
    kept = dtypes.BIT64_TO_BIT32_DTYPE | {"float64": "float64"}
    with replaced(dtypes, "BIT64_TO_BIT32_DTYPE", kept):
        yield


def backend() -> Backend:
    """The module of the backend that Keras runs on; ValueError where there is none."""
    name = keras.backend.backend()
    if name not in NAMES:
        raise ValueError(f"Curvature needs one of Keras' backends {', '.join(NAMES)}, not {name}.")
    return import_module(f"{__name__}.{name}")
