"""bs-small-better: usually small batches perform better."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import POINTS, Values, minus, percent, slope
from dlip_reg.studies.batch_size.arms import RACE, base, by_size, listed
from dlip_reg.studies.batch_size.fits import rounded, tuned
from dlip_reg.studies.batch_size.learning_rates import lattice_rate
from dlip_reg.studies.batch_size.linear_scaling import loss_lines
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Chosen, Claim, Control, Measurement, Part, Setting
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

BEST, SLOWER, ONE_RATE = "best", "slower", "one_rate"
SLOWER_FACTOR = 0.5


def arms(setting: Setting) -> list[Arm]:
    """Each size at the rate of lowest validation loss, the largest slowed down, and all at one.

    "best/SIZE", "slower/SIZE", and for the note's figure 5 "one_rate/SIZE".
    """
    preset = setting.preset
    found = []
    for size in preset.batch_sizes:
        run = replace(
            base(setting),
            batch_size=size,
            epochs=max(preset.long_epochs, preset.long_updates * size // preset.n_train),
            measures=("curves", "test"),
        )
        label = f"batch {size:,} at its best rate for the validation loss"
        found.append(tuned(f"{BEST}/{size}", run, lowest_validation_loss, label=label))
        middle = f"{RACE}/{preset.batch_sizes[len(preset.batch_sizes) // 2]}"
        one = functools.partial(_one_rate, setting, middle, size)
        found.append(Arm(f"{ONE_RATE}/{size}", one, uses=(middle,)))
    best = f"{BEST}/{preset.largest}"
    found.append(Arm(f"{SLOWER}/{preset.largest}", functools.partial(_slower, best), uses=(best,)))
    return found


def _slower(best: str, chosen: Chosen) -> RunSpec:
    run = chosen[best]
    return replace(run, learning_rate=rounded(SLOWER_FACTOR * run.learning_rate))


def _one_rate(setting: Setting, middle: str, size: int, chosen: Chosen) -> RunSpec:
    return replace(
        base(setting), batch_size=size, learning_rate=rounded(lattice_rate(chosen[middle]))
    )


def lowest_validation_loss(record: Record) -> float:
    """The lowest clean validation loss of the run."""
    return min(loss for loss in record.curves.clean_val_loss if loss is not None)


def best_epoch(record: Record) -> int:
    """The epoch of the lowest clean validation loss, where early stopping goes back to."""
    return record.curves.clean_val_loss.index(lowest_validation_loss(record))


def accuracy(runs: Runs, group: str) -> dict[int, Values]:
    """Batch size -> test accuracy in per cent at the epoch of the lowest validation loss."""

    def read(record: Record) -> float | None:
        return record.curves.clean_test_accuracy[best_epoch(record)]

    return {
        size: percent(runs.values(f"{group}/{size}", read, failure=runs.guessing))
        for size in runs.tree(group)
    }


def measure(runs: Runs) -> Measurement:
    """The slope of test accuracy against log10 batch size, each size at its own best rate."""
    values = accuracy(runs, BEST)
    small, *_, large = values
    decades = [math.log10(size) for size in values]
    at_end = by_size(runs, BEST, lambda record: record.measures.test_accuracy)
    late = [
        record
        for size in values
        for record in runs.finished(f"{BEST}/{size}")
        if best_epoch(record) == record.spec.epochs
    ]
    notes = (f"{len(late)} runs had their lowest validation loss in the last epoch.",)
    return Measurement(
        slope(decades, list(values.values())),
        (
            Part(f"test accuracy of batch {small}", "%", values[small]),
            Part(f"batch {small} minus batch {large:,}", POINTS,
                 minus(values[small], values[large])),
            Part(f"batch {small} minus batch {large:,} at the end of training", POINTS,
                 percent(minus(at_end[small], at_end[large]))),
        ),
        notes if late else (),
    )  # fmt: skip


def slowed_down(runs: Runs) -> Values:
    """The largest batch at half of its rate, as if it were larger than itself by the whole range.

    It needs more epochs, as a larger batch does, and its batch size is the same.
    """
    small, *_, large = runs.tree(BEST)
    slow = accuracy(runs, SLOWER)[large]
    decades = math.log10(large / small)
    return tuple(value / decades for value in minus(slow, accuracy(runs, BEST)[large]))


def draw(runs: Runs) -> list[FigureItem]:
    """Test accuracy against the batch size, and the note's figure 5."""
    from dlip_reg.report import FigureItem, figures

    values = {
        size: tuple(number / 100 for number in numbers)
        for size, numbers in accuracy(runs, BEST).items()
    }
    items = [
        FigureItem(
            "accuracy_by_size",
            figures.against_size({"": {"": values}}, "test accuracy (%)", percent=True),
            f"Test accuracy against the batch size, for batch sizes {listed(values)}.",
            "Each size at the rate with the lowest validation loss, at the epoch of the lowest "
            "validation loss: mean, interval and every seed.",
        )
    ]
    curves = loss_lines(runs, ONE_RATE)
    if curves:
        spec = runs.chosen[f"{ONE_RATE}/{min(curves)}"]
        items.append(
            FigureItem(
                "one_rate",
                figures.loss_by_size({"equal epochs at one learning rate": curves}),
                f"Training and validation loss against epochs for batch sizes {listed(curves)} at "
                "one learning rate.",
                "Figure 5 of the note: SGD at the learning rate "
                f"{spec.learning_rate:g} at every batch size. It shows under-training, and not "
                "that small batches generalise better: after equal epochs the smallest batch has "
                f"made {max(curves) // min(curves)} times as many updates as the largest.",
            )
        )
    return items


CLAIM = Claim(
    id="bs-small-better",
    sentence="Usually small batches perform better.",
    experiment="Slope of test accuracy against log10 batch size, each size at its own best "
    "learning rate (lowest validation loss, other seeds), trained until the validation loss has "
    "stopped falling and read at its minimum, on test images drawn by seed. A run that "
    "diverges has the accuracy of guessing.",
    unit="percentage points per decade",
    direction=-1,
    smallest_effect=0.5,
    smallest_effect_source="Keskar et al. 2017 (table 2) find 0.2 points per decade on their "
    "network F1 and 2 on C1; half a point over a tenfold batch is what one might act on",
    measure=measure,
    needs=(f"{BEST}/",),
    shown=(f"{ONE_RATE}/",),
    controls=(
        Control(
            "negative",
            f"The largest batch at {SLOWER_FACTOR:g} of its best rate against itself, as if it "
            "were larger by the whole range of sizes: it trains as slowly as a larger batch, and "
            "its size is the same.",
            slowed_down,
            (f"{BEST}/", f"{SLOWER}/"),
        ),
    ),
    arms=arms,
    draw=draw,
)
