"""The figures: plain values in, `matplotlib.figure.Figure` objects out.

Methods come in the order and under the names of the dicts given. A value that is None or not finite
(a run that diverged or died) is left out and counted in a note; intervals over seeds are 95 %
t-intervals, and one seed has none. A method's look goes by position, or by name inside
`shared_styles`. Where curves have a "seed", the place of their seed among those of the study, the
interactive figure can show each seed's own line. A notebook displays a figure that is the last line
of a cell; in a report the same figure is interactive, too.
"""

from dlip_reg.report.figures.claims import (
    claims_summary as claims_summary,
    looks_figure as looks_figure,
    replication_matrix as replication_matrix,
)
from dlip_reg.report.figures.kit import (
    method_styles as method_styles,
    shared_styles as shared_styles,
)
from dlip_reg.report.figures.landscape import (
    landscape_bands as landscape_bands,
    losses_along as losses_along,
    surfaces_side_by_side as surfaces_side_by_side,
)
from dlip_reg.report.figures.outcomes import (
    activation_sparsity as activation_sparsity,
    beside_paper as beside_paper,
    method_accuracy as method_accuracy,
    shifted_inputs as shifted_inputs,
)
from dlip_reg.report.figures.search import (
    best_so_far as best_so_far,
    response_surface as response_surface,
    score_against_strength as score_against_strength,
)
from dlip_reg.report.figures.sizes import (
    against_size as against_size,
    batch_noise as batch_noise,
    best_rates as best_rates,
    convergence as convergence,
    loss_by_size as loss_by_size,
    strength_curves as strength_curves,
    tried_values as tried_values,
)
from dlip_reg.report.figures.training import (
    activation_percentiles as activation_percentiles,
    against_falling_loss as against_falling_loss,
    by_strength as by_strength,
    gradient_flow as gradient_flow,
    labelled_curves as labelled_curves,
    loss_curves as loss_curves,
    through_training as through_training,
    training_loss_misleads as training_loss_misleads,
    way_to_target as way_to_target,
    weight_histograms as weight_histograms,
)
