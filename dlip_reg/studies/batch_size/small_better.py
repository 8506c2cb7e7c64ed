"""bs-small-better: usually small batches perform better."""

from __future__ import annotations

import math
from dataclasses import replace

from dlip_reg import report
from dlip_reg.evidence.paired import POINTS, Values, minus, percent, slope
from dlip_reg.studies import readings
from dlip_reg.studies.batch_size.arms import RACE, base, listed
from dlip_reg.studies.batch_size.fits import on_lattice, scaled, tuned
from dlip_reg.studies.batch_size.linear_scaling import loss_lines
from dlip_reg.studies.drawing import Drawn, figure, together
from dlip_reg.studies.readings import note, test_accuracy
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Claim, Measurement, Part, Setting, negative, varied
from dlip_reg.training.records import Record

BEST, SLOWER, ONE_RATE = "best", "slower", "one_rate"
SLOWER_FACTOR = 0.5


def arms(setting: Setting) -> list[Arm]:
    """Each size at the rate of lowest validation loss, the largest slowed down, and all at one.

    "best/SIZE", "slower/SIZE", and for the note's figure 5 "one_rate/SIZE".
    """
    preset = setting.preset
    sizes = preset.batch_sizes
    found = []
    for size in sizes:
        run = replace(
            base(setting),
            batch_size=size,
            epochs=max(preset.long_epochs, preset.long_updates * size // preset.n_train),
            measures=("curves", "test"),
        )
        label = f"batch {size:,} at its best rate for the validation loss"
        found.append(tuned(f"{BEST}/{size}", run, lowest_validation_loss, label=label))
        found.append(
            varied(
                f"{ONE_RATE}/{size}",
                f"{RACE}/{sizes[len(sizes) // 2]}",
                batch_size=size,
                learning_rate=on_lattice(1.0),
                stop_loss=None,
                epochs=preset.epochs,
            )
        )
    largest = preset.largest
    slower = scaled(SLOWER_FACTOR)
    return [*found, varied(f"{SLOWER}/{largest}", f"{BEST}/{largest}", learning_rate=slower)]


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
        size: readings.accuracy(runs, arm, read) for size, arm in runs.grid(f"{group}/*").items()
    }


def measure(runs: Runs) -> Measurement:
    """Slope of test accuracy against log10 batch size, each size at its own best learning rate
    (lowest validation loss, other seeds), trained until the validation loss has stopped falling and
    read at its minimum, on test images drawn by seed. A run that diverges has the accuracy of
    guessing.
    """
    values = accuracy(runs, BEST)
    small, *_, large = values
    decades = [math.log10(size) for size in values]
    at_end = runs.over(f"{BEST}/*", test_accuracy)
    late = sum(
        best_epoch(record) == record.spec.epochs
        for arm in runs.grid(f"{BEST}/*").values()
        for record in runs.finished(arm)
    )
    return Measurement(
        slope(decades, list(values.values())),
        (
            Part(f"test accuracy of batch {small}", "%", values[small]),
            Part(f"batch {small} minus batch {large:,}", POINTS,
                 minus(values[small], values[large])),
            Part(f"batch {small} minus batch {large:,} at the end of training", POINTS,
                 percent(minus(at_end[small], at_end[large]))),
        ),
        note(late, f"{late} runs had their lowest validation loss in the last epoch."),
    )  # fmt: skip


def slowed_down(runs: Runs) -> Values:
    """The largest batch at half of its rate, as if it were larger than itself by the whole range.

    It needs more epochs, as a larger batch does, and its batch size is the same.
    """
    small, *_, large = runs.grid(f"{BEST}/*")
    slow = accuracy(runs, SLOWER)[large]
    decades = math.log10(large / small)
    return tuple(value / decades for value in minus(slow, accuracy(runs, BEST)[large]))


@figure("accuracy_by_size")
def draw_accuracy(runs: Runs) -> Drawn:
    """Test accuracy against the batch size, for batch sizes {sizes}.

    Each size at the rate with the lowest validation loss, at the epoch of the lowest validation
    loss: mean, interval and every seed.
    """
    values = {
        size: tuple(number / 100 for number in numbers)
        for size, numbers in accuracy(runs, BEST).items()
    }
    plot = report.figures.against_size({"": {"": values}}, "test accuracy (%)", percent=True)
    yield plot, {"sizes": listed(values)}


@figure("one_rate")
def draw_one_rate(runs: Runs) -> Drawn:
    """Training and validation loss against epochs for batch sizes {sizes} at one learning rate.

    Figure 5 of the note: SGD at the learning rate {rate:g} at every batch size. It shows
    under-training, and not that small batches generalise better: after equal epochs the smallest
    batch has made {times} times as many updates as the largest.
    """
    if curves := loss_lines(runs, ONE_RATE):
        plot = report.figures.loss_by_size({"equal epochs at one learning rate": curves})
        rate = runs.chosen[f"{ONE_RATE}/{min(curves)}"].learning_rate
        yield plot, {"sizes": listed(curves), "rate": rate, "times": max(curves) // min(curves)}


CLAIM = Claim(
    id="bs-small-better",
    sentence="Usually small batches perform better.",
    unit="percentage points per decade",
    direction=-1,
    smallest_effect=0.5,
    smallest_effect_source="Keskar et al. 2017 (table 2) find 0.2 points per decade on their "
    "network F1 and 2 on C1; half a point over a tenfold batch is what one might act on",
    measure=measure,
    needs=(f"{BEST}/",),
    shown=(f"{ONE_RATE}/",),
    controls=(
        negative(
            f"The largest batch at {SLOWER_FACTOR:g} of its best rate against itself, as if it "
            "were larger by the whole range of sizes: it trains as slowly as a larger batch, and "
            "its size is the same.",
            slowed_down,
            (f"{BEST}/", f"{SLOWER}/"),
        ),
    ),
    arms=arms,
    draw=together(draw_accuracy, draw_one_rate),
)
