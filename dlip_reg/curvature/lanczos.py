"""Extreme eigenvalues, spectrum and trace of a symmetric matrix known by its products alone."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dlip_reg.checks import require_positive, require_whole

Matvec = Callable[[np.ndarray], np.ndarray]

_GUESS = 0.25  # of the Ritz values' range
_APPROXIMATE = 0.02  # tolerance of a search in a matrix that is only close
MEMORY = 1e9  # bytes of Lanczos vectors


@dataclass(frozen=True)
class Eigenpair:
    """An extreme eigenvalue, its unit vector (P,), and a certificate of how far off it may be.

    The true eigenvalue lies between `value` and `bound` beyond it, but for a probability of at
    most 5 % over the random vector, whatever the spectrum: were there a larger one, that vector
    would have to be all but orthogonal to its own (van Dorsselaer, Hochstenbach & van der Vorst
    2000, section 3). A residual alone says that some eigenvalue is near, not that it is the extreme
    one. The asymmetry and rounding that the products show are part of the bound; an error of theirs
    that is symmetric cannot be seen. Vectors in single precision, which a large matrix has, may
    round `value` to above the true eigenvalue, by some 1e-7 of the one that is largest in absolute
    value at most. `converged` says that the bound is within the tolerance asked for.
    """

    value: float
    vector: np.ndarray
    bound: float
    products: int
    converged: bool


@dataclass(frozen=True)
class Eigenpairs:
    """The k largest eigenvalues, falling, each with a certificate like that of `Eigenpair`.

    The i-th largest eigenvalue lies between `values[i]` and `bounds[i]` beyond it, all of them at
    once but for a probability of at most 5 %. `values` and `bounds` have shape (k,), `vectors`
    (k, P), orthonormal; `converged` says that every bound is within the tolerance asked for.
    """

    values: np.ndarray
    vectors: np.ndarray
    bounds: np.ndarray
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


def top_eigenvalues(
    matvec: Matvec,
    size: int,
    k: int = 1,
    *,
    tol: float = 1e-3,
    start: np.ndarray | None = None,
    approximate: Matvec | None = None,
    seed: int = 0,
    max_products: int = 100,
    certificate: bool = True,
    memory: float = MEMORY,
) -> Eigenpairs:
    """Find the k largest (algebraic) eigenvalues, by Lanczos with full reorthogonalization.

        matrix = np.diag([5.0, 4.0, 1.0, 0.0])
        top_eigenvalues(lambda vector: matrix @ vector, 4, k=2).values  # 5, 4

    Args:
        matvec: Maps float64 (size,) to the product with a symmetric matrix.
        size: The number of rows of the matrix.
        k: How many eigenvalues. One that occurs several times counts as often; the bounds of those
            that follow it stay wide.
        tol: Stop once every bound is at most `tol` times its eigenvalue's absolute value.
        start: A vector (size,), such as the sum of the vectors of an earlier call. It saves
            products if it is close. The bounds hold whatever it is, for every start has a random
            vector of its own, whatever it was found with; they are infinite if `max_products` ends
            the search before that vector's turn.
        approximate: A product with a matrix that is close and costs less, such as the Hessian over
            an eighth of the examples. Without a start the search begins with what it has, which
            saves products with the matrix itself and leaves the bounds as good.
        seed: Of the random vector that the bounds rest on.
        max_products: The most products.
        certificate: False for no bounds (NaN). The search then stops where the residuals say that
            eigenvalues are close, which with a good start takes two or three products; it may be
            another eigenvalue than the largest.
        memory: The most bytes of Lanczos vectors to keep, of which there is one for each product.
            Where not all of them fit they are kept in single precision, and where that is not
            enough the search restarts from what it has found, with a new random vector, so that
            the 5 % hold for each restart.

    Raises:
        ValueError: For options out of range and for products that are not finite.

    Source: Lanczos 1950; Golub & Van Loan 2013, section 10.1. Bounds: `Krylov.ceiling` and
    `Krylov.ceilings_beside`.
    """
    size, max_products = require_whole("size", size), require_whole("max_products", max_products)
    k = require_whole("k", k, most=size)
    tol, memory = require_positive("tol", tol), require_positive("memory", memory)
    if start is None and approximate is not None:
        close = top_eigenvalues(
            approximate,
            size,
            k,
            tol=max(tol, _APPROXIMATE),
            seed=seed,
            max_products=max_products,
            certificate=False,
            memory=memory,
        )
        start = close.vectors.sum(axis=0)
    if start is not None:
        start = np.asarray(start, np.float64)
        if start.shape != (size,) or not np.isfinite(start).all():
            raise ValueError(f"start must be {size} finite numbers.")
    capacity = vectors_in(memory, size, k)
    dtype = "float64" if capacity >= max_products else "float32"
    if dtype == "float32":
        capacity *= 2
    vector, is_random = start, start is None or not start.any()
    restarts = 0
    if vector is None or is_random:
        # Not the numbers that the seed alone gives, of which the user's data may be made.
        vector = np.random.default_rng([seed, size]).normal(size=size)
    products = 0
    while True:
        most = min(capacity, max_products - products)
        vector = vector.astype(dtype, copy=False)
        if is_random and k == 1 and certificate:
            found, ended = _from_random(matvec, vector, tol, most, dtype)
        else:
            # Seeded by the start, too: one found with this very seed is as good as any other.
            rng = np.random.default_rng([seed, zlib.crc32(np.ascontiguousarray(vector).data)])
            source = rng if certificate else None
            # A restart may find an eigenvalue that was missed, but no further copy of one.
            may_stop = restarts < k
            found, ended = _from_start(matvec, vector, source, k, tol, most, dtype, may_stop)
        products += found.products
        # Cut off before it has seen k values and bounds, a restart would know less than is known.
        if found.converged or ended or max_products - products < k + 4:
            return replace(found, products=products)
        vector, is_random = found.vectors.sum(axis=0), False
        restarts += 1
        del found  # which takes memory


def vectors_in(memory: float, size: int, k: int = 1) -> int:
    """Return how many float64 vectors fit, or the least that a search for k values needs if fewer.

    Args:
        memory: In bytes.
        size: The length of a vector.
        k: How many eigenvalues are sought.
    """
    return max(k + 4, int(memory / (8 * size)))


def top_eigenvalue(matvec: Matvec, size: int, **options: Any) -> Eigenpair:
    """Find the largest (algebraic) eigenvalue.

    Args:
        matvec: Maps float64 (size,) to the product with a symmetric matrix.
        size: The number of rows of the matrix.
        options: Those of `top_eigenvalues`, but for `k`.

    Raises:
        ValueError: As `top_eigenvalues`.
    """
    found = top_eigenvalues(matvec, size, **options)
    value, bound = float(found.values[0]), float(found.bounds[0])
    return Eigenpair(value, found.vectors[0], bound, found.products, found.converged)


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
    """Estimate the density of eigenvalues, by stochastic Lanczos quadrature.

    Args:
        matvec: Maps float64 (size,) to the product with a symmetric matrix.
        size: The number of rows of the matrix.
        probes: The number of random starts.
        steps: The number of products of each start.
        points: At how many places the density is given, 2 or more.
        bandwidth: The standard deviation of the smoothing Gaussian, in the unit of the eigenvalues;
            None for 1 % of their range.
        seed: Of the random starts.

    Raises:
        ValueError: For options out of range and for products that are not finite.

    Source: Ubaru, Chen & Saad 2017; Ghorbani, Krishnan & Xiao 2019.
    """
    size, probes = require_whole("size", size), require_whole("probes", probes)
    steps, points = require_whole("steps", steps), require_whole("points", points, 2)
    rng = np.random.default_rng([seed, size])  # as in `top_eigenvalues`
    pairs = []
    for _ in range(probes):
        krylov = Krylov(matvec, rng.normal(size=size), steps)
        while krylov.steps < steps and not krylov.ended:
            krylov.step()
        pairs.append([krylov.values, krylov.vectors[0] ** 2 / probes])
    nodes, weights = np.concatenate(pairs, axis=1)
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
    return SpectralDensity(grid, density, nodes, weights, bandwidth, products=len(nodes))


def estimate_trace(
    matvec: Matvec, size: int, *, products: int = 48, seed: int = 0
) -> TraceEstimate:
    """Estimate the trace, by Hutch++ (Meyer, Musco, Musco & Woodruff 2021).

    A third of the products finds the directions in which the matrix is largest, a third takes the
    trace over them exactly, and a third estimates what is left (Hutchinson 1990), whose spread
    over its random signs is the standard error. Exact if size <= products / 3.

    Args:
        matvec: Maps float64 (size,) to the product with a symmetric matrix.
        size: The number of rows of the matrix.
        products: The most products, 6 or more.
        seed: Of the random signs.

    Raises:
        ValueError: For options out of range and for products that are not finite.
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


def _from_random(
    matvec: Matvec, random: np.ndarray, tol: float, most: int, dtype: str
) -> tuple[Eigenpairs, bool]:
    """Lanczos from a random vector; and whether there is no more to be found."""
    krylov = Krylov(matvec, random, most, dtype=dtype)
    while True:
        values, bounds = krylov.values[-1:], np.array([krylov.ceiling()]) - krylov.values[-1]
        converged = bool(bounds <= _allowed(values, tol, krylov))
        if converged or krylov.ended or krylov.steps >= most:
            vectors = krylov.vectors_of(1)
            return Eigenpairs(values, vectors, bounds, krylov.steps, converged), krylov.ended
        krylov.step()


def _from_start(
    matvec: Matvec,
    start: np.ndarray,
    rng: np.random.Generator | None,
    k: int,
    tol: float,
    most: int,
    dtype: str,
    may_stop: bool,
) -> tuple[Eigenpairs, bool]:
    """Lanczos from the start, and from a random vector on what is orthogonal to the former.

    The second, `rest`, bounds the eigenvalues in the complement of the first one's basis: as the
    random vector is independent of that, its part in the complement is random there. The bound need
    not be close, only below the eigenvalues that are sought (see `Krylov.ceilings_beside`), which
    saves the products. The complement stays the one that it was when `rest` began, so `near` may go
    on, and each product goes to either. Without an `rng` there is no `rest` and no bound.
    If it `may_stop` it does where an eigenvalue that is sought is seen to be missing from `near`.
    Returned is also whether there is no more to be found: a start from what was found may do better
    where `near` was still without one of the eigenvalues when `rest` began.
    """
    near = Krylov(matvec, start, most, dtype=dtype, least=k)
    rest: Krylov | None = None
    while True:
        values = near.values[::-1][:k]
        vectors: Callable[[], np.ndarray] = functools.partial(near.vectors_of, k)
        if rest is None:
            # Where the next eigenvalue may be: this decides on the order of products alone.
            expected, ceiling = values[-1] - _GUESS * np.ptp(near.values), np.inf
            if k > 1:  # the next Ritz value is below the next eigenvalue
                expected = max([expected, *near.values[::-1][k : k + 1]])
            since = products = near.steps
            complete = near.steps == start.size
            if complete:  # so that nothing is orthogonal to it
                expected = ceiling = -np.inf
        else:
            expected, ceiling, complete = rest.values[-1], rest.ceiling(), rest.ended
            products = near.steps + rest.steps
            if expected > values[-1] or len(values) < k:  # the start led to other eigenvalues
                both, both_vectors = _of_both(near, since, rest, k)
                if len(values) < len(both) or both.sum() > values.sum():
                    values, vectors = both, both_vectors
        few = len(values) < k and not near.ended
        allowed = _allowed(values, tol, near)
        # What is lost if the next eigenvalue is as expected. (That may be less than is known.)
        lost = near.ceilings_beside(expected, since, len(values)) - values
        if rng is None:
            bounds = np.full(len(values), np.nan)
            converged = not few and near.steps > 1 and bool(np.all(lost <= allowed))
        else:
            bounds = near.ceilings_beside(ceiling, since, len(values)) - values
            converged = len(values) == k and bool(np.all(bounds <= allowed))
        ended = near.ended and (complete or rng is None)
        hopeless = may_stop and k > 1 and rest is not None and expected - values[-1] > allowed[-1]
        if converged or products >= most or ended or hopeless:
            # Fewer where `most` is too small, or an invariant basis.
            missing = k - len(values)
            found = Eigenpairs(
                values=np.append(values, np.full(missing, -np.inf)),
                vectors=np.concatenate([vectors(), np.zeros((missing, start.size))]),
                bounds=np.append(bounds, np.full(missing, np.inf)),
                products=products,
                converged=converged,
            )
            return found, ended
        # The product goes to where the bound is lost.
        close = np.all(lost < np.inf) and np.any(lost > allowed / 2)
        if rng is None or (not near.ended and (few or complete or close)):
            near.step()
        elif rest is None:
            random = rng.normal(size=start.size)
            rest = Krylov(matvec, random, most, apart=near.basis, dtype=dtype)
            del random  # which takes memory
        else:
            rest.step()


def _of_both(
    near: Krylov, since: int, rest: Krylov, k: int
) -> tuple[np.ndarray, Callable[[], np.ndarray]]:
    """The k largest Ritz values of `near` as it was and `rest` together, and what finds vectors."""
    matrix = np.zeros((since + rest.steps,) * 2)
    matrix[:since, :since] = near.matrix(since)
    matrix[since:, since:] = rest.matrix(rest.steps)
    # What the rows of `near` are multiplied to has a part beyond them along its next row alone.
    matrix[since - 1, since:] = matrix[since:, since - 1] = near.next_components(since, rest.basis)
    values, coefficients = np.linalg.eigh(matrix)
    coefficients = coefficients.T[::-1][:k]

    def vectors() -> np.ndarray:
        own = coefficients.astype(near.basis.dtype)  # or else the basis would be copied
        return own[:, :since] @ near.basis[:since] + own[:, since:] @ rest.basis

    return values[::-1][:k], vectors


def _allowed(values: np.ndarray, tol: float, krylov: Krylov) -> np.ndarray:
    # An eigenvalue of about 0 has no relative accuracy: there the largest sets the scale.
    return np.maximum(tol * np.abs(values), 1e-6 * float(np.abs(krylov.values).max()))


def _signs(rng: np.random.Generator, size: int, columns: int) -> np.ndarray:
    return rng.choice([-1.0, 1.0], size=(size, columns))


class Krylov:
    """A basis from a start (P,) and its products, and the tridiagonal matrix that they are in it.

    In float64, with two passes of full reorthogonalization. Lanczos 1950; Golub & Van Loan 2013,
    section 10.1.

    Args:
        matvec: Maps float64 (P,) to the product with a symmetric matrix.
        start: A vector (P,), which is not zero.
        most: The largest number of products.
        apart: Orthonormal rows (m, P), in whose complement all happens; None for none.
        dtype: The precision that the basis is kept in.
        least: How many rows it goes on to have, from further random vectors where those of the
            start span an invariant subspace of fewer.
    """

    def __init__(
        self,
        matvec: Matvec,
        start: np.ndarray,
        most: int,
        apart: np.ndarray | None = None,
        dtype: str = "float64",
        least: int = 1,
    ) -> None:
        self._matvec = matvec
        self._least = least
        self._apart = np.empty((0, start.size)) if apart is None else apart
        self._dimension = start.size - len(self._apart)
        # Rows that are not used yet take no memory.
        self._basis = np.empty((most + 1, start.size), dtype)
        start = _without(self._apart, _without(self._apart, start))
        self._basis[0] = start / _norm(start)
        self.ended = False  # the basis is invariant, so that there is no next step
        self._largest = 0.0  # norm of a product
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

    def step(self) -> None:
        """One more product; ValueError for one that is not finite."""
        row = self._basis[self.steps]
        product = np.asarray(self._matvec(row.astype(np.float64, copy=False)), np.float64)
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
        self._largest = max(self._largest, length)
        is_invariant = beta <= 1e-12 * self._largest
        self.ended = self.steps == self._dimension or (is_invariant and self.steps >= self._least)
        self._off.append(0.0 if self.ended or is_invariant else beta)
        self.values, self.vectors = np.linalg.eigh(self.matrix(self.steps))
        if is_invariant and not self.ended:
            # Of other numbers than those that a search or, by a plain seed, the user's data are of.
            product = np.random.default_rng([self.steps, row.size, 1]).normal(size=row.size)
            for _ in range(2):
                product = _without(rows, _without(self._apart, product))
            beta = _norm(product)
        if not self.ended:
            self._basis[self.steps] = product / beta

    def vectors_of(self, k: int) -> np.ndarray:
        """The unit vectors (k, P) of the largest Ritz values, or as many as there are."""
        vectors = np.einsum("sk,sp->kp", self.vectors[:, ::-1][:, :k], self.basis)
        return vectors / np.sqrt(np.einsum("kp,kp->k", vectors, vectors))[:, None]

    def next_components(self, steps: int, rows: np.ndarray) -> np.ndarray:
        """The components along other `rows` of what row `steps` - 1 is multiplied to."""
        if self._off[steps - 1] == 0:
            return np.zeros(len(rows))
        return self._off[steps - 1] * _components(rows, self._basis[steps].astype(np.float64))

    def ceiling(self) -> float:
        """What no eigenvalue is above, if the start was random, but for a probability of 5 %.

        The next row is p(A) times the start, with p(x) = prod(x - values) / prod(off), and has
        length 1. So the start's component along the vector of an eigenvalue x is at most 1 / |p(x)|
        (van Dorsselaer, Hochstenbach & van der Vorst 2000, section 3), and a random one is below
        0.05 sqrt(pi / 2 dimension) with a probability of at most 5 %.
        """
        if self.ended:
            return float(self.values[-1] + self._unexplained()[0])
        smallest = 0.05 * np.sqrt(np.pi / (2 * self._dimension))
        target = np.log(self._off).sum() - np.log(smallest)
        below = self.values[-1] - self.values
        low, high = 0.0, self._off[-1] / smallest
        while np.log(below + high).sum() < target:
            high *= 2
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if np.log(below + middle).sum() > target else (middle, high)
        return float(self.values[-1] + high + self._unexplained()[0])

    def ceilings_beside(self, rest: float, since: int, k: int = 1) -> np.ndarray:
        """What the k largest eigenvalues are not above, if none in the complement is above `rest`.

        The complement is that of the first `since` rows. In those rows and their complement the
        matrix is [[T, C'], [C, D]], where C = b q e': b is what the next row q is divided by, and e
        the last unit vector. For an l > rest the matrix has as many eigenvalues above l as
        T + b^2 g(l) e e' has, where g(l) = q' (l - D)^-1 q: the inertia of the Schur complement
        (Horn & Johnson 2013, section 7.7). Further steps are Lanczos on D from q, and the
        Gauss-Radau rule with a node at `rest` is no less than g(l) (Golub & Meurant 2010, chapter
        6). Its matrix is that of those steps with one more row, whose corner makes `rest` the
        largest eigenvalue; put below T, it has no fewer eigenvalues above l than the whole. With no
        further step the corner is `rest` itself.

        To first order that is beyond a Ritz value by (b e's)^2 / (its distance from `rest`), s
        being its vector and b the last: `rest` need not be near to anything.

        Args:
            rest: What no eigenvalue in the complement is above; -infinity if there is none.
            since: How many rows the basis had when the complement was fixed.
            k: How many eigenvalues.

        Returns:
            The ceilings (k,), falling; infinite where the further steps have seen an eigenvalue
            above `rest`.
        """
        unexplained = self._unexplained(k)
        if rest == -np.inf:  # there is no complement
            return self.values[::-1][:k] + unexplained
        # The same eigenvalue seen by both may round.
        rest += 1e-13 * np.abs(self.values).max() + self._rounding()
        pivot = np.inf  # of elimination in `rest` less the matrix of the further steps
        for step in range(since, self.steps):
            pivot = rest - self._diagonal[step] - self._off[step - 1] ** 2 / pivot
            if pivot <= 0:
                return np.full(k, np.inf)
        if rest == np.inf:
            return np.full(k, np.inf)
        corner = rest - self._off[-1] ** 2 / pivot
        largest = np.linalg.eigvalsh(self.matrix(self.steps, corner))[::-1][:k]
        # There are not more eigenvalues above `rest` than the matrix has rows.
        ceilings = np.append(largest, np.full(k - len(largest), rest))
        return np.maximum(ceilings, rest) + unexplained

    def matrix(self, steps: int, *more: float) -> np.ndarray:
        """The tridiagonal matrix of the first steps, and below it `more` of the diagonal."""
        diagonal = [*self._diagonal[:steps], *more]
        off = self._off[: len(diagonal) - 1]
        return np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1)

    def _unexplained(self, k: int = 1) -> np.ndarray:
        """For each of the k largest, what the recurrence leaves out of the products."""
        # Rounding and asymmetry are residual, too.
        left = np.asarray(self._left) + self._rounding()
        found = left @ np.abs(self.vectors[:, ::-1][:, :k])
        return np.append(found, np.full(k - len(found), np.max(found)))

    def _rounding(self) -> float:
        """What rounding a row to single precision may change its product by."""
        if self._basis.dtype == np.float64:
            return 0.0  # the components along earlier rows show it
        return float(np.finfo(self._basis.dtype).eps * np.abs(self.values).max())


def _without(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """The vector less what of it lies along the orthonormal rows."""
    along = np.einsum("k,kp->p", _components(rows, vector), rows)
    return np.subtract(vector, along, out=along)  # no further vector of that length


# Not by BLAS, whose threads spin on after a call and take the cores from the next product.


def _components(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return np.einsum("kp,p->k", rows, vector)


def _norm(vector: np.ndarray) -> float:
    return float(np.sqrt(np.einsum("p,p->", vector, vector)))
