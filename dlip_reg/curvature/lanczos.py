"""Extreme eigenvalues of a symmetric matrix known by its products alone."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dlip_reg.checks import require_positive, require_whole
from dlip_reg.curvature.krylov import Krylov, Matvec

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
