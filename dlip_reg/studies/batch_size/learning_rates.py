"""bs-lr-match: small batches want a small learning rate, large batches a large one."""

import itertools
import math
from collections.abc import Mapping, Sequence

from dlip_reg import report
from dlip_reg.evidence import Question, Values, slope, t_interval
from dlip_reg.report.numbers import format_estimate
from dlip_reg.studies import Arms, Measured, Runs, Setting, claimed, drawn_by, is_finished, varied
from dlip_reg.studies.batch_size.arms import RACE, BatchSizePreset, listed, race_arms
from dlip_reg.studies.batch_size.fits import best_rate, is_at_end, on_lattice
from dlip_reg.studies.drawing import Drawn, figure
from dlip_reg.studies.runs import curves_of, spec_of
from dlip_reg.studies.study import Part, controlled, negative
from dlip_reg.training.records import Record

DECADES = "decades per decade"
GRID = "grid"
# Each verdict seed tries these two-fold steps around the rate that other seeds chose.
POWERS = (-3, -2, -1, 0, 1, 2, 3)


def grid_arms(setting: Setting) -> Arms:
    """Each mini-batch size at a grid of rates around its tuned one: "grid/SIZE/POWER".

    The runs last as long as equal updates need, and at least for `epochs`: their validation losses
    are read at either point.
    """
    preset = setting.preset
    for size, power in itertools.product(preset.batch_sizes, POWERS):
        yield varied(
            f"{GRID}/{size}/{power}",
            f"{RACE}/{size}",
            learning_rate=on_lattice(2.0**power),
            stop_loss=None,
            epochs=max(preset.epochs, equal_updates_epochs(preset, size)),
        )


def equal_updates_epochs(preset: BatchSizePreset, size: int) -> int:
    """In how many epochs a batch size makes as many updates as the smallest in `least_epochs`."""
    return preset.least_epochs * size // preset.batch_sizes[0]


def shared_arms(setting: Setting) -> Arms:
    """The arms that several claims read: the races, and the grids about their rates."""
    yield from race_arms(setting)
    yield from grid_arms(setting)


def losses_at(runs: Runs, size: int, epoch: int) -> tuple[dict[float, float], ...]:
    """Seed by seed: learning rate -> validation loss after `epoch` epochs, infinite if diverged.

    A seed one of whose runs is lost has no losses.
    """

    def loss(record: Record) -> float:
        value = curves_of(record).clean_val_loss[epoch] if is_finished(record) else None
        return math.inf if value is None else value

    def by_rate(*records: Record) -> dict[float, float]:
        return {spec_of(record).learning_rate: loss(record) for record in records}

    return runs.each(runs.grid(f"{GRID}/{size}/*").values(), by_rate, missing={})


def best_rates(runs: Runs, epochs: Mapping[int, int]) -> dict[int, Values]:
    """Batch size -> each seed's own best rate after so many epochs of that batch size."""
    return {
        size: tuple(best_rate(losses) for losses in losses_at(runs, size, epoch))
        for size, epoch in epochs.items()
    }


def ways(runs: Runs) -> dict[str, dict[int, int]]:
    """How batch sizes are compared: name -> batch size -> epochs.

    Equal epochs are the shortest run's; at equal updates all have made as many as the largest
    batch's run. Empty if some size cannot be trained at all.
    """
    arms = runs.grid(f"{GRID}/*/0")
    if any(runs.chosen[arm] is None for arm in arms.values()):
        return {}
    lengths = {size: runs.spec(arm).epochs for size, arm in arms.items()}
    largest = max(lengths)
    return {
        "equal epochs": dict.fromkeys(lengths, min(lengths.values())),
        "equal updates": {size: max(1, lengths[largest] * size // largest) for size in lengths},
    }


def _slope(best: Mapping[int, Values] | Mapping[float, Values]) -> Values:
    return slope({math.log(size): tuple(map(math.log, rates)) for size, rates in best.items()})


@negative(f"{GRID}/")
def fewer_updates(runs: Runs) -> Values:
    """The smallest batch after fewer updates taken for a larger batch, against itself after more:
    the batch size stays, and only the updates become fewer, as they do for a larger batch at equal
    epochs.
    """
    size, arm = next(iter(runs.grid(f"{GRID}/*/0").items()))
    compared = ways(runs)
    if not compared:
        return (math.nan,) * len(runs.seeds)
    long, short = runs.spec(arm).epochs, compared["equal updates"][size]
    rates = [best_rates(runs, {size: epoch})[size] for epoch in (long, short)]
    return _slope({1.0: rates[0], long / short: rates[1]})


@figure("best_rates_{file}")
def draw(runs: Runs) -> Drawn:
    """Validation loss against the learning rate for batch sizes {sizes} at {way}, and the best rate
    against the batch size on log-log axes, {slope}.

    That is {epochs}. Left: the validation loss with each rate, mean and interval over the seeds;
    a rate at which a seed diverged is left out. Right: the best rate of each seed, the lowest point
    of a quadratic through its own losses (dots), their geometric mean (line), and the slope with
    its plain 95 % interval.
    """
    for way, epochs in ways(runs).items():
        best = best_rates(runs, epochs)
        losses = {size: _by_rate(losses_at(runs, size, epoch)) for size, epoch in epochs.items()}
        slopes = [value for value in _slope(best) if math.isfinite(value)]
        text = f"slope {format_estimate(*t_interval(slopes))}" if slopes else ""
        texts = {
            "file": way.replace(" ", "_"),
            "way": way,
            "sizes": listed(best),
            "epochs": [f"batch {size:,} after {number} epochs" for size, number in epochs.items()],
            "slope": text or "without a slope",
        }
        yield report.figures.best_rates(losses, best, text), texts


def _by_rate(losses: Sequence[Mapping[float, float]]) -> dict[float, list[float]]:
    rates = sorted({rate for of_seed in losses for rate in of_seed})
    return {rate: [of_seed.get(rate, math.nan) for of_seed in losses] for rate in rates}


@drawn_by(draw)
@controlled(fewer_updates)
@claimed("bs-lr-match", DECADES, Question(+1, 0.25), f"{GRID}/")
def claim(runs: Runs) -> Measured:
    """Small batches want a small learning rate, large batches a large one.

    Slope of the logarithm of the best learning rate against the logarithm of the batch size over
    mini-batches, after equal epochs and after equal updates; both must hold, and the smaller slope
    is shown. Each seed's best rate is the lowest point of a quadratic in ln rate through its own
    validation losses. A diverged run counts as a loss too high to matter.

    Smallest effect: half of the square-root rule's slope of 0.5, the weakest scaling of the rate
    that is in use (Krizhevsky 2014; Hoffer et al. 2017)
    """
    best = {way: best_rates(runs, epochs) for way, epochs in ways(runs).items()}
    slopes = {way: _slope(rates) for way, rates in best.items()}
    nothing = (math.nan,) * len(runs.seeds)
    yield tuple(slopes.values()) or (nothing, nothing)
    for way, values in slopes.items():
        yield Part(f"slope at {way}", DECADES, values)
    for way, rates in best.items():
        for size, values in rates.items():
            yield Part(f"best rate of batch {size:,} at {way}", "", values)
    # How often a seed's best rate was the smallest or the largest of those it was tried with.
    for way, epochs in ways(runs).items():
        losses = [
            of_seed
            for size, epoch in epochs.items()
            for of_seed in losses_at(runs, size, epoch)
            if any(map(math.isfinite, of_seed.values()))
        ]
        if number := sum(map(is_at_end, losses)):
            yield f"At {way} {number} of {len(losses)} best rates lie at an end of the rates tried."
