"""bs-lr-match: small batches want a small learning rate, large batches a large one."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import Values, slope
from dlip_reg.studies.batch_size.arms import RACE, base, listed, race_arms
from dlip_reg.studies.batch_size.fits import best_rate, is_at_end, rounded
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Chosen, Claim, Control, Measurement, Part, Setting
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

DECADES = "decades per decade"
GRID = "grid"
# Each verdict seed tries these two-fold steps around the rate that other seeds chose.
POWERS = (-3, -2, -1, 0, 1, 2, 3)
# All rates are multiples of this one by powers of two, so that batch sizes have rates in common.
UNIT_RATE = 0.01


def grid_arms(setting: Setting) -> list[Arm]:
    """Each mini-batch size at a grid of rates around its tuned one: "grid/SIZE/POWER".

    The runs last as long as equal updates need, and at least for `epochs`: their validation losses
    are read at either point.
    """
    preset = setting.preset
    return [
        Arm(
            f"{GRID}/{size}/{power}",
            functools.partial(_at_power, setting, size, power),
            uses=(f"{RACE}/{size}",),
        )
        for size in preset.batch_sizes
        for power in POWERS
    ]


def _at_power(setting: Setting, size: int, power: int, chosen: Chosen) -> RunSpec:
    preset = setting.preset
    return replace(
        base(setting),
        batch_size=size,
        learning_rate=rounded(lattice_rate(chosen[f"{RACE}/{size}"]) * 2.0**power),
        epochs=max(preset.epochs, equal_updates_epochs(preset, size)),
    )


def lattice_rate(spec: RunSpec) -> float:
    """The tuned rate, rounded to the nearest power of two times `UNIT_RATE`."""
    return UNIT_RATE * 2.0 ** round(math.log2(spec.learning_rate / UNIT_RATE))


def equal_updates_epochs(preset, size: int) -> int:
    """In how many epochs a batch size makes as many updates as the smallest in `least_epochs`."""
    return preset.least_epochs * size // preset.smallest


def shared_arms(setting: Setting) -> list[Arm]:
    """The arms that several claims read: the races, and the grids about their rates."""
    return [*race_arms(setting), *grid_arms(setting)]


def losses_at(runs: Runs, size: int, epoch: int) -> list[dict[float, float]]:
    """Seed by seed: learning rate -> validation loss after `epoch` epochs, infinite if diverged.

    A seed one of whose runs is lost has no losses.
    """
    by_power = runs.tree(GRID)[size]

    def loss(record: Record) -> float:
        losses = record.curves.clean_val_loss
        value = losses[epoch] if record.status == "finished" else None
        return math.inf if value is None else value

    found = []
    for seed in runs.seeds:
        records = [by_seed.get(seed) for by_seed in by_power.values()]
        known = {} if None in records else {r.spec.learning_rate: loss(r) for r in records}
        found.append(known)
    return found


def best_rates(runs: Runs, epochs: Mapping[int, int]) -> dict[int, Values]:
    """Batch size -> each seed's own best rate after so many epochs of that batch size."""
    return {
        size: tuple(best_rate(losses) for losses in losses_at(runs, size, epoch))
        for size, epoch in epochs.items()
    }


def equal_epochs(runs: Runs) -> dict[int, int]:
    """Batch size -> the same number of epochs, the shortest run's."""
    lengths = _lengths(runs)
    return dict.fromkeys(lengths, min(lengths.values()))


def equal_updates(runs: Runs) -> dict[int, int]:
    """Batch size -> the epochs after which all have made as many updates as the largest's run."""
    lengths = _lengths(runs)
    largest = max(lengths)
    return {size: max(1, lengths[largest] * size // largest) for size in lengths}


def _lengths(runs: Runs) -> dict[int, int]:
    found = {}
    for size in runs.tree(GRID):
        spec = runs.chosen[f"{GRID}/{size}/0"]
        if spec is not None:
            found[size] = spec.epochs
    return found


def measure(runs: Runs) -> Measurement:
    """The slope of log best rate against log batch size, at equal epochs and at equal updates."""
    if len(_lengths(runs)) < len(runs.tree(GRID)):  # some size cannot be trained at all
        nothing = (math.nan,) * len(runs.seeds)
        return Measurement((nothing, nothing))
    ways = {"equal epochs": equal_epochs(runs), "equal updates": equal_updates(runs)}
    best = {name: best_rates(runs, epochs) for name, epochs in ways.items()}
    slopes = {name: _slope(rates) for name, rates in best.items()}
    return Measurement(
        tuple(slopes.values()),
        (
            *(Part(f"slope at {name}", DECADES, values) for name, values in slopes.items()),
            *(
                Part(f"best rate of batch {size:,} at {name}", "", values)
                for name, rates in best.items()
                for size, values in rates.items()
            ),
        ),
        _at_ends(runs, ways),
    )


def _slope(best: Mapping[int, Values]) -> Values:
    return slope(
        list(map(math.log, best)), [tuple(map(math.log, rates)) for rates in best.values()]
    )


def fewer_updates(runs: Runs) -> Values:
    """The slope if the smallest batch after fewer updates is taken for a larger batch.

    At equal epochs a larger batch makes fewer updates. Here the batch size stays, and only they
    become fewer.
    """
    size = min(runs.tree(GRID))
    lengths = _lengths(runs)
    if size not in lengths:
        return (math.nan,) * len(runs.seeds)
    long, short = lengths[size], equal_updates(runs)[size]
    rates = [best_rates(runs, {size: epoch})[size] for epoch in (long, short)]
    logs = [tuple(map(math.log, values)) for values in rates]
    return slope([0.0, math.log(long / short)], logs)


def _at_ends(runs: Runs, ways: Mapping[str, Mapping[int, int]]) -> tuple[str, ...]:
    """How often a seed's best rate was the smallest or the largest of those it was tried with."""
    notes = []
    for name, epochs in ways.items():
        losses = [of for size, epoch in epochs.items() for of in losses_at(runs, size, epoch) if of]
        number = sum(map(is_at_end, losses))
        if number:
            notes.append(
                f"At {name} {number} of {len(losses)} best rates lie at an end of the rates tried."
            )
    return tuple(notes)


def draw(runs: Runs) -> list[FigureItem]:
    """Validation loss against the learning rate, and the best rate against the batch size."""
    from dlip_reg.evidence.intervals import t_interval
    from dlip_reg.report import FigureItem, figures
    from dlip_reg.report.numbers import format_estimate

    if len(_lengths(runs)) < len(runs.tree(GRID)):
        return []
    items = []
    for name, epochs in (
        ("equal epochs", equal_epochs(runs)),
        ("equal updates", equal_updates(runs)),
    ):
        best = best_rates(runs, epochs)
        losses = {size: _by_rate(losses_at(runs, size, epoch)) for size, epoch in epochs.items()}
        slopes = [value for value in _slope(best) if math.isfinite(value)]
        text = f"slope {format_estimate(*t_interval(slopes))}" if slopes else ""
        items.append(
            FigureItem(
                f"best_rates_{name.replace(' ', '_')}",
                figures.best_rates(losses, best, text),
                f"Validation loss against the learning rate for batch sizes {listed(best)} at "
                f"{name}, and the best rate against the batch size on log-log axes, {text}.",
                f"At {name} ({_epochs_text(epochs)}). Left: the validation loss with each rate, "
                "mean and interval over the seeds; a rate at which a seed diverged is left out. "
                "Right: the best rate of each seed, the lowest point of a quadratic through its "
                "own losses (dots), their geometric mean (line), and the slope with its plain 95 % "
                "interval.",
            )
        )
    return items


def _by_rate(losses: Sequence[Mapping[float, float]]) -> dict[float, list[float]]:
    rates = sorted({rate for of_seed in losses for rate in of_seed})
    return {rate: [of_seed.get(rate, math.nan) for of_seed in losses] for rate in rates}


def _epochs_text(epochs: Mapping[int, int]) -> str:
    return ", ".join(f"batch {size:,} after {n} epochs" for size, n in epochs.items())


CLAIM = Claim(
    id="bs-lr-match",
    sentence="Small batches want a small learning rate, large batches a large one.",
    experiment="Slope of the logarithm of the best learning rate against the logarithm of the "
    "batch size over mini-batches, after equal epochs and after equal updates; both must hold, and "
    "the smaller slope is shown. Each seed's best rate is the lowest point of a quadratic in ln "
    "rate through its own validation losses. A diverged run counts as a loss too high to matter.",
    unit=DECADES,
    direction=+1,
    smallest_effect=0.25,
    smallest_effect_source="half of the square-root rule's slope of 0.5, the weakest scaling of "
    "the rate that is in use (Krizhevsky 2014; Hoffer et al. 2017)",
    measure=measure,
    needs=(f"{GRID}/",),
    controls=(
        Control(
            "negative",
            "The smallest batch after fewer updates taken for a larger batch, against itself after "
            "more: the batch size stays, and only the updates become fewer, as they do for a "
            "larger batch at equal epochs.",
            fewer_updates,
            (f"{GRID}/",),
        ),
    ),
    draw=draw,
)
