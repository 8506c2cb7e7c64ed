"""The figures: plain values in, `matplotlib.figure.Figure` objects out.

Methods come in the order and under the names of the dicts given. A value that is None or not finite
(a run that diverged or died) is left out and counted in a note; intervals over seeds are 95 %
t-intervals, and one seed has none. A method's look goes by position, or by name inside
`shared_styles`. A notebook displays a figure that is the last line of a cell.
"""

# ruff: noqa: F401 - what is imported here is what the subpackage offers

from dlip_reg.report.figures.claims import claims_summary, looks_figure
from dlip_reg.report.figures.curvature import sharpness_curves, spectral_density
from dlip_reg.report.figures.curves import (
    loss_curves,
    through_training,
    training_loss_misleads,
    way_to_target,
)
from dlip_reg.report.figures.flow import activation_percentiles, gradient_flow
from dlip_reg.report.figures.landscape import interpolation_curves, landscape_bands, loss_surface
from dlip_reg.report.figures.matched import against_falling_loss, labelled_curves
from dlip_reg.report.figures.minimizers import (
    beside_paper,
    lines_around,
    surfaces_side_by_side,
)
from dlip_reg.report.figures.outcomes import activation_sparsity, method_accuracy, weight_histograms
from dlip_reg.report.figures.parallel import parallel_coordinates
from dlip_reg.report.figures.replication import replication_matrix
from dlip_reg.report.figures.search import best_so_far, response_surface, score_against_strength
from dlip_reg.report.figures.sizes import (
    against_size,
    best_rates,
    convergence,
    loss_by_size,
    size_styles,
)
from dlip_reg.report.figures.statistics import batch_noise, shifted_inputs
from dlip_reg.report.figures.strengths import strength_curves, tried_values
from dlip_reg.report.figures.style import MethodStyle, method_styles, shared_styles
