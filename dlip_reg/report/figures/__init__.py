"""The figures: plain values in, `matplotlib.figure.Figure` objects out.

Methods come in the order and under the names of the dicts given. A value that is None or not finite
(a run that diverged or died) is left out and counted in a note; intervals over seeds are 95 %
t-intervals, and one seed has none. `styles` (see `method_styles`) keeps a method's look the same
across figures that show different methods; without it the look goes by position.
"""

from dlip_reg.report.figures.curvature import sharpness_curves, spectral_density
from dlip_reg.report.figures.curves import loss_curves, training_loss_misleads
from dlip_reg.report.figures.flow import activation_percentiles, gradient_flow
from dlip_reg.report.figures.landscape import interpolation_curves, landscape_bands, loss_surface
from dlip_reg.report.figures.strengths import strength_curves, strength_surface
from dlip_reg.report.figures.style import MethodStyle, method_styles
from dlip_reg.report.figures.summary import claims_summary, gap_bars, method_accuracy
from dlip_reg.report.figures.weights import activation_sparsity, weight_histograms

__all__ = [
    "MethodStyle",
    "activation_percentiles",
    "activation_sparsity",
    "claims_summary",
    "gap_bars",
    "gradient_flow",
    "interpolation_curves",
    "landscape_bands",
    "loss_curves",
    "loss_surface",
    "method_accuracy",
    "method_styles",
    "sharpness_curves",
    "spectral_density",
    "strength_curves",
    "strength_surface",
    "training_loss_misleads",
    "weight_histograms",
]
