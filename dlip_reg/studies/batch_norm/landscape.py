"""bn-landscape, bn-predictiveness, bn-beta: the loss landscape along the gradient.

Santurkar et al. 2018 (section 3.2) take steps against the gradient and report the range of the
losses, the change of the gradient, and that change per distance moved (effective beta). As they
stand, these compare stages of training more than networks: the range of losses is about
lr * |g|^2, so whoever is further trained wins. Here each is made dimensionless, at matched training
loss and with steps that are multiples of the network's own learning rate: none changes when the
weights are rescaled and the learning rate with them. Of a quadratic loss with curvature b along the
gradient and longest step s the deviation is s b / 2, and |dg| / |g| is s b.

Of the two numbers for predictiveness, 1 - cosine decides: |dg| / |g| over the step's multiple is
effective beta times the learning rate, which bn-beta measures already, and grows when the
gradient's length alone changes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import LOG_RATIO
from dlip_reg.studies.batch_norm import matched
from dlip_reg.studies.batch_norm.matched import BN, PLAIN, Read, at_end, by_level, compare, log
from dlip_reg.studies.papers.ioffe_fig1 import columns
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Claim, Control, Measurement, Part
from dlip_reg.training.records import LevelLandscape, LevelRow

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

GREATLY = math.log(2)
GREATLY_SOURCE = (
    "“greatly” is a factor of two at least; and the learning rates tried, which multiply what is "
    "measured, are a factor of two apart"
)
SHORTER = 4  # in the positive control

Measured = Callable[[LevelLandscape, float, int], float]  # of a state, its loss and the steps


def _of(measure: Measured, shorter: int = 1) -> Read:
    return functools.partial(_read, measure, shorter)


def _read(measure: Measured, shorter: int, row: LevelRow) -> float:
    return math.nan if row.landscape is None else log(measure(row.landscape, row.loss, shorter))


def _steps(landscape: LevelLandscape, shorter: int) -> list[int]:
    """The places of the steps up to a part of the longest."""
    longest = max(landscape.multiples) / shorter
    return [i for i, multiple in enumerate(landscape.multiples) if multiple <= longest]


def deviation(landscape: LevelLandscape, loss: float, shorter: int = 1) -> float:
    """The largest |actual - predicted| / |predicted| change of the loss over the steps."""
    slope = (landscape.gradient_norm or math.nan) ** 2
    found = []
    for i in _steps(landscape, shorter):
        predicted = -landscape.multiples[i] * landscape.rate * slope
        there = landscape.losses[i]
        found.append(math.nan if there is None else abs((there - loss - predicted) / predicted))
    return _largest(found)


def unpredicted(landscape: LevelLandscape, loss: float, shorter: int = 1) -> float:
    """The mean of 1 - cosine between the gradients here and after each of the steps."""
    cosines = [landscape.cosines[i] for i in _steps(landscape, shorter)]
    return math.nan if None in cosines else fmean(1 - cosine for cosine in cosines)


def relative_change(landscape: LevelLandscape, loss: float, shorter: int = 1) -> float:
    """The largest |dg| / |g| over the steps."""
    norm = landscape.gradient_norm or math.nan
    changes = [landscape.gradient_distances[i] for i in _steps(landscape, shorter)]
    return _largest([math.nan if change is None else change / norm for change in changes])


def rated_beta(landscape: LevelLandscape, loss: float, shorter: int = 1) -> float:
    """Effective beta, the largest |dg| per distance moved, times the learning rate."""
    norm = landscape.gradient_norm or math.nan
    found = []
    for i in _steps(landscape, shorter):
        change = landscape.gradient_distances[i]
        found.append(math.nan if change is None else change / (landscape.multiples[i] * norm))
    return _largest(found)


def scaled_beta(landscape: LevelLandscape, loss: float, shorter: int = 1) -> float:
    """Effective beta times the squared norm of the weights."""
    return rated_beta(landscape, loss, shorter) / landscape.rate * landscape.weight_norm**2


def _largest(values: Sequence[float]) -> float:
    return math.nan if any(map(math.isnan, values)) else max(values)


def measure(decides: Measured, text: str, beside: Measured, other: str, runs: Runs) -> Measurement:
    """The log-ratio with batch norm over without at matched loss, and what is shown beside it."""
    return Measurement(
        compare(runs, BN, PLAIN, _of(decides)),
        (
            Part(f"{text} at the end of training, with over without", LOG_RATIO,
                 at_end(runs, BN, PLAIN, _of(decides))),
            Part(f"{other} at matched loss, with over without", LOG_RATIO,
                 compare(runs, BN, PLAIN, _of(beside))),
            Part("learning rate, with over without", LOG_RATIO,
                 compare(runs, BN, PLAIN, lambda row: log(row.landscape and row.landscape.rate))),
            *matched.overshoot(runs),
        ),
        matched.notes(runs, PLAIN, BN),
    )  # fmt: skip


def _shorter_steps(decides: Measured, runs: Runs) -> tuple[float, ...]:
    def difference(row: LevelRow) -> float:
        return _of(decides, SHORTER)(row) - _of(decides)(row)

    return matched.mean_at_levels(runs, PLAIN, difference)


def draw(runs: Runs) -> Sequence[FigureItem]:
    """What decides at each level, and figure 4 of Santurkar et al. through training."""
    from dlip_reg.report import FigureItem, figures

    panels = {
        "deviation": ("deviation from the first-order prediction", "log"),
        "unpredicted": ("1 − cosine of the gradients", "log"),
        "rated_beta": ("effective β × learning rate", "log"),
    }
    reads = {
        "deviation": _of(deviation),
        "unpredicted": _of(unpredicted),
        "rated_beta": _of(rated_beta),
    }
    items = []
    if curves := by_level(runs, reads):
        items.append(
            FigureItem(
                "landscape_at_loss",
                figures.through_training(curves, panels, x="level"),
                "Three measures of the loss landscape against clean training loss, for "
                + ", ".join(curves) + ".",
                "What decides the three claims, each at steps of 0.5 to 4 times the network's own "
                "learning rate against the gradient; lower is smoother. Compare the lines at the "
                "same training loss. The placebo and momentum show how much such lines differ "
                "without batch normalization.",
            )
        )  # fmt: skip
    names = ("loss_low", "loss_high", "loss_range", "gradient_distance_low",
             "gradient_distance_high", "gradient_distance_range", "effective_beta")  # fmt: skip
    bands = {
        runs.labels[arm]: [
            columns(r.landscape, "step", *names) for r in runs.finished(arm) if r.landscape
        ]
        for arm in (PLAIN, BN)
    }
    bands = {label: lines for label, lines in bands.items() if lines}
    if bands:
        items.append(
            FigureItem(
                "landscape",
                figures.landscape_bands(bands),
                "Ranges of loss and gradient along the gradient against training steps, for "
                + ", ".join(bands) + ".",
                "Figure 4 of Santurkar et al. 2018, each network at its own learning rate: lowest "
                "and highest value along the gradient (above), the widths of these bands and "
                "effective β (below). It shows that the bands of the two networks differ at the "
                "same step; it does not show why, for at the same step one has fitted more and has "
                "shorter gradients, and both widths and β change with the scale of the weights.",
            )
        )  # fmt: skip
    return items


def _claim(
    id: str, sentence: str, experiment: str, decides: Measured, text: str, beside: Measured,
    other: str,
) -> Claim:  # fmt: skip
    positive = ()
    if decides is not rated_beta:  # which is a slope: shorter steps change it by no known factor
        positive = (
            Control(
                "positive",
                f"The plain network with steps up to {4 // SHORTER} instead of 4 learning rates: "
                "along any smooth line the loss and gradient change less over shorter steps.",
                functools.partial(_shorter_steps, decides),
                (PLAIN,),
            ),
        )
    return Claim(
        id=id,
        sentence=sentence,
        experiment=experiment + " At the states where the clean training loss first reaches each "
        "of the preset's levels, batch normalization by the statistics of the fixed batch of 256 "
        "images; log-ratio with batch norm over without, mean over the levels that both reach. "
        "Each network at its own learning rate, the quickest; a run that diverged, or "
        "shares no level, counts as no difference.",
        unit=LOG_RATIO,
        direction=-1,
        smallest_effect=GREATLY,
        smallest_effect_source=GREATLY_SOURCE,
        measure=functools.partial(measure, decides, text, beside, other),
        needs=(PLAIN, BN),
        controls=(*matched.negative_controls(_of(decides)), *positive),
        arms=matched.matched_arms,
        draw=draw,
    )


CLAIMS = (
    _claim(
        "bn-landscape",
        "Batch norm greatly reduces the variation of the loss landscape.",
        "The deviation of the loss from its first-order prediction after a step against the "
        "gradient, over the predicted change, the largest over steps of 0.5, 1, 2 and 4 times the "
        "learning rate.",
        deviation, "deviation", relative_change, "|dg| ÷ |g|",
    ),
    _claim(
        "bn-predictiveness",
        "Batch norm greatly improves the predictiveness of gradients.",
        "1 − the cosine between the gradient and that after a step against it, mean over steps of "
        "0.5, 1, 2 and 4 times the learning rate; smaller is better.",
        unpredicted, "1 − cosine", relative_change, "|dg| ÷ |g|",
    ),
    _claim(
        "bn-beta",
        "Batch norm greatly improves the beta-smoothness.",
        "Effective beta, the largest change of the gradient per distance moved over steps of 0.5, "
        "1, 2 and 4 times the learning rate, times that learning rate; smaller is smoother.",
        rated_beta, "β × learning rate", scaled_beta, "β × |w|²",
    ),
)  # fmt: skip
