"""bn-no-dropout, bn-with-dropout, bn-less-l2: batch norm together with other regularizers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from dlip_reg.evidence.claims import ClaimResult
from dlip_reg.evidence.paired import LOG_RATIO, POINTS, Values, log_ratio, minus, per_seed, percent
from dlip_reg.studies.batch_norm.arms import STRENGTHS, changed, derived
from dlip_reg.studies.batch_norm.readings import (
    Content,
    Grid,
    best_accuracy,
    both,
    drawn,
    grids,
    is_finished,
    ratio,
    smaller_claim,
    steps_by_seed,
    test_accuracy,
    validation_accuracy,
)
from dlip_reg.studies.papers.ioffe_fig1 import LABELS
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Chosen, Claim, Measurement, Part, Setting, Tuning
from dlip_reg.training.specification import RunSpec

NEEDS = tuple(f"dropout/{net}/{level}" for net in LABELS for level in ("without", "with"))
_TESTED = ("curves", "test")
# Accuracies this close (one percentage point) count about the same when strengths are compared.
_ALIKE = 0.01


def dropout_arms(setting: Setting) -> list[Arm]:
    """Each network at its own best learning rate, without dropout and at its best dropout rate."""
    rates = setting.preset.dropout_rates

    def candidates(net: str, chosen: Chosen) -> list[RunSpec]:
        return [changed(chosen[net], dense_dropout=rate, measures=()) for rate in rates]

    def best(name: str, chosen: Chosen) -> RunSpec:
        return changed(chosen[name], measures=_TESTED)

    def tuned(net: str) -> Arm:
        name, tuning = f"dropout/{net}/with", Tuning(partial(candidates, net), expected=len(rates))
        label = f"{LABELS[net]}, dropout"
        return Arm(name, partial(best, name), tuning, uses=(net,), label=label)

    none = [derived(f"dropout/{net}/without", net, measures=_TESTED) for net in LABELS]
    return [*none, *map(tuned, LABELS)]


def _gains(runs: Runs) -> dict[str, Values]:
    """By network, the test accuracy gained by dropout, in percentage points."""
    accuracy = {name: percent(runs.values(name, test_accuracy)) for name in NEEDS}
    return {
        net: minus(accuracy[f"dropout/{net}/with"], accuracy[f"dropout/{net}/without"])
        for net in LABELS
    }


def steps_with_dropout(runs: Runs) -> dict[str, dict[str, Values]]:
    """By network, "without" and "with" dropout: steps to an accuracy that all four runs reach.

    It is the lowest of the best validation accuracies of the four runs with a seed.
    """
    four = zip(*(runs[name] for name in NEEDS), strict=True)
    goals = [min(map(best_accuracy, r)) if all(map(is_finished, r)) else None for r in four]
    return {
        net: {level: steps_by_seed(records, goals) for level, records in levels.items()}
        for net, levels in grids(runs, "dropout").items()
    }


def measure_no_dropout(runs: Runs) -> Measurement:
    """The gain from dropout with batch norm minus that without: the interaction."""
    gains = _gains(runs)
    slowing = {
        net: log_ratio(steps["with"], steps["without"])
        for net, steps in steps_with_dropout(runs).items()
    }
    return Measurement(
        minus(gains["bn"], gains["plain"]),
        (
            *both("gain from dropout", POINTS, gains),
            *both("steps, dropout over none,", LOG_RATIO, slowing),
            Part("the second minus the first", LOG_RATIO, minus(slowing["bn"], slowing["plain"])),
        ),
    )


def measure_with_dropout(runs: Runs) -> Measurement:
    """The gain from dropout with batch norm."""
    gains = _gains(runs)
    accuracy = percent(runs.values("dropout/bn/without", test_accuracy))
    return Measurement(
        gains["bn"],
        (
            Part("test accuracy with batch norm alone", "%", accuracy),
            Part("the same gain without batch norm", POINTS, gains["plain"]),
        ),
    )


def draw_dropout(claims: Sequence[ClaimResult], runs: Runs) -> Content:
    """The four networks, and the note's two sentences with their verdicts."""
    from dlip_reg.report import figures
    from dlip_reg.report.numbers import format_constant, format_estimate

    results = "".join(
        f" “{claim.sentence.rstrip('.')}”: {claim.verdict or 'estimate'} "
        f"({format_estimate(claim.effect, claim.ci_low, claim.ci_high)} {claim.unit})."
        for claim in claims
        if claim.effect is not None and claim.id in [own.id for own in DROPOUT]
    )
    yield (
        "On dropout the note contradicts itself: it says that batch normalization makes dropout "
        "unnecessary, and that the two are better together. The same 2 × 2 experiment answers "
        "both: the first is about how much of dropout's gain batch normalization takes away (are "
        "the lines parallel?), the second about the gain that is left (does the line with batch "
        f"normalization rise?).{results} Both sentences come from papers on other networks and "
        "data: dropout helps where a network overfits, and how much this one does depends on the "
        "number of images."
    )

    def cells(values: dict[str, dict[str, Values]]) -> dict[str, dict[str, Values]]:
        return {
            LABELS[net]: {f"{level} dropout": x for level, x in levels.items()}
            for net, levels in values.items()
        }

    accuracy = {net: drawn(levels, test_accuracy) for net, levels in grids(runs, "dropout").items()}
    best = {label: runs.chosen.get(f"dropout/{net}/with") for net, label in LABELS.items()}
    rates = ", ".join(
        f"{format_constant(spec.regularization.dense_dropout)} {label}"
        for label, spec in best.items()
        if spec is not None
    )
    yield (
        "dropout",
        figures.two_by_two(
            {"test accuracy (%)": cells(accuracy)},
            {"training steps to a common accuracy": cells(steps_with_dropout(runs))},
        ),
        "Test accuracy and training steps with and without batch normalization and dropout.",
        "Each at its own learning rate and dropout rate, tuned on validation data with other seeds "
        f"(dropout rates: {rates or 'none'}). Right: steps to the lowest of the best validation "
        "accuracies of the seed's four networks.",
    )


def l2_arms(setting: Setting) -> list[Arm]:
    """Each network at its own best learning rate, with every strength of L2."""
    return [
        derived(f"l2/{net}/{strength:g}", net, conv_l2=strength, dense_l2=strength, measures=())
        for net in LABELS
        for strength in setting.preset.strengths
    ]


def centre_of_best(accuracies: Mapping[float, float]) -> float:
    """The best strength, smoothed: the geometric mean weighted by e^(accuracy / 1 point).

    The single best of a grid jumps between strengths that perform alike; here those share the
    weight.

    Args:
        accuracies: Strength -> validation accuracy in [0, 1]; NaN (a diverged run) has no weight.

    Returns:
        The strength; NaN if there is no accuracy.
    """
    known = {s: a for s, a in accuracies.items() if s > 0 and math.isfinite(a)}
    if not known:
        return math.nan
    best = max(known.values())
    weights = {s: math.exp((a - best) / _ALIKE) for s, a in known.items()}
    total = sum(weights.values())
    return math.exp(sum(w * math.log(s) for s, w in weights.items()) / total)


def strength_that_costs_a_point(accuracies: Mapping[float, float]) -> float:
    """The strongest L2 that is within a percentage point of the best accuracy.

    Between two strengths the accuracy is interpolated linearly in the logarithm. Unlike
    `centre_of_best`, this does not depend on where the grid begins.

    Args:
        accuracies: As in `centre_of_best`.

    Returns:
        The strength; NaN where the strongest of the grid costs less than a point.
    """
    known = sorted((s, a) for s, a in accuracies.items() if s > 0 and math.isfinite(a))
    if not known:
        return math.nan
    level = max(a for _, a in known) - _ALIKE
    last = max(index for index, (_, a) in enumerate(known) if a >= level)
    if last == len(known) - 1:
        return math.nan
    (low, before), (high, after) = known[last : last + 2]
    return low * (high / low) ** ((before - level) / (before - after))


def _single_best(accuracies: Mapping[float, float]) -> float:
    known = {s: a for s, a in accuracies.items() if math.isfinite(a)}
    return max(known, key=known.__getitem__) if known else math.nan


def by_seed(strengths: Grid, read: Callable[[Mapping[float, float]], float]) -> Values:
    """By seed, what `read` gives for strength -> validation accuracy."""
    accuracies = [per_seed(records, validation_accuracy) for records in strengths.values()]
    rows = zip(*accuracies, strict=True)
    return tuple(read(dict(zip(strengths, row, strict=True))) for row in rows)


def measure_l2(runs: Runs) -> Measurement:
    """ln of the best strength with batch norm over without."""
    best, winners, costly = (
        {net: by_seed(strengths, read) for net, strengths in grids(runs, "l2").items()}
        for read in (centre_of_best, _single_best, strength_that_costs_a_point)
    )
    decades = {net: tuple(math.log10(s) for s in strengths) for net, strengths in best.items()}
    return Measurement(
        log_ratio(best["bn"], best["plain"]),
        (
            *both("best strength", "decades", decades),
            ratio("the single best of the grid", winners),
            ratio("the strength that costs a point of accuracy", costly),
        ),
    )


def draw_l2(runs: Runs) -> Content:
    """Accuracy by strength of L2."""
    from dlip_reg.report import figures

    by_net = grids(runs, "l2")
    accuracy = {label: drawn(by_net[net], validation_accuracy) for net, label in LABELS.items()}
    best = {label: by_seed(by_net[net], centre_of_best) for net, label in LABELS.items()}
    yield (
        "Before a batch normalization L2 does not make the function smaller: the kernel's scale is "
        "divided out again. It keeps the kernel small, and so the steps large in comparison, which "
        "acts like a higher learning rate (van Laarhoven 2017). The strengths with and without "
        "batch normalization therefore act in two different ways, and the best values of each "
        "depend on the learning rate."
    )
    yield (
        "l2",
        figures.tried_values(accuracy, {"best": best}, "strength l of l · Σw²"),
        "Validation accuracy against the strength of L2, and the best strength of each seed.",
        "Best: the geometric mean of the strengths, weighted by e to the accuracy in percentage "
        "points, so that strengths that perform alike count alike. Where a network performs as "
        "well with hardly any L2, that is the middle of the harmless strengths, and depends on "
        "where the grid begins. Ioffe & Szegedy 2015 divided their strength by 5.",
    )


DROPOUT = (
    Claim(
        id="bn-no-dropout",
        sentence="With batch norm dropout can be removed: it can hurt or slow training.",
        experiment="Test accuracy gained by dropout (at its best rate on validation data) with "
        "batch norm minus that gained without: the interaction of the 2 × 2 experiment.",
        unit=POINTS,
        direction=-1,
        smallest_effect=1.0,
        smallest_effect_source="as fixed in the first edition: one point of accuracy",
        measure=measure_no_dropout,
        needs=NEEDS,
        arms=dropout_arms,
        figures=("dropout",),
    ),
    Claim(
        id="bn-with-dropout",
        sentence="Batch norm is better used together with dropout.",
        experiment="Test accuracy gained by dropout (at its best rate on validation data) in the "
        "network with batch norm, from the same 2 × 2 experiment.",
        unit=POINTS,
        direction=+1,
        smallest_effect=0.5,
        smallest_effect_source="as fixed in the first edition: half a point of accuracy",
        measure=measure_with_dropout,
        needs=NEEDS,
        figures=("dropout",),
    ),
)
L2 = smaller_claim(
    id="bn-less-l2",
    sentence="With batch norm L2 regularization can be reduced.",
    experiment="Best L2 strength by validation accuracy over one grid, two per decade from "
    f"{STRENGTHS[0]:g} to {STRENGTHS[-1]:g} (smoothed: strengths within a point of each other "
    "share the weight), log-ratio with batch norm over without.",
    smallest_effect=0.5,
    smallest_effect_source="as fixed in the first edition: 40 %; Ioffe & Szegedy 2015 (section "
    "4.2.1) reduce L2 by a factor of 5",
    measure=measure_l2,
    needs=("l2/",),
    arms=l2_arms,
    figures=("l2",),
)
