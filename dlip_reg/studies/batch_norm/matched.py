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

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from dlip_reg.evidence.paired import LOG_RATIO, Values
from dlip_reg.regularization import Regularization
from dlip_reg.studies.batch_norm.arms import SCALE_AND_SHIFT
from dlip_reg.studies.papers.ioffe_fig1 import LABELS
from dlip_reg.studies.runs import Runs, Trials
from dlip_reg.studies.study import Arm, Control, Part, Setting, Tuning
from dlip_reg.training.records import LevelRow, Record
from dlip_reg.training.specification import RunSpec

PLAIN, BN, PLACEBO, MOMENTUM = (
    f"matched/{name}" for name in ("plain", "bn", "placebo", "momentum")
)
ARMS = {
    PLAIN: LABELS["plain"],
    BN: LABELS["bn"],
    PLACEBO: "placebo: scale and shift alone",
    MOMENTUM: "without batch norm, momentum",
}

MOMENTUM_FACTOR = 10  # a step under momentum 0.9 goes ten times as far in the end
MEASURES = ("level_landscape", "level_independence", "level_activations")
# Of which only the figure of Santurkar et al. is drawn.
WATCHED = {PLAIN: ("landscape",), BN: ("landscape",)}
FEWEST_VALIDATION = 100
RESOLVED = 0.25
RESOLVED_SOURCE = (
    "the resolution of the measurement: log-ratios of networks without batch norm (the placebo, "
    "and the plain network at its next level) scattered by 0.2 to 0.4 between pilot seeds, which "
    "20 seeds resolve to about a quarter"
)
BATCH_SIZE = 32

Read = Callable[[LevelRow], float]  # a logarithm, NaN where it is not known


def matched_run(setting: Setting, arm: str, rate: float) -> RunSpec:
    """One of the networks at a learning rate, with its levels and nothing measured there."""
    preset = setting.preset
    model, builder = setting.model, {}
    if arm == PLACEBO:
        model, builder = SCALE_AND_SHIFT, {"net": setting.model}
    return RunSpec(
        model=model,
        data=setting.data(preset.matched_images, FEWEST_VALIDATION),
        regularization=Regularization(batch_norm=arm == BN),
        builder=builder,
        optimizer="momentum" if arm == MOMENTUM else "sgd",
        learning_rate=rate / MOMENTUM_FACTOR if arm == MOMENTUM else rate,
        batch_size=BATCH_SIZE,
        epochs=preset.matched_epochs,
        loss_levels=preset.matched_levels,
    )


def matched_arms(setting: Setting) -> list[Arm]:
    """The four networks, tuned alike."""
    return [
        Arm(
            name,
            functools.partial(_probed, name),
            Tuning(
                [matched_run(setting, name, rate) for rate in setting.preset.matched_rates],
                choose=quickest,
            ),
            label=label,
            watch=WATCHED.get(name, ()),
        )
        for name, label in ARMS.items()
    ]


def _probed(name: str, chosen: Mapping[str, RunSpec]) -> RunSpec:
    return replace(chosen[name], measures=MEASURES)


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
        spec: _mean([math.log(step) for record in records for step in _steps(record)])
        for spec, records in sorted(trials.items(), key=lambda item: item[0].learning_rate)
        if None not in records
    }
    if not steps:
        return None
    specs, heights = list(steps), list(steps.values())
    place = heights.index(min(heights))
    if not 0 < place < len(specs) - 1:
        return specs[place]
    rates = [math.log(spec.learning_rate) for spec in specs[place - 1 : place + 2]]
    curvature, slope, _ = np.polyfit(rates, heights[place - 1 : place + 2], 2)
    # The middle one is the lowest, so the minimum lies between its neighbours.
    rate = math.exp(-slope / (2 * curvature)) if curvature > 0 else specs[place].learning_rate
    return replace(specs[place], learning_rate=float(f"{rate:.3g}"))


def _steps(record: Record) -> list[float]:
    never = 2 * record.spec.epochs * max(1, record.spec.data.n_train // record.spec.batch_size)
    levels = {row.level: row.step for row in record.levels}
    found = [levels.get(level) for level in record.spec.loss_levels]
    return [never if step is None else max(1, step) for step in found]


def reached(record: Record) -> dict[float, LevelRow]:
    """Level -> row, of the levels that the run reached; none of a run that diverged later."""
    if record.status != "finished":
        return {}
    return {
        row.level: row for row in record.levels if row.level is not None and row.step is not None
    }


def at_the_end(record: Record) -> LevelRow | None:
    """The row of the end of training."""
    return next((row for row in record.levels if row.level is None), None)


def matched_rows(first: Record, second: Record) -> list[tuple[LevelRow, LevelRow]]:
    """The rows of two runs at the levels that both reached."""
    one, other = reached(first), reached(second)
    return [(one[level], other[level]) for level in one if level in other]


def compare(runs: Runs, first: str, second: str, read: Read) -> Values:
    """By seed, the mean of `read` of the first arm minus the second over the levels of both.

    0 where either run diverged, or no level was reached by both with a value in both: such a seed
    counts as no difference. NaN where a run gave no record.
    """
    return tuple(
        math.nan if None in pair else _difference(matched_rows(*pair), read)
        for pair in zip(runs[first], runs[second], strict=True)
    )


def compare_stages(runs: Runs, read: Read, arm: str = PLAIN) -> Values:
    """By seed, the mean of `read` at a level minus that at the level before, of one arm."""
    differences = []
    for record in runs[arm]:
        if record is None:
            differences.append(math.nan)
            continue
        rows = list(reached(record).values())
        differences.append(_difference(list(zip(rows[1:], rows, strict=False)), read))
    return tuple(differences)


def mean_at_levels(runs: Runs, arm: str, read: Read) -> Values:
    """By seed, the mean of `read` over the levels that the arm reached; counted as in `compare`."""
    return tuple(
        math.nan if record is None else _average(map(read, reached(record).values()))
        for record in runs[arm]
    )


def at_end(runs: Runs, first: str, second: str, read: Read) -> Values:
    """By seed, `read` of the first arm minus the second at the end of training, wherever it is."""
    rows = zip(*([r and at_the_end(r) for r in runs[arm]] for arm in (first, second)), strict=True)
    return tuple(
        math.nan if one is None or other is None else read(one) - read(other) for one, other in rows
    )


def _difference(rows: Sequence[tuple[LevelRow, LevelRow]], read: Read) -> float:
    return _average(read(one) - read(other) for one, other in rows)


def _average(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return _mean(known) if known else 0.0


def notes(runs: Runs, *arms: str) -> tuple[str, ...]:
    """Sentences on the runs that reached few levels, which count as the claims state."""
    found = []
    for arm in arms:
        records = [record for record in runs[arm] if record is not None]
        diverged = sum(record.status != "finished" for record in records)
        wanted = sum(len(record.spec.loss_levels) for record in records)
        missed = wanted - sum(len(reached(record)) for record in records)
        if diverged:
            found.append(f"{diverged} of {len(records)} runs diverged: {runs.labels[arm]}.")
        if missed:
            found.append(f"{missed} of {wanted} levels were not reached: {runs.labels[arm]}.")
    return tuple(found)


def overshoot(runs: Runs) -> tuple[Part, ...]:
    """What is left of the mismatch of the losses: each lies somewhat below its level."""
    values = compare(runs, BN, PLAIN, lambda row: log(row.loss))
    return (Part("training loss at the states compared, with over without", LOG_RATIO, values),)


def negative_controls(read: Read) -> tuple[Control, ...]:
    """The placebo, momentum and the plain network at the next level, each against the plain one."""
    return (
        Control(
            "negative",
            "Gamma and beta without normalization, at its own learning rate, against the plain "
            "network: the layers of batch normalization without what it is named for.",
            functools.partial(compare, first=PLACEBO, second=PLAIN, read=read),
            (PLACEBO, PLAIN),
        ),
        Control(
            "negative",
            "Momentum 0.9 at its own learning rate, against the plain network under plain SGD: it "
            "trains at another speed and has no batch normalization either.",
            functools.partial(compare, first=MOMENTUM, second=PLAIN, read=read),
            (MOMENTUM, PLAIN),
        ),
        Control(
            "negative",
            "The plain network at each level against itself at the level before: another stage of "
            "training alone.",
            functools.partial(compare_stages, read=read),
            (PLAIN,),
        ),
    )


def by_level(runs: Runs, reads: Mapping[str, Read], arms: Sequence[str] = tuple(ARMS)) -> dict:
    """Label -> one curve per seed with "level" and exp of each of `reads`, for figures."""
    return {
        runs.labels[arm]: [
            {"level": list(reached(record))}
            | {
                name: [math.exp(read(row)) for row in reached(record).values()]
                for name, read in reads.items()
            }
            for record in runs.finished(arm)
        ]
        for arm in arms
        if runs.finished(arm)
    }


def log(value: float | None) -> float:
    """The logarithm of a number above 0; NaN for anything else."""
    return math.log(value) if value is not None and 0 < value < math.inf else math.nan


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
