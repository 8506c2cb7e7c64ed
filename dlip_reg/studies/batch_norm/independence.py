"""bn-independence: each layer learns a little more independently of the others.

Internal covariate shift in the sense of Santurkar et al. 2018 (definition 2.1): how much a layer's
gradient changes because the layers before it have moved. They take steps of one learning rate for
both networks. Here the earlier layers' step is as long as it must be to lower the loss by one per
cent, so that a network whose steps do more is not blamed for it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import LOG_RATIO
from dlip_reg.studies.batch_norm import matched
from dlip_reg.studies.batch_norm.matched import BN, PLAIN, at_end, by_level, compare, log
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Claim, Measurement, Part
from dlip_reg.training.records import LevelRow

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem


def dependence(row: LevelRow, layer: int | None = None) -> float:
    """The mean over layers of ln(1 - cosine), or that of one layer by its place."""
    angles = row.independence if layer is None else row.independence[layer : layer + 1]
    known = [angle.cosine for angle in angles if angle.cosine is not None]
    return fmean(log(1 - cosine) for cosine in known) if known else math.nan


def measure(runs: Runs) -> Measurement:
    """The log-ratio of 1 - cosine with batch norm over without, at matched loss."""
    layers = [
        layer.layer
        for record in runs.finished(PLAIN)[:1]
        for row in record.levels[:1]
        for layer in row.independence
    ]
    return Measurement(
        compare(runs, BN, PLAIN, dependence),
        (
            Part("at the end of training, with over without", LOG_RATIO,
                 at_end(runs, BN, PLAIN, dependence)),
            *(
                Part(f"{layer} alone, with over without", LOG_RATIO,
                     compare(runs, BN, PLAIN, functools.partial(dependence, layer=i)))
                for i, layer in enumerate(layers)
            ),
            *matched.overshoot(runs),
        ),
        matched.notes(runs, PLAIN, BN),
    )  # fmt: skip


def draw(runs: Runs) -> Sequence[FigureItem]:
    """1 - cosine at each level."""
    from dlip_reg.report import FigureItem, figures

    curves = by_level(runs, {"dependence": dependence})
    if not curves:
        return []
    panels = {"dependence": ("1 − cosine of a layer's gradient before and after", "log")}
    return [
        FigureItem(
            "independence",
            figures.through_training(curves, panels, x="level"),
            "Change of a layer's gradient with the layers before it against clean training loss, "
            "for " + ", ".join(curves) + ".",
            "Geometric mean over the layers but the first, when all earlier layers take the step "
            "that lowers the loss by one per cent. A layer that learns independently of those "
            "before it has 0. Santurkar et al. 2018 found batch normalization no better, at times "
            "worse, in this sense, so that it does not explain its success.",
        )
    ]


CLAIM = Claim(
    id="bn-independence",
    sentence="With batch norm each layer learns a little more independently of the others.",
    experiment="1 − the cosine between a layer's gradient before and after all earlier layers take "
    "the gradient step that lowers the loss by one per cent (Santurkar et al. 2018, definition "
    "2.1, at equal loss decrease); log-ratio with batch norm over without at matched clean "
    "training loss, mean over layers and over the levels that both reach. Each network at its own "
    "learning rate, the quickest; a run that diverged, or shares no level, counts as "
    "no difference.",
    unit=LOG_RATIO,
    direction=-1,
    smallest_effect=matched.RESOLVED,
    smallest_effect_source=matched.RESOLVED_SOURCE,
    measure=measure,
    needs=(PLAIN, BN),
    controls=matched.negative_controls(dependence),
    arms=matched.matched_arms,
    draw=draw,
)
