"""Loss curves and timings: distances between curves, losses at a time, the knee of the speed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from dlip_reg.evidence.matching import value_at
from dlip_reg.studies.runs import Runs
from dlip_reg.training.records import Record

Losses = Sequence[float | None]  # by epoch, from 0 on; None where not finite


class Knee(NamedTuple):
    """A step of B examples takes `overhead` + B * `per_example` seconds.

    The rate B / (overhead + B * per_example) tends to `peak` = 1 / per_example, and is half of it
    at batch size `size` = overhead / per_example: the knee. A cost that is fitted at or below 0
    makes the size NaN.
    """

    size: float
    peak: float
    overhead: float
    per_example: float


def fit_knee(rates: Mapping[int, float]) -> Knee:
    """Fit the knee to measured rates with least relative squares.

    Args:
        rates: Batch size -> examples per second.

    Returns:
        The knee; NaN throughout for fewer than two finite rates.
    """
    points = [(size, size / rate) for size, rate in rates.items() if 0 < rate < math.inf]
    if len(points) < 2:
        return Knee(math.nan, math.nan, math.nan, math.nan)
    # (overhead + B * per_example) / t = 1 for every B with its measured t.
    rows = [(1 / time, size / time) for size, time in points]
    overhead, per_example = np.linalg.lstsq(rows, np.ones(len(rows)))[0].tolist()
    return Knee(
        overhead / per_example if overhead > 0 and per_example > 0 else math.nan,
        1 / per_example if per_example > 0 else math.nan,
        overhead,
        per_example,
    )


def loss_at(losses: Losses, epoch: float) -> float:
    """The loss after so many epochs, log-linear between two; NaN beyond the curve or a gap."""
    return math.exp(value_at([math.log(loss) if loss else None for loss in losses], epoch))


def lowest(losses: Losses) -> float:
    """The lowest finite loss; NaN if there is none."""
    return min((loss for loss in losses if loss is not None), default=math.nan)


def curve_distance(losses: Losses, base: Losses) -> float:
    """The mean over the epochs of `base`, the first one on, of |ln loss - ln base's loss|.

    Both begin at one loss, and no loss counts as higher than that: a run that diverged has learnt
    nothing, and is as far away as that.
    """
    untrained = base[0]

    def log(loss: float | None) -> float:
        return math.log(min(loss, untrained) if loss else untrained)

    pairs = list(zip_longest(losses, base))[1 : len(base)]
    return sum(abs(log(ours) - log(theirs)) for ours, theirs in pairs) / len(pairs)


def drawn_curves(runs: Runs, group: str) -> dict[int, list[dict[str, Any] | None]]:
    """The curves of the arms "GROUP/SIZE" as figures take them.

    Returns:
        Batch size -> one dict of columns per seed, None where there is no record; a run that
        diverged has None where its losses end. Empty if no arm of the group has a record.
    """
    found = {
        size: [None if record is None else _drawn(record) for record in by_seed.values()]
        for size, by_seed in runs.tree(group).items()
    }
    return found if any(curve for curves in found.values() for curve in curves) else {}


def _drawn(record: Record) -> dict[str, Any]:
    spec, curves = record.spec, record.curves
    end = () if record.status == "finished" else (None,)
    losses = (*curves.clean_loss, *end)
    steps = max(1, spec.data.n_train // spec.batch_size)
    return {
        "epoch": list(range(len(losses))),
        "updates": [epoch * steps for epoch in range(len(losses))],
        "train_loss": losses,
        "validation_loss": (*curves.clean_val_loss, *end),
    }


def rate_of(runs: Runs, group: str) -> float:
    """The learning rate of the smallest batch size of a group; NaN if it cannot run."""
    spec = runs.chosen[f"{group}/{min(runs.tree(group))}"]
    return math.nan if spec is None else spec.learning_rate


def listed(sizes: Iterable[int]) -> str:
    """Batch sizes as words: "8, 1,280"."""
    return ", ".join(f"{size:,}" for size in sizes)


def full_batch(sizes: Iterable[int]) -> str:
    """The sentence that says which of `sizes` is the full batch."""
    return f"Batch {max(sizes):,} is the full batch: all training images."
