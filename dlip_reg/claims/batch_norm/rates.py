"""What the note says about learning rates: large ones, and ones that fall fast."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dlip_reg.claims.batch_norm.readings import (
    Grid,
    largest_that_trains,
    quickest,
    steps_by_seed,
    steps_to,
    targets,
)
from dlip_reg.claims.claim import Claim, Measurement, Part
from dlip_reg.claims.paired import (
    LOG_RATIO,
    POINTS,
    Values,
    log_ratio,
    measure,
    minus,
    per_seed,
    percent,
)
from dlip_reg.experiments.batch_norm import FASTER

# A run counts as trained if it gets this far from chance towards the plain net's best accuracy.
HALFWAY = 0.5
CHANCE = 0.1  # all data sets of the labs have ten classes, evenly


def _large_rate(outcomes: Mapping[str, Any]) -> Measurement:
    grids: Mapping[str, Grid] = outcomes["rates"]
    goals = targets(grids["plain"])
    seeds = next(iter(grids["plain"].values())).keys()
    steps: dict[str, Values] = {}
    reached: Values = ()
    fastest = {arm: quickest(grid, goals) for arm, grid in grids.items()}
    for arm, grid in grids.items():
        rate = fastest[arm]
        steps[arm] = (math.nan,) * len(seeds) if rate is None else steps_by_seed(grid[rate], goals)
        if arm == "bn" and rate is not None:
            reached = tuple(
                math.nan
                if record is None or goals.get(seed) is None
                else 100.0 * (steps_to(record, goals[seed]) is not None)
                for seed, record in grid[rate].items()
            )
    largest = largest_rates(grids)
    rates = [(fastest[arm] or math.nan,) * len(seeds) for arm in ("bn", "plain")]
    return Measurement(
        log_ratio(steps["bn"], steps["plain"]),
        (
            Part("steps to that accuracy without batch norm", "steps", steps["plain"]),
            Part("steps to it with batch norm", "steps", steps["bn"]),
            Part("seeds in which the net with batch norm got there", "%", reached),
            Part("quickest learning rate, with over without", LOG_RATIO, log_ratio(*rates)),
            Part(
                "largest learning rate that trains, with over without",
                LOG_RATIO,
                log_ratio(largest["bn"], largest["plain"]),
            ),
        ),
    )


def largest_rates(grids: Mapping[str, Grid]) -> dict[str, Values]:
    """By arm and seed, the largest learning rate that trains; NaN if none does."""
    floors = {
        seed: None if goal is None else CHANCE + HALFWAY * (goal - CHANCE)
        for seed, goal in targets(grids["plain"]).items()
    }
    return {
        arm: tuple(
            math.nan if floor is None else largest_that_trains(grid, seed, floor) or math.nan
            for seed, floor in floors.items()
        )
        for arm, grid in grids.items()
    }


def _fast_decay(outcomes: Mapping[str, Any]) -> Measurement:
    accuracy = {
        arm: {
            speed: percent(per_seed(records, measure("test_accuracy")))
            for speed, records in speeds.items()
        }
        for arm, speeds in outcomes["fast_decay"].items()
    }
    lost = {arm: minus(speeds[FASTER], speeds[1.0]) for arm, speeds in accuracy.items()}
    return Measurement(
        minus(lost["bn"], lost["plain"]),
        (
            Part("fast minus slow decay, without batch norm", POINTS, lost["plain"]),
            Part("fast minus slow decay, with batch norm", POINTS, lost["bn"]),
            Part("test accuracy with batch norm, slow decay", "%", accuracy["bn"][1.0]),
        ),
    )


RATE_CLAIMS = (
    Claim(
        "bn-large-lr",
        "With batch norm a large initial learning rate does not miss the minimum, and training "
        "converges more quickly.",
        "Training steps to the best validation accuracy of the net without batch norm, each net at "
        "the learning rate of the grid that gets there in most seeds and soonest (a run that never "
        "does counts with all its steps); log-ratio with over without (the measure of Ioffe & "
        "Szegedy 2015, figure 3).",
        LOG_RATIO,
        direction=-1,
        smallest_effect=0.1,
        measure=_large_rate,
        needs=("rates",),
        figures=("rates", "steps_to_target"),
    ),
    Claim(
        "bn-fast-decay",
        "With batch norm the decay of the learning rate can be accelerated.",
        f"Test accuracy with a learning rate that falls {FASTER:g} times faster minus that with "
        "the slow one, each net at its own best rate; with batch norm minus without.",
        POINTS,
        direction=+1,
        smallest_effect=1.0,
        measure=_fast_decay,
        needs=("fast_decay",),
        figures=("fast_decay",),
    ),
)
