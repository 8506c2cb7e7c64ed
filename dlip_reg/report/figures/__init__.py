"""The figures: plain values in, `matplotlib.figure.Figure` objects out.

Methods come in the order and under the names of the dicts given. A value that is None or not finite
(a run that diverged or died) is left out and counted in a note; intervals over seeds are 95 %
t-intervals, and one seed has none. `styles` (see `method_styles`) keeps a method's look the same
across figures that show different methods; without it the look goes by position, or by name inside
`shared_styles`. A notebook displays a figure that is the last line of a cell.
"""

from dlip_reg.report.figures.claims import claims_summary, looks_figure
from dlip_reg.report.figures.curvature import sharpness_curves, spectral_density
from dlip_reg.report.figures.curves import loss_curves, training_loss_misleads
from dlip_reg.report.figures.flow import activation_percentiles, gradient_flow
from dlip_reg.report.figures.landscape import interpolation_curves, landscape_bands, loss_surface
from dlip_reg.report.figures.matched import against_falling_loss, labelled_curves
from dlip_reg.report.figures.minimizers import (
    beside_paper,
    lines_around,
    rescaled_sharpness,
    surfaces_side_by_side,
)
from dlip_reg.report.figures.pairs import two_by_two
from dlip_reg.report.figures.parallel import parallel_coordinates
from dlip_reg.report.figures.progress import growth_with_depth, through_training
from dlip_reg.report.figures.search import (
    best_so_far,
    response_surface,
    score_against_strength,
)
from dlip_reg.report.figures.sizes import against_size, best_rates, loss_by_size, size_styles
from dlip_reg.report.figures.speed import convergence, training_speed
from dlip_reg.report.figures.statistics import batch_noise, shifted_inputs
from dlip_reg.report.figures.strengths import strength_curves, strength_surface
from dlip_reg.report.figures.style import MethodStyle, method_styles, shared_styles
from dlip_reg.report.figures.summary import gap_bars, method_accuracy
from dlip_reg.report.figures.trials import tried_values, way_to_target
from dlip_reg.report.figures.weights import activation_sparsity, weight_histograms

__all__ = [
    "MethodStyle",
    "activation_percentiles",
    "activation_sparsity",
    "against_falling_loss",
    "against_size",
    "batch_noise",
    "beside_paper",
    "best_rates",
    "best_so_far",
    "claims_summary",
    "convergence",
    "gap_bars",
    "gradient_flow",
    "growth_with_depth",
    "interpolation_curves",
    "labelled_curves",
    "landscape_bands",
    "lines_around",
    "looks_figure",
    "loss_by_size",
    "loss_curves",
    "loss_surface",
    "method_accuracy",
    "method_styles",
    "parallel_coordinates",
    "rescaled_sharpness",
    "response_surface",
    "score_against_strength",
    "shared_styles",
    "sharpness_curves",
    "shifted_inputs",
    "size_styles",
    "spectral_density",
    "strength_curves",
    "strength_surface",
    "surfaces_side_by_side",
    "through_training",
    "training_loss_misleads",
    "training_speed",
    "tried_values",
    "two_by_two",
    "way_to_target",
    "weight_histograms",
]
