"""bn-large-lr, bn-fast-decay: larger learning rates, and learning rates that decay faster."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import LOG_RATIO, POINTS, Values, log_ratio, minus, percent
from dlip_reg.studies.batch_norm.arms import DECAY, NETS, PLACEBO, derived, run_at
from dlip_reg.studies.batch_norm.readings import (
    best_accuracy,
    drawn,
    grid,
    is_finished,
    steps_per_epoch,
    steps_to,
    test_accuracy,
    width_above,
)
from dlip_reg.studies.runs import Runs, Trials
from dlip_reg.studies.study import Arm, Claim, Control, Measurement, Part, Setting
from dlip_reg.training.records import Record
from dlip_reg.training.specification import Schedule

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

# The preset accuracy lies this far from chance to the lower of the two networks' best accuracies.
TARGET = 0.9
TRAINS = 0.1  # of accuracy above chance: less does not count as trained
COST = 0.01  # of accuracy that a faster decay may cost
NEGATIVE = (
    "The scale and shift of batch norm without normalization in place of batch norm, against the "
    "plain network: as many parameters, tuned alike."
)


def rate_arms(setting: Setting) -> list[Arm]:
    """Every network at every learning rate."""
    return [
        Arm(f"rates/{net}/{rate:g}", run_at(setting, net, rate), label=NETS[net])
        for net in NETS
        for rate in setting.preset.rates
    ]


def decay_arms(setting: Setting) -> list[Arm]:
    """Each network at its own best learning rate, which decays at several speeds."""
    return [
        derived(
            f"decay/{net}/{speed:g}", net, schedule=Schedule(DECAY, speed=speed), measures=("test",)
        )
        for net in NETS
        for speed in setting.preset.speeds
    ]


def target(runs: Runs) -> float:
    """The accuracy to reach: fixed by the tuning seeds, and the same for all seeds and networks.

    It lies 90 % of the way from chance to the best mean accuracy of the plain network or of that
    with batch norm, whichever is lower, so that both can reach it on any data set.
    """
    best = [
        max(
            (
                fmean(best_accuracy(record) for record in records)
                for records in runs.trials[net].values()
                if all(map(is_finished, records))
            ),
            default=math.nan,
        )
        for net in ("plain", "bn")
    ]
    return runs.guessing + TARGET * (min(best) - runs.guessing)


def quickest(trials: Trials, goal: float) -> float | None:
    """The learning rate that reaches `goal` in the fewest steps, by the mean over tuning seeds.

    None if no learning rate has a finished run with every seed.
    """
    steps = {
        spec.learning_rate: fmean(math.log(steps_until(record, goal)) for record in records)
        for spec, records in trials.items()
        if all(map(is_finished, records))
    }
    return min(steps, key=steps.__getitem__, default=None)


def steps_until(record: Record, goal: float) -> float:
    """Training steps to an accuracy, at least one; all of the run's where it was not reached."""
    steps = steps_to(record, goal)
    return max(1.0, all_steps(record) if steps is None else steps)


def all_steps(record: Record) -> float:
    """The steps of a whole run, also of one that diverged before its end."""
    return record.spec.epochs * steps_per_epoch(record)


def steps_by_seed(runs: Runs, net: str, goal: float) -> Values:
    """Steps to `goal` at the quickest learning rate; a diverged run counts with all its steps."""
    rate = quickest(runs.trials[net], goal)
    if rate is None:
        return (math.nan,) * len(runs.seeds)
    return tuple(
        math.nan
        if record is None
        else steps_until(record, goal)
        if is_finished(record)
        else all_steps(record)
        for record in runs[f"rates/{net}/{rate:g}"]
    )


def usable_range(runs: Runs, net: str, goal: float) -> Values:
    """By seed, the range of ln(learning rate) over which the run gets to `goal`.

    The best accuracy is interpolated between the learning rates tried; that of a run that diverged
    is that of guessing.
    """
    by_rate = {
        math.log(rate): runs.values(f"rates/{net}/{rate:g}", best_accuracy, runs.guessing)
        for rate in grid(runs, f"rates/{net}")
    }
    rows = zip(*by_rate.values(), strict=True)
    return tuple(width_above(dict(zip(by_rate, row, strict=True)), goal) for row in rows)


def measure_large_rate(runs: Runs, treated: str = "bn") -> Measurement:
    """Two series: the wider usable range, and the fewer steps, of treated over plain."""
    goal = target(runs)
    nets = ("plain", treated)
    ranges = {net: usable_range(runs, net, goal) for net in nets}
    steps = {net: steps_by_seed(runs, net, goal) for net in nets}
    wider = minus(ranges[treated], ranges["plain"])
    faster = log_ratio(steps["plain"], steps[treated])
    decades = {net: tuple(width / math.log(10) for width in ranges[net]) for net in nets}
    notes = [f"The accuracy to reach is {100 * goal:.1f} %, fixed with the tuning seeds."]
    for net in nets:
        rates = grid(runs, f"rates/{net}")
        reached = [end for end in (min(rates), max(rates)) if _reaches(runs, net, end, goal)]
        if reached:
            notes.append(
                f"{NETS[net].capitalize()}, the accuracy is still reached at the end of the "
                f"learning rates tried ({', '.join(f'{end:g}' for end in reached)}): the range "
                "may be wider."
            )
    return Measurement(
        (wider, faster),
        (
            *(Part(f"usable learning rates {NETS[net]}", "decades", decades[net]) for net in nets),
            Part("ln of the usable range, over the plain network's", LOG_RATIO, wider),
            *(Part(f"steps to the accuracy {NETS[net]}", "steps", steps[net]) for net in nets),
            Part("ln of how many times fewer steps than the plain network", LOG_RATIO, faster),
        ),
        tuple(notes),
    )


def _reaches(runs: Runs, net: str, rate: float, goal: float) -> bool:
    values = runs.values(f"rates/{net}/{rate:g}", best_accuracy, runs.guessing)
    return any(value >= goal for value in values)


def fastest_decay(accuracies: Mapping[float, float], guessing: float = 0.1) -> float:
    """ln of the fastest decay that costs less than a point of accuracy.

    A faster decay can only cost accuracy, but for chance: so the accuracies are first smoothed to
    the closest ones that do not rise with the speed (isotonic regression), and these are
    interpolated in ln(speed).

    Args:
        accuracies: How many times faster (the first is 1) -> accuracy in [0, 1].
        guessing: The accuracy of guessing. A network that is within ten points of it with the slow
            decay has nothing to lose; for it the number is 0, that of the slow decay.
    """
    from scipy.optimize import isotonic_regression

    if any(math.isnan(a) for a in accuracies.values()):
        return math.nan
    smooth = isotonic_regression(list(accuracies.values()), increasing=False).x
    if smooth[0] < guessing + TRAINS:
        return 0.0
    logs = [math.log(speed) for speed in accuracies]
    return width_above(dict(zip(logs, smooth, strict=True)), smooth[0] - COST)


def measure_fast_decay(runs: Runs, treated: str = "bn") -> Measurement:
    """ln of the fastest decay that costs less than a point, treated minus plain."""
    accuracies = {
        net: {
            speed: runs.values(f"decay/{net}/{speed:g}", test_accuracy, runs.guessing)
            for speed in grid(runs, f"decay/{net}")
        }
        for net in ("plain", treated)
    }
    fastest = {
        net: tuple(
            fastest_decay(dict(zip(by_speed, row, strict=True)), runs.guessing)
            for row in zip(*by_speed.values(), strict=True)
        )
        for net, by_speed in accuracies.items()
    }
    last = max(accuracies["plain"])
    at_end = {
        net: sum(value >= math.log(last) for value in values) for net, values in fastest.items()
    }
    costs = {
        net: minus(percent(by_speed[last]), percent(by_speed[min(by_speed)]))
        for net, by_speed in accuracies.items()
    }
    return Measurement(
        minus(fastest[treated], fastest["plain"]),
        (
            *(
                Part(f"fastest decay {NETS[net]}", "times",
                     tuple(math.exp(value) for value in values))
                for net, values in fastest.items()
            ),
            *(
                Part(f"accuracy {last:g} times as fast minus as slow, {NETS[net]}", POINTS,
                     values)
                for net, values in costs.items()
            ),
        ),
        tuple(
            f"{NETS[net].capitalize()}, a decay {last:g} times faster, the fastest tried, costs "
            f"less than a point with {count} of {len(runs.seeds)} seeds."
            for net, count in at_end.items()
            if count
        ),
    )  # fmt: skip


def draw_rates(runs: Runs) -> Sequence[FigureItem]:
    """Accuracy by learning rate, and the steps to the target."""
    from dlip_reg.report import FigureItem, figures

    nets = {net: label for net, label in NETS.items() if grid(runs, f"rates/{net}")}
    goal = target(runs)
    accuracy = {
        label: drawn(grid(runs, f"rates/{net}"), best_accuracy) for net, label in nets.items()
    }
    items = [
        FigureItem(
            "rates",
            figures.tried_values(
                accuracy, "initial learning rate", "best validation accuracy (%)", goal=goal
            ),
            "Best validation accuracy of a run against its learning rate, and the accuracy to "
            "reach.",
            "Mean over seeds; crosses at the bottom: a loss became NaN or infinite with some seed, "
            "which counts as the accuracy of guessing. The usable range is where a seed's line "
            f"lies above the dashed one, {100 * goal:.1f} %.",
        )
    ]
    styles = figures.method_styles(nets.values())
    curves, steps, own = {}, {}, {}
    for net, label in nets.items():
        rate = quickest(runs.trials[net], goal)
        if rate is None:
            continue
        name = f"{label} at {rate:g}"
        own[name] = styles[label]
        curves[name] = [
            {
                "step": [epoch * steps_per_epoch(record) for epoch in record.curves.epoch],
                "accuracy": record.curves.clean_val_accuracy,
            }
            for record in runs.finished(f"rates/{net}/{rate:g}")
        ]
        steps[name] = steps_by_seed(runs, net, goal)
    if curves:
        items.append(
            FigureItem(
                "steps_to_target",
                figures.way_to_target(curves, goal, steps, own),
                "Validation accuracy against training steps, and the steps to the accuracy.",
                "Each network at the learning rate that was quickest with other seeds. Ioffe & "
                "Szegedy 2015 (figure 3) needed 31.0 million steps to 72.2 % for Inception, 13.3 "
                "with batch normalization, 2.1 at 5 and 2.7 at 30 times the learning rate. The "
                "curves show speed; how far apart the usable rates lie is in the figure before.",
            )
        )
    return items


def draw_decay(runs: Runs) -> Sequence[FigureItem]:
    """Test accuracy against the speed of the decay."""
    from dlip_reg.report import FigureItem, figures

    nets = {net: label for net, label in NETS.items() if grid(runs, f"decay/{net}")}
    accuracy = {
        label: drawn(grid(runs, f"decay/{net}"), test_accuracy) for net, label in nets.items()
    }
    return [
        FigureItem(
            "fast_decay",
            figures.tried_values(
                accuracy, "how many times faster the learning rate decays", "test accuracy (%)"
            ),
            "Test accuracy against the speed at which the learning rate decays.",
            "The learning rate decays exponentially to a twentieth by the end of training, or so "
            "many times as fast. Each network at its own best initial learning rate. How flat a "
            "line begins is what counts, and not how high it lies: the claim compares the speeds "
            "at which each has lost a point.",
        )
    ]  # fmt: skip


LARGE_RATE = Claim(
    id="bn-large-lr",
    sentence="With batch norm a large initial learning rate does not miss the minimum, and "
    "training converges more quickly.",
    experiment="Two parts that must both hold, for a validation accuracy fixed beforehand: by how "
    "many natural logarithms the range of learning rates that reach it is wider with batch norm "
    "than without; and ln of how many times fewer steps it takes, each network at the learning "
    "rate that was quickest with other seeds (the measure of Ioffe & Szegedy 2015, figure 3). The "
    "smaller of the two is shown. A run that diverged reaches nothing and counts with all steps.",
    unit=LOG_RATIO,
    direction=+1,
    smallest_effect=math.log(1.5),
    smallest_effect_source="ln 1.5: half, in logarithms, of the factor 2.3 by which batch norm "
    "alone made Inception quicker (Ioffe & Szegedy 2015, figure 3)",
    measure=measure_large_rate,
    needs=("rates/plain/", "rates/bn/", "plain", "bn"),
    arms=rate_arms,
    controls=(
        Control(
            "negative",
            NEGATIVE,
            functools.partial(measure_large_rate, treated=PLACEBO),
            ("rates/plain/", f"rates/{PLACEBO}/", "plain", PLACEBO, "bn"),
        ),
    ),
    draw=draw_rates,
)
FAST_DECAY = Claim(
    id="bn-fast-decay",
    sentence="With batch norm the decay of the learning rate can be accelerated.",
    experiment="How many times faster the learning rate can decay before test accuracy falls by a "
    "point, each network at its own best initial learning rate: ln, with batch norm minus without. "
    "A diverged run has the accuracy of guessing.",
    unit=LOG_RATIO,
    direction=+1,
    smallest_effect=math.log(1.5),
    smallest_effect_source="ln 1.5, about the spacing of the speeds tried; Ioffe & Szegedy 2015 "
    "(section 4.2.1) decayed 6 times faster",
    measure=measure_fast_decay,
    needs=("decay/plain/", "decay/bn/"),
    arms=decay_arms,
    controls=(
        Control(
            "negative",
            NEGATIVE,
            functools.partial(measure_fast_decay, treated=PLACEBO),
            ("decay/plain/", f"decay/{PLACEBO}/"),
        ),
    ),
    draw=draw_decay,
)
