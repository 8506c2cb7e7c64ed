"""How JAX differentiates."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import keras

from dlip_reg.curvature.backends import float64_kept

METHOD = "forward-over-reverse"

corrected = contextlib.nullcontext


def vjp(function: Callable, point: jax.Array) -> tuple[jax.Array, Any, Callable]:
    target, pullback, aux = jax.vjp(function, point, has_aux=True)
    return target, aux, lambda u: pullback(u)[0]


def symmetric_product(function: Callable, point: jax.Array, vector: jax.Array) -> tuple:
    _, product, aux = jax.jvp(function, (point,), (vector,), has_aux=True)
    return product, aux


def compiled(function: Callable, variables: list, few: bool) -> Callable:
    # Even for a handful of calls: one operation after the other, each compiles by itself.
    # The values of variables would be compiled in as constants, were they not arguments.
    @jax.jit
    def at_values(values: list, *tensors: Any) -> Any:
        with keras.StatelessScope(zip(variables, values, strict=True)):
            return function(*tensors)

    def call(chunk: Any, *tensors: jax.Array) -> Any:
        # Compiled for chunks of one length: the last may need another.
        return at_values([variable.value for variable in variables], chunk, *tensors)

    return call


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    if dtype == "float64":
        with jax.enable_x64(True), float64_kept():
            yield
    else:
        yield
