"""Fitted response curves over the learning rate, and the tuning that uses them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from dlip_reg.studies import Arm, Trials, Tuning, is_finished
from dlip_reg.studies.surface import lowest_point
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec

# Four rates three-fold apart, common to all batch sizes; the search for each size extends them.
LEARNING_RATES = (0.01, 0.03, 0.1, 0.3)
STEP = 3.0
# All rates of the lattice are multiples of this one by powers of two: see `on_lattice`.
UNIT_RATE = 0.01
MOST_EXTENSIONS = 3
# Beyond this many times the lowest value it does not matter how much worse a rate is: the fit is
# to describe the neighbourhood of the best rate, not where training breaks down.
CAP = 2.0
NEIGHBOURS = 2  # rates on either side of the lowest that the curve is fitted to

Cost = Callable[[Record], float]  # what a run took or lost, above 0; infinite where it failed


def best_rate(costs: Mapping[float, float]) -> float:
    """The learning rate at the lowest point of a fitted response curve.

    Args:
        costs: Learning rate -> what is to be low, above 0; infinite or NaN for a failed run.

    Returns:
        The `lowest_point` of the logarithms of the costs; NaN if every run failed.
    """
    known = {rate: _or_infinite(cost) for rate, cost in costs.items()}
    lowest = min(known.values(), default=math.inf)
    if math.isinf(lowest):
        return math.nan
    logs = {rate: math.log(min(cost, CAP * lowest)) for rate, cost in known.items()}
    return lowest_point(logs, NEIGHBOURS)


def is_at_end(costs: Mapping[float, float]) -> bool:
    """Whether the lowest of the costs is that of the smallest or the largest rate."""
    rates = sorted(costs)
    return min(rates, key=lambda rate: _or_infinite(costs[rate])) in (rates[0], rates[-1])


def tuned(
    name: str, run: RunSpec, cost: Cost, rates: Sequence[float] = LEARNING_RATES, **options: Any
) -> Arm:
    """An arm at the learning rate where the fitted curve of its tuning runs is lowest.

    Args:
        name: The arm's name.
        run: What is trained, at any rate.
        cost: What the rate is to make low: geometric mean over the tuning seeds.
        rates: The grid to begin with; it is extended while the lowest cost lies at an end of it.
        options: Of `Arm`.
    """

    def at(rate: float, trials: Trials) -> RunSpec:
        return replace(next(iter(trials)), learning_rate=rounded(rate))

    def choose(trials: Trials) -> RunSpec | None:
        # A rate that has lost a run says nothing about how the cost depends on the rate.
        complete = {spec: records for spec, records in trials.items() if None not in records}
        rate = best_rate(trial_costs(cost, complete))
        return None if math.isnan(rate) else at(rate, trials)

    def extend(trials: Trials) -> list[RunSpec]:
        """One more rate beyond the end of the grid at which the lowest cost lies."""
        costs = trial_costs(cost, trials)
        if len(costs) >= len(rates) + MOST_EXTENSIONS or not is_at_end(costs):
            return []
        lowest, highest = min(costs), max(costs)
        at_low_end = costs[lowest] <= costs[highest]
        return [at(lowest / STEP if at_low_end else highest * STEP, trials)]

    tried = [{"learning_rate": rate, "measures": ("curves",)} for rate in rates]
    tuning = Tuning(tried, choose, extend, expected=len(rates) + 1)
    return Arm(name, run, tuning, {"measures": run.measures}, **options)


def trial_costs(cost: Cost, trials: Trials) -> dict[float, float]:
    """Learning rate -> geometric mean of the cost over the tuning seeds, in order.

    Infinite where a record is missing: the mean of other seeds cannot be compared.
    """
    found = {}
    for spec, records in trials.items():
        costs = [_cost_of(cost, record) for record in records]
        found[spec.learning_rate] = math.exp(fmean(map(math.log, costs)))
    return dict(sorted(found.items()))


def rounded(rate: float) -> float:
    """A rate with three digits: it is shown to people, and the same from either side."""
    return float(f"{rate:.3g}")


def scaled(factor: float) -> Callable[[float], float]:
    """For changes to a run: its rate times `factor`."""
    return lambda rate: rounded(factor * rate)


def on_lattice(factor: float) -> Callable[[float], float]:
    """For changes to a run: its rate, rounded to the nearest of a lattice, times `factor`.

    The lattice has the powers of two times `UNIT_RATE`, so that batch sizes have rates in common.
    """
    return lambda rate: rounded(UNIT_RATE * 2.0 ** round(math.log2(rate / UNIT_RATE)) * factor)


def _cost_of(cost: Cost, record: Record | None) -> float:
    return _or_infinite(cost(record)) if is_finished(record) else math.inf


def _or_infinite(value: float) -> float:
    return value if value > 0 else math.inf
