"""How far the loss rises close to the present weights: SAM sharpness and adaptive sharpness.

All of them move the weights, so with batch normalization the function must normalise by batch
statistics (`LossFunction(..., batch_norm="batch")`): ValueError for moving statistics, which are
wrong at any other weights. A loss or gradient that is not finite gives NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dlip_reg.checks import require_positive, require_whole
from dlip_reg.curvature.batch_norm import require_following_statistics
from dlip_reg.curvature.function import Function


@dataclass(frozen=True)
class AscentSharpness:
    """The rise `value` = `perturbed_loss` - `loss` after one ascent step of size `rho`."""

    value: float
    loss: float
    perturbed_loss: float
    rho: float
    gradient_norm: float


@dataclass(frozen=True)
class AverageSharpness:
    """A mean of rises, its standard error (NaN for one value), and the rises themselves."""

    value: float
    standard_error: float
    values: tuple[float, ...]


def sam_sharpness(function: Function, rho: float = 0.05) -> AscentSharpness:
    """SAM sharpness f(w + rho g / |g|) - f(w), with g the gradient at w.

    Foret et al. 2021, "Sharpness-aware minimization", equation 2 and section 2. NaN where the
    gradient is zero: there is no direction to step in.
    """
    return _ascent(function, rho, adaptive=False)


def adaptive_sharpness(function: Function, rho: float = 0.5) -> AscentSharpness:
    """Adaptive worst-case sharpness f(w + e) - f(w), e = rho T^2 g / |T g| with T = diag |w|.

    The first-order solution of max f(w + e) over |T^-1 e| <= rho: Kwon et al. 2021, "ASAM",
    section 4, with no constant added to T, so that it does not change when one ReLU layer is scaled
    by a and the next by 1/a (Dinh et al. 2017). Weights of zero stay where they are. NaN where
    T g is zero.
    """
    return _ascent(function, rho, adaptive=True)


def m_sam_sharpness(chunks: Iterable[Function], rho: float = 0.05) -> AverageSharpness:
    """m-sharpness: the mean over chunks of m examples of each chunk's own SAM sharpness.

    `chunks` yields one function of the same weights for each chunk of examples; every one steps
    along its own gradient and measures its own loss, and counts by its `examples` (Foret et al.
    2021, section 4.1). NaN as soon as one chunk's is. ValueError for no chunk.
    """
    rises, examples = [], []
    for chunk in chunks:
        rises.append(sam_sharpness(chunk, rho).value)
        examples.append(chunk.examples)
    if not rises:
        raise ValueError("m-SAM sharpness needs one chunk of examples or more.")
    return AverageSharpness(float(np.average(rises, weights=examples)), *_spread(rises))


def average_adaptive_sharpness(
    function: Function, rho: float = 0.5, *, samples: int = 20, seed: int = 0
) -> AverageSharpness:
    """Adaptive average-case sharpness: the mean of f(w + d) - f(w), d ~ N(0, rho^2 diag w^2).

    Over `samples` seeded draws; Andriushchenko et al. 2023, "A modern look at the relationship
    between sharpness and generalization", section 2. Under the rescaling of Dinh et al. 2017 every
    single draw keeps its rise.
    """
    require_following_statistics(function)
    rho, samples = require_positive("rho", rho), require_whole("samples", samples)
    rng = np.random.default_rng(seed)
    weights = function.parameters()
    loss = function.value()
    rises = [
        function.value(weights + rho * np.abs(weights) * rng.standard_normal(weights.size)) - loss
        for _ in range(samples)
    ]
    rises = [rise if math.isfinite(rise) else math.nan for rise in rises]
    return AverageSharpness(float(np.mean(rises)), *_spread(rises))


def _ascent(function: Function, rho: float, adaptive: bool) -> AscentSharpness:
    require_following_statistics(function)
    rho = require_positive("rho", rho)
    weights = function.parameters()
    loss, gradient = function.gradient()
    scale = np.abs(weights) if adaptive else 1.0
    length = float(np.linalg.norm(scale * gradient))
    perturbed = math.nan
    if math.isfinite(loss) and 0 < length < math.inf:
        perturbed = float(function.value(weights + (rho / length) * scale**2 * gradient))
    rise = perturbed - loss if math.isfinite(perturbed) else math.nan
    return AscentSharpness(rise, float(loss), perturbed, rho, float(np.linalg.norm(gradient)))


def _spread(values: list[float]) -> tuple[float, tuple[float, ...]]:
    count = len(values)
    error = float(np.std(values, ddof=1) / math.sqrt(count)) if count > 1 else math.nan
    return error, tuple(float(value) for value in values)
