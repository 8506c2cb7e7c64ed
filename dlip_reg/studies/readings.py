"""What claims read from a record, and how arms are compared at a matched loss."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Any, TypeGuard

from dlip_reg.evidence.matching import at_levels, common_levels
from dlip_reg.evidence.paired import FAILED, Values, failures_as_zero, minus, percent
from dlip_reg.studies.runs import Runs, Trials, curves_of, known
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec

# Levels of the loss at which arms are compared, between what all have left behind and reached.
LEVELS = 5
LEAST_LOSS = 1e-7  # nats; about the least cross-entropy of one image that float32 tells from 0
FAILURES = "count as no difference, and decide nothing where they are most"
Series = Callable[[Record], Sequence[float | None]]  # one number for each epoch, epoch 0 first


def is_finished(record: Record | None) -> TypeGuard[Record]:
    """Whether there is a record of a run that did not diverge.

    Args:
        record: That of the run; None if it failed or was lost.

    Returns:
        True if the run finished.
    """
    return record is not None and record.status == "finished"


def finished_trials(trials: Trials) -> dict[RunSpec, list[Record]]:
    """The candidates whose runs all finished, with their records."""
    finished = {spec: list(filter(is_finished, records)) for spec, records in trials.items()}
    return {spec: found for spec, found in finished.items() if len(found) == len(trials[spec])}


def best(trials: Trials, *scores: Callable[[Record], float]) -> RunSpec | None:
    """The candidate with the highest mean score over the tuning seeds, ties going by the next one.

    One that misses a record, or has a run that diverged, never wins; None if none is left.
    """
    means = {
        spec: [fmean(map(score, records)) for score in scores]
        for spec, records in finished_trials(trials).items()
    }
    return max(means, key=means.__getitem__, default=None)


def most_accurate(trials: Trials) -> RunSpec | None:
    """The `best` by validation accuracy, ties going to the lower loss."""
    return best(trials, val_accuracy, lambda record: -known(record.measures.val_loss))


def val_accuracy(record: Record) -> float:
    """Validation accuracy at the end of training."""
    return known(record.measures.val_accuracy)


def lowest_epoch(losses: Sequence[float | None]) -> int:
    """The first epoch with the lowest loss, where early stopping goes back to."""
    return min((loss, epoch) for epoch, loss in enumerate(losses) if loss is not None)[1]


def stopped_accuracy(record: Record) -> float | None:
    """Test accuracy where the validation loss was lowest."""
    curves = curves_of(record)
    return curves.clean_test_accuracy[lowest_epoch(curves.clean_val_loss)]


def test_accuracy(record: Record) -> float:
    """Test accuracy at the end of training.

    Args:
        record: That of a run that measured "test".

    Returns:
        A share from 0 to 1.

    Raises:
        NotMeasuredError: The run did not measure it.
    """
    return known(record.measures.test_accuracy)


def still_falling(runs: Runs, arm: str) -> int:
    """In how many runs that finished the validation loss was lowest after the last epoch."""
    losses = [curves_of(record).clean_val_loss for record in runs.finished(arm)]
    return sum(lowest_epoch(of_run) == len(of_run) - 1 for of_run in losses)


def accuracy(
    runs: Runs, arm: str, read: Callable[[Record], float | None] = test_accuracy
) -> Values:
    """Test accuracy in per cent, by seed; a diverged run has that of guessing."""
    return percent(runs.values(arm, read, runs.guessing))


def all_diverged(runs: Runs, arms: Sequence[str]) -> tuple[bool, ...]:
    """By seed, whether every run of the arms diverged: that they are alike compares nothing."""
    return runs.each(arms, lambda *records: not any(map(is_finished, records)), missing=False)


def training_loss(record: Record) -> Sequence[float | None]:
    """Clean training loss, epoch by epoch.

    Args:
        record: That of a run that measured "curves".

    Returns:
        Nats: one number before training and one after each epoch; None where it is not finite.

    Raises:
        NotMeasuredError: The run measured no curves.
    """
    return curves_of(record).clean_loss


def log_loss(loss: float) -> float:
    """The natural logarithm of a clean loss.

    Args:
        loss: Nats. What is below `LEAST_LOSS` counts as that: in float32 the cross-entropy of an
            image that is classified with certainty is 0.

    Returns:
        A finite number.
    """
    return math.log(max(loss, LEAST_LOSS))


def test_loss(record: Record) -> Sequence[float | None]:
    """Clean test loss, epoch by epoch, on the first 1,000 of the run's test images at most.

    Args:
        record: That of a run that measured "curves" and "test".

    Returns:
        Nats: one number before training and one after each epoch; None where it is not finite.

    Raises:
        NotMeasuredError: The run measured no curves, or none on test images.
    """
    return known(curves_of(record).clean_test_loss or None)


def gap(record: Record) -> list[float]:
    """Test loss minus training loss, epoch by epoch: the generalization gap.

    The test loss is that of `test_loss`, on 1,000 test images at most.

    Args:
        record: That of a run that measured "curves" and "test".

    Returns:
        Nats: one number before training and one after each epoch; NaN where a loss is not finite.

    Raises:
        NotMeasuredError: The run measured no curves, or none on test images.
    """
    pairs = zip(test_loss(record), training_loss(record), strict=True)
    return [math.nan if a is None or b is None else a - b for a, b in pairs]


def kernels(statistic: str, log: bool = False) -> Series:
    """A statistic of the kernels, mean over layers, epoch by epoch.

    Args:
        statistic: A number in the rows of `callbacks.Sparsity` for each kernel, for example "rms",
            "max", "hoyer", "near_zero" or "distance".
        log: Whether to take the mean of its logarithm: scaling one layer up and the next one down
            by the same factor, which changes no prediction of a ReLU network (Dinh et al. 2017),
            leaves that unchanged.

    Returns:
        A function of a record that measured "weights": one number before training and one after
        each epoch, NaN where a kernel has none.
    """
    return _over_layers("layers", statistic, _log if log else lambda value: value)


def activations(statistic: str) -> Series:
    """A statistic of the hidden activations, mean over layers, epoch by epoch.

    Args:
        statistic: A number in the rows of `callbacks.Sparsity` for each activation: "mean",
            "near_zero", "hoyer" or "dead".

    Returns:
        A function of a record that measured "weights": one number before training and one after
        each epoch, NaN where a layer has none.
    """
    return _over_layers("activations", statistic, lambda value: value)


def _over_layers(layers: str, statistic: str, of: Callable[[Any], float | None]) -> Series:
    return lambda record: [
        _mean([of(getattr(layer, statistic)) for layer in getattr(row, layers)])
        for row in known(record.weights).rows
    ]


def _log(value: float | None) -> float:
    return math.log(value) if value is not None and value > 0 else math.nan


def at_the_end(series: Series) -> Callable[[Record], float | None]:
    """The last value of a series.

    Args:
        series: What is read, epoch by epoch, such as `gap`.

    Returns:
        A function of a record: the value after the last epoch, or None where it is not known.
    """

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
        Arm -> one number per seed. A seed with which a run diverged has failed: all arms have 0,
        see `failures_as_zero`. NaN where a run has no record or no level is common (see
        `matching_notes`).
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

    by_seed = runs.each(arms, compare, (FAILED,) * number, (math.nan,) * number)
    return dict(zip(arms, map(failures_as_zero, zip(*by_seed, strict=True)), strict=True))


def matched_difference(
    runs: Runs, arm: str, reference: str, series: Series, last: bool = False
) -> Values:
    """`series` of `arm` minus that of `reference` at the same clean training loss, by seed.

    Args:
        runs: The study's runs.
        arm: The arm with the treatment.
        reference: The arm that it is compared with.
        series: What is read, epoch by epoch, such as `gap`.
        last: Whether to read at the lowest common level alone.

    Returns:
        One number per seed; see `at_matched_loss` for runs that diverged or are missing.
    """
    values = at_matched_loss(runs, (reference, arm), series, last=last)
    return minus(values[arm], values[reference])


def matching_notes(runs: Runs, arms: Sequence[str]) -> Iterator[str]:
    """Sentences on the seeds with which `at_matched_loss` could not compare `arms`.

    Args:
        runs: The study's runs.
        arms: The arms that are compared.

    Yields:
        At most two sentences for the report: on runs that diverged, and on runs without a training
        loss in common.
    """
    outcomes = Counter(
        runs.each(
            arms,
            lambda *records: bool(common_levels(list(map(training_loss, records)), 1)),
            "diverged",
            "lost",  # counted among the failed runs
        )
    )
    of_seeds = f"of {len(runs.seeds)} seeds"
    if diverged := outcomes["diverged"]:
        yield f"A run diverged with {diverged} {of_seeds}; they {FAILURES}."
    if unmatched := outcomes[False]:
        yield f"The runs reach no loss in common with {unmatched} {of_seeds}; they are left out."


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else math.nan
