"""Response surfaces: accuracy as a quadratic function of the logs of one or two strengths.

A grid's best cell is the one with the luckiest seeds; a smooth surface through all trials uses all
of them (Box & Wilson 1951). The optimum is sought within the range that was tried.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dlip_reg.studies.runs import Trials
from dlip_reg.training.specification import RunSpec

STEPS = 61  # of the grid, fine in comparison with what the trials can tell, that the optimum is on


def fit(points: Sequence[Sequence[float]], values: Sequence[float]) -> np.ndarray:
    """The coefficients of the least-squares quadratic through `values` at `points`.

    Args:
        points: One row of coordinates a trial, of one or two dimensions.
        values: One number a trial.

    Returns:
        The coefficients of the monomials of `monomials`.
    """
    return np.linalg.lstsq(monomials(points), np.asarray(values, float), rcond=None)[0]


def monomials(points: Sequence[Sequence[float]]) -> np.ndarray:
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
    return tuple(places[int(np.argmax(monomials(places) @ fit(rows, values)))].tolist())


def trial_points(trials: Trials, fields: Sequence[str]) -> tuple[list[list[float]], list[Any]]:
    """The logs of the strengths tried, and the validation accuracies by tuning seed (or None)."""
    points, accuracies = [], []
    for spec, records in trials.items():
        points.append([math.log(getattr(spec.regularization, field)) for field in fields])
        accuracies.append([r and r.measures.val_accuracy for r in records])
    # A run that diverged is the worst there was; one without a record says nothing.
    worst = min((a for row in accuracies for a in row if a is not None), default=None)
    diverged = [[r is not None and r.status != "finished" for r in rs] for rs in trials.values()]
    return points, [
        [worst if failed else accuracy for failed, accuracy in zip(*row, strict=True)]
        for row in zip(diverged, accuracies, strict=True)
    ]


def choose_on_surface(tied: Mapping[str, tuple[str, ...]], trials: Trials) -> RunSpec | None:
    """The specification at the optimum of the surface through all trials.

    Args:
        tied: The field that stands for each strength -> all fields that have that strength.
        trials: Candidate -> records by tuning seed.
    """
    points, accuracies = trial_points(trials, tuple(tied))
    known = [
        (point, value)
        for point, by_seed in zip(points, accuracies, strict=True)
        for value in by_seed
        if value is not None
    ]
    if not _determine_surface(known):
        return None
    best = optimum(*zip(*known, strict=True))
    strengths = {
        name: float(f"{math.exp(log):.3g}")
        for names, log in zip(tied.values(), best, strict=True)
        for name in names
    }
    first = next(iter(trials))
    return replace(first, regularization=replace(first.regularization, **strengths))


def optimum_by_seed(trials: Trials, fields: Sequence[str]) -> list[tuple[float, ...]]:
    """The optimum of the surface through each tuning seed's own trials."""
    points, accuracies = trial_points(trials, fields)
    found = []
    for by_point in zip(*accuracies, strict=True):
        known = [(p, v) for p, v in zip(points, by_point, strict=True) if v is not None]
        if _determine_surface(known):
            found.append(optimum(*zip(*known, strict=True)))
    return found


def _determine_surface(known: Sequence[tuple[Sequence[float], float]]) -> bool:
    """Whether the trials are at enough different points for a quadratic."""
    if not known:
        return False
    columns = monomials([point for point, _ in known])
    return np.linalg.matrix_rank(columns) == columns.shape[1]
