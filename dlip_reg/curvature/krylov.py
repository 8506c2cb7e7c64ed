"""The Lanczos process: a basis from one vector, and what it tells of eigenvalues not in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Matvec = Callable[[np.ndarray], np.ndarray]


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
