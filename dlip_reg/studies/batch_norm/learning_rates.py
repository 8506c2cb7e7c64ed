"""bn-large-lr, bn-fast-decay: larger learning rates, and learning rates that decay faster."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean

from dlip_reg.evidence.paired import POINTS, Values, log_ratio, minus, per_seed, percent
from dlip_reg.experiments.selection import most_accurate
from dlip_reg.studies.batch_norm.arms import DECAY, derived
from dlip_reg.studies.batch_norm.readings import (
    Content,
    Grid,
    Targets,
    best_accuracy,
    both,
    drawn,
    grids,
    is_finished,
    ratio,
    smaller_claim,
    steps_by_seed,
    steps_to,
    test_accuracy,
    validation_accuracy,
)
from dlip_reg.studies.papers.ioffe_fig1 import LABELS, steps_per_epoch
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Claim, Measurement, Part, Setting
from dlip_reg.training.specification import Schedule

# A run counts as trained if it gets this far from chance to the best accuracy without batch norm.
HALFWAY = 0.5
FASTER = 6.0  # Ioffe & Szegedy 2015, section 4.2.1
SPEEDS = {1: "slow", FASTER: f"{FASTER:g} times faster"}


def decay_arms(setting: Setting) -> list[Arm]:
    """Each network at its own best learning rate, with slow and with fast decay."""
    measures = ("curves", "test")
    schedules = [Schedule(DECAY, speed=speed) for speed in SPEEDS]
    return [
        derived(f"fast_decay/{net}/{schedule.speed:g}", net, schedule=schedule, measures=measures)
        for net in LABELS
        for schedule in schedules
    ]


def targets(rates: Grid) -> Targets:
    """By seed, the best validation accuracy at the learning rate of the grid that ends best."""
    best = most_accurate(rates)
    records = next(iter(rates.values())) if best is None else rates[best]
    return [None if best is None or r is None else best_accuracy(r) for r in records]


def quickest(rates: Grid, goals: Targets) -> float | None:
    """The learning rate that reaches the goals of the most seeds, and of those in the fewest steps.

    Steps are compared by their geometric mean. A rate with a run that diverged or failed, in a seed
    that has a goal, never wins. None if no rate is left.
    """
    scores = {}
    for rate, records in rates.items():
        pairs = [(r, goal) for r, goal in zip(records, goals, strict=True) if goal is not None]
        if pairs and all(is_finished(record) for record, _ in pairs):
            missed = sum(steps_to(record, goal) is None for record, goal in pairs)
            steps = steps_by_seed(*zip(*pairs, strict=True))
            scores[rate] = (missed, fmean(math.log(max(s, 1.0)) for s in steps))
    return min(scores, key=scores.__getitem__, default=None)


def largest_rates(by_net: Mapping[str, Grid], chance: float) -> dict[str, Values]:
    """By network and seed, the largest learning rate that trains; NaN if none does."""

    def largest(rates: Grid, seed: int, goal: float | None) -> float:
        floor = math.inf if goal is None else chance + HALFWAY * (goal - chance)
        trained = [
            rate
            for rate, records in rates.items()
            if is_finished(records[seed]) and validation_accuracy(records[seed]) > floor
        ]
        return max(trained, default=math.nan)

    goals = targets(by_net["plain"])
    return {
        net: tuple(largest(rates, seed, goal) for seed, goal in enumerate(goals))
        for net, rates in by_net.items()
    }


def measure_large_rate(runs: Runs) -> Measurement:
    """ln of the steps to the plain network's best accuracy, with batch norm over without."""
    by_net = grids(runs, "rates")
    goals = targets(by_net["plain"])
    none = [None] * len(goals)
    fastest = {net: quickest(rates, goals) for net, rates in by_net.items()}
    records = {net: by_net[net].get(rate, none) for net, rate in fastest.items()}
    steps = {net: steps_by_seed(found, goals) for net, found in records.items()}
    reached = tuple(
        math.nan if None in (record, goal) else 100.0 * (steps_to(record, goal) is not None)
        for record, goal in zip(records["bn"], goals, strict=True)
    )
    rates = {net: (rate or math.nan,) * len(goals) for net, rate in fastest.items()}
    return Measurement(
        log_ratio(steps["bn"], steps["plain"]),
        (
            *both("steps to that accuracy", "steps", steps),
            Part("seeds in which the network with batch norm reached it", "%", reached),
            ratio("quickest learning rate", rates),
            ratio("largest learning rate that trains", largest_rates(by_net, runs.guessing)),
        ),
    )


def measure_fast_decay(runs: Runs) -> Measurement:
    """The accuracy that the faster decay costs, with batch norm minus without."""
    accuracy = {
        net: {speed: percent(per_seed(records, test_accuracy)) for speed, records in speeds.items()}
        for net, speeds in grids(runs, "fast_decay").items()
    }
    lost = {net: minus(speeds[FASTER], speeds[1]) for net, speeds in accuracy.items()}
    return Measurement(
        minus(lost["bn"], lost["plain"]),
        (
            *both("fast minus slow decay,", POINTS, lost),
            Part("test accuracy with batch norm, slow decay", "%", accuracy["bn"][1]),
        ),
    )


def draw_rates(runs: Runs) -> Content:
    """Accuracy by learning rate, and the steps to the target."""
    from dlip_reg.report import figures

    by_net = grids(runs, "rates")
    best = {net: most_accurate(rates) for net, rates in by_net.items()}
    yield (
        "Both networks try the same learning rates of plain SGD, decaying to a twentieth by the "
        "end. Best by mean validation accuracy: "
        + ", ".join(f"{_text(best[net])} {label}" for net, label in LABELS.items())
        + ". A comparison at one common learning rate would favour whichever network it suits, so "
        "claims that are not about the learning rate compare the networks at their own best ones, "
        "found with other seeds."
    )
    accuracy = {label: drawn(by_net[net], validation_accuracy) for net, label in LABELS.items()}
    largest = largest_rates(by_net, runs.guessing)
    marked = {"largest that trains": {label: largest[net] for net, label in LABELS.items()}}
    yield (
        "rates",
        figures.tried_values(accuracy, marked, "initial learning rate"),
        "Validation accuracy against the learning rate, and the largest one that trains.",
        "Mean over seeds; crosses at the bottom: a loss became NaN or infinite. A learning rate "
        "trains if the run ends more than half-way from chance to the best accuracy without batch "
        "normalization. Where the largest is the last of the axis, larger ones might train.",
    )
    goals = targets(by_net["plain"])
    known = [goal for goal in goals if goal is not None]
    styles = figures.method_styles(LABELS.values())
    curves, steps, own = {}, {}, {}
    for net, label in LABELS.items():
        rate = quickest(by_net[net], goals)
        name = f"{label} at {_text(rate)}"
        records = by_net[net].get(rate, ())
        own[name] = styles[label]
        curves[name] = [
            {
                "step": [epoch * steps_per_epoch(record) for epoch in record.curves.epoch],
                "accuracy": record.curves.clean_val_accuracy,
            }
            for record in filter(is_finished, records)
        ]
        steps[name] = steps_by_seed(records, goals) if records else ()
    yield (
        "steps_to_target",
        figures.way_to_target(curves, fmean(known) if known else None, steps, own),
        "Validation accuracy against training steps, and the steps to the target accuracy.",
        "Each network at its quickest learning rate. The target of a seed is the best validation "
        "accuracy that the network without batch normalization reached with it. Ioffe & Szegedy "
        "2015 (figure 3) needed 31.0 million steps to 72.2 % for Inception, 13.3 with batch "
        "normalization, 2.1 at 5 and 2.7 at 30 times the learning rate.",
    )


def _text(rate: float | None) -> str:
    from dlip_reg.report.figures.style import plain

    return "none" if rate is None else plain(rate)


def draw_decay(runs: Runs) -> Content:
    """Test accuracy with both speeds of decay."""
    from dlip_reg.report import figures

    cells = {
        LABELS[net]: {SPEEDS[speed]: x for speed, x in drawn(speeds, test_accuracy).items()}
        for net, speeds in grids(runs, "fast_decay").items()
    }
    yield (
        "fast_decay",
        figures.two_by_two({"test accuracy (%)": cells}),
        "Test accuracy with slow and with fast decay of the learning rate.",
        "The learning rate decays exponentially to a twentieth by the end of training, or "
        f"{FASTER:g} times as fast. Each network at its own best initial learning rate.",
    )


LARGE_RATE = smaller_claim(
    id="bn-large-lr",
    sentence="With batch norm a large initial learning rate does not miss the minimum, and "
    "training converges more quickly.",
    experiment="Training steps to the best validation accuracy of the network without batch norm, "
    "each network at the learning rate of the grid that reaches it in most seeds and soonest (a "
    "run that never does counts with all its steps); log-ratio with over without (the measure of "
    "Ioffe & Szegedy 2015, figure 3).",
    measure=measure_large_rate,
    needs=("rates/",),
    figures=("rates", "steps_to_target"),
)
FAST_DECAY = Claim(
    id="bn-fast-decay",
    sentence="With batch norm the decay of the learning rate can be accelerated.",
    experiment=f"Test accuracy with a learning rate that decays {FASTER:g} times faster minus that "
    "with the slow one, each network at its own best learning rate; with batch norm minus without.",
    unit=POINTS,
    direction=+1,
    smallest_effect=1.0,
    smallest_effect_source="as fixed in the first edition: one point of accuracy",
    measure=measure_fast_decay,
    needs=("fast_decay/",),
    arms=decay_arms,
    figures=("fast_decay",),
)
