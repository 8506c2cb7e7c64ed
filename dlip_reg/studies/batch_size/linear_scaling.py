"""bs-linear-scaling: when the batch grows k times, multiply the learning rate by k."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlip_reg import report
from dlip_reg.evidence import FAILED, Question, Values, failures_as_zero
from dlip_reg.studies import Arm, Runs, claimed, drawn_by, figure, is_finished, positive, varied
from dlip_reg.studies.batch_size.arms import RACE, listed
from dlip_reg.studies.batch_size.fits import on_lattice, scaled
from dlip_reg.studies.batch_size.learning_rates import GRID, grid_arms
from dlip_reg.studies.drawing import Drawn
from dlip_reg.studies.readings import log_loss
from dlip_reg.studies.runs import curves_of, known, spec_of
from dlip_reg.studies.study import Arms, Measured, Part, Setting, controlled, negative
from dlip_reg.training.records import Record
from dlip_reg.training.specification import Schedule

MOMENTUM, SCALING = "momentum", "scaling"
BOTH = (f"{GRID}/", f"{MOMENTUM}/")
# A momentum of 0.9 makes a step ten times as long in the end.
MOMENTUM_FACTOR = 0.1
WARMUP_EPOCHS = 2
# A loss this much higher than the base's is more than the scatter between runs: the page says so.
NEAR = 0.05
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


def arms(setting: Setting) -> Arms:
    """The grids of plain SGD, the same with momentum, and the rows of the figure.

    "momentum/SIZE/POWER": as "grid/SIZE/POWER", with momentum at a tenth of the rates.
    "small_steps/grid/POWER" and "small_steps/momentum/POWER": of the positive control.
    "scaling/ROW/SIZE": the base's rate and what the rule makes of it.
    """
    preset = setting.preset
    smallest, size, *_ = preset.batch_sizes
    own = {"stop_loss": None, "epochs": preset.epochs}
    source = f"{RACE}/{smallest}"
    for arm in grid_arms(setting):
        yield with_momentum(arm, setting)
    for power in SMALL_POWERS:
        rate = on_lattice(2.0**SMALL_STEP * size / smallest * 2.0**power)
        arm = varied(f"{SMALL}/{GRID}/{power}", source, batch_size=size, learning_rate=rate, **own)
        yield arm
        yield with_momentum(arm, setting)
    for (row, (_, exponent)), size in itertools.product(ROWS.items(), preset.batch_sizes):
        yield varied(
            f"{SCALING}/{row}/{size}",
            source,
            batch_size=size,
            learning_rate=on_lattice((size / smallest) ** exponent),
            schedule=warm_up(size / smallest) if row == "warmup" else Schedule(),
            **own,
        )


def with_momentum(arm: Arm, setting: Setting) -> Arm:
    """The arm of plain SGD with momentum, at a tenth of the rate and for the preset's epochs."""
    return varied(
        arm.name.replace(GRID, MOMENTUM),
        arm.name,
        optimizer="momentum",
        learning_rate=scaled(MOMENTUM_FACTOR),
        epochs=setting.preset.epochs,
    )


def warm_up(k: float) -> Schedule:
    """A schedule that warms up from the rate of the smallest batch to `k` times that."""
    return Schedule(warmup_epochs=WARMUP_EPOCHS, warmup_from=1 / k) if k > 1 else Schedule()


def exponents(runs: Runs, group: str) -> Values:
    """Seed by seed, the alpha in rate ~ batch ** alpha that makes the loss curves agree best.

    The base is the smallest batch at its tuned rate. Of every other size `nearest_rate` is the one
    whose curve of the training loss against the examples seen is nearest to the base's. Alpha is
    the least-squares slope of ln rate against ln batch size through the base.
    """
    return exponents_from(runs, *base_and_grids(runs, group))


def base_and_grids(runs: Runs, group: str) -> tuple[str, dict[int, list[str]]]:
    """The smallest batch's arm at its tuned rate, and each other size's at all rates."""
    (_, base), *others = runs.grid(f"{group}/*/0").items()
    return base, {size: list(runs.grid(f"{group}/{size}/*").values()) for size, _ in others}


def exponents_from(runs: Runs, base: str, grids: Mapping[int, Sequence[str]]) -> Values:
    """`exponents` from the base to batch sizes, each with arms at several rates."""
    sizes = [size for size, arms in grids.items() for _ in arms]

    def of_seed(base: Record, *others: Record) -> float:
        by_size: dict[int, list[Record]] = {}
        for size, record in zip(sizes, others, strict=True):
            by_size.setdefault(size, []).append(record)
        return exponent(base, by_size)

    return failures_as_zero(runs.each((base, *itertools.chain(*grids.values())), of_seed))


def exponent(base: Record, others: Mapping[int, Sequence[Record]]) -> float:
    """The `exponents` of one seed: `others` are batch sizes -> runs at several rates."""
    if not all(can_be_compared(base, *records) for records in others.values()):
        return FAILED
    pairs = [
        (
            math.log(size / spec_of(base).batch_size),
            math.log(nearest_rate(base, *records) / spec_of(base).learning_rate),
        )
        for size, records in others.items()
    ]
    return sum(a * b for a, b in pairs) / sum(a * a for a, _ in pairs)


def can_be_compared(base: Record, *others: Record) -> bool:
    """Whether there is a curve to keep to, and rates of which the lowest is no faster than it."""
    if not is_finished(base) or not any(map(is_finished, others)):
        return False
    return mean_gap(_by_rate(others)[0], base) >= 0


def nearest_rate(base: Record, *others: Record) -> float:
    """The learning rate whose loss curve is nearest to the base's, in the square of `log_gaps`.

    Between two of the rates tried the curve is interpolated, the ln loss of every epoch being
    linear in ln rate. A parabola through the squares would be drawn away from a neighbour that
    diverged, and the rule would answer for where training breaks down. Only the rates up to the
    first whose loss is, over the epochs, as low as the base's are taken: beyond the best rate the
    loss comes back to where it was below it.
    """
    found = []
    for low, high in itertools.pairwise(_by_rate(others)):
        gaps, step = log_gaps(low, base), log_gaps(high, base) - log_gaps(low, base)
        share = min(max(-float(gaps @ step) / (float(step @ step) or 1.0), 0), 1)
        rates = [math.log(spec_of(record).learning_rate) for record in (low, high)]
        found.append((float(np.mean((gaps + share * step) ** 2)), np.interp(share, (0, 1), rates)))
        if mean_gap(high, base) <= 0:
            break
    return math.exp(min(found)[1])


def mean_gap(record: Record, base: Record) -> float:
    """The mean of `log_gaps`: 0.1 is a loss that is 10 % higher, over the epochs."""
    return float(np.mean(log_gaps(record, base)))


def _by_rate(records: Sequence[Record]) -> list[Record]:
    return sorted(records, key=lambda record: spec_of(record).learning_rate)


def log_gaps(record: Record, base: Record) -> np.ndarray:
    """At each of the base's epochs, the first one on: ln loss - ln base's loss.

    No loss counts as higher than the untrained network's: a run that diverged has learnt nothing,
    and is as far away as that.
    """
    theirs = curves_of(base).clean_loss
    ours = curves_of(record).clean_loss if is_finished(record) else ()
    untrained = known(theirs[0])

    def log(losses: Sequence[float | None], epoch: int) -> float:
        loss = losses[epoch] if epoch < len(losses) else None
        return log_loss(untrained if loss is None else min(loss, untrained))

    epochs = range(1, min(len(theirs), spec_of(record).epochs + 1))
    return np.array([log(ours, epoch) - log(theirs, epoch) for epoch in epochs])


@negative(*BOTH)
def square_root(runs: Runs) -> tuple[Values, ...]:
    """The same runs with each batch labelled as k² times the smallest instead of k times, so that a
    rate that grows like the batch grows like the square root of the label. These are the claim's
    numbers halved: they show where the square-root rule lies, and are no evidence of their own.
    """
    by_group = (exponents(runs, group) for group in (GRID, MOMENTUM))
    return tuple(tuple(alpha / 2 for alpha in alphas) for alphas in by_group)


@positive(*BOTH)
def same_batch(runs: Runs) -> tuple[Values, ...]:
    """The smallest batch at all rates, with the next seed, rates and batch labelled as k times what
    they are for the k of the larger batch sizes: nothing else changes, so the rate that agrees best
    with the best one must be labelled as k times that.
    """

    def of_group(group: str) -> Values:
        smallest, *sizes = runs.grid(f"{group}/*/0")
        grid = [runs[arm] for arm in runs.grid(f"{group}/{smallest}/*").values()]
        # With its own seed the base would be found as it is.
        of_next = [(*records[1:], records[0]) for records in grid]
        found = [
            math.nan
            if None in records
            else 1 + exponent(records[0], dict.fromkeys(sizes, records[1:]))
            for records in zip(runs[f"{group}/{smallest}/0"], *of_next, strict=True)
        ]
        return failures_as_zero(found)

    return of_group(GRID), of_group(MOMENTUM)


@positive(*BOTH, f"{SMALL}/")
def small_steps(runs: Runs) -> tuple[Values, ...]:
    """The next batch size, with the smallest one at a quarter of its best rate as the base: k small
    steps along the gradient flow are one k times as long.
    """
    smallest, size, *_ = runs.grid(f"{GRID}/*/0")
    return tuple(
        exponents_from(
            runs,
            f"{group}/{smallest}/{SMALL_STEP}",
            {size: list(runs.grid(f"{SMALL}/{group}/*").values())},
        )
        for group in (GRID, MOMENTUM)
    )


@figure("scaling")
def draw(runs: Runs) -> Drawn:
    """Training and validation loss against epochs for batch sizes {sizes} at one unscaled rate, at
    rates scaled with the square root of the batch size and with the batch size, and the latter with
    warm-up.

    Figure 23 of the note. Base: batch {base} at the learning rate {rate:g}. The closer the curves
    are to the base's, the better a rule holds; that the linear one looks closer than none does not
    tell it from others, so the exponent that brings them closest decides.
    """
    shown = runs.where_run(*(arm for arm in runs if arm.startswith(f"{SCALING}/")))
    rows = {title: loss_lines(shown, f"{SCALING}/{row}") for row, (title, _) in ROWS.items()}
    if any(rows.values()):
        sizes = list(runs.grid(f"{SCALING}/scaled/*"))
        rate = runs.spec(f"{SCALING}/unscaled/{sizes[0]}").learning_rate
        plot = report.figures.loss_by_size(rows)
        yield plot, {"sizes": listed(sizes), "base": sizes[0], "rate": rate}


def loss_lines(runs: Runs, group: str) -> dict[int, list[dict[str, Any] | None]]:
    """Batch size -> the loss curves of the arms "GROUP/SIZE", None where there is no record.

    A run that diverged has None where its losses end. Empty if no arm has a record.
    """
    found = {
        size: [
            None if record is None else {"seed": place, **_line(record)}
            for place, record in enumerate(runs[arm])
        ]
        for size, arm in runs.grid(f"{group}/*").items()
    }
    return found if any(line for lines in found.values() for line in lines) else {}


def _line(record: Record) -> dict[str, Any]:
    end = () if is_finished(record) else (None,)
    losses = (*curves_of(record).clean_loss, *end)
    return {
        "epoch": list(range(len(losses))),
        "train_loss": losses,
        "validation_loss": (*curves_of(record).clean_val_loss, *end),
    }


@drawn_by(draw, f"{SCALING}/")
@controlled(square_root, same_batch, small_steps)
@claimed("bs-linear-scaling", "in the exponent", Question(0, 0.2, 1.0), *BOTH, arms=arms)
def claim(runs: Runs) -> Measured:
    """Linear scaling rule: when the batch grows k times, multiply the learning rate by k.

    The exponent alpha in rate ~ batch^alpha with which the training-loss curves against the
    examples seen are nearest to the smallest batch's at its tuned rate, for SGD without and with
    momentum; both must lie within 0.8 to 1.2, and the one farther from 1 is shown. A run that
    diverged counts as one that has learnt nothing. If the base diverged, another size did at all
    rates, or its lowest rate is faster already, alpha counts as 0; if so with most seeds, nothing
    is decided.

    Smallest effect: over the sixteen-fold range of batch sizes an exponent that is off by 0.2 makes
    the rate wrong by a factor of 1.7, about the step of two at which rates are tuned
    """
    plain, momentum = exponents(runs, GRID), exponents(runs, MOMENTUM)
    yield plain, momentum
    yield Part("exponent without momentum", "", plain)
    yield Part("exponent with momentum 0.9", "", momentum)

    def is_never_near(base: Record, *others: Record) -> bool:
        return is_finished(base) and min(mean_gap(record, base) for record in others) > NEAR

    for group, label in ((GRID, "Without momentum"), (MOMENTUM, "With momentum")):
        base, grids = base_and_grids(runs, group)
        for size, grid in grids.items():
            found = runs.each((base, *grid), is_never_near, missing=False)
            if number := sum(found):
                yield (
                    f"{label}, no rate of batch {size:,} brings the loss to within "
                    f"{100 * NEAR:.0f} % of the base's with {number} of {len(found)} seeds: the "
                    "nearest curve is that of its best rate."
                )
