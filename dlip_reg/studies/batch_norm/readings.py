"""What the claims on batch normalization, and their figures, read from runs."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlip_reg.evidence.paired import Values, per_seed
from dlip_reg.studies.papers.ioffe_fig1 import LABELS, steps_per_epoch
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Part
from dlip_reg.training.records import Record

Records = Sequence[Record | None]  # in the order of the seeds


def grid(runs: Runs, prefix: str) -> dict[Any, Records]:
    """The last part of the name -> records, sorted, of the arms under `prefix`."""
    return {key: tuple(by_seed.values()) for key, by_seed in sorted(runs.tree(prefix).items())}


def both(text: str, unit: str, values: Mapping[str, Values]) -> tuple[Part, ...]:
    """Two numbers to show: of the network without and of the one with batch norm."""
    return tuple(Part(f"{text} {label}", unit, values[net]) for net, label in LABELS.items())


def lines(runs: Runs, prefix: str, read: Callable[[Record], Any]) -> dict[str, list[Any]]:
    """Label -> `read` of each finished run, of both networks, for figures."""
    return {
        label: [read(record) for record in runs.finished(f"{prefix}/{net}")]
        for net, label in LABELS.items()
    }


def present(records: Records) -> list[Record]:
    """The records that there are, also of runs that diverged."""
    return [record for record in records if record is not None]


def drawn(
    by_value: Mapping[Any, Records],
    read: Callable[[Record], float | None],
    failure: float = math.nan,
) -> dict[Any, Values]:
    """What was varied -> `read` of the seeds that were run, for figures."""
    return {key: per_seed(present(records), read, failure) for key, records in by_value.items()}


def at_start(records: Records, read: Callable[[Record], float | None]) -> Values:
    """By seed, `read` of what was measured before training, also of runs that diverged later."""
    values = [None if record is None else read(record) for record in records]
    return tuple(math.nan if value is None else value for value in values)


def mean_of_finished(records: Records, read: Callable[[Record], float]) -> float | None:
    """The mean of `read` over the runs that did not diverge; None without any."""
    values = [read(record) for record in present(records) if is_finished(record)]
    return sum(values) / len(values) if values else None


def layer_norms(records: Records, row: int) -> dict[str, list[float | None]]:
    """Layer -> its kernel's gradient norm in that row of the record's flow, by seed."""
    norms: dict[str, list[float | None]] = {}
    for layer in (layer for r in present(records) if r.flow for layer in r.flow[row].layers):
        norms.setdefault(layer.layer, []).append(layer.norm)
    return norms


def expanded(builder: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The builder options of a specification, with others added."""
    return {**json.loads(builder), **options}


def width_above(curve: Mapping[float, float], level: float) -> float:
    """For how much of its axis a curve is at `level` or above.

    Args:
        curve: Place in rising order -> value, taken as linear in between.
        level: The level.

    Returns:
        The length, in the unit of the places; NaN where a value is missing.
    """
    if any(math.isnan(value) for value in curve.values()):
        return math.nan
    length = 0.0
    for (left, before), (right, after) in itertools.pairwise(curve.items()):
        low, high = sorted((before, after))
        if low >= level:
            length += right - left
        elif high >= level:
            length += (right - left) * (high - level) / (high - low)
    return length


def is_finished(record: Record | None) -> bool:
    """Whether there is a record of a run that did not diverge."""
    return record is not None and record.status == "finished"


def test_accuracy(record: Record) -> float | None:
    """Test accuracy at the end of training."""
    return record.measures.test_accuracy


def best_accuracy(record: Record) -> float:
    """The highest validation accuracy of the run at the end of any epoch."""
    return max(a for a in record.curves.clean_val_accuracy if a is not None)


def steps_to(record: Record, target: float) -> float | None:
    """Training steps until the validation accuracy first reached `target`; None if it never did.

    Between the ends of two epochs the accuracy is interpolated linearly.
    """
    accuracies = record.curves.clean_val_accuracy
    for epoch, accuracy in enumerate(accuracies):
        if accuracy is not None and accuracy >= target:
            before = accuracies[epoch - 1] if epoch else accuracy
            share = (target - before) / (accuracy - before) if accuracy > before else 1.0
            return (epoch - 1 + share if epoch else 0.0) * steps_per_epoch(record)
    return None
