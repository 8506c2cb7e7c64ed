"""Extreme eigenvalues and the spectrum of a symmetric matrix known by its products alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from dlip_reg.curvature.function import require_positive, require_whole

Matvec = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Eigenpair:
    """An extreme eigenvalue, its unit vector (P,), and a certificate of how far off it may be.

    The true eigenvalue lies between `value` and `bound` beyond it, but for a probability of at
    most 5 % over the random start, whatever the spectrum: were there a larger one, the start would
    have to be all but orthogonal to its vector (van Dorsselaer, Hochstenbach & van der Vorst 2000,
    section 3). A residual alone says that some eigenvalue is near, not that it is the extreme one.
    The asymmetry and rounding that the products show are part of the bound; an error of theirs that
    is symmetric cannot be seen. `converged` says that the bound is within the tolerance asked for.
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
    at most tol * |value|, or at `max_products`. `start` (size,), such as an earlier call's vector,
    is taken together with a seeded random vector of the same length, which keeps the bound valid.

    Raises ValueError for options out of range and for products that are not finite. Lanczos 1950;
    Golub & Van Loan 2013, section 10.1.
    """
    size, max_products = require_whole("size", size), require_whole("max_products", max_products)
    tol = require_positive("tol", tol)
    first, share = _start(size, start, seed)
    for krylov in _lanczos(matvec, size, first):
        values, vectors = krylov.ritz_pairs()
        theta, coefficients = values[-1], vectors[:, -1]
        # What the recurrence left out of the products (rounding, asymmetry) is residual as well.
        bound = _excess(values, krylov.off, size, share) + np.abs(coefficients) @ krylov.left
        # An eigenvalue of about 0 has no relative accuracy: there the largest sets the scale.
        converged = bound <= max(tol * abs(theta), 1e-6 * np.abs(values).max())
        if converged or krylov.steps >= max_products:
            break
    vector = coefficients @ krylov.basis[: krylov.steps]
    return Eigenpair(
        value=float(theta),
        vector=vector / np.linalg.norm(vector),
        bound=float(bound),
        products=krylov.steps,
        converged=bool(converged),
    )


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
        for krylov in _lanczos(matvec, size, rng.normal(size=size)):
            if krylov.steps == steps:
                break
        values, vectors = krylov.ritz_pairs()
        nodes.append(values)
        weights.append(vectors[0] ** 2 / probes)
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


def _start(size: int, start: np.ndarray | None, seed: int) -> tuple[np.ndarray, float]:
    """The unit start, and the share of it that is random."""
    random = np.random.default_rng(seed).normal(size=size)
    random /= np.linalg.norm(random)
    if start is None:
        return random, 1.0
    start = np.asarray(start, np.float64)
    if start.shape != (size,) or not np.isfinite(start).all():
        raise ValueError(f"start must be {size} finite numbers.")
    both = random + start / (np.linalg.norm(start) or 1.0)
    return both / np.linalg.norm(both), 1 / np.linalg.norm(both)


def _excess(values: np.ndarray, off: list[float], size: int, share: float) -> float:
    """How far above the largest Ritz value an eigenvalue may lie unseen.

    Lanczos' next row is p(A) times the start, with p(x) = prod(x - values) / prod(off), and has
    length 1. So the start's component along the vector of an eigenvalue x is at most 1 / |p(x)|,
    and a random one is below 0.05 sqrt(pi / 2 size) with a probability of at most 5 %.
    """
    if off[-1] == 0:
        return 0.0
    smallest = 0.05 * share * np.sqrt(np.pi / (2 * size))
    target = np.log(off).sum() - np.log(smallest)
    below = values[-1] - values
    low, high = 0.0, off[-1] / smallest
    while np.log(below + high).sum() < target:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if np.log(below + middle).sum() > target else (middle, high)
    return high


@dataclass(frozen=True)
class _Krylov:
    """Where Lanczos stands: basis rows, and the tridiagonal matrix that the products are in them.

    `off[-1]` is what the next row is divided by; 0 means that the basis is invariant, and there is
    no next. `left[j]` is the norm of what of product j lies along earlier rows than those in T.
    """

    basis: np.ndarray
    diagonal: list[float]
    off: list[float]
    left: list[float]

    @property
    def steps(self) -> int:
        return len(self.diagonal)

    def ritz_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        off = self.off[:-1]
        return np.linalg.eigh(np.diag(self.diagonal) + np.diag(off, 1) + np.diag(off, -1))


def _lanczos(matvec: Matvec, size: int, start: np.ndarray) -> Iterator[_Krylov]:
    """The state after each product, in float64 with two passes of full reorthogonalisation."""
    krylov = _Krylov(np.empty((4, size)), [], [], [])
    krylov.basis[0] = start / np.linalg.norm(start)
    for step in range(size):
        product = np.array(matvec(krylov.basis[step]), np.float64)  # a copy, changed below
        if product.shape != (size,) or not np.isfinite(product).all():
            raise ValueError(f"matvec must return {size} finite numbers.")
        length = _norm(product)
        rows = krylov.basis[: step + 1]
        components = _components(rows, product)
        product -= np.einsum("k,kp->p", components, rows)
        # Twice is enough (Parlett 1998, section 6.9).
        product -= np.einsum("k,kp->p", _components(rows, product), rows)
        beta = _norm(product)
        last = step + 1 == size or beta <= 1e-12 * length
        earlier = components[:-1] - np.append(np.zeros(max(step - 1, 0)), krylov.off[-1:])
        krylov.diagonal.append(components[-1])
        krylov.left.append(np.linalg.norm(earlier))
        krylov.off.append(0.0 if last else beta)
        yield krylov
        if last:
            return
        if step + 1 == len(krylov.basis):
            krylov = replace(krylov, basis=np.concatenate([krylov.basis, np.empty_like(rows)]))
        krylov.basis[step + 1] = product / beta


# Not by BLAS, whose threads spin on after a call and take the cores from the next product.


def _components(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return np.einsum("kp,p->k", rows, vector)


def _norm(vector: np.ndarray) -> float:
    return float(np.sqrt(np.einsum("p,p->", vector, vector)))
