"""Extreme eigenvalues and the spectrum of a symmetric matrix known by its products alone."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from dlip_reg.checks import require_positive, require_whole
from dlip_reg.curvature.krylov import Krylov, Matvec

_GUESS = 0.25  # of the Ritz values' range


@dataclass(frozen=True)
class Eigenpair:
    """An extreme eigenvalue, its unit vector (P,), and a certificate of how far off it may be.

    The true eigenvalue lies between `value` and `bound` beyond it, but for a probability of at
    most 5 % over the random vector, whatever the spectrum: were there a larger one, that vector
    would have to be all but orthogonal to its own (van Dorsselaer, Hochstenbach & van der Vorst
    2000, section 3). A residual alone says that some eigenvalue is near, not that it is the extreme
    one. The asymmetry and rounding that the products show are part of the bound; an error of theirs
    that is symmetric cannot be seen. `converged` says that the bound is within the tolerance asked
    for.
    """

    value: float
    vector: np.ndarray
    bound: float
    products: int
    converged: bool


@dataclass(frozen=True)
class SpectralDensity:
    """A density of eigenvalues over `grid`, which integrates to 1.

    `nodes` and `weights` are the quadrature before smoothing: f's mean over the eigenvalues is
    about `weights @ f(nodes)`. `bandwidth` is the standard deviation of the smoothing Gaussian.
    """

    grid: np.ndarray
    density: np.ndarray
    nodes: np.ndarray
    weights: np.ndarray
    bandwidth: float
    products: int


def top_eigenvalue(
    matvec: Matvec,
    size: int,
    *,
    tol: float = 1e-3,
    start: np.ndarray | None = None,
    seed: int = 0,
    max_products: int = 100,
) -> Eigenpair:
    """The largest (algebraic) eigenvalue, by Lanczos with full reorthogonalisation.

    `matvec` maps float64 (size,) to the product with a symmetric matrix. Stops once the bound is
    at most tol * |value|, or at `max_products`. The bound rests on a random vector, seeded.

    `start` (size,), such as the vector of an earlier call, saves products if it is close. The bound
    holds whatever it is, for every start has a random vector of its own, whatever it was found
    with; it is infinite if `max_products` ends the search before that vector's turn.

    Raises ValueError for options out of range and for products that are not finite. Lanczos 1950;
    Golub & Van Loan 2013, section 10.1.
    """
    size, max_products = require_whole("size", size), require_whole("max_products", max_products)
    tol = require_positive("tol", tol)
    if start is not None:
        start = np.asarray(start, np.float64)
        if start.shape != (size,) or not np.isfinite(start).all():
            raise ValueError(f"start must be {size} finite numbers.")
    if start is None or not start.any():
        random = np.random.default_rng(seed).normal(size=size)
        return _from_random(matvec, random, tol, max_products)
    # Seeded by the start, too: one found with this very seed is as good as any other.
    random = np.random.default_rng([seed, zlib.crc32(start.tobytes())]).normal(size=size)
    return _from_start(matvec, start, random, tol, max_products)


def smallest_eigenvalue(
    matvec: Matvec,
    size: int,
    *,
    tol: float = 1e-3,
    start: np.ndarray | None = None,
    seed: int = 0,
    max_products: int = 100,
) -> Eigenpair:
    """The smallest (algebraic) eigenvalue; all else as in `top_eigenvalue`."""
    pair = top_eigenvalue(
        lambda vector: -np.asarray(matvec(vector)),
        size,
        tol=tol,
        start=start,
        seed=seed,
        max_products=max_products,
    )
    return Eigenpair(-pair.value, pair.vector, pair.bound, pair.products, pair.converged)


def spectral_density(
    matvec: Matvec,
    size: int,
    *,
    probes: int = 4,
    steps: int = 40,
    points: int = 1000,
    bandwidth: float | None = None,
    seed: int = 0,
) -> SpectralDensity:
    """The density of eigenvalues, by stochastic Lanczos quadrature.

    `probes` random starts of `steps` products each. Smoothed by a Gaussian of standard deviation
    `bandwidth`, in the unit of the eigenvalues (None: 1 % of their range), at `points` places.

    Raises ValueError as `top_eigenvalue`. Ubaru, Chen & Saad 2017; Ghorbani, Krishnan & Xiao 2019.
    """
    size, probes = require_whole("size", size), require_whole("probes", probes)
    steps, points = require_whole("steps", steps), require_whole("points", points, 2)
    rng = np.random.default_rng(seed)
    nodes, weights, products = [], [], 0
    for _ in range(probes):
        krylov = Krylov(matvec, rng.normal(size=size))
        while krylov.steps < steps and not krylov.ended:
            krylov.step()
        nodes.append(krylov.values)
        weights.append(krylov.vectors[0] ** 2 / probes)
        products += krylov.steps
    nodes, weights = np.concatenate(nodes), np.concatenate(weights)
    low, high = nodes.min(), nodes.max()
    if bandwidth is None:
        bandwidth = 0.01 * ((high - low) or abs(high) or 1.0)
    bandwidth = require_positive("bandwidth", bandwidth)
    grid = np.linspace(low - 5 * bandwidth, high + 5 * bandwidth, points)
    density = np.zeros(points)
    for node, weight in zip(nodes, weights, strict=True):
        density += weight * np.exp(-0.5 * ((grid - node) / bandwidth) ** 2)
    # A grid too coarse for the bandwidth would miss some of the mass.
    density /= np.trapezoid(density, grid)
    return SpectralDensity(grid, density, nodes, weights, bandwidth, products)


def _from_random(matvec: Matvec, random: np.ndarray, tol: float, most: int) -> Eigenpair:
    krylov = Krylov(matvec, random)
    while True:
        value, vector = krylov.top()
        bound = krylov.ceiling() - value
        converged = bound <= _allowed(value, tol, krylov)
        if converged or krylov.ended or krylov.steps >= most:
            return Eigenpair(value, vector, bound, krylov.steps, converged)
        krylov.step()


def _from_start(
    matvec: Matvec, start: np.ndarray, random: np.ndarray, tol: float, most: int
) -> Eigenpair:
    """Lanczos from the start, and from the random vector on what is orthogonal to the former.

    The second, `rest`, bounds the eigenvalues in the complement of the first one's basis: as the
    random vector is independent of that, its part in the complement is random there. The bound need
    not be close, only below the eigenvalue that is sought (see `Krylov.ceiling_beside`), which
    saves the products. The complement stays the one that it was when `rest` began, so `near` may go
    on, and each product goes to either.
    """
    near, rest = Krylov(matvec, start), None
    while True:
        value, vector = near.top()
        if rest is None:
            # Where the second eigenvalue may be: this decides on the order of products alone.
            hoped, ceiling = near.values[-1] - _GUESS * np.ptp(near.values), np.inf
            since = products = near.steps
            complete = near.steps == start.size
            if complete:  # so that nothing is orthogonal to it
                hoped = ceiling = -np.inf
        else:
            hoped, ceiling, complete = rest.values[-1], rest.ceiling(), rest.ended
            products = near.steps + rest.steps
            if hoped > value:  # the start has led to another eigenvalue
                value, vector = rest.top()
        bound, allowed = near.ceiling_beside(ceiling, since) - value, _allowed(value, tol, near)
        converged = bound <= allowed
        if converged or products >= most or (near.ended and complete):
            return Eigenpair(value, vector, bound, products, converged)
        # The product goes to where the bound is lost. (What is hoped may be less than is known.)
        lost = near.ceiling_beside(hoped, since) - value
        if complete or (not near.ended and allowed / 2 < lost < np.inf):
            near.step()
        elif rest is None:
            rest = Krylov(matvec, random, apart=near.basis)
        else:
            rest.step()


def _allowed(value: float, tol: float, krylov: Krylov) -> float:
    # An eigenvalue of about 0 has no relative accuracy: there the largest sets the scale.
    return max(tol * abs(value), 1e-6 * float(np.abs(krylov.values).max()))
