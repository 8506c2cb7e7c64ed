"""bs-small-better: usually small batches perform better."""

import math
from dataclasses import replace

from dlip_reg import report
from dlip_reg.evidence import POINTS, Question, Values, minus, percent, slope
from dlip_reg.studies import Arms, Setting, claimed, controlled, figure, negative, readings, varied
from dlip_reg.studies.batch_size.arms import RACE, base, listed
from dlip_reg.studies.batch_size.fits import on_lattice, scaled, tuned
from dlip_reg.studies.batch_size.linear_scaling import loss_lines
from dlip_reg.studies.drawing import Drawn, together
from dlip_reg.studies.progress import counted
from dlip_reg.studies.readings import still_falling, stopped_accuracy, test_accuracy
from dlip_reg.studies.runs import Runs, curves_of
from dlip_reg.studies.study import Measured, Part, drawn_by
from dlip_reg.training.records import Record

BEST, SLOWER, ONE_RATE = "best", "slower", "one_rate"
SLOWER_FACTOR = 0.5


def arms(setting: Setting) -> Arms:
    """Each size at the rate of lowest validation loss, the largest slowed down, and all at one.

    "best/SIZE", "slower/SIZE", and for the note's figure 5 "one_rate/SIZE".
    """
    preset = setting.preset
    sizes = preset.batch_sizes
    for size in sizes:
        run = replace(
            base(setting),
            batch_size=size,
            epochs=max(preset.long_epochs, preset.long_updates * size // preset.n_train),
            measures=("curves", "test"),
        )
        label = f"batch {size:,} at its best rate for the validation loss"
        yield tuned(f"{BEST}/{size}", run, lowest_validation_loss, label=label)
        yield varied(
            f"{ONE_RATE}/{size}",
            f"{RACE}/{sizes[len(sizes) // 2]}",
            batch_size=size,
            learning_rate=on_lattice(1.0),
            stop_loss=None,
            epochs=preset.epochs,
        )
    largest, slower = sizes[-1], scaled(SLOWER_FACTOR)
    yield varied(f"{SLOWER}/{largest}", f"{BEST}/{largest}", learning_rate=slower)


def lowest_validation_loss(record: Record) -> float:
    """The lowest clean validation loss of the run."""
    return min(loss for loss in curves_of(record).clean_val_loss if loss is not None)


def accuracy(runs: Runs, group: str) -> dict[int, Values]:
    """Batch size -> test accuracy in per cent at the epoch of the lowest validation loss."""
    arms = runs.grid(f"{group}/*")
    return {size: readings.accuracy(runs, arm, stopped_accuracy) for size, arm in arms.items()}


@negative(f"{BEST}/", f"{SLOWER}/")
def slowed_down(runs: Runs) -> Values:
    """The largest batch at {SLOWER_FACTOR:g} of its best rate against itself, as if it were larger
    by the whole range of sizes: it trains as slowly as a larger batch, and its size is the same.
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
    under-training, and not that small batches generalize better: after equal epochs the smallest
    batch has made {times} times as many updates as the largest.
    """
    shown = runs.where_run(*runs.grid(f"{ONE_RATE}/*").values())
    if curves := loss_lines(shown, ONE_RATE):
        plot = report.figures.loss_by_size({"equal epochs at one learning rate": curves})
        rate = runs.spec(f"{ONE_RATE}/{min(curves)}").learning_rate
        yield plot, {"sizes": listed(curves), "rate": rate, "times": max(curves) // min(curves)}


@drawn_by(together(draw_accuracy, draw_one_rate), f"{ONE_RATE}/")
@controlled(slowed_down)
@claimed(
    "bs-small-better", "percentage points per decade", Question(-1, 0.5), f"{BEST}/", arms=arms
)
def claim(runs: Runs) -> Measured:
    """Usually small batches perform better.

    Slope of test accuracy against log10 batch size, each size at its own best learning rate
    (lowest validation loss, other seeds), trained until the validation loss has stopped falling and
    read at its minimum, on test images drawn by seed. A run that diverges has the accuracy of
    guessing.

    Smallest effect: Keskar et al. 2017 (table 2) find 0.2 points per decade on their network F1 and
    2 on C1; half a point over a tenfold batch is what one might act on
    """
    values = accuracy(runs, BEST)
    small, *_, large = values
    at_end = runs.over(f"{BEST}/*", test_accuracy)
    late = sum(still_falling(runs, arm) for arm in runs.grid(f"{BEST}/*").values())
    yield slope({math.log10(size): of_size for size, of_size in values.items()})
    yield Part(f"test accuracy of batch {small}", "%", values[small])
    label = f"batch {small} minus batch {large:,}"
    yield Part(label, POINTS, minus(values[small], values[large]))
    differences = percent(minus(at_end[small], at_end[large]))
    yield Part(f"{label} at the end of training", POINTS, differences)
    if late:
        yield f"In {counted(late, 'run')} the validation loss was lowest in the last epoch."
