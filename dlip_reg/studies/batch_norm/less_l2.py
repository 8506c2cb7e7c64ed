"""bn-less-l2: with batch norm L2 regularization can be reduced."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import LOG_RATIO, POINTS, Values, minus, percent
from dlip_reg.studies.batch_norm.arms import NETS, PLACEBO, changed, run_at
from dlip_reg.studies.batch_norm.learning_rates import NEGATIVE
from dlip_reg.studies.batch_norm.readings import mean_of_finished, test_accuracy
from dlip_reg.studies.regularization.surface import optimum_by_seed
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Chosen, Claim, Control, Measurement, Part, Setting, Tuning
from dlip_reg.training.specification import RunSpec

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

USELESS = 1e-6  # of a strength: its gradient is a millionth of the data's


def l2_arms(setting: Setting) -> list[Arm]:
    """Each network with no and with its best L2, all at the plain network's learning rate.

    Under batch norm L2 acts through the effective learning rate (van Laarhoven 2017), so networks
    at different learning rates could not be compared.
    """
    strengths = setting.preset.strengths

    def at_common_rate(net: str, strength: float, chosen: Chosen) -> RunSpec:
        rate = chosen["plain"].learning_rate
        run = run_at(setting, net, rate)
        return changed(run, conv_l2=strength, dense_l2=strength, measures=("test",))

    def candidates(net: str, factor: float, chosen: Chosen) -> list[RunSpec]:
        return [at_common_rate(net, factor * strength, chosen) for strength in strengths]

    def tuned(name: str, net: str, factor: float, label: str) -> Arm:
        tuning = Tuning(functools.partial(candidates, net, factor), expected=len(strengths))
        return Arm(name, tuning=tuning, uses=("plain",), label=label)

    return [
        *(
            Arm(
                f"l2/{net}/none",
                functools.partial(at_common_rate, net, 0.0),
                uses=("plain",),
                label=f"{label}, no L2",
            )
            for net, label in NETS.items()
        ),
        *(tuned(f"l2/{net}/best", net, 1.0, f"{label}, L2") for net, label in NETS.items()),
        tuned("l2/plain/useless", "plain", USELESS, "without batch norm, useless L2"),
    ]


def gain(runs: Runs, net: str, level: str = "best") -> Values:
    """Points of test accuracy that L2 gains; a diverged run has the accuracy of guessing."""
    with_, without = (
        percent(runs.values(f"l2/{net}/{name}", test_accuracy, runs.guessing))
        for name in (level, "none")
    )
    return minus(with_, without)


def log_strengths(runs: Runs, net: str) -> list[float]:
    """ln of the best strength, from a quadratic through the trials of each tuning seed."""
    trials = runs.trials[f"l2/{net}/best"]
    return [values[0] for values in optimum_by_seed(trials, ("dense_l2",))]


def measure(runs: Runs, treated: str = "bn") -> Measurement:
    """The gain from L2 without batch norm minus with it."""
    gains = {net: gain(runs, net) for net in ("plain", treated)}
    best = [log_strengths(runs, net) for net in (treated, "plain")]
    ratio = tuple(a - b for a, b in zip(*best, strict=False))
    return Measurement(
        minus(gains["plain"], gains[treated]),
        (
            *(Part(f"gain from L2 {NETS[net]}", POINTS, values) for net, values in gains.items()),
            Part("best strength from fitted curves over that without, by tuning seed", LOG_RATIO,
                 ratio),
        ),
    )  # fmt: skip


def draw(runs: Runs) -> Sequence[FigureItem]:
    """Accuracy against the strength of L2 on the tuning seeds."""
    from dlip_reg.report import FigureItem, figures

    curves = {
        label: {
            spec.regularization.dense_l2: [
                mean_of_finished(records, lambda r: r.measures.val_accuracy)
            ]
            for spec, records in runs.trials.get(f"l2/{net}/best", {}).items()
        }
        for net, label in NETS.items()
    }
    curves = {label: line for label, line in curves.items() if line}
    if not curves:
        return []
    best = ", ".join(
        f"{math.exp(sum(logs) / len(logs)):.2g} {label}"
        for net, label in NETS.items()
        if (logs := log_strengths(runs, net))
    )
    return [
        FigureItem(
            "l2",
            figures.strength_curves({"all at one learning rate": curves}),
            "Validation accuracy against the strength of L2 for " + ", ".join(curves) + ".",
            "Means over the tuning seeds, with the learning rate that is best without batch "
            f"norm. Quadratics through these trials are highest at {best}. Before a batch "
            "normalization L2 does not make the function smaller, since the kernel's scale is "
            "divided out again; it keeps the kernel small and so the steps large in comparison, "
            "which acts like a higher learning rate (van Laarhoven 2017). Ioffe & Szegedy 2015 "
            "divided their strength by 5. A best strength depends on the learning rate; what the "
            "penalty gains at it is what decides.",
        )
    ]


CLAIM = Claim(
    id="bn-less-l2",
    sentence="With batch norm L2 regularization can be reduced.",
    experiment="Test accuracy gained by L2 at its best strength, tuned on other seeds, over none: "
    "without batch norm minus with it, all at the learning rate that is best without. A diverged "
    "run has the accuracy of guessing.",
    unit=POINTS,
    direction=+1,
    smallest_effect=0.5,
    smallest_effect_source="half a point, the least for which a practitioner would keep a "
    "penalty: the margin of bn-no-dropout",
    measure=measure,
    needs=("l2/plain/none", "l2/plain/best", "l2/bn/none", "l2/bn/best"),
    arms=l2_arms,
    controls=(
        Control(
            "negative",
            "What L2 gains without batch norm at strengths too weak to matter, tuned over as many "
            "candidates: what choosing the best of many is worth.",
            functools.partial(gain, net="plain", level="useless"),
            ("l2/plain/none", "l2/plain/useless"),
        ),
        Control(
            "negative",
            NEGATIVE,
            functools.partial(measure, treated=PLACEBO),
            ("l2/plain/none", "l2/plain/best", f"l2/{PLACEBO}/none", f"l2/{PLACEBO}/best"),
        ),
    ),
    draw=draw,
)
