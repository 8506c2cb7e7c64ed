"""Fitted response curves and surfaces: what came of runs as a quadratic function of log strengths.

A grid's best cell is the one with the luckiest seeds; a smooth surface through all trials uses all
of them (Box & Wilson 1951). The optimum is sought within the range that was tried.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dlip_reg.studies.runs import Trials
from dlip_reg.training.specification import RunSpec

Points = Sequence[Sequence[float]] | np.ndarray  # one row of coordinates a point
STEPS = 61  # of the grid, fine in comparison with what the trials can tell, that the optimum is on


def lowest_point(heights: Mapping[float, float], neighbours: int = 1) -> float:
    """Where the quadratic through the lowest of the heights and its neighbours is lowest.

    Args:
        heights: What was varied, such as the learning rate, above 0 -> what came of it.
        neighbours: How many there are on either side.

    Returns:
        The vertex of the least-squares quadratic in the logarithm of what was varied, at most as
        far as the next neighbours; the place of the lowest height itself at an end of the grid, or
        where the quadratic has no minimum.
    """
    places = sorted(heights)
    lowest = min(range(len(places)), key=lambda i: heights[places[i]])
    if lowest in (0, len(places) - 1):
        return places[lowest]
    near = places[max(0, lowest - neighbours) : lowest + neighbours + 1]
    curvature, slope, _ = np.polyfit(
        [math.log(place) for place in near], [heights[place] for place in near], 2
    ).tolist()
    if curvature <= 0:
        return places[lowest]
    before, after = places[lowest - 1], places[lowest + 1]
    vertex = -slope / (2 * curvature)  # of an almost flat curve too far away for exp
    if vertex <= math.log(before):
        return before
    return after if vertex >= math.log(after) else math.exp(vertex)


def monomials(points: Points) -> np.ndarray:
    """One row a point: 1, the coordinates, and their products of degree two."""
    rows = np.asarray(points, float)
    pairs = itertools.combinations_with_replacement(range(rows.shape[1]), 2)
    columns = [np.ones(len(rows)), *rows.T, *(rows[:, i] * rows[:, j] for i, j in pairs)]
    return np.stack(columns, axis=1)


def optimum(points: Sequence[Sequence[float]], values: Sequence[float]) -> tuple[float, ...]:
    """Where the quadratic through the trials is highest, within the range of `points`."""
    rows = np.asarray(points, float)
    axes = [np.linspace(column.min(), column.max(), STEPS) for column in rows.T]
    places = np.array(list(itertools.product(*axes)))
    # The least-squares quadratic through the values.
    coefficients = np.linalg.lstsq(monomials(rows), np.asarray(values, float), rcond=None)[0]
    return tuple(places[int(np.argmax(monomials(places) @ coefficients))].tolist())


def trial_points(trials: Trials, fields: Sequence[str]) -> tuple[list[list[float]], list[Any]]:
    """The logs of the strengths tried, and the validation accuracies by tuning seed (or None)."""
    points = [
        [math.log(getattr(spec.regularization, field)) for field in fields] for spec in trials
    ]
    accuracies = [r.measures.val_accuracy for rs in trials.values() for r in rs if r]
    # A run that diverged is the worst there was; one without a record says nothing.
    worst = min((accuracy for accuracy in accuracies if accuracy is not None), default=None)
    return points, [
        [r and (r.measures.val_accuracy if r.status == "finished" else worst) for r in records]
        for records in trials.values()
    ]


def choose_on_surface(tied: Mapping[str, tuple[str, ...]], trials: Trials) -> RunSpec | None:
    """The specification at the optimum of the surface through all trials.

    Args:
        tied: The field that stands for each strength -> all fields that have that strength.
        trials: Candidate -> records by tuning seed.
    """
    points, accuracies = trial_points(trials, tuple(tied))
    best = _determined_optimum(
        [(p, value) for p, row in zip(points, accuracies, strict=True) for value in row]
    )
    if best is None:
        return None
    strengths: dict[str, Any] = {
        name: float(f"{math.exp(log):.3g}")
        for names, log in zip(tied.values(), best, strict=True)
        for name in names
    }
    first = next(iter(trials))
    return replace(first, regularization=replace(first.regularization, **strengths))


def optimum_by_seed(trials: Trials, fields: Sequence[str]) -> list[tuple[float, ...]]:
    """The optimum of the surface through each tuning seed's own trials.

    NaN where these are too few, so that optima of several searches are paired by their seed.
    """
    points, accuracies = trial_points(trials, fields)
    unknown = (math.nan,) * len(fields)
    return [
        _determined_optimum(list(zip(points, by_point, strict=True))) or unknown
        for by_point in zip(*accuracies, strict=True)
    ]


def _determined_optimum(
    trials: Sequence[tuple[Sequence[float], float | None]],
) -> tuple[float, ...] | None:
    """`optimum` of the trials with a value; None if they are at too few points for a quadratic."""
    known = [(point, value) for point, value in trials if value is not None]
    if not known:
        return None
    points, values = zip(*known, strict=True)
    columns = monomials(points)
    if np.linalg.matrix_rank(columns) < columns.shape[1]:
        return None
    return optimum(points, values)
