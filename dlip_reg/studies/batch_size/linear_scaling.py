"""bs-linear-scaling: when the batch grows k times, multiply the learning rate by k."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dlip_reg.evidence.paired import Values
from dlip_reg.studies.batch_size.arms import RACE, base, listed
from dlip_reg.studies.batch_size.fits import is_at_end, rounded
from dlip_reg.studies.batch_size.learning_rates import GRID, grid_arms, lattice_rate
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Chosen, Claim, Control, Measurement, Part, Setting
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec, Schedule

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

MOMENTUM, SCALING = "momentum", "scaling"
# A momentum of 0.9 makes a step ten times as long in the end.
MOMENTUM_FACTOR = 0.1
WARMUP_EPOCHS = 2
# The positive control: its base has a quarter of the tuned rate, and the next batch size is tried
# at these powers of two times what the rule makes of that.
SMALL, SMALL_STEP, SMALL_POWERS = "small_steps", -2, (-2, -1, 0, 1, 2)
# The exponent with which each row of the note's figure 23 scales the rate.
ROWS = {
    "unscaled": ("unscaled: the base's rate for all", 0.0),
    "root": ("rate × √k", 0.5),
    "scaled": ("rate × k", 1.0),
    "warmup": ("rate × k, with gradual warm-up", 1.0),
}


def arms(setting: Setting) -> list[Arm]:
    """The grids of plain SGD, the same with momentum, and the rows of the figure.

    "momentum/SIZE/POWER": as "grid/SIZE/POWER", with momentum at a tenth of the rates.
    "small_steps/grid/POWER" and "small_steps/momentum/POWER": of the positive control.
    "scaling/ROW/SIZE": the base's rate and what the rule makes of it.
    """
    preset = setting.preset
    found = []
    for arm in grid_arms(setting):
        name = f"{MOMENTUM}{arm.name.removeprefix(GRID)}"
        found.append(Arm(name, functools.partial(_with_momentum, setting, arm), uses=arm.uses))
    source = f"{RACE}/{preset.smallest}"
    for power in SMALL_POWERS:
        arm = Arm(
            f"{SMALL}/{GRID}/{power}",
            functools.partial(_small_step, setting, power),
            uses=(source,),
        )
        found.append(arm)
        name = f"{SMALL}/{MOMENTUM}/{power}"
        found.append(Arm(name, functools.partial(_with_momentum, setting, arm), uses=arm.uses))
    for row in ROWS:
        for size in preset.batch_sizes:
            spec = functools.partial(_scaled, setting, row, size)
            found.append(Arm(f"{SCALING}/{row}/{size}", spec, uses=(source,)))
    return found


def _with_momentum(setting: Setting, arm: Arm, chosen: Chosen) -> RunSpec:
    run = arm.spec(chosen)
    rate = rounded(MOMENTUM_FACTOR * run.learning_rate)
    return replace(run, optimizer="momentum", learning_rate=rate, epochs=setting.preset.epochs)


def _small_step(setting: Setting, power: int, chosen: Chosen) -> RunSpec:
    smallest, size, *_ = setting.preset.batch_sizes
    rate = lattice_rate(chosen[f"{RACE}/{smallest}"]) * 2.0**SMALL_STEP
    return replace(
        base(setting),
        batch_size=size,
        learning_rate=rounded(rate * size / smallest * 2.0**power),
    )


def _scaled(setting: Setting, row: str, size: int, chosen: Chosen) -> RunSpec:
    preset = setting.preset
    run = chosen[f"{RACE}/{preset.smallest}"]
    k, (_, power) = size / preset.smallest, ROWS[row]
    schedule = Schedule()
    if row == "warmup" and k > 1:
        schedule = Schedule(warmup_epochs=WARMUP_EPOCHS, warmup_from=1 / k)
    return replace(
        run,
        batch_size=size,
        learning_rate=rounded(lattice_rate(run) * k**power),
        epochs=preset.epochs,
        stop_loss=None,
        schedule=schedule,
    )


def exponents(runs: Runs, group: str) -> Values:
    """Seed by seed, the alpha in rate ~ batch ** alpha that makes the loss curves agree best.

    The base is the smallest batch at its tuned rate. Of every other size the rate is found whose
    curve of the training loss against the examples seen is nearest to the base's; alpha is the
    least-squares slope of ln rate against ln batch size through the base.
    """
    tree = runs.tree(group)
    base_size, *others = tree
    return _exponents(
        runs, tree[base_size][0], {size: list(tree[size].values()) for size in others}
    )


def _exponents(
    runs: Runs,
    bases: Mapping[int, Record | None],
    grids: Mapping[int, Sequence[Mapping[int, Record | None]]],
) -> Values:
    """Of the base's records by seed, and of each other size's at several rates."""
    found = []
    for seed in runs.seeds:
        base = bases.get(seed)
        rows = {size: [of.get(seed) for of in grid] for size, grid in grids.items()}
        if base is None or any(None in records for records in rows.values()):
            found.append(math.nan)
        elif base.status != "finished":
            found.append(0.0)  # there is no curve that a scaled rate could keep to
        else:
            found.append(_exponent(base, rows))
    return tuple(found)


def _exponent(base: Record, rows: dict[int, list[Record]]) -> float:
    pairs = []
    for size, records in rows.items():
        rate = nearest_rate({r.spec.learning_rate: curve_distance(r, base) for r in records})
        growth = math.log(size / base.spec.batch_size)
        pairs.append((growth, math.log(rate / base.spec.learning_rate)))
    return sum(a * b for a, b in pairs) / sum(a * a for a, _ in pairs)


def nearest_rate(distances: Mapping[float, float]) -> float:
    """The rate at which a curve would be nearest, from its squared distance at several rates.

    The vertex of the parabola in ln rate through the lowest distance and its neighbours; the rate
    of the lowest one where that is at an end. Not their logarithms, as for `best_rate`: a squared
    distance is quadratic about its minimum and near 0 there.
    """
    rates = sorted(distances)
    lowest = min(range(len(rates)), key=lambda i: distances[rates[i]])
    if lowest in (0, len(rates) - 1):
        return rates[lowest]
    near = rates[lowest - 1 : lowest + 2]
    curvature, slope, _ = np.polyfit(list(map(math.log, near)), [distances[r] for r in near], 2)
    return math.exp(-slope / (2 * curvature)) if curvature > 0 else rates[lowest]


def curve_distance(record: Record, base: Record) -> float:
    """The mean square over the base's epochs, the first one on, of ln loss - ln base's loss.

    No loss counts as higher than the untrained network's: a run that diverged has learnt nothing,
    and is as far away as that.
    """
    theirs = base.curves.clean_loss
    ours = record.curves.clean_loss if record.status == "finished" else ()
    untrained = theirs[0]

    def log(losses: Sequence[float | None], epoch: int) -> float:
        loss = losses[epoch] if epoch < len(losses) else None
        return math.log(untrained if loss is None else min(loss, untrained))

    epochs = range(1, min(len(theirs), record.spec.epochs + 1))
    squares = [(log(ours, epoch) - log(theirs, epoch)) ** 2 for epoch in epochs]
    return sum(squares) / len(squares)


def measure(runs: Runs) -> Measurement:
    """The exponent for SGD without and with momentum."""
    plain, momentum = exponents(runs, GRID), exponents(runs, MOMENTUM)
    return Measurement(
        (plain, momentum),
        (
            Part("exponent without momentum", "", plain),
            Part("exponent with momentum 0.9", "", momentum),
        ),
        _at_ends(runs),
    )


def _at_ends(runs: Runs) -> tuple[str, ...]:
    notes = []
    for group, label in ((GRID, "Without momentum"), (MOMENTUM, "With momentum")):
        tree = runs.tree(group)
        base_size, *others = tree
        number = total = 0
        for seed in runs.seeds:
            base = tree[base_size][0].get(seed)
            if base is None or base.status != "finished":
                continue
            for size in others:
                records = [of.get(seed) for of in tree[size].values()]
                if None in records:
                    continue
                total += 1
                number += is_at_end(
                    {r.spec.learning_rate: curve_distance(r, base) for r in records}
                )
        if number:
            notes.append(f"{label} {number} of {total} rates lie at an end of those tried.")
    return tuple(notes)


def square_root(runs: Runs) -> Measurement:
    """The exponent against the batch size squared: half, as under the square-root rule."""
    return Measurement(
        tuple(tuple(alpha / 2 for alpha in exponents(runs, group)) for group in (GRID, MOMENTUM))
    )


def small_steps(runs: Runs) -> Measurement:
    """The exponent from the smallest batch to the next, at a quarter of the smallest one's rate.

    Small steps follow the gradient flow, along which k steps of size r and one of size k r go the
    same way: there the rule holds by construction.
    """
    series = []
    for group in (GRID, MOMENTUM):
        by_size = runs.tree(group)
        base_size, size, *_ = by_size
        grid = list(runs.tree(f"{SMALL}/{group}").values())
        series.append(_exponents(runs, by_size[base_size][SMALL_STEP], {size: grid}))
    return Measurement(tuple(series))


def draw(runs: Runs) -> list[FigureItem]:
    """The curves at unscaled rates, scaled by the square root, scaled, and with warm-up."""
    from dlip_reg.report import FigureItem, figures

    rows = {title: loss_lines(runs, f"{SCALING}/{row}") for row, (title, _) in ROWS.items()}
    if not any(rows.values()):
        return []
    sizes = list(runs.tree(f"{SCALING}/scaled"))
    spec = runs.chosen[f"{SCALING}/unscaled/{sizes[0]}"]
    return [
        FigureItem(
            "scaling",
            figures.loss_by_size(rows),
            f"Training and validation loss against epochs for batch sizes {listed(sizes)} at one "
            "unscaled rate, at rates scaled with the square root of the batch size and with the "
            "batch size, and the latter with warm-up.",
            f"Figure 23 of the note. Base: batch {sizes[0]} at the learning rate "
            f"{spec.learning_rate:g}. The closer the curves are to the base's, the better a rule "
            "holds; that the linear one looks closer than none does not tell it from others, so "
            "the exponent that brings them closest decides.",
        )
    ]


def loss_lines(runs: Runs, group: str) -> dict[int, list[dict | None]]:
    """Batch size -> the loss curves of the arms "GROUP/SIZE", None where there is no record.

    A run that diverged has None where its losses end. Empty if no arm has a record.
    """
    found = {
        size: [None if record is None else _line(record) for record in by_seed.values()]
        for size, by_seed in runs.tree(group).items()
    }
    return found if any(line for lines in found.values() for line in lines) else {}


def _line(record: Record) -> dict:
    end = () if record.status == "finished" else (None,)
    losses = (*record.curves.clean_loss, *end)
    return {
        "epoch": list(range(len(losses))),
        "train_loss": losses,
        "validation_loss": (*record.curves.clean_val_loss, *end),
    }


CLAIM = Claim(
    id="bs-linear-scaling",
    sentence="Linear scaling rule: when the batch grows k times, multiply the learning rate by k.",
    experiment="The exponent alpha in rate ~ batch^alpha with which the training-loss curves "
    "against the examples seen are nearest to the smallest batch's at its best rate, for SGD "
    "without and with momentum; both must lie within 0.8 to 1.2, and the one farther from 1 is "
    "shown. A run that diverged counts as one that has learnt nothing; if the base diverged, alpha "
    "counts as 0.",
    unit="in the exponent",
    direction=0,
    null=1.0,
    smallest_effect=0.2,
    smallest_effect_source="over the sixteen-fold range of batch sizes an exponent that is off by "
    "0.2 makes the rate wrong by a factor of 1.7, about the step of two at which rates are tuned",
    measure=measure,
    needs=(f"{GRID}/", f"{MOMENTUM}/"),
    shown=(f"{SCALING}/",),
    controls=(
        Control(
            "negative",
            "The same runs with each batch labelled as k² times the smallest instead of k times, "
            "so that a rate that grows like the batch grows like the square root of the label.",
            square_root,
            (f"{GRID}/", f"{MOMENTUM}/"),
        ),
        Control(
            "positive",
            "The next batch size, with the smallest one at a quarter of its best rate as the base: "
            "k small steps along the gradient flow are one k times as long.",
            small_steps,
            (f"{GRID}/", f"{MOMENTUM}/", f"{SMALL}/"),
        ),
    ),
    arms=arms,
    draw=draw,
)
