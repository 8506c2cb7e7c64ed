"""The claims at matched loss: the loss landscape, and what a layer sees of the layers before it.

bn-landscape, bn-predictiveness, bn-beta: Santurkar et al. 2018 (section 3.2) take steps against the
gradient and report the range of the losses, the change of the gradient, and that change per
distance moved (effective beta). As they stand, these compare stages of training more than networks:
the range of losses is about lr * |g|^2, so whoever is further trained wins. Here each is made
dimensionless, at matched training loss and with steps that are multiples of the network's own
learning rate: none changes when the weights are rescaled and the learning rate with them. Of a
quadratic loss with curvature b along the gradient and longest step s the deviation is s b / 2, and
|dg| / |g| is s b.

Of the two numbers for predictiveness, 1 - cosine decides: |dg| / |g| over the step's multiple is
effective beta times the learning rate, which bn-beta measures already, and grows when the
gradient's length alone changes.

bn-internal-shift: Ioffe & Szegedy 2015 mean the distribution of a layer's inputs, and draw the
inputs of a sigmoid, whose location and scale batch normalization fixes. What the next layer sees
comes after the nonlinearity, and is measured here, in units of its spread. A network that does not
learn has no drift: so it is counted per nat of training loss gained, between levels that are the
same for all. Their own figure 1 is a paper check of this lab (--paper ioffe-fig1).

bn-independence: internal covariate shift in the sense of Santurkar et al. 2018 (definition 2.1),
how much a layer's gradient changes because the layers before it have moved. They take steps of one
learning rate for both networks. Here the earlier layers' step is as long as it must be to lower the
loss by one per cent, so that a network whose steps do more is not blamed for it.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from statistics import fmean

from dlip_reg import report
from dlip_reg.studies import Claim, Control, Part, Runs, together
from dlip_reg.studies.batch_norm import matched
from dlip_reg.studies.batch_norm.matched import BN, PLAIN, Read, at_end, compare, log
from dlip_reg.studies.drawing import Drawn, by_label, columns, figure
from dlip_reg.studies.study import POSITIVE
from dlip_reg.training.records import LevelLandscape, LevelRow

GREATLY = math.log(2)
GREATLY_SOURCE = (
    "“greatly” is a factor of two at least; and the learning rates tried, which multiply what is "
    "measured, are a factor of two apart"
)
SHORTER = 4  # in the positive control
STATES = (
    "At the states where the clean training loss first reaches each of the preset's levels, batch "
    "normalization by the statistics of the fixed batch of 256 images."
)

Measure = Callable[[LevelLandscape, float, int], float]  # of a state, its loss and the steps


def _of(measure: Measure, shorter: int = 1) -> Read:
    """The logarithm of the measure at a level, with steps up to a part of the longest."""

    @functools.wraps(measure)
    def read(row: LevelRow) -> float:
        if row.landscape is None or row.loss is None:
            return math.nan
        return log(measure(row.landscape, row.loss, shorter))

    return read


def _steps(landscape: LevelLandscape, shorter: int) -> Iterator[tuple[float, ...]]:
    """Multiple of the learning rate, loss, |dg| and cosine of each step; NaN where unknown.

    The steps are those up to a part of the longest.
    """
    columns = (landscape.losses, landscape.gradient_distances, landscape.cosines)
    for multiple, *found in zip(landscape.multiples, *columns, strict=True):
        if multiple <= max(landscape.multiples) / shorter:
            yield multiple, *(math.nan if value is None else value for value in found)


def deviation(landscape: LevelLandscape, loss: float, shorter: int = 1) -> float:
    """Batch norm greatly reduces the variation of the loss landscape.

    The deviation of the loss from its first-order prediction after a step against the gradient,
    over the predicted change, the largest over steps of 0.5, 1, 2 and 4 times the learning rate.
    {STATES}
    """
    slope = (landscape.gradient_norm or math.nan) ** 2
    predicted = {m: -m * landscape.rate * slope for m in landscape.multiples}
    return _largest(
        abs((there - loss - predicted[multiple]) / predicted[multiple])
        for multiple, there, *_ in _steps(landscape, shorter)
    )


def unpredicted(landscape: LevelLandscape, loss: float, shorter: int = 1) -> float:
    """Batch norm greatly improves the predictiveness of gradients.

    1 − the cosine between the gradient and that after a step against it, mean over steps of 0.5, 1,
    2 and 4 times the learning rate; smaller is better. {STATES}
    """
    return fmean(1 - cosine for *_, cosine in _steps(landscape, shorter))


def relative_change(landscape: LevelLandscape, loss: float, shorter: int = 1) -> float:
    """The largest |dg| / |g| over the steps."""
    norm = landscape.gradient_norm or math.nan
    return _largest(change / norm for _, _, change, _ in _steps(landscape, shorter))


def rated_beta(landscape: LevelLandscape, loss: float, shorter: int = 1) -> float:
    """Batch norm greatly improves the beta-smoothness.

    Effective beta, the largest change of the gradient per distance moved over steps of 0.5, 1, 2
    and 4 times the learning rate, times that learning rate; smaller is smoother. {STATES}
    """
    norm = landscape.gradient_norm or math.nan
    steps = _steps(landscape, shorter)
    return _largest(change / (multiple * norm) for multiple, _, change, _ in steps)


def scaled_beta(landscape: LevelLandscape, loss: float, shorter: int = 1) -> float:
    """Effective beta times the squared norm of the weights."""
    return rated_beta(landscape, loss, shorter) / landscape.rate * landscape.weight_norm**2


def _largest(values: Iterable[float]) -> float:
    known = list(values)
    return math.nan if any(map(math.isnan, known)) else max(known)


def _shorter_steps(decides: Measure) -> Control:
    full, short = _of(decides), _of(decides, SHORTER)
    return Control(
        POSITIVE,
        f"The plain network with steps up to {4 // SHORTER} instead of 4 learning rates: along any "
        "smooth line the loss and gradient change less over shorter steps.",
        lambda runs: matched.mean_at_levels(runs, PLAIN, lambda row: short(row) - full(row)),
        (PLAIN,),
    )


@figure("landscape_at_loss")
def draw_levels(runs: Runs) -> Drawn:
    """Three measures of the loss landscape against clean training loss: {networks}.

    What decides the three claims, each at steps of 0.5 to 4 times the network's own learning rate
    against the gradient; lower is smoother. Compare the lines at the same training loss. The
    placebo and momentum show how much such lines differ without batch normalization.
    """
    panels = {
        "deviation": (_of(deviation), "deviation from the first-order prediction"),
        "unpredicted": (_of(unpredicted), "1 − cosine of the gradients"),
        "rated_beta": (_of(rated_beta), "effective β × learning rate"),
    }
    return matched.draw_levels(runs, panels)


@figure("landscape")
def draw_bands(runs: Runs) -> Drawn:
    """Ranges of loss and gradient along the gradient against training steps: {networks}.

    Figure 4 of Santurkar et al. 2018, each network at its own learning rate: lowest and highest
    value along the gradient (above), the widths of these bands and effective β (below). It shows
    that the bands of the two networks differ at the same step; it does not show why, for at the
    same step one has fitted more and has shorter gradients, and both widths and β change with the
    scale of the weights.
    """
    names = ("loss_low", "loss_high", "loss_range", "gradient_distance_low",
             "gradient_distance_high", "gradient_distance_range", "effective_beta")  # fmt: skip
    bands = by_label(
        runs, (PLAIN, BN), lambda r: r.landscape and columns(r.landscape, "step", *names)
    )
    if bands:
        yield report.figures.landscape_bands(bands), {"networks": bands}


DRAW = together(draw_levels, draw_bands)


def _claim(
    id: str, decides: tuple[Measure, str], other: tuple[Measure, str], *controls: Control
) -> Claim:
    """A claim that what `decides` measures is lower with batch norm; `other` stands beside it."""
    measured, name = decides

    def beside(runs: Runs) -> Iterator[Part]:
        at_the_end = matched.at_end(runs, BN, PLAIN, _of(measured))
        yield matched.ratio(f"{name} at the end of training", at_the_end)
        yield matched.ratio(f"{other[1]} at matched loss", compare(runs, BN, PLAIN, _of(other[0])))
        rates = compare(runs, BN, PLAIN, lambda row: log(getattr(row.landscape, "rate", None)))
        yield matched.ratio("learning rate", rates)

    return matched.claim(
        id,
        _of(measured),
        beside,
        *controls,
        smallest_effect=GREATLY,
        smallest_effect_source=GREATLY_SOURCE,
        draw=DRAW,
    )


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
    """Drift of the activations' distributions against clean training loss: {networks}.

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
CHANGE = (relative_change, "|dg| ÷ |g|")
CLAIMS = (
    _claim("bn-landscape", (deviation, "deviation"), CHANGE, _shorter_steps(deviation)),
    _claim("bn-predictiveness", (unpredicted, "1 − cosine"), CHANGE, _shorter_steps(unpredicted)),
    # No positive control: beta is a slope, which shorter steps change by no known factor.
    _claim("bn-beta", (rated_beta, "β × learning rate"), (scaled_beta, "β × |w|²")),
)
