"""bn-internal-shift: batch normalization reduces the internal covariate shift.

Ioffe & Szegedy 2015 mean the distribution of a layer's inputs, and draw the inputs of a sigmoid,
whose location and scale batch normalization fixes. What the next layer sees comes after the
nonlinearity, and is measured here, in units of its spread. A network that does not learn has no
drift: so it is counted per nat of training loss gained, between levels that are the same for all.
Their own figure 1 is a paper check of this lab (--paper ioffe-fig1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import LOG_RATIO, Values
from dlip_reg.studies.batch_norm import matched
from dlip_reg.studies.batch_norm.matched import BN, PLAIN, by_level, compare, log
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Claim, Measurement, Part
from dlip_reg.training.records import LevelRow

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem


def drift(row: LevelRow) -> float:
    """The mean over activations of ln(distance / spread), per nat gained since the level before."""
    if not row.activations or row.activations[0].distance is None:
        return math.nan  # the first level
    return fmean(
        log(layer.distance) - log(layer.spread) - log(layer.gained) for layer in row.activations
    )


def measure(runs: Runs) -> Measurement:
    """The log-ratio of the drift per nat with batch norm over without, between matched levels."""
    return Measurement(
        compare(runs, BN, PLAIN, drift),
        (
            Part("steps between the levels, with over without", LOG_RATIO, _steps(runs)),
            *matched.overshoot(runs),
        ),
        matched.notes(runs, PLAIN, BN),
    )


def _steps(runs: Runs) -> Values:
    return compare(runs, BN, PLAIN, lambda row: log(row.step))


def draw(runs: Runs) -> Sequence[FigureItem]:
    """The drift at each level."""
    from dlip_reg.report import FigureItem, figures

    curves = by_level(runs, {"drift": drift})
    if not curves:
        return []
    panels = {"drift": ("drift of the activations (spreads per nat gained)", "log")}
    return [
        FigureItem(
            "internal_shift",
            figures.through_training(curves, panels, x="level"),
            "Drift of the activations' distributions against clean training loss, for "
            + ", ".join(curves) + ".",
            "How far the distribution of a unit's output moved since the level before, as "
            "Wasserstein-1 distance over spread, per nat of training loss gained on the way; "
            "geometric mean over the hidden activations.",
        )
    ]  # fmt: skip


CLAIM = Claim(
    id="bn-internal-shift",
    sentence="Batch norm reduces the internal covariate shift.",
    experiment="How far the distribution of what the next layer sees, the outputs of a hidden "
    "activation, moves between two levels of the clean training loss: Wasserstein-1 distance over "
    "spread, per nat of training loss gained, on fixed images; log-ratio with batch norm over "
    "without, mean over activations and over the levels that both reach. Each network at its own "
    "learning rate, the quickest; a run that diverged, or shares no two levels, counts "
    "as no difference.",
    unit=LOG_RATIO,
    direction=-1,
    smallest_effect=matched.RESOLVED,
    smallest_effect_source=matched.RESOLVED_SOURCE,
    measure=measure,
    needs=(PLAIN, BN),
    controls=matched.negative_controls(drift),
    arms=matched.matched_arms,
    draw=draw,
)
