"""How far the loss rises close to the present weights: SAM sharpness and adaptive sharpness.

All of them move the weights, so with batch normalization the function must normalise by batch
statistics (`LossFunction(..., batch_norm="batch")`): ValueError for moving statistics, which are
wrong at any other weights. A loss or gradient that is not finite gives NaN.
"""

from __future__ import annotations

import math

import numpy as np

from dlip_reg.checks import require_positive
from dlip_reg.curvature.batch_norm import require_following_statistics
from dlip_reg.curvature.function import Function


def sam_sharpness(function: Function, rho: float = 0.05) -> float:
    """Measure SAM sharpness f(w + rho g / |g|) - f(w), with g the gradient at w.

    Foret et al. 2021, "Sharpness-aware minimization", equation 2 and section 2.

    Args:
        function: f.
        rho: The L2 length of the step, above 0.

    Returns:
        NaN where the gradient is zero: there is no direction to step in.

    Raises:
        ValueError: For a rho out of range, and for moving batch-norm statistics.
    """
    return _ascent(function, rho, adaptive=False)


def adaptive_sharpness(function: Function, rho: float = 0.5) -> float:
    """Measure adaptive sharpness f(w + e) - f(w), e = rho T^2 g / |T g| with T = diag |w|.

    The first-order solution of max f(w + e) over |T^-1 e| <= rho: Kwon et al. 2021, "ASAM",
    section 4, with no constant added to T, so that it does not change when one ReLU layer is scaled
    by a and the next by 1/a (Dinh et al. 2017). Weights of zero stay where they are.

    Args:
        function: f.
        rho: The L2 length of the step in units of the weights, |T^-1 e|; above 0.

    Returns:
        NaN where T g is zero.

    Raises:
        ValueError: For a rho out of range, and for moving batch-norm statistics.
    """
    return _ascent(function, rho, adaptive=True)


def _ascent(function: Function, rho: float, adaptive: bool) -> float:
    require_following_statistics(function)
    rho = require_positive("rho", rho)
    weights = function.parameters()
    loss, gradient = function.gradient()
    scale = np.abs(weights) if adaptive else 1.0
    length = float(np.linalg.norm(scale * gradient))
    if not (math.isfinite(loss) and 0 < length < math.inf):
        return math.nan
    rise = float(function.value(weights + (rho / length) * scale**2 * gradient)) - float(loss)
    return rise if math.isfinite(rise) else math.nan
