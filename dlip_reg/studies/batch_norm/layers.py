"""bn-internal-shift, bn-independence: what a layer sees of the layers before it.

Internal covariate shift: Ioffe & Szegedy 2015 mean the distribution of a layer's inputs, and draw
the inputs of a sigmoid, whose location and scale batch normalization fixes. What the next layer
sees comes after the nonlinearity, and is measured here, in units of its spread. A network that does
not learn has no drift: so it is counted per nat of training loss gained, between levels that are
the same for all. Their own figure 1 is a paper check of this lab (--paper ioffe-fig1).

Independence: internal covariate shift in the sense of Santurkar et al. 2018 (definition 2.1), how
much a layer's gradient changes because the layers before it have moved. They take steps of one
learning rate for both networks. Here the earlier layers' step is as long as it must be to lower the
loss by one per cent, so that a network whose steps do more is not blamed for it.
"""

import functools
import math
from collections.abc import Iterator
from statistics import fmean

from dlip_reg.studies import Part, Runs
from dlip_reg.studies.batch_norm import matched
from dlip_reg.studies.batch_norm.matched import BN, PLAIN, at_end, compare, log
from dlip_reg.studies.drawing import Drawn, figure
from dlip_reg.training.records import LevelRow


def drift(row: LevelRow) -> float:
    """Batch norm reduces the internal covariate shift.

    How far the distribution of what the next layer sees, the outputs of a hidden activation, moves
    between two levels of the clean training loss: Wasserstein-1 distance over spread, per nat of
    training loss gained, on fixed images, mean over activations.

    Here as the mean of logarithms.
    """
    if not row.activations or row.activations[0].distance is None:
        return math.nan  # the first level
    return fmean(
        log(layer.distance) - log(layer.spread) - log(layer.gained) for layer in row.activations
    )


def beside_drift(runs: Runs) -> Iterator[Part]:
    """How many steps lie between the levels."""
    steps = compare(runs, BN, PLAIN, lambda row: log(row.step))
    yield matched.ratio("steps between the levels", steps)


@figure("internal_shift")
def draw_drift(runs: Runs) -> Drawn:
    """Drift of the activations' distributions against clean training loss, for {networks}.

    How far the distribution of a unit's output moved since the level before, as Wasserstein-1
    distance over spread, per nat of training loss gained on the way; geometric mean over the hidden
    activations.
    """
    label = "drift of the activations (spreads per nat gained)"
    return matched.draw_levels(runs, {"drift": (drift, label)})


def dependence(row: LevelRow, layer: int | None = None) -> float:
    """With batch norm each layer learns a little more independently of the others.

    1 − the cosine between a layer's gradient before and after all earlier layers take the gradient
    step that lowers the loss by one per cent (Santurkar et al. 2018, definition 2.1, at equal loss
    decrease), mean over layers.

    Here as the mean of logarithms, or that of one layer by its place.
    """
    angles = row.independence if layer is None else row.independence[layer : layer + 1]
    known = [angle.cosine for angle in angles if angle.cosine is not None]
    return fmean(log(1 - cosine) for cosine in known) if known else math.nan


def beside_dependence(runs: Runs) -> Iterator[Part]:
    """The same at the end of training, and for each layer alone."""
    yield matched.ratio("at the end of training", at_end(runs, BN, PLAIN, dependence))
    rows = [record.levels[0].independence for record in runs.finished(PLAIN) if record.levels]
    for place, layer in enumerate(rows[0] if rows else ()):
        read = functools.partial(dependence, layer=place)
        yield matched.ratio(f"{layer.layer} alone", compare(runs, BN, PLAIN, read))


@figure("independence")
def draw_dependence(runs: Runs) -> Drawn:
    """Change of a layer's gradient with the layers before it against clean training loss, for
    {networks}.

    Geometric mean over the layers but the first, when all earlier layers take the step that lowers
    the loss by one per cent. A layer that learns independently of those before it has 0. Santurkar
    et al. 2018 found batch normalization no better, at times worse, in this sense, so that it does
    not explain its success.
    """
    label = "1 − cosine of a layer's gradient before and after"
    return matched.draw_levels(runs, {"dependence": (dependence, label)})


INTERNAL_SHIFT = matched.claim("bn-internal-shift", drift, beside_drift, draw=draw_drift)
INDEPENDENCE = matched.claim("bn-independence", dependence, beside_dependence, draw=draw_dependence)
