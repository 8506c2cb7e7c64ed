"""Spectral density and trace of a symmetric matrix known by its products alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dlip_reg.checks import require_positive, require_whole
from dlip_reg.curvature.krylov import Krylov, Matvec


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
    with np.errstate(under="ignore"):  # far from a node
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


def _signs(rng: np.random.Generator, size: int, columns: int) -> np.ndarray:
    return rng.choice([-1.0, 1.0], size=(size, columns))
