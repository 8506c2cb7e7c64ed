"""Extreme eigenvalues, spectrum and trace of a symmetric matrix known by its products alone."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dlip_reg.checks import require_positive, require_whole

Matvec = Callable[[np.ndarray], np.ndarray]

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


@dataclass(frozen=True)
class TraceEstimate:
    """An unbiased estimate of a trace and the standard error of its random part."""

    value: float
    standard_error: float
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


def smallest_eigenvalue(matvec: Matvec, size: int, **options: Any) -> Eigenpair:
    """The smallest (algebraic) eigenvalue; options and all else as in `top_eigenvalue`."""
    pair = top_eigenvalue(lambda vector: -np.asarray(matvec(vector)), size, **options)
    return replace(pair, value=-pair.value)


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


def estimate_trace(
    matvec: Matvec, size: int, *, products: int = 48, seed: int = 0
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


def _signs(rng: np.random.Generator, size: int, columns: int) -> np.ndarray:
    return rng.choice([-1.0, 1.0], size=(size, columns))


class Krylov:
    """A basis from a start (P,) and its products, and the tridiagonal matrix that they are in it.

    `matvec` is the product with a symmetric matrix; all happens in the complement of the
    orthonormal rows `apart`, if there are any. In float64, with two passes of full
    reorthogonalisation. Lanczos 1950; Golub & Van Loan 2013, section 10.1.
    """

    def __init__(self, matvec: Matvec, start: np.ndarray, apart: np.ndarray | None = None) -> None:
        self._matvec = matvec
        self._apart = np.empty((0, start.size)) if apart is None else apart
        self._dimension = start.size - len(self._apart)
        self._basis = np.empty((4, start.size))
        start = _without(self._apart, _without(self._apart, start))
        self._basis[0] = start / _norm(start)
        self._diagonal: list[float] = []
        self._off: list[float] = []  # the last is what the next row is divided by
        self._left: list[float] = []  # norms of what of a product lies along earlier rows than T's
        self.step()

    @property
    def steps(self) -> int:
        """How many products were taken; one at least."""
        return len(self._diagonal)

    @property
    def basis(self) -> np.ndarray:
        """The orthonormal rows that were multiplied, (steps, P)."""
        return self._basis[: self.steps]

    @property
    def ended(self) -> bool:
        """Whether the basis is invariant, so that there is no next step."""
        return self._off[-1] == 0

    def step(self) -> None:
        """One more product; ValueError for one that is not finite."""
        row = self._basis[self.steps]
        product = np.array(self._matvec(row), np.float64)  # a copy, changed below
        if product.shape != row.shape or not np.isfinite(product).all():
            raise ValueError(f"matvec must return {row.size} finite numbers.")
        length, rows = _norm(product), self._basis[: self.steps + 1]
        components = _components(rows, product)
        # Twice is enough (Parlett 1998, section 6.9).
        for _ in range(2):
            product = _without(rows, _without(self._apart, product))
        beta = _norm(product)
        expected = np.zeros(self.steps)
        expected[-1:] = self._off[-1:]
        self._left.append(_norm(components[:-1] - expected))
        self._diagonal.append(components[-1])
        ended = self.steps == self._dimension or beta <= 1e-12 * length
        self._off.append(0.0 if ended else beta)
        self.values, self.vectors = np.linalg.eigh(self._tridiagonal())
        if not ended:
            if self.steps == len(self._basis):
                self._basis = np.concatenate([self._basis, np.empty_like(rows)])
            self._basis[self.steps] = product / beta

    def top(self) -> tuple[float, np.ndarray]:
        """The largest Ritz value and its unit vector (P,)."""
        vector = self.vectors[:, -1] @ self.basis
        return float(self.values[-1]), vector / _norm(vector)

    def ceiling(self) -> float:
        """What no eigenvalue is above, if the start was random, but for a probability of 5 %.

        The next row is p(A) times the start, with p(x) = prod(x - values) / prod(off), and has
        length 1. So the start's component along the vector of an eigenvalue x is at most 1 / |p(x)|
        (van Dorsselaer, Hochstenbach & van der Vorst 2000, section 3), and a random one is below
        0.05 sqrt(pi / 2 dimension) with a probability of at most 5 %.
        """
        if self.ended:
            return float(self.values[-1] + self._unexplained())
        smallest = 0.05 * np.sqrt(np.pi / (2 * self._dimension))
        target = np.log(self._off).sum() - np.log(smallest)
        below = self.values[-1] - self.values
        low, high = 0.0, self._off[-1] / smallest
        while np.log(below + high).sum() < target:
            high *= 2
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if np.log(below + middle).sum() > target else (middle, high)
        return float(self.values[-1] + high + self._unexplained())

    def ceiling_beside(self, rest: float, since: int) -> float:
        """What no eigenvalue is above, if none is above `rest` in the complement of `since` rows.

        In those rows and their complement the matrix is [[T, C'], [C, D]], where C = b q e': b is
        what the next row q is divided by, and e the last unit vector. So no eigenvalue is above an
        l > rest for which l - T - b^2 g(l) e e' is positive, where g(l) = q' (l - D)^-1 q: the
        criterion of the Schur complement (Horn & Johnson 2013, section 7.7). Further steps are
        Lanczos on D from q, and the Gauss-Radau rule with a node at `rest` is no less than g(l)
        (Golub & Meurant 2010, chapter 6). Its matrix is that of those steps with one more row,
        whose corner makes `rest` the largest eigenvalue; put below T, it has the l that is sought
        for its own largest. With no further step the corner is `rest` itself.

        To first order that is beyond the largest Ritz value by (b e's)^2 / (its distance from
        `rest`), s being its vector and b the last: `rest` need not be near to anything. Infinite
        where the further steps have seen an eigenvalue above `rest`.
        """
        if rest == -np.inf:  # there is no complement
            return float(self.values[-1] + self._unexplained())
        rest += 1e-13 * np.abs(self.values).max()  # the same eigenvalue seen by both may round
        pivot = np.inf  # of elimination in `rest` less the matrix of the further steps
        for step in range(since, self.steps):
            pivot = rest - self._diagonal[step] - self._off[step - 1] ** 2 / pivot
            if pivot <= 0:
                return np.inf
        if rest == np.inf:
            return np.inf
        corner = rest - self._off[-1] ** 2 / pivot
        largest = np.linalg.eigvalsh(self._tridiagonal(corner))[-1]
        return float(largest + self._unexplained())

    def _tridiagonal(self, *more: float) -> np.ndarray:
        diagonal = [*self._diagonal, *more]
        off = self._off[: len(diagonal) - 1]
        return np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1)

    def _unexplained(self) -> float:
        # What the recurrence leaves out of the products, rounding and asymmetry, is residual too.
        return float(np.abs(self.vectors[:, -1]) @ self._left)


def _without(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """The vector less what of it lies along the orthonormal rows."""
    return vector - np.einsum("k,kp->p", _components(rows, vector), rows)


# Not by BLAS, whose threads spin on after a call and take the cores from the next product.


def _components(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return np.einsum("kp,p->k", rows, vector)


def _norm(vector: np.ndarray) -> float:
    return float(np.sqrt(np.einsum("p,p->", vector, vector)))
