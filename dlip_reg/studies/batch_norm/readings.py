"""What the claims on batch normalization, and their figures, read from runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from dlip_reg.evidence.paired import LOG_RATIO, Values, log_ratio, per_seed
from dlip_reg.studies.papers.ioffe_fig1 import LABELS, by_net, steps_per_epoch
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Claim, Part
from dlip_reg.training.records import Record

Records = Sequence[Record | None]  # in the order of the seeds
Grid = Mapping[Any, Records]  # what was varied -> records
Targets = Sequence[float | None]  # the accuracy to reach with each seed
Series = Callable[[Record], Mapping[int, float | None]]  # epoch -> value of a probe
# What a module draws: paragraphs, and figures as the arguments of `FigureItem`.
Content = Iterator[str | tuple[str, Any, str, str]]
# A claim that a quantity is smaller with batch norm.
smaller_claim = partial(
    Claim,
    unit=LOG_RATIO,
    direction=-1,
    smallest_effect=0.1,
    smallest_effect_source="as fixed in the first edition: 10 %",
)


def grid(runs: Runs, prefix: str) -> dict[Any, Records]:
    """The last part of the name -> records, of the arms that begin with `prefix` and "/"."""
    return {key: tuple(by_seed.values()) for key, by_seed in runs.tree(prefix).items()}


def grids(runs: Runs, prefix: str) -> dict[str, dict[Any, Records]]:
    """`grid` of both networks."""
    return {net: grid(runs, f"{prefix}/{net}") for net in LABELS}


def both(text: str, unit: str, values: Mapping[str, Values]) -> tuple[Part, ...]:
    """Two numbers to show: of the network without and of the one with batch norm."""
    return tuple(Part(f"{text} {label}", unit, values[net]) for net, label in LABELS.items())


def ratio(text: str, values: Mapping[str, Values]) -> Part:
    """The log-ratio with batch norm over without, of a number to show."""
    label = f"{text}, with over without"
    return Part(label, LOG_RATIO, log_ratio(values["bn"], values["plain"]))


def lines(runs: Runs, prefix: str, read: Callable[[Record], Any]) -> dict[str, list[Any]]:
    """Label -> `read` of each finished run, of both networks, for figures."""
    return {
        label: [read(record) for record in runs.finished(f"{prefix}/{net}")]
        for net, label in LABELS.items()
    }


def present(records: Records) -> list[Record]:
    """The records that there are, also of runs that diverged."""
    return [record for record in records if record is not None]


def drawn(by_value: Mapping[Any, Records], read: Callable[[Record], float | None]) -> dict:
    """What was varied -> `read` of the seeds that were run, for figures."""
    return {key: per_seed(present(records), read) for key, records in by_value.items()}


def means_text(runs: Runs, prefix: str, read: Callable, unit: str = "") -> str:
    """Means over seeds: "0.31 nats without batch norm and 0.24 nats with batch norm"."""
    from dlip_reg.report.figures.style import summarize
    from dlip_reg.report.numbers import format_number

    means = {net: summarize(values).mean for net, values in by_net(runs, prefix, read).items()}
    texts = (f"{format_number(means[net])} {unit} {label}" for net, label in LABELS.items())
    return " and ".join(texts).replace("  ", " ")


def is_finished(record: Record | None) -> bool:
    """Whether there is a record of a run that did not diverge."""
    return record is not None and record.status == "finished"


def validation_accuracy(record: Record) -> float | None:
    """Validation accuracy at the end of training."""
    return record.measures.val_accuracy


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


def steps_by_seed(records: Records, targets: Targets) -> Values:
    """`steps_to` each seed's target; all steps of the run where it was not reached.

    NaN where there is no target or no finished run.
    """
    values: list[float] = []
    for record, target in zip(records, targets, strict=True):
        if target is None or not is_finished(record):
            values.append(math.nan)
        else:
            steps = steps_to(record, target)
            all_steps = record.spec.epochs * steps_per_epoch(record)
            values.append(all_steps if steps is None else steps)
    return tuple(values)


def series(part: str, name: str) -> Series:
    """A function of a record: epoch -> a field of the rows in one of its parts."""
    return lambda record: {row.epoch: getattr(row, name) for row in getattr(record, part)}


def over_probes(series: Series, mean: Callable[[Sequence[float]], float]) -> Callable:
    """A function of a record: `mean` of the series, or None if it has no value."""

    def read(record: Record) -> float | None:
        values = [value for value in series(record).values() if value is not None]
        return mean(values) if values else None

    return read


def log_ratio_over_probes(runs: Runs, prefix: str, series: Series) -> Values:
    """By seed, the mean over common probes of ln(series with batch norm / series without).

    Probes where either is not above 0 are left out; NaN if none is left.
    """
    values = []
    for plain, bn in zip(runs[f"{prefix}/plain"], runs[f"{prefix}/bn"], strict=True):
        logs = []
        if is_finished(plain) and is_finished(bn):
            without, with_ = series(plain), series(bn)
            for epoch in without.keys() & with_.keys():
                pair = (with_[epoch], without[epoch])
                if None not in pair and min(pair) > 0:
                    logs.append(math.log(pair[0] / pair[1]))
        values.append(math.fsum(logs) / len(logs) if logs else math.nan)
    return tuple(values)


def geometric(values: Sequence[float]) -> float:
    """The geometric mean of the values above 0."""
    logs = [math.log(value) for value in values if value > 0]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan
