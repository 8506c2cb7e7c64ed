"""bn-easier: batch norm makes the global minimum much easier to find."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import LOG_RATIO, Values, mean_of, minus
from dlip_reg.studies.batch_norm.arms import NETS, PLACEBO, he_scaled, run_at
from dlip_reg.studies.batch_norm.readings import expanded, grid
from dlip_reg.studies.runs import Runs, Trials
from dlip_reg.studies.study import Arm, Claim, Control, Measurement, Part, Setting, Tuning
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem


def start_arms(setting: Setting) -> list[Arm]:
    """Each network from initial weights of several scales, with a learning rate for each scale."""
    preset = setting.preset

    def candidates(net: str, scale: float) -> list[RunSpec]:
        runs = [run_at(setting, net, rate) for rate in preset.start_rates]
        if scale == 1:  # the builders' own start, whose runs other arms share
            return runs
        return [replace(r, builder=expanded(r.builder, he_scaled(scale))) for r in runs]

    return [
        Arm(
            f"start/{net}/{scale:g}",
            tuning=Tuning(candidates(net, scale), choose_lowest),
            label=f"{NETS[net]}, scale {scale:g}",
        )
        for net in NETS
        for scale in preset.start_scales
    ]


def choose_lowest(trials: Trials) -> RunSpec | None:
    """The candidate with the lowest training loss, by the mean over seeds of its logarithm.

    A candidate with a run that diverged or failed is chosen only if all have one, and one without
    any record never.
    """
    scores = {}
    for spec, records in trials.items():
        if not any(records):
            continue
        whole = [r for r in records if r is not None and r.status == "finished"]
        logs = [log_lowest(record) for record in whole]
        missing = len(records) - len(whole)
        scores[spec] = (missing, sum(logs) / len(logs) if logs else math.inf)
    return min(scores, key=scores.__getitem__, default=None)


def log_lowest(record: Record) -> float:
    """The logarithm of the lowest clean training loss of the run at the end of any epoch."""
    return math.log(min(loss for loss in record.curves.clean_loss if loss is not None))


def measure(runs: Runs, treated: str = "bn") -> Measurement:
    """ln of the lowest training loss, mean over the initial scales, treated minus plain.

    A run that diverged has found nothing better than guessing, whose loss is ln(classes).
    """
    failure = math.log(math.log(runs.classes))
    by_net = {
        net: {
            scale: runs.values(f"start/{net}/{scale:g}", log_lowest, failure)
            for scale in grid(runs, f"start/{net}")
        }
        for net in ("plain", treated)
    }

    def difference(scales: Sequence[float]) -> Values:
        treated_mean, plain_mean = (
            mean_of(*(by_net[net][scale] for scale in scales)) for net in (treated, "plain")
        )
        return minus(treated_mean, plain_mean)

    scales = list(by_net["plain"])
    return Measurement(
        difference(scales),
        tuple(
            Part(f"from initial weights of {scale:g} times their size", LOG_RATIO,
                 difference([scale]))
            for scale in scales
        ),
    )  # fmt: skip


def draw(runs: Runs) -> Sequence[FigureItem]:
    """The lowest training loss against the initial scale."""
    from dlip_reg.report import FigureItem, figures

    losses = {
        NETS[net]: {
            scale: [
                math.exp(x) for x in runs.values(f"start/{net}/{scale:g}", log_lowest) if x == x
            ]
            for scale in grid(runs, f"start/{net}")
        }
        for net in NETS
        if grid(runs, f"start/{net}")
    }
    return [
        FigureItem(
            "lowest_loss",
            figures.tried_values(
                losses,
                "initial weights over those of He et al. 2015",
                "lowest training loss (nats)",
                percent=False,
            ),
            "Lowest clean training loss in a fixed number of steps against the scale of the "
            "initial weights, for " + ", ".join(losses) + ".",
            "Each point at its own learning rate, tuned on other seeds. Runs that diverged are not "
            f"drawn; in the measurement they count with ln {runs.classes} = "
            f"{math.log(runs.classes):.2f} nats, the loss of guessing. A low training loss says "
            "how easily a good minimum is found, and nothing about the test images.",
        )
    ]


CLAIM = Claim(
    id="bn-easier",
    sentence="Batch norm makes the global minimum much easier to find.",
    experiment="ln of the lowest clean training loss reached in a fixed number of steps, mean over "
    "initial weights of 0.5, 1 and 2 times the size of He et al. 2015, each network and scale at "
    "its own best learning rate; with batch norm minus without. A diverged run counts with the "
    "loss of guessing.",
    unit=LOG_RATIO,
    direction=-1,
    smallest_effect=math.log(2),
    smallest_effect_source="ln 2: “much” is at least a factor of two",
    measure=measure,
    needs=("start/plain/", "start/bn/"),
    arms=start_arms,
    controls=(
        Control(
            "negative",
            "The scale and shift of batch norm without normalization, minus the plain network: as "
            "many parameters, tuned alike.",
            functools.partial(measure, treated=PLACEBO),
            ("start/plain/", f"start/{PLACEBO}/"),
        ),
    ),
    draw=draw,
)
