"""Lanczos' recurrence, and what it says about eigenvalues that it has not seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Matvec = Callable[[np.ndarray], np.ndarray]


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
