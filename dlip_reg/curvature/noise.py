"""The gradient noise scale: how many examples a batch needs before it stops mattering."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dlip_reg.checks import require_whole
from dlip_reg.curvature.function import Function


@dataclass(frozen=True)
class GradientNoise:
    """B_simple and what it is made of.

    `scale` = `trace` / `squared_norm`, in examples; `trace`: tr(Sigma), Sigma the covariance of
    the gradient of one example; `squared_norm`: |G|^2, G the true gradient. Both are unbiased, so
    either may come out negative when the noise is large: `scale` is NaN unless `squared_norm` is
    above 0. `small` and `big` are the two batch sizes, `pairs` the number of big batches.
    """

    scale: float
    trace: float
    squared_norm: float
    small: int
    big: int
    pairs: int


def gradient_noise_scale(
    chunks: Iterable[Function], chunks_per_batch: int | None = None
) -> GradientNoise:
    """B_simple = tr(Sigma) / |G|^2 from gradients at two batch sizes.

    `chunks` yields one function of the same weights for each small batch of examples, disjoint and
    in random order, all with the same number of `examples`. A big batch is `chunks_per_batch` of
    them in a row (None: all of them), its gradient their mean, so every example costs one gradient;
    chunks that do not fill a last big batch are left out. Of every big batch and its small ones
    |G|^2 = (B_b |G_b|^2 - B_s |G_s|^2) / (B_b - B_s) and
    tr(Sigma) = (|G_s|^2 - |G_b|^2) / (1 / B_s - 1 / B_b); each is averaged apart before the ratio
    is taken: McCandlish et al. 2018, "An empirical model of large-batch training", appendix A.1.

    NaN where a gradient is not finite. ValueError for chunks of different sizes, and for fewer than
    two or than fill one big batch.
    """
    if chunks_per_batch is not None:
        require_whole("chunks_per_batch", chunks_per_batch, least=2)
    small, small_norms, big_norms = None, [], []  # squared norms, of complete big batches
    total, norms = 0.0, []
    for chunk in chunks:
        if small is not None and chunk.examples != small:
            raise ValueError(
                f"The noise scale needs chunks of one size, not of {small} and {chunk.examples}."
            )
        small = chunk.examples
        _, gradient = chunk.gradient()
        total = total + gradient
        norms.append(float(gradient @ gradient))
        if len(norms) == chunks_per_batch:
            small_norms.append(np.mean(norms))
            big_norms.append(_squared_mean(total, norms))
            total, norms = 0.0, []
    if chunks_per_batch is None and len(norms) > 1:
        chunks_per_batch = len(norms)
        small_norms, big_norms = [np.mean(norms)], [_squared_mean(total, norms)]
    if not big_norms:
        raise ValueError(
            "The noise scale needs two chunks or more, and as many as one big batch takes."
        )
    big = small * chunks_per_batch
    small_norm, big_norm = np.mean(small_norms), np.mean(big_norms)
    squared_norm = float((big * big_norm - small * small_norm) / (big - small))
    trace = float((small_norm - big_norm) / (1 / small - 1 / big))
    scale = trace / squared_norm if squared_norm > 0 else math.nan
    return GradientNoise(scale, trace, squared_norm, small, big, len(big_norms))


def _squared_mean(total: np.ndarray, norms: list[float]) -> float:
    return float(total @ total) / len(norms) ** 2
