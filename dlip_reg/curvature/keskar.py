"""Keskar's sharpness phi: the largest rise of the loss within a small box around the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from dlip_reg.checks import require_positive, require_whole
from dlip_reg.curvature.batch_norm import require_following_statistics
from dlip_reg.curvature.function import Function

_BLOCK = 16384  # rows of A at a time


@dataclass(frozen=True)
class Search:
    """One search for the maximum: the phi of the highest point it saw, and how it ended.

    `failed`: it stopped abnormally, met a loss or gradient that is not finite, or saw no point
    above both f(x) and its own start. `value` is NaN when it saw none above f(x), and 0 only where
    the loss is constant and every gradient zero. `status` says in words how it ended, the
    optimizer's own where there is one; `evaluations` counts gradients.
    """

    name: str
    value: float
    failed: bool
    status: str
    evaluations: int


@dataclass(frozen=True)
class KeskarSharpness:
    """phi as the best of all points seen by any search (NaN if none rose), and every search."""

    value: float
    searches: tuple[Search, ...]


def keskar_sharpness(
    function: Function, epsilon: float = 1e-3, *, subspace: int | None = None, seed: int = 0
) -> KeskarSharpness:
    """Find phi = 100 (max over y in C of f(x + A y) - f(x)) / (1 + f(x)), x being the weights.

    C = {z: |z_i| <= epsilon (|(A^+ x)_i| + 1)} (Keskar et al. 2017, "On large-batch training for
    deep learning", section 2.2.2, metric 2.1). In full space, `subspace=None`, A is the identity.
    With `subspace=p`, A is (P, p) with seeded N(0, 1) entries, stored in 4 P p bytes, and a
    coordinate of A y at a corner of C is a sum of p terms: typically sqrt(p) epsilon, and at most
    about .8 p epsilon, 80 epsilon for p = 100.

    phi is a maximum, so what a search finds is a lower bound. Three are made and each is reported:
    "l-bfgs-b", the paper's, at most 10 iterations; "sign-corner", the corner of C along the sign
    of the gradient at x; "sign-ascent", 10 projected steps of a quarter of the box's half-width
    along the sign of the gradient. The first and the last start at one seeded random point inside
    C: at x itself a minimizer has no gradient. All work in units of the box's half-widths, and
    L-BFGS-B's tolerances (1e-5 on the gradient, 1e-9 on the loss) are relative to the largest
    component of the first gradient, since in the weights' own units a box of 1e-3 and a gradient of
    1e-3 would pass for converged.

    Args:
        function: f, which should be the mean clean training cross-entropy.
        epsilon: The size of C, in units of the coordinates, each plus 1; above 0.
        subspace: p, from 1 to P; None for full space.
        seed: Of A and of the random point.

    Returns:
        phi in per cent, and the searches; NaN, with all searches failed, where f(x) is not finite.

    Raises:
        ValueError: For options out of range, and for moving batch-norm statistics, which are wrong
            at moved weights.
    """
    require_following_statistics(function)
    epsilon = require_positive("epsilon", epsilon)
    x = function.parameters()
    if subspace is not None:
        subspace = require_whole("subspace", subspace, most=x.size)
    rng = np.random.default_rng(seed)
    basis = _Basis() if subspace is None else _RandomBasis(x.size, subspace, rng)
    half_widths = epsilon * (np.abs(basis.coordinates(x)) + 1)
    start = rng.uniform(-1, 1, half_widths.size)
    loss = float(function.value())

    def percent(rise: float) -> float:
        return 100 * rise / (1 + loss)

    searches = []
    for name, search in _SEARCHES.items():
        box = _Box(function, x, loss, basis, half_widths)
        try:
            ended, status = search(box, start)
        except _NotFinite as error:
            ended, status = False, str(error)
        flat = ended and box.flat
        found = percent(box.highest) if box.highest > 0 or flat else math.nan
        failed = not ended or not (flat or box.highest > max(0, box.first))
        searches.append(Search(name, found, failed, status, box.evaluations))
    values = [search.value for search in searches if not math.isnan(search.value)]
    return KeskarSharpness(max(values, default=math.nan), tuple(searches))


class _NotFinite(ArithmeticError):
    """The loss or its gradient is NaN or infinite."""


class _Box:
    """The rise f(x + A y) - f(x) as a function of z in [-1, 1]^p, y = z * half_widths.

    Remembers what one search saw: the `first` and the `highest` rise, and whether all was `flat`.
    """

    def __init__(
        self, function: Function, x: np.ndarray, loss: float, basis: _Basis, half_widths: np.ndarray
    ) -> None:
        self._function, self._x, self._loss = function, x, loss
        self._basis, self._half_widths = basis, half_widths
        self.first, self.highest = math.nan, -math.inf
        self.flat, self.evaluations = True, 0

    def __call__(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        move = self._basis.expand(z * self._half_widths)
        self.evaluations += 1
        loss, gradient = self._function.gradient(self._x + move)
        gradient = self._basis.project(gradient) * self._half_widths
        rise = float(loss) - self._loss
        if not (math.isfinite(rise) and np.isfinite(gradient).all()):
            raise _NotFinite("Met a loss or gradient that is not finite.")
        if self.evaluations == 1:
            self.first = rise
        self.highest = max(self.highest, rise)
        self.flat = self.flat and rise == 0 and not gradient.any()
        return rise, gradient


# Each search tells whether it came to an ordinary end, and its status.


def _lbfgsb(box: _Box, start: np.ndarray) -> tuple[bool, str]:
    unit = 0.0

    def descent(z: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal unit
        rise, gradient = box(z)
        unit = unit or float(np.abs(gradient).max()) or 1.0
        return -rise / unit, -gradient / unit

    result = optimize.minimize(
        descent,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=optimize.Bounds(-np.ones(start.size), np.ones(start.size)),
        options={"maxiter": 10, "gtol": 1e-5, "ftol": 1e-9},
    )
    # 0: converged; 1: ten iterations, as asked for; 2: given up, mostly in the line search.
    return result.status in (0, 1), f"{result.status}: {result.message}"


def _sign_corner(box: _Box, start: np.ndarray) -> tuple[bool, str]:
    _, gradient = box(np.zeros_like(start))
    if not gradient.any():
        return False, "The gradient at x is zero, so it points to no corner."
    box(np.sign(gradient))
    return True, "One step to the corner."


def _sign_ascent(box: _Box, start: np.ndarray, steps: int = 10) -> tuple[bool, str]:
    z = start
    for _ in range(steps):
        _, gradient = box(z)
        z = np.clip(z + 0.25 * np.sign(gradient), -1, 1)
    box(z)
    return True, f"{steps} steps."


_SEARCHES = {"l-bfgs-b": _lbfgsb, "sign-corner": _sign_corner, "sign-ascent": _sign_ascent}


class _Basis:
    """A = I: the full space."""

    def expand(self, y: np.ndarray) -> np.ndarray:
        """A y."""
        return y

    def project(self, gradient: np.ndarray) -> np.ndarray:
        """A^T g."""
        return gradient

    def coordinates(self, x: np.ndarray) -> np.ndarray:
        """A^+ x."""
        return x


class _RandomBasis(_Basis):
    """A with N(0, 1) entries, in single precision; its products are summed in double, by blocks."""

    def __init__(self, size: int, count: int, rng: np.random.Generator) -> None:
        matrix = rng.standard_normal((size, count), dtype=np.float32)
        self._blocks = [matrix[i : i + _BLOCK] for i in range(0, size, _BLOCK)]

    def expand(self, y: np.ndarray) -> np.ndarray:
        return np.concatenate([block.astype(np.float64) @ y for block in self._blocks])

    def project(self, gradient: np.ndarray) -> np.ndarray:
        ends = np.cumsum([len(block) for block in self._blocks])[:-1]
        parts = zip(self._blocks, np.split(gradient, ends), strict=True)
        return sum(block.astype(np.float64).T @ part for block, part in parts)

    def coordinates(self, x: np.ndarray) -> np.ndarray:
        """A^+ x: the least-squares solution of A z = x, by its p normal equations."""
        blocks = (block.astype(np.float64) for block in self._blocks)
        gram = sum(block.T @ block for block in blocks)
        return np.linalg.lstsq(gram, self.project(x))[0]
