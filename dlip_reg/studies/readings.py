"""What claims read from a record, and how arms are compared at a matched loss."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from dlip_reg.evidence.matching import at_levels, common_levels
from dlip_reg.evidence.paired import Values, minus, percent
from dlip_reg.studies.runs import Runs, Trials
from dlip_reg.training.records import Record

# Levels of the loss at which arms are compared, between what all have left behind and reached.
LEVELS = 5
Series = Callable[[Record], Sequence[float | None]]  # one number for each epoch, epoch 0 first


def is_finished(record: Record | None) -> bool:
    """Whether there is a record of a run that did not diverge."""
    return record is not None and record.status == "finished"


def finished_trials(trials: Trials) -> dict[Any, Sequence[Record]]:
    """The candidates whose runs all finished, with their records."""
    return {spec: records for spec, records in trials.items() if all(map(is_finished, records))}


def test_accuracy(record: Record) -> float | None:
    """Test accuracy at the end of training."""
    return record.measures.test_accuracy


def accuracy(
    runs: Runs, arm: str, read: Callable[[Record], float | None] = test_accuracy
) -> Values:
    """Test accuracy in per cent, by seed; a diverged run has that of guessing."""
    return percent(runs.values(arm, read, runs.guessing))


def training_loss(record: Record) -> Sequence[float | None]:
    """Clean training loss, epoch by epoch."""
    return record.curves.clean_loss


def test_loss(record: Record) -> Sequence[float | None]:
    """Clean test loss, epoch by epoch."""
    return record.curves.clean_test_loss


def gap(record: Record) -> list[float]:
    """Test loss minus training loss, epoch by epoch."""
    pairs = zip(test_loss(record), training_loss(record), strict=True)
    return [math.nan if None in pair else pair[0] - pair[1] for pair in pairs]


def kernels(statistic: str, log: bool = False) -> Series:
    """A statistic of the kernels, mean over layers, epoch by epoch.

    With `log` the mean of its logarithm: scaling one layer up and the next one down by the same
    factor, which changes no prediction of a ReLU network (Dinh et al. 2017), leaves it unchanged.
    """
    return _over_layers("layers", statistic, _log if log else lambda value: value)


def activations(statistic: str) -> Series:
    """A statistic of the hidden activations, mean over layers, epoch by epoch."""
    return _over_layers("activations", statistic, lambda value: value)


def _over_layers(layers: str, statistic: str, of: Callable[[Any], float | None]) -> Series:
    return lambda record: [
        _mean([of(getattr(layer, statistic)) for layer in getattr(row, layers)])
        for row in record.weights.rows
    ]


def _log(value: float | None) -> float:
    return math.log(value) if value is not None and value > 0 else math.nan


def at_the_end(series: Series) -> Callable[[Record], float | None]:
    """The last value of a series."""

    def read(record: Record) -> float | None:
        value = series(record)[-1]
        return None if value is None or math.isnan(value) else value

    return read


def at_matched_loss(
    runs: Runs, arms: Sequence[str], series: Series, last: bool = False
) -> dict[str, Values]:
    """`series` of each arm at the same values of the clean training loss, seed by seed.

    Args:
        runs: The study's runs.
        arms: The arms to compare.
        series: What is read, interpolated between epochs, at levels that all `arms` reach with that
            seed.
        last: Whether to read at the lowest common level alone, and not the mean over `LEVELS`.

    Returns:
        Arm -> one number per seed. Where a run diverged, all arms have 0: such a seed counts as no
        difference. NaN where a run has no record or no level is common (see `matching_notes`).
    """
    number = len(arms)

    def compare(*records: Record) -> list[float]:
        losses = list(map(training_loss, records))
        levels = common_levels(losses, LEVELS)
        levels = levels[-1:] if last else levels
        return [
            _mean(at_levels(loss, series(record), levels))
            for loss, record in zip(losses, records, strict=True)
        ]

    by_seed = runs.each(arms, compare, (0.0,) * number, (math.nan,) * number)
    return dict(zip(arms, zip(*by_seed, strict=True), strict=True))


def matched_difference(
    runs: Runs, arm: str, reference: str, series: Series, last: bool = False
) -> Values:
    """`series` of `arm` minus that of `reference` at the same clean training loss, by seed.

    Arguments and what counts where a run diverged or is missing: as `at_matched_loss`.
    """
    values = at_matched_loss(runs, (reference, arm), series, last=last)
    return minus(values[arm], values[reference])


def matching_notes(runs: Runs, arms: Sequence[str]) -> tuple[str, ...]:
    """Sentences on the seeds with which `at_matched_loss` could not compare `arms`."""
    outcomes = Counter(
        runs.each(
            arms,
            lambda *records: bool(common_levels(list(map(training_loss, records)), 1)),
            "diverged",
            "lost",  # counted among the failed runs
        )
    )
    of_seeds = f"of {len(runs.seeds)} seeds"
    diverged, unmatched = outcomes["diverged"], outcomes[False]
    return note(
        diverged, f"A run diverged with {diverged} {of_seeds}; they count as no difference."
    ) + note(
        unmatched,
        f"The runs reach no loss in common with {unmatched} {of_seeds}; they are left out.",
    )


def note(number: int, text: str) -> tuple[str, ...]:
    """The text as the one note of a measurement; none if it counts nothing."""
    return (text,) if number else ()


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else math.nan
