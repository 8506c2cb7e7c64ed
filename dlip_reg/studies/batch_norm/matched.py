"""Arms that are compared at matched training loss, and how: shared by four modules of claims.

Every network is trained by plain SGD at a constant learning rate of its own, and probed where its
clean training loss first reaches each of the preset's `matched_levels` (see
`dlip_reg.training.levels`). The learning rate is the quickest to these levels on tuning seeds (see
`quickest`).

Two arms are controls for every claim on batch normalization here. The placebo has its gamma and
beta and does not normalize. Momentum trains the plain network in another way, at another learning
rate and at another speed. The third control is the plain network itself at another stage: at a
level against the level before.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dlip_reg import report
from dlip_reg.evidence import FAILED, LOG_RATIO, Values, failures_as_zero
from dlip_reg.studies import Arm, Arms, Measured, Part, Runs, Setting, Trials, changed, is_finished
from dlip_reg.studies.batch_norm.arms import BATCH_SIZE, NETS, as_net, at_rates
from dlip_reg.studies.drawing import Drawn, by_label, paragraphs
from dlip_reg.studies.runs import known, spec_of, steps_per_epoch
from dlip_reg.studies.study import Claim, Control, negative
from dlip_reg.studies.surface import lowest_point
from dlip_reg.training import Record, RunSpec
from dlip_reg.training.records import LevelRow

PLAIN, BN, PLACEBO, MOMENTUM = (
    f"matched/{name}" for name in ("plain", "bn", "placebo", "momentum")
)
ARMS = {
    **{f"matched/{net}": label for net, label in NETS.items()},
    MOMENTUM: "without batch norm, momentum",
}

MOMENTUM_FACTOR = 10  # a step under momentum 0.9 goes ten times as far in the end
MEASURES = ("level_landscape", "level_independence", "level_activations")
# Of which only the figure of Santurkar et al. is drawn.
WATCHED = ("landscape",)
FEWEST_VALIDATION = 100
RESOLVED = 0.25

Read = Callable[[LevelRow], float]  # a logarithm, NaN where it is not known


def matched_arms(setting: Setting) -> Arms:
    """The four networks, tuned alike."""
    preset = setting.preset
    run = RunSpec(
        model=setting.model,
        data=setting.data(preset.matched_images, FEWEST_VALIDATION),
        optimizer="sgd",
        batch_size=BATCH_SIZE,
        epochs=preset.matched_epochs,
        loss_levels=preset.matched_levels,
    )
    for name, label in ARMS.items():
        own = changed(run, **as_net(name.removeprefix("matched/"), setting.model))
        rates = preset.matched_rates
        if name == MOMENTUM:
            own = replace(own, optimizer="momentum")
            rates = tuple(rate / MOMENTUM_FACTOR for rate in rates)
        tuning = at_rates(rates, quickest)
        watch = WATCHED if name in (PLAIN, BN) else ()
        yield Arm(name, own, tuning, {"measures": MEASURES}, label=label, watch=watch)


def quickest(trials: Trials) -> RunSpec | None:
    """The quickest candidate to the levels, at the learning rate where a parabola has its minimum.

    Quickness is the geometric mean of the steps over levels and seeds. A level that was not
    reached, as by a run that diverged, counts as twice the steps of the run. A candidate that
    misses a record never wins. What is measured at the levels is proportional to the learning rate,
    and neighbours on the grid, a factor of two apart, may be about as quick: so the rate is
    interpolated by the parabola through the quickest candidate and its two neighbours (log steps
    over log rate), and does not jump with their order. At an end of the grid it is the candidate
    itself.
    """
    steps = {
        spec: _mean([math.log(step) for record in records for step in _steps(known(record))])
        for spec, records in trials.items()
        if None not in records
    }
    if not steps:
        return None
    by_rate = {spec.learning_rate: spec for spec in steps}
    rate = lowest_point({spec.learning_rate: height for spec, height in steps.items()})
    between = replace(next(iter(steps)), learning_rate=float(f"{rate:.3g}"))
    return by_rate.get(rate, between)


def _steps(record: Record) -> list[float]:
    never = 2 * spec_of(record).epochs * steps_per_epoch(record)
    levels = {row.level: row.step for row in record.levels}
    found = [levels.get(level) for level in spec_of(record).loss_levels]
    return [never if step is None else max(1, step) for step in found]


def reached(record: Record) -> dict[float, LevelRow]:
    """Level -> row, of the levels that the run reached; none of a run that diverged later.

    A level above the loss before training is not reached by training. Where there are few classes,
    untrained networks lie below it, each at a loss of its own.
    """
    return {row.level: row for row in _passed(record) if row.step}


def _passed(record: Record) -> list[Any]:
    """The rows of the levels that the run is below, maybe from the beginning."""
    rows = record.levels if is_finished(record) else ()
    return [row for row in rows if row.level is not None and row.step is not None]


def at_the_end(record: Record) -> LevelRow | None:
    """The row of the end of training."""
    return next((row for row in record.levels if row.level is None), None)


def matched_rows(first: Record, second: Record) -> list[tuple[LevelRow, LevelRow]]:
    """The rows of two runs at the levels that both reached."""
    one, other = reached(first), reached(second)
    return [(one[level], other[level]) for level in one if level in other]


def compare(runs: Runs, first: str, second: str, read: Read) -> Values:
    """By seed, the mean of `read` of the first arm minus the second over the levels of both.

    A seed has failed with which either run diverged, or no level was reached by both with a value
    in both: see `failures_as_zero`. NaN where a run gave no record.
    """
    found = runs.each((first, second), lambda *pair: _difference(matched_rows(*pair), read))
    return failures_as_zero(found)


def compare_stages(runs: Runs, read: Read) -> Values:
    """By seed, the mean of `read` at a level minus that at the level before, of the plain arm."""

    def difference(record: Record) -> float:
        rows = list(reached(record).values())
        return _difference(zip(rows[1:], rows, strict=False), read)

    return failures_as_zero(runs.each([PLAIN], difference))


def mean_at_levels(runs: Runs, arm: str, read: Read) -> Values:
    """By seed, the mean of `read` over the levels that the arm reached; counted as in `compare`."""
    found = runs.each([arm], lambda record: _average(map(read, reached(record).values())))
    return failures_as_zero(found)


def at_end(runs: Runs, first: str, second: str, read: Read) -> Values:
    """By seed, `read` of the first arm minus the second at the end of training, wherever it is."""

    def difference(*pair: Record) -> float:
        one, other = map(at_the_end, pair)
        return math.nan if one is None or other is None else read(one) - read(other)

    return runs.each((first, second), difference)


def _difference(rows: Iterable[tuple[LevelRow, LevelRow]], read: Read) -> float:
    return _average(read(one) - read(other) for one, other in rows)


def _average(values: Iterable[float]) -> float:
    finite = list(filter(math.isfinite, values))
    return _mean(finite) if finite else FAILED


def notes(runs: Runs, *arms: str) -> Iterator[str]:
    """Sentences on the runs that reached few levels, which count as the claims state."""
    for arm in arms:
        records = list(filter(None, runs[arm]))
        wanted = sum(len(spec_of(record).loss_levels) for record in records)
        label = runs.labels[arm]
        if diverged := runs.count([arm], lambda record: not is_finished(record)):
            yield f"{diverged} of {len(records)} runs diverged: {label}."
        passed = [row.step for record in records for row in _passed(record)]
        if missed := wanted - len(passed):
            yield f"{missed} of {wanted} levels were not reached: {label}."
        if untrained := passed.count(0):
            yield (
                f"{untrained} of {wanted} levels lie above the loss before training, and are left "
                f"out: {label}."
            )


def claim(
    id: str, read: Read, beside: Callable[[Runs], Iterable[Part]], *controls: Control, **fields: Any
) -> Claim:
    """A claim that what `read` reads is lower with batch norm at matched loss.

    Args:
        id: The claim's.
        read: What decides, as a logarithm. Its docstring has the sentence and what is read, to
            which how it is compared is added.
        beside: A function of the runs to the numbers beside it.
        *controls: Further controls than the negative ones.
        **fields: Of the claim.
    """

    def measure(runs: Runs) -> Measured:
        """Log-ratio with batch norm over without at matched clean training loss, mean over the
        levels that both reach. Each network at its own learning rate, the quickest; a run that
        diverged, or shares no level, counts as no difference; if most do, nothing is decided.

        Smallest effect: the resolution of the measurement: log-ratios of networks without batch
        norm (the placebo, and the plain network at its next level) scattered by 0.2 to 0.4 between
        pilot seeds, which 20 seeds resolve to about a quarter
        """
        yield compare(runs, BN, PLAIN, read)
        yield from beside(runs)
        # Each loss lies somewhat below its level.
        losses = compare(runs, BN, PLAIN, lambda row: log(row.loss))
        yield ratio("training loss at the states compared", losses)
        yield from notes(runs, PLAIN, BN)

    sentence, experiment, *_ = [*paragraphs(read), ""]  # there may be no docstrings: -OO
    return Claim(
        id=id,
        sentence=sentence,
        experiment=f"{experiment} {paragraphs(measure)[0]}",
        unit=LOG_RATIO,
        direction=-1,
        measure=measure,
        needs=(PLAIN, BN),
        controls=(*negative_controls(read), *controls),
        arms=matched_arms,
        **{"smallest_effect": RESOLVED, **fields},
    )


def ratio(label: str, values: Values) -> Part:
    """A log-ratio of the network with batch norm over that without."""
    return Part(f"{label}, with over without", LOG_RATIO, values)


def negative_controls(read: Read) -> tuple[Control, ...]:
    """The placebo, momentum and the plain network at the next level, each against the plain one."""

    @negative(PLACEBO, PLAIN)
    def placebo(runs: Runs) -> Values:
        """Gamma and beta without normalization, at its own learning rate, against the plain
        network: the layers of batch normalization without what it is named for.
        """
        return compare(runs, PLACEBO, PLAIN, read)

    @negative(MOMENTUM, PLAIN)
    def momentum(runs: Runs) -> Values:
        """Momentum 0.9 at its own learning rate, against the plain network under plain SGD: it
        trains at another speed and has no batch normalization either.
        """
        return compare(runs, MOMENTUM, PLAIN, read)

    @negative(PLAIN)
    def other_stage(runs: Runs) -> Values:
        """The plain network at each level against itself at the level before: another stage of
        training alone.
        """
        return compare_stages(runs, read)

    return placebo, momentum, other_stage


def draw_levels(runs: Runs, panels: Mapping[str, tuple[Read, str]]) -> Drawn:
    """A plot with one line a seed against the levels of the loss, and the labels of the networks.

    Args:
        runs: The study's runs.
        panels: Name -> what is read, and the label of its axis.
    """
    reads = {name: functools.partial(_exponential, read) for name, (read, _) in panels.items()}
    curves = level_curves(runs, tuple(ARMS), reads)
    if curves:
        axes = {panel: (label, "log") for panel, (_, label) in panels.items()}
        plot = report.figures.through_training(curves, axes, x="level")
        yield plot, {"networks": curves}


def level_curves(
    runs: Runs, arms: Sequence[str], reads: Mapping[str, Read]
) -> dict[str, list[dict[str, list[float]]]]:
    """Label -> for each run the levels that it reached, and what is read there."""

    def curve(record: Record) -> dict[str, list[float]]:
        rows = reached(record)
        found = {name: list(map(read, rows.values())) for name, read in reads.items()}
        return {"level": list(rows), **found}

    return by_label(runs, arms, curve)


def _exponential(read: Read, row: LevelRow) -> float:
    return math.exp(read(row))


def log(value: float | None) -> float:
    """The logarithm of a number above 0; NaN for anything else."""
    return math.log(value) if value is not None and 0 < value < math.inf else math.nan


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
