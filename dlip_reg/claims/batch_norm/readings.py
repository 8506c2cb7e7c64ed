"""What the claims on batch normalization, and their figures, read from records."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlip_reg.claims.paired import Record, Records, Values, per_seed
from dlip_reg.experiments.batch_norm import most_accurate_of

Arms = Mapping[str, Records]
Grid = Mapping[float, Records]


def steps_per_epoch(record: Record) -> int:
    """Training steps that make up an epoch of the record's run."""
    spec = record["spec"]
    return max(1, spec["data"]["n_train"] // spec["batch_size"])


def best_accuracy(record: Record) -> float:
    """The highest validation accuracy of the run at the end of any epoch."""
    return max(a for a in record["curves"]["clean_val_accuracy"] if a is not None)


def steps_to(record: Record, target: float) -> float | None:
    """Training steps until the validation accuracy first was `target`, None if it never was.

    Between the ends of two epochs the accuracy is taken to go straight.
    """
    accuracies = record["curves"]["clean_val_accuracy"]
    for epoch, accuracy in enumerate(accuracies):
        if accuracy is not None and accuracy >= target:
            before = accuracies[epoch - 1] if epoch else accuracy
            share = (target - before) / (accuracy - before) if accuracy > before else 1.0
            return (epoch - 1 + share if epoch else 0.0) * steps_per_epoch(record)
    return None


def steps_or_all(record: Record, target: float) -> float:
    """`steps_to`, or where the target was never reached the steps of the whole run."""
    steps = steps_to(record, target)
    return record["spec"]["epochs"] * steps_per_epoch(record) if steps is None else steps


def targets(rates: Grid) -> dict[int, float | None]:
    """By seed, the best validation accuracy at the learning rate of the grid that ends best."""
    best = most_accurate_of(rates)
    if best is None:
        return {}
    return {
        seed: best_accuracy(record) if record is not None else None
        for seed, record in rates[best].items()
    }


def quickest(rates: Grid, targets: Mapping[int, float | None]) -> float | None:
    """The learning rate that reaches the targets of the most seeds, and that in the fewest steps.

    Steps are compared by their geometric mean. One with a run that diverged or failed, in a seed
    that has a target, never wins. None if no rate is left.
    """
    seeds = [seed for seed, target in targets.items() if target is not None]
    scores = {}
    for rate, records in rates.items():
        steps = steps_by_seed({seed: records.get(seed) for seed in seeds}, targets)
        if steps and all(map(math.isfinite, steps)):
            missed = sum(steps_to(records[seed], targets[seed]) is None for seed in seeds)
            scores[rate] = (missed, sum(math.log(max(s, 1.0)) for s in steps) / len(steps))
    return min(scores, key=scores.__getitem__, default=None)


def steps_by_seed(records: Records, targets: Mapping[int, float | None]) -> Values:
    """`steps_or_all` of each seed towards its own target; NaN where there is none."""
    values: list[float] = []
    for seed, record in records.items():
        target = targets.get(seed)
        known = target is not None and record is not None and record["status"] == "finished"
        values.append(steps_or_all(record, target) if known else math.nan)
    return tuple(values)


def largest_that_trains(rates: Grid, seed: int, floor: float) -> float | None:
    """The largest learning rate whose run with `seed` ended above `floor` validation accuracy."""
    trained = [
        rate
        for rate, records in rates.items()
        if (record := records.get(seed)) is not None
        and record["status"] == "finished"
        and record["measures"]["val_accuracy"] > floor
    ]
    return max(trained, default=None)


def paired_rows(arms: Arms, part: str, read: Callable[[Mapping[str, Any]], float | None]) -> Values:
    """By seed, the mean over common probes of ln(read with batch norm / read without)."""
    return tuple(
        mean_log_ratio(_rows(arms["bn"], seed, part), _rows(arms["plain"], seed, part), read)
        for seed in arms["plain"]
    )


def mean_log_ratio(
    first: Sequence[Mapping[str, Any]],
    second: Sequence[Mapping[str, Any]],
    read: Callable[[Mapping[str, Any]], float | None],
) -> float:
    """The mean of ln(read of first / read of second) over the epochs that both have.

    Probes where either is not above 0 are left out; NaN if none is left.
    """
    others = {row["epoch"]: read(row) for row in second}
    logs = [
        math.log(value / other)
        for row in first
        if (value := read(row)) and (other := others.get(row["epoch"])) and min(value, other) > 0
    ]
    return sum(logs) / len(logs) if logs else math.nan


def over_probes(
    records: Records,
    part: str,
    read: Callable[[Mapping[str, Any]], float | None],
    mean: Callable[[Sequence[float]], float],
) -> Values:
    """By seed, `mean` of what `read` gives for the rows of that part of the record."""

    def whole(record: Record) -> float | None:
        values = [value for row in record[part] if (value := read(row)) is not None]
        return mean(values) if values else None

    return per_seed(records, whole)


def arithmetic(values: Sequence[float]) -> float:
    """The mean."""
    return sum(values) / len(values)


def geometric(values: Sequence[float]) -> float:
    """The geometric mean of what is above 0."""
    logs = [math.log(value) for value in values if value > 0]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def named(key: str) -> Callable[[Mapping[str, Any]], float | None]:
    """Reads the value of a row under `key`."""
    return lambda row: row[key]


def _rows(records: Records, seed: int, part: str) -> Sequence[Mapping[str, Any]]:
    record = records.get(seed)
    return record[part] if record is not None and record["status"] == "finished" else ()
