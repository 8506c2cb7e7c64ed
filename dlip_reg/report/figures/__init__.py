"""The figures: plain values in, `matplotlib.figure.Figure` objects out.

Methods come in the order and under the names of the dicts given. A value that is None or not finite
(a run that diverged or died) is left out and counted in a note; intervals over seeds are 95 %
t-intervals, and one seed has none. A method's look goes by position, or by name inside
`shared_styles`. A notebook displays a figure that is the last line of a cell; in a report the same
figure is interactive, too.
"""

# ruff: noqa: F401 - what is imported here is what the subpackage offers

from dlip_reg.report.figures.claims import claims_summary, looks_figure, replication_matrix
from dlip_reg.report.figures.kit import MethodStyle, method_styles, shared_styles
from dlip_reg.report.figures.landscape import (
    interpolation_curves,
    landscape_bands,
    lines_around,
    loss_surface,
    spectral_density,
    surfaces_side_by_side,
)
from dlip_reg.report.figures.outcomes import (
    activation_sparsity,
    beside_paper,
    method_accuracy,
    shifted_inputs,
)
from dlip_reg.report.figures.search import (
    best_so_far,
    parallel_coordinates,
    response_surface,
    score_against_strength,
)
from dlip_reg.report.figures.sizes import (
    against_size,
    batch_noise,
    best_rates,
    convergence,
    loss_by_size,
    size_styles,
    strength_curves,
    tried_values,
)
from dlip_reg.report.figures.training import (
    activation_percentiles,
    against_falling_loss,
    gradient_flow,
    labelled_curves,
    loss_curves,
    sharpness_curves,
    through_training,
    training_loss_misleads,
    way_to_target,
    weight_histograms,
)
