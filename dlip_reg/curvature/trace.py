"""The trace of a symmetric matrix known by its products alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dlip_reg.checks import require_whole


@dataclass(frozen=True)
class TraceEstimate:
    """An unbiased estimate of a trace and the standard error of its random part."""

    value: float
    standard_error: float
    products: int


def estimate_trace(
    matvec: Callable[[np.ndarray], np.ndarray], size: int, *, products: int = 48, seed: int = 0
) -> TraceEstimate:
    """The trace from that many products, by Hutch++ (Meyer, Musco, Musco & Woodruff 2021).

    A third of the products finds the directions in which the matrix is largest, a third takes the
    trace over them exactly, and a third estimates what is left (Hutchinson 1990), whose spread
    over its random signs is the standard error. Exact if size <= products / 3. `matvec` maps
    float64 (size,) to the product with a symmetric matrix.

    Raises ValueError for fewer than 6 products and for products that are not finite.
    """
    size, products = require_whole("size", size), require_whole("products", products, 6)
    third = products // 3
    rng = np.random.default_rng(seed)

    def times(columns: np.ndarray) -> np.ndarray:
        result = np.stack([np.asarray(matvec(column), np.float64) for column in columns.T], axis=1)
        if not np.isfinite(result).all():
            raise ValueError("matvec must return finite numbers.")
        return result

    if third >= size:
        return TraceEstimate(float(np.trace(times(np.eye(size)))), 0.0, size)
    large = np.linalg.qr(times(_signs(rng, size, third)))[0]
    exact = np.sum(large * times(large))
    probes = _signs(rng, size, third)
    probes -= large @ (large.T @ probes)
    rest = np.sum(probes * times(probes), axis=0)
    return TraceEstimate(
        value=float(exact + rest.mean()),
        standard_error=float(rest.std(ddof=1) / np.sqrt(third)),
        products=3 * third,
    )


def _signs(rng: np.random.Generator, size: int, columns: int) -> np.ndarray:
    return rng.choice([-1.0, 1.0], size=(size, columns))
