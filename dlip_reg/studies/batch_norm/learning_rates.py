"""bn-large-lr, bn-fast-decay: larger learning rates, and learning rates that decay faster."""

import functools
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean

from dlip_reg import report
from dlip_reg.evidence import (
    LOG_RATIO,
    POINTS,
    Bound,
    Question,
    Values,
    by_seed,
    log_ratio,
    minus,
    of_certain_side,
    percent,
)
from dlip_reg.studies.batch_norm.arms import DECAY, LABELS, NETS, run_of
from dlip_reg.studies.batch_norm.nets import against_plain, by_net, drawn
from dlip_reg.studies.drawing import Drawn, by_epoch, figure, lines_of, together
from dlip_reg.studies.readings import best, finished_trials, is_finished, test_accuracy
from dlip_reg.studies.runs import Runs, Trials, curves_of, known, spec_of, steps_per_epoch
from dlip_reg.studies.study import Arms, Measured, Part, Setting, drawn_by, varied
from dlip_reg.training import Record, Schedule

# The preset accuracy lies this far from chance to the lower of the two networks' best accuracies.
TARGET = 0.9
TRAINS = 0.1  # of accuracy above chance: less does not count as trained
COST = 0.01  # of accuracy that a faster decay may cost


def rate_arms(setting: Setting) -> Arms:
    """Every network at every learning rate."""
    for (net, label), rate in itertools.product(NETS.items(), setting.preset.rates):
        yield varied(f"rates/{net}/{rate:g}", run_of(setting, net), label, learning_rate=rate)


def decay_arms(setting: Setting) -> Arms:
    """Each network at its own best learning rate, which decays at several speeds."""
    for (net, label), speed in itertools.product(NETS.items(), setting.preset.speeds):
        schedule, name = Schedule(DECAY, speed=speed), f"decay/{net}/{speed:g}"
        yield varied(name, net, label, schedule=schedule, measures=("test",))


def target(runs: Runs) -> float:
    """The accuracy to reach: fixed by the tuning seeds, and the same for all seeds and networks.

    It lies 90 % of the way from chance to the best mean accuracy of the plain network or of that
    with batch norm, whichever is lower, so that both can reach it on any data set. NaN if one of
    them did not get beyond chance with the tuning seeds.
    """
    trials = [finished_trials(runs.trials[net]).values() for net in LABELS]
    found = [max((fmean(map(best_accuracy, r)) for r in rs), default=math.nan) for rs in trials]
    # Not above chance, also a run that diverged would reach it.
    lowest = min(found) if all(accuracy > runs.guessing for accuracy in found) else math.nan
    return runs.guessing + TARGET * (lowest - runs.guessing)


def width_above(curve: Mapping[float, float], level: float) -> float:
    """For how much of its axis a curve is at `level` or above.

    Args:
        curve: Place in rising order -> value, taken as linear in between.
        level: The level.

    Returns:
        The length, in the unit of the places; NaN where a value or the level is missing.
    """
    if any(math.isnan(value) for value in (*curve.values(), level)):
        return math.nan
    length = 0.0
    for (left, before), (right, after) in itertools.pairwise(curve.items()):
        low, high = sorted((before, after))
        if low >= level:
            length += right - left
        elif high >= level:
            length += (right - left) * (high - level) / (high - low)
    return length


def best_accuracy(record: Record) -> float:
    """The highest validation accuracy of the run at the end of any epoch."""
    return max(a for a in curves_of(record).clean_val_accuracy if a is not None)


def steps_to(record: Record, target: float) -> float | None:
    """Training steps until the validation accuracy first reached `target`; None if it never did.

    Between the ends of two epochs the accuracy is interpolated linearly.
    """
    accuracies = curves_of(record).clean_val_accuracy
    for epoch, accuracy in enumerate(accuracies):
        if accuracy is not None and accuracy >= target:
            before = known(accuracies[epoch - 1]) if epoch else accuracy
            share = (target - before) / (accuracy - before) if accuracy > before else 1.0
            return (epoch - 1 + share if epoch else 0.0) * steps_per_epoch(record)
    return None


def quickest(trials: Trials, goal: float) -> float | None:
    """The learning rate that reaches `goal` in the fewest steps, by the mean over tuning seeds.

    None if no learning rate has a finished run with every seed, or the goal is missing.
    """
    if math.isnan(goal):
        return None
    spec = best(trials, lambda record: -math.log(steps_until(record, goal)))
    return None if spec is None else spec.learning_rate


def steps_until(record: Record, goal: float) -> float:
    """Training steps to an accuracy, at least one.

    All of the run's where it was not reached, also where the run diverged before its end.
    """
    steps = steps_to(record, goal) if is_finished(record) else None
    return max(1.0, spec_of(record).epochs * steps_per_epoch(record) if steps is None else steps)


def steps_by_seed(runs: Runs, net: str, goal: float) -> Values:
    """Steps to `goal` at the quickest learning rate; a diverged run counts with all its steps."""
    rate = quickest(runs.trials[net], goal)
    if rate is None:
        return (math.nan,) * len(runs.seeds)
    return runs.each([f"rates/{net}/{rate:g}"], lambda record: steps_until(record, goal))


def _missed_goal(runs: Runs, net: str, goal: float) -> Sequence[bool]:
    """By seed, whether the run of `steps_by_seed` would have taken more steps than it has."""
    rate = quickest(runs.trials[net], goal)
    if rate is None:
        return (False,) * len(runs.seeds)

    def missed(record: Record) -> bool:
        return not is_finished(record) or steps_to(record, goal) is None

    return runs.each([f"rates/{net}/{rate:g}"], missed, missing=False)


def usable_range(accuracies: Mapping[float, Values], goal: float) -> Values:
    """By seed, the range of ln(learning rate) over which the run gets to `goal`.

    Args:
        accuracies: Learning rate -> best accuracy with each seed, interpolated in between.
        goal: The accuracy to reach.
    """
    on_logs = {math.log(rate): values for rate, values in accuracies.items()}
    return tuple(width_above(curve, goal) for curve in by_seed(on_logs))


def beyond_spacing(wider: Values, rates: Collection[float]) -> Values:
    """By how much a range is wider, or narrower, at least, with ends known to one step of `rates`.

    Training breaks down at one of two neighbours, and where in between it does the line through
    their accuracies cannot tell.
    """
    steps = (math.log(high / low) for low, high in itertools.pairwise(sorted(rates)))
    spacing = max(steps, default=0.0)  # of a single rate every range is 0
    return tuple(Bound(math.copysign(max(abs(w) - spacing, 0.0), w)) for w in wider)


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


@figure("rates")
def draw_rates(runs: Runs) -> Drawn:
    """Best validation accuracy of a run against its learning rate, and the accuracy to reach.

    Mean over seeds; crosses at the bottom: a loss became NaN or infinite with some seed, which
    counts as the accuracy of guessing. The usable range is where a seed's line lies above the
    dashed one, {goal}.
    """
    goal = target(runs)
    plot = report.figures.tried_values(
        drawn(runs, "rates/{}/*", best_accuracy),
        "initial learning rate",
        "best validation accuracy (%)",
        goal=None if math.isnan(goal) else goal,
    )
    missing = "which is missing: a network did not train with the tuning seeds"
    yield plot, {"goal": missing if math.isnan(goal) else f"{100 * goal:.1f} %"}


@figure("curves_by_rate", slider="Initial learning rate")
def draw_curves(runs: Runs) -> Drawn:
    """Clean training loss and validation accuracy through training at one learning rate, for each
    network.

    The static figure shows the largest learning rate; the slider of the interactive one goes
    through all that were tried. Runs that diverged are not drawn: a network without a line did so
    with every seed.
    """
    read = functools.partial(by_epoch, loss="clean_loss", accuracy="clean_val_accuracy")
    panels = {
        "loss": ("clean training loss (nats)", "log"),
        "accuracy": ("validation accuracy (%)", "percent"),
    }
    grids = {label: runs.grid(f"rates/{net}/*") for net, label in NETS.items()}
    frames = {}
    for rate in sorted({rate for grid in grids.values() for rate in grid}):
        arms = {label: grid[rate] for label, grid in grids.items() if rate in grid}
        curves = {label: lines_of(runs, arm, read) for label, arm in arms.items()}
        if any(curves.values()):
            frames[f"{rate:g}"] = report.figures.through_training(curves, panels)
    if frames:
        yield frames


@figure("steps_to_target")
def draw_steps(runs: Runs) -> Drawn:
    """Validation accuracy against training steps, and the steps to the accuracy.

    Each network at the learning rate that was quickest with other seeds. Ioffe & Szegedy 2015
    (figure 3) needed 31.0 million steps to 72.2 % for Inception, 13.3 with batch normalization, 2.1
    at 5 and 2.7 at 30 times the learning rate. The curves show speed; how far apart the usable
    rates lie is in the figure of the best validation accuracies.
    """
    goal = target(runs)
    nets = {net: label for net, label in NETS.items() if runs.grid(f"rates/{net}/*")}
    styles = report.figures.method_styles(nets.values())
    curves, steps, own = {}, {}, {}
    for net, label in nets.items():
        rate = quickest(runs.trials[net], goal)
        if rate is None:
            continue
        name = f"{label} at {rate:g}"
        own[name] = styles[label]
        curves[name] = [
            {
                "step": [epoch * steps_per_epoch(record) for epoch in curves_of(record).epoch],
                "accuracy": curves_of(record).clean_val_accuracy,
            }
            for record in runs.finished(f"rates/{net}/{rate:g}")
        ]
        steps[name] = steps_by_seed(runs, net, goal)
    if curves:
        yield report.figures.way_to_target(curves, goal, steps, own)


@figure("fast_decay")
def draw_decay(runs: Runs) -> Drawn:
    """Test accuracy against the speed at which the learning rate decays.

    The learning rate decays exponentially to a twentieth by the end of training, or so many times
    as fast. Each network at its own best initial learning rate. How flat a line begins is what
    counts, and not how high it lies: the claim compares the speeds at which each has lost a point.
    """
    yield report.figures.tried_values(
        drawn(runs, "decay/{}/*", test_accuracy),
        "how many times faster the learning rate decays",
        "test accuracy (%)",
    )


@drawn_by(together(draw_rates, draw_curves, draw_steps))
@against_plain(
    "bn-large-lr", LOG_RATIO, Question(+1, math.log(1.5)), "rates/{}/", "{}", "bn", arms=rate_arms
)
def large_rate(runs: Runs, treated: str = "bn") -> Measured:
    """With batch norm a large initial learning rate does not miss the minimum, and training
    converges more quickly.

    Two parts that must both hold, for a validation accuracy fixed beforehand: by how many
    natural logarithms the range of learning rates that reach it is wider with batch norm than
    without, beyond the spacing of those tried, since an end of a range may lie anywhere between two
    of them; and ln of how many times fewer steps it takes, each network at the learning rate that
    was quickest with other seeds (the measure of Ioffe & Szegedy 2015, figure 3). The smaller of
    the two is shown. A run that diverged reaches nothing and counts with all steps; where these do
    not tell which network is quicker, as no difference.

    Smallest effect: ln 1.5: half, in logarithms, of the factor 2.3 by which batch norm alone made
    Inception quicker (Ioffe & Szegedy 2015, figure 3)
    """
    goal = target(runs)
    nets = ("plain", treated)
    # A run that diverged has the accuracy of guessing.
    accuracies = {net: runs.over(f"rates/{net}/*", best_accuracy, runs.guessing) for net in nets}
    ranges = {net: usable_range(accuracies[net], goal) for net in nets}
    steps = {net: steps_by_seed(runs, net, goal) for net in nets}
    wider = minus(ranges[treated], ranges["plain"])
    most = {net: _missed_goal(runs, net, goal) for net in nets}
    faster = log_ratio(steps["plain"], steps[treated])
    faster = of_certain_side(faster, [most["plain"]], [most[treated]])
    decades = {net: tuple(width / math.log(10) for width in ranges[net]) for net in nets}
    surely = beyond_spacing(wider, accuracies["plain"])
    # A placebo's range is to be no wider than that, and bounds are never "no effect".
    yield surely if treated == "bn" else tuple(map(float, surely)), faster
    yield from by_net("usable learning rates", "decades", decades)
    yield Part("ln of the usable range, over the plain network's", LOG_RATIO, wider)
    yield from by_net("steps to the accuracy", "steps", steps)
    yield Part("ln of how many times fewer steps than the plain network", LOG_RATIO, faster)
    if math.isnan(goal):
        yield "A network did not train with the tuning seeds, so there is no accuracy to reach."
        return
    yield f"The accuracy to reach is {100 * goal:.1f} %, fixed with the tuning seeds."
    for net, by_rate in accuracies.items():
        ends = {rate: by_rate[rate] for rate in (min(by_rate), max(by_rate))}
        if reached := [f"{rate:g}" for rate, of in ends.items() if any(a >= goal for a in of)]:
            yield (
                f"{NETS[net].capitalize()}, the accuracy is still reached at the end of the "
                f"learning rates tried ({', '.join(reached)}): the range may be wider."
            )


@drawn_by(draw_decay)
@against_plain(
    "bn-fast-decay", LOG_RATIO, Question(+1, math.log(1.5)), "decay/{}/", arms=decay_arms
)
def fast_decay(runs: Runs, treated: str = "bn") -> Measured:
    """With batch norm the decay of the learning rate can be accelerated.

    How many times faster the learning rate can decay before test accuracy falls by a point, each
    network at its own best initial learning rate: ln, with batch norm minus without. A diverged run
    has the accuracy of guessing. A seed with which one of the networks does not train, or both lose
    less than a point at the fastest decay tried, counts as no difference; if most are such, nothing
    is decided.

    Smallest effect: ln 1.5, about the spacing of the speeds tried; Ioffe & Szegedy 2015 (section
    4.2.1) decayed 6 times faster
    """
    accuracies = {
        net: runs.over(f"decay/{net}/*", test_accuracy, runs.guessing) for net in ("plain", treated)
    }
    fastest = {
        net: tuple(fastest_decay(curve, runs.guessing) for curve in by_seed(by_speed))
        for net, by_speed in accuracies.items()
    }
    first, last = min(accuracies["plain"]), max(accuracies["plain"])
    speeds = {net: tuple(map(math.exp, values)) for net, values in fastest.items()}
    costs = {net: minus(percent(of[last]), percent(of[first])) for net, of in accuracies.items()}
    # At the fastest speed tried it might have been faster.
    ends = {net: [value >= math.log(last) for value in of] for net, of in fastest.items()}
    untrained = [not all(pair) for pair in zip(*fastest.values(), strict=True)]
    differences = minus(fastest[treated], fastest["plain"])
    yield of_certain_side(differences, [ends[treated], untrained], [ends["plain"], untrained])
    yield from by_net("fastest decay", "times", speeds)
    yield from by_net(f"accuracy {last:g} times as fast minus as slow,", POINTS, costs)
    for net, at_end in ends.items():
        if count := sum(at_end):
            yield (
                f"{NETS[net].capitalize()}, a decay {last:g} times faster, the fastest tried, "
                f"costs less than a point with {count} of {len(runs.seeds)} seeds."
            )
