"""The gradient noise scale: how many examples a batch needs before it stops mattering."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dlip_reg.curvature.function import Chunk


@dataclass(frozen=True)
class GradientNoise:
    """B_simple and what it is made of.

    `scale` = `trace` / `squared_norm`, in examples; `trace`: tr(Sigma), Sigma the covariance of
    the gradient of one example; `squared_norm`: |G|^2, G the true gradient. Both are unbiased, so
    either may come out negative when the noise is large: `scale` is NaN unless `squared_norm` is
    above 0.
    """

    scale: float
    trace: float
    squared_norm: float


def gradient_noise_scale(chunks: Iterable[Chunk]) -> GradientNoise:
    """Estimate B_simple = tr(Sigma) / |G|^2 from gradients at two batch sizes.

    The big batch is all of the small ones, its gradient their mean, so every example costs one
    gradient. With both
    |G|^2 = (B_b |G_b|^2 - B_s |G_s|^2) / (B_b - B_s) and
    tr(Sigma) = (|G_s|^2 - |G_b|^2) / (1 / B_s - 1 / B_b): McCandlish et al. 2018, "An empirical
    model of large-batch training", appendix A.1. To average over several big batches, average
    trace and squared norm apart before the ratio is taken.

    Args:
        chunks: One function of the same weights for each small batch of examples, disjoint and in
            random order, all with the same number of `examples`.

    Returns:
        NaN where a gradient is not finite.

    Raises:
        ValueError: For chunks of different sizes, and for fewer than two.
    """
    sizes: list[int] = []
    norms: list[float] = []
    total = np.zeros(1)
    for chunk in chunks:
        sizes.append(chunk.examples)
        if len(set(sizes)) > 1:
            raise ValueError(
                f"The noise scale needs chunks of one size, not of {sizes[0]} and {sizes[-1]}."
            )
        _, gradient = chunk.gradient()
        total = total + gradient
        norms.append(float(gradient @ gradient))
    if len(norms) < 2:
        raise ValueError("The noise scale needs two chunks or more.")
    small, big = sizes[0], sum(sizes)
    small_norm = float(np.mean(norms))
    big_norm = float(total @ total) / len(norms) ** 2
    squared_norm = float((big * big_norm - small * small_norm) / (big - small))
    trace = float((small_norm - big_norm) / (1 / small - 1 / big))
    scale = trace / squared_norm if squared_norm > 0 else math.nan
    return GradientNoise(scale, trace, squared_norm)
