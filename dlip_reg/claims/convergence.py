"""How fast a loss falls, and how fast a machine is: what curves and timings are read for.

A curve is that of a record: "epoch" and equally long lists of losses, None where not finite. The
outcomes are those of `dlip_reg.experiments.batch_size`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import linear_regression
from typing import Any, NamedTuple

from dlip_reg.claims.paired import Record, Records, Values

Curve = Mapping[str, Sequence[Any]]
TRAINING, VALIDATION = "clean_loss", "clean_val_loss"


class Knee(NamedTuple):
    """A step of B examples takes `overhead` + B * `per_example` seconds.

    The rate B / (overhead + B * per_example) tends to `peak` = 1 / per_example, of which it reaches
    half at batch size `size` = overhead / per_example: the knee. A cost that comes out at or below
    0 makes the size NaN.
    """

    size: float
    peak: float
    overhead: float
    per_example: float

    def rate(self, batch_size: float) -> float:
        """Examples per second at that batch size, by the fit."""
        return batch_size / (self.overhead + batch_size * self.per_example)


def fit_knee(rates: Mapping[int, float]) -> Knee:
    """The knee of measured rates (batch size -> examples per second), least relative squares.

    NaN throughout for fewer than two finite rates.
    """
    points = [(size, size / rate) for size, rate in rates.items() if 0 < rate < math.inf]
    if len(points) < 2:
        return Knee(math.nan, math.nan, math.nan, math.nan)
    # (a + b B) / t = 1 for every B with its measured t: two normal equations.
    aa = sum(1 / t**2 for _, t in points)
    ab = sum(size / t**2 for size, t in points)
    bb = sum((size / t) ** 2 for size, t in points)
    a, b = sum(1 / t for _, t in points), sum(size / t for size, t in points)
    determinant = aa * bb - ab**2
    overhead = (a * bb - b * ab) / determinant
    per_example = (b * aa - a * ab) / determinant
    sensible = overhead > 0 and per_example > 0
    return Knee(
        overhead / per_example if sensible else math.nan,
        1 / per_example if per_example > 0 else math.nan,
        overhead,
        per_example,
    )


def loss_at(curve: Curve, key: str, epoch: float) -> float:
    """The loss after so many epochs, log-linear between two; NaN beyond the curve or a gap."""
    epochs, losses = curve["epoch"], curve[key]
    for (start, high), (end, low) in _steps(epochs, losses):
        if start <= epoch <= end:
            share = (epoch - start) / (end - start)
            return math.exp((1 - share) * math.log(high) + share * math.log(low))
    return math.nan


def epochs_to(curve: Curve, key: str, target: float) -> float:
    """After how many epochs the loss is first at or below `target`, log-linear between two.

    NaN if it never is.
    """
    epochs, losses = curve["epoch"], curve[key]
    if _is_positive(losses[0]) and losses[0] <= target:
        return float(epochs[0])
    for (start, high), (end, low) in _steps(epochs, losses):
        if low <= target < high:
            return start + (end - start) * math.log(high / target) / math.log(high / low)
    return math.nan


def lowest(curve: Curve, key: str) -> float:
    """The lowest finite loss of the curve; NaN if there is none."""
    return min((loss for loss in curve[key] if loss is not None), default=math.nan)


def curve_distance(curve: Curve, other: Curve, key: str) -> float:
    """The mean over epochs, the first one on, of |ln loss - ln other loss|.

    Both begin at one loss, and no loss counts as higher than that: what has diverged has learnt
    nothing, and is as far away as that. `other` sets the epochs.
    """
    ours, theirs = dict(zip(curve["epoch"], curve[key], strict=True)), other[key]
    chance = theirs[0]

    def capped(loss: float | None) -> float:
        return min(loss, chance) if _is_positive(loss) else chance

    gaps = [
        abs(math.log(capped(ours.get(epoch)) / capped(loss)))
        for epoch, loss in zip(other["epoch"][1:], theirs[1:], strict=True)
    ]
    return sum(gaps) / len(gaps)


def log_log_slope(points: Mapping[float, float]) -> float:
    """The least-squares slope of ln y against ln x; NaN for fewer than two points."""
    if len(points) < 2:
        return math.nan
    return linear_regression(list(map(math.log, points)), list(map(math.log, points.values())))[0]


def to_target(outcomes: Mapping[str, Any]) -> dict[int, dict[str, Values]]:
    """Mini-batch size -> "epochs", "examples", "updates", "seconds" to the target, by seed.

    Each size runs at its own best rate. A seed's target is the highest of the lowest validation
    losses that the sizes come to: the lowest loss that all of them reach.
    """
    *minis, _ = outcomes["rates"]
    finals = {size: outcomes["rates"][size].finals for size in minis}
    speeds = rates_by_seed(outcomes["throughput"])
    reached: dict[int, dict[str, list[float]]] = {
        size: {name: [] for name in ("epochs", "examples", "updates", "seconds")} for size in minis
    }
    for seed in finals[minis[0]]:
        curves = {size: curve_of(finals[size][seed]) for size in minis}
        target = max(
            (math.nan if curve is None else lowest(curve, VALIDATION) for curve in curves.values()),
            key=lambda loss: math.inf if math.isnan(loss) else loss,
        )
        for size, curve in curves.items():
            epochs = math.nan if curve is None else epochs_to(curve, VALIDATION, target)
            examples = epochs * _images(finals[size][seed])
            rate = speeds.get(seed, {}).get(size, math.nan)
            for name, value in (
                ("epochs", epochs),
                ("examples", examples),
                ("updates", examples / size),
                ("seconds", examples / rate),
            ):
                reached[size][name].append(value)
    return {size: {n: tuple(v) for n, v in of.items()} for size, of in reached.items()}


def rates_by_seed(throughput: Mapping[int, Records]) -> dict[int, dict[int, float]]:
    """Seed -> batch size -> examples per second, where measured."""
    found: dict[int, dict[int, float]] = {}
    for size, records in throughput.items():
        for seed, record in records.items():
            found.setdefault(seed, {})
            if record is not None:
                found[seed][size] = record["measures"]["examples_per_second"]
    return found


def best_rates_by_seed(tuned: Mapping[int, Any]) -> dict[int, dict[int, float]]:
    """Seed -> batch size -> the rate with that seed's own lowest validation loss."""
    best: dict[int, dict[int, float]] = {}
    for size, own in tuned.items():
        losses: dict[int, dict[float, float]] = {}
        for rate, records in own.trials.items():
            for seed, record in records.items():
                best.setdefault(seed, {})
                if record is not None and record["status"] == "finished":
                    losses.setdefault(seed, {})[rate] = record["measures"]["val_loss"]
        for seed, by_rate in losses.items():
            best[seed][size] = min(by_rate, key=by_rate.__getitem__)
    return best


def distances_to_base(runs: Mapping[int, Records]) -> dict[int, Values]:
    """Batch size, the smallest left out -> how far its training curve lies from the smallest's."""
    if not runs:
        return {}
    base, *others = runs

    def distance(record: Record | None, of_base: Record | None) -> float:
        if record is None or of_base is None or of_base["status"] != "finished":
            return math.nan
        return curve_distance(record["curves"], of_base["curves"], TRAINING)

    return {
        size: tuple(distance(record, runs[base][seed]) for seed, record in runs[size].items())
        for size in others
    }


def curve_of(record: Record | None) -> Mapping[str, Any] | None:
    """The record's curve; None where the run gave none or diverged."""
    return record["curves"] if record is not None and record["status"] == "finished" else None


def _images(record: Record | None) -> float:
    return math.nan if record is None else record["spec"]["data"]["n_train"]


def _steps(epochs: Sequence[float], losses: Sequence[Any]):
    """Neighbouring points of the curve, both of them above 0."""
    points = list(zip(epochs, losses, strict=True))
    for before, after in pairwise(points):
        if _is_positive(before[1]) and _is_positive(after[1]):
            yield before, after


def _is_positive(loss: float | None) -> bool:
    return loss is not None and loss > 0
