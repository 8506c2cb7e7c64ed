"""What claims read from a record, and how arms are compared at a matched loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from dlip_reg.evidence.matching import at_levels, common_levels
from dlip_reg.evidence.paired import Values
from dlip_reg.studies.runs import Runs
from dlip_reg.training.records import Record

# Levels of the loss at which arms are compared, between what all have left behind and reached.
LEVELS = 5
Series = Callable[[Record], Sequence[float | None]]  # one number for each epoch, epoch 0 first


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

    def read(record: Record) -> list[float]:
        series = []
        for row in record.weights.rows:
            values = [getattr(layer, statistic) for layer in row.layers]
            if log:
                values = [math.log(v) if v is not None and v > 0 else math.nan for v in values]
            series.append(_mean(values))
        return series

    return read


def activations(statistic: str) -> Series:
    """A statistic of the hidden activations, mean over layers, epoch by epoch."""

    def read(record: Record) -> list[float]:
        return [
            _mean([getattr(layer, statistic) for layer in row.activations])
            for row in record.weights.rows
        ]

    return read


def at_the_end(series: Series) -> Callable[[Record], float | None]:
    """The last value of a series."""

    def read(record: Record) -> float | None:
        value = series(record)[-1]
        return None if value is None or math.isnan(value) else value

    return read


def at_matched_loss(
    runs: Runs,
    arms: Sequence[str],
    series: Series,
    loss: Series = training_loss,
    last: bool = False,
) -> dict[str, Values]:
    """`series` of each arm at the same values of `loss`, seed by seed.

    Args:
        runs: The study's runs.
        arms: The arms to compare.
        series: What is read, interpolated between epochs.
        loss: The loss that is matched: the levels are those that all `arms` reach with that seed.
        last: Whether to read at the lowest common level alone, and not the mean over `LEVELS`.

    Returns:
        Arm -> one number per seed. Where a run diverged, all arms have 0: such a seed counts as no
        difference. NaN where a run has no record or no level is common (see `matching_notes`).
    """
    found: dict[str, list[float]] = {arm: [] for arm in arms}
    for records in zip(*(runs[arm] for arm in arms), strict=True):
        if None in records:
            values = [math.nan] * len(arms)
        elif any(record.status != "finished" for record in records):
            values = [0.0] * len(arms)
        else:
            levels = common_levels([loss(record) for record in records], LEVELS)
            levels = levels[-1:] if last else levels
            values = [_mean(at_levels(loss(r), series(r), levels)) for r in records]
        for arm, value in zip(arms, values, strict=True):
            found[arm].append(value)
    return {arm: tuple(values) for arm, values in found.items()}


def matching_notes(
    runs: Runs, arms: Sequence[str], loss: Series = training_loss
) -> tuple[str, ...]:
    """Sentences on the seeds with which `at_matched_loss` could not compare `arms`."""
    diverged = unmatched = 0
    for records in zip(*(runs[arm] for arm in arms), strict=True):
        if any(record is None for record in records):
            continue  # counted among the failed runs
        if any(record.status != "finished" for record in records):
            diverged += 1
        elif not common_levels([loss(record) for record in records], 1):
            unmatched += 1
    of_seeds = f"of {len(runs.seeds)} seeds"
    notes = []
    if diverged:
        notes.append(f"A run diverged with {diverged} {of_seeds}; they count as no difference.")
    if unmatched:
        notes.append(
            f"The runs reach no loss in common with {unmatched} {of_seeds}; they are left out."
        )
    return tuple(notes)


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else math.nan
