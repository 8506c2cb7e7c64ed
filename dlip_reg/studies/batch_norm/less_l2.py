"""bn-less-l2: with batch norm L2 regularization can be reduced."""

import math
from collections.abc import Sequence
from typing import Any

from dlip_reg import report
from dlip_reg.evidence import LOG_RATIO, POINTS, Question, Values, minus, of_certain_side
from dlip_reg.studies import Arm, Arms, Measured, Part, Runs, Tuning, claimed, is_finished, varied
from dlip_reg.studies.batch_norm.arms import LABELS, NETS, as_net
from dlip_reg.studies.batch_norm.nets import by_net, with_placebo
from dlip_reg.studies.drawing import Drawn, figure
from dlip_reg.studies.readings import accuracy, all_diverged, val_accuracy
from dlip_reg.studies.study import Setting, controlled, drawn_by, negative
from dlip_reg.studies.surface import optimum_by_seed
from dlip_reg.training import Record

NEEDS = [f"l2/{net}/{level}" for net in LABELS for level in ("none", "best")]
USELESS = 1e-6  # of a strength: its gradient is a millionth of the data's


def l2_arms(setting: Setting) -> Arms:
    """Each network with no and with its best L2, all at the plain network's learning rate.

    Under batch norm L2 acts through the effective learning rate (van Laarhoven 2017), so networks
    at different learning rates could not be compared.
    """

    def with_l2(net: str, strength: float) -> dict[str, Any]:
        l2 = {"conv_l2": strength, "dense_l2": strength, "measures": ("test",)}
        return as_net(net, setting.model) | l2

    def tuned(name: str, net: str, factor: float, label: str) -> Arm:
        tried = [with_l2(net, factor * strength) for strength in setting.preset.strengths]
        return Arm(name, "plain", Tuning(tried), label=label)

    for net, label in NETS.items():
        yield varied(f"l2/{net}/none", "plain", f"{label}, no L2", **with_l2(net, 0.0))
    for net, label in NETS.items():
        yield tuned(f"l2/{net}/best", net, 1.0, f"{label}, L2")
    yield tuned("l2/plain/useless", "plain", USELESS, "without batch norm, useless L2")


def gain(runs: Runs, net: str, level: str = "best") -> Values:
    """Points of test accuracy that L2 gains; a diverged run has the accuracy of guessing."""
    return minus(*(accuracy(runs, f"l2/{net}/{name}") for name in (level, "none")))


def log_strengths(runs: Runs, net: str) -> list[float]:
    """ln of the best strength, from a quadratic through the trials of each tuning seed, or NaN."""
    trials = runs.trials[f"l2/{net}/best"]
    return [values[0] for values in optimum_by_seed(trials, ("dense_l2",))]


@figure("l2")
def draw(runs: Runs) -> Drawn:
    """Validation accuracy against the strength of L2: {networks}.

    Means over the tuning seeds, with the learning rate that is best without batch norm. Quadratics
    through these trials are highest at {best}. Before a batch normalization L2 does not make the
    function smaller, since the kernel's scale is divided out again; it keeps the kernel small and
    so the steps large in comparison, which acts like a higher learning rate (van Laarhoven 2017).
    Ioffe & Szegedy 2015 divided their strength by 5. A best strength depends on the learning rate;
    what the penalty gains at it is what decides.
    """
    curves = {
        label: {
            spec.regularization.dense_l2: [_mean_accuracy(records)]
            for spec, records in trials.items()
        }
        for net, label in NETS.items()
        if (trials := runs.trials.get(f"l2/{net}/best"))
    }
    if not curves:
        return
    best = [
        f"{math.exp(sum(logs) / len(logs)):.2g} {label}"
        for net, label in NETS.items()
        if (logs := list(filter(math.isfinite, log_strengths(runs, net))))
    ]
    plot = report.figures.strength_curves({"all at one learning rate": curves})
    yield plot, {"networks": curves, "best": best}


def _mean_accuracy(records: Sequence[Record | None]) -> float | None:
    values = [val_accuracy(record) for record in records if is_finished(record)]
    return sum(values) / len(values) if values else None


@negative("l2/plain/none", "l2/plain/useless")
def useless(runs: Runs) -> Values:
    """What L2 gains without batch norm at strengths too weak to matter, tuned over as many
    candidates: what choosing the best of many is worth.
    """
    return gain(runs, "plain", "useless")


@drawn_by(draw)
@with_placebo("l2/{}/none", "l2/{}/best")
@controlled(useless)
@claimed("bn-less-l2", POINTS, Question(+1, 0.5), *NEEDS, arms=l2_arms)
def claim(runs: Runs, treated: str = "bn") -> Measured:
    """With batch norm L2 regularization can be reduced.

    Test accuracy gained by L2 at its best strength, tuned on other seeds, over none: without
    batch norm minus with it, all at the learning rate that is best without. A diverged run has the
    accuracy of guessing; a seed with which both runs of a network diverged counts as no difference;
    if most are such, nothing is decided.

    Smallest effect: half a point, the least for which a practitioner would keep a penalty: the
    margin of bn-no-dropout
    """
    gains = {net: gain(runs, net) for net in ("plain", treated)}
    failed = [all_diverged(runs, [f"l2/{net}/none", f"l2/{net}/best"]) for net in gains]
    ratio = minus(log_strengths(runs, treated), log_strengths(runs, "plain"))
    yield of_certain_side(minus(gains["plain"], gains[treated]), failed, failed)
    yield from by_net("gain from L2", POINTS, gains)
    label = "best strength from fitted curves over that without, by tuning seed"
    yield Part(label, LOG_RATIO, ratio)
