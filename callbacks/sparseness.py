"""Hoyer's measure of sparseness."""

from __future__ import annotations

from typing import Any

import numpy as np


def hoyer(values: Any) -> float:
    """Return the Hoyer sparseness of a vector x of n values.

    It is (sqrt(n) - |x|_1 / |x|_2) / (sqrt(n) - 1): 0 if all absolute values are equal, 1 if a
    single value is not zero, and the same for every multiple of x.

    Args:
        values: An array of any shape.

    Returns:
        A number from 0 to 1; NaN where the measure is undefined: for fewer than two values, for
        zeros alone, and for values that are not finite.

    Source: Hoyer 2004, "Non-negative matrix factorization with sparseness constraints", JMLR 5,
    section 3.1.
    """
    sizes = np.abs(np.asarray(values, np.float64))
    with np.errstate(invalid="ignore"):  # squares of scaled values cannot overflow
        sizes = sizes / np.max(sizes, initial=0.0)
        return float(from_norms(sizes.size, np.sum(sizes), np.sqrt(np.sum(sizes**2))))


def from_norms(n: Any, l1: Any, l2: Any) -> Any:
    """Return the sparseness of n values with these norms, NumPy's or TensorFlow's float64."""
    root = n**0.5
    return (root - l1 / l2) / (root - 1)
