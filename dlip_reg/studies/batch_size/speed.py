"""bs-faster-than-full and bs-large-faster: how soon each batch size reaches a training loss.

Seconds combine two measurements: how many examples a run takes, which repeats bit for bit, and how
many a second this machine trains on, which is measured on its own. At a given batch size the fewest
examples are the least time, so one learning rate per size, tuned for that, serves both claims.
"""

import math
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

from dlip_reg import report
from dlip_reg.evidence.paired import LOG_RATIO, Values, log_ratio, mean_of
from dlip_reg.studies import Claim, Measured, Part, Runs, figure, is_finished, negative, together
from dlip_reg.studies.batch_size.arms import AGAIN, RACE, RACE_LOSS, epochs_to_loss, listed
from dlip_reg.studies.drawing import Drawn
from dlip_reg.training.records import Record

SMALLEST_SPEED_UP = math.log(1.25)


def examples(runs: Runs, arm: str) -> Values:
    """How many examples each run took to the preset loss.

    One that did not get there, or diverged, counts as all the examples it was given: a lower bound.
    """
    spec = runs.chosen[arm]
    if spec is None:  # no rate could be trained with
        return (math.nan,) * len(runs.seeds)
    most = float(spec.epochs)
    epochs = runs.values(arm, lambda record: min(epochs_to_loss(record), most), failure=most)
    return tuple(spec.data.n_train * number for number in epochs)


def speed(runs: Runs, arm: str) -> Values:
    """How many examples a second this machine trains on."""
    return runs.values(f"throughput/{arm}", attrgetter("measures.examples_per_second"))


def seconds(runs: Runs, arm: str) -> Values:
    """The time that the examples take on this machine."""
    pairs = zip(examples(runs, arm), speed(runs, arm), strict=True)
    return tuple(n / rate for n, rate in pairs)


def updates(runs: Runs, arm: str) -> Values:
    """The number of steps that the examples make."""
    size = _size(arm)
    return tuple(number / size for number in examples(runs, arm))


def _size(arm: str) -> int:
    return int(arm.rpartition("/")[2])


def _arms(runs: Runs) -> list[str]:
    return list(runs.grid(f"{RACE}/*").values())


def censored(runs: Runs, arms: Sequence[str]) -> Iterator[str]:
    """Sentences on the runs of each arm that did not get to the preset loss."""

    def missed(record: Record) -> bool:
        return not is_finished(record) or math.isinf(epochs_to_loss(record))

    for arm in arms:
        if number := runs.count([arm], missed):  # so that some rate could be trained with
            yield (
                f"{number} of {len(runs.seeds)} runs of batch {_size(arm):,} did not reach the "
                f"loss within {runs.chosen[arm].epochs} epochs; they count as having reached it "
                "then, a lower bound of their time."
            )


def faster_than_full(runs: Runs) -> Measured:
    """Mini-batches converge more quickly than the full batch.

    Log-ratio of the examples, and of the seconds, to a training loss of {RACE_LOSS} nats,
    mini-batch over full batch (mean over the mini-batch sizes); both must hold, and the smaller
    effect is shown. SGD, each size at the rate tuned for that; the full batch has ten times as many
    epochs to get there. A run that does not, or diverges, counts as all its epochs.

    Smallest effect: a quarter of the time: less is not worth changing the batch size for, and
    timings on one machine vary by about a tenth
    """
    *minis, full = _arms(runs)

    def ratios(quantity, arm: str) -> Values:
        return log_ratio(quantity(runs, arm), quantity(runs, full))

    named = {"examples": examples, "seconds": seconds}
    yield tuple(mean_of(*(ratios(read, arm) for arm in minis)) for read in named.values())
    epochs = tuple(n / _size(full) for n in examples(runs, full))
    yield Part("epochs of the full batch to the loss", "epochs", epochs)
    for name, quantity in named.items():
        for arm in minis:
            label = f"{name}, batch {_size(arm):,} over full batch"
            yield Part(label, LOG_RATIO, ratios(quantity, arm))
    yield from censored(runs, [*minis, full])


def large_faster(runs: Runs) -> Measured:
    """With the right learning rate larger batches train faster.

    Log-ratio of the updates, and of the seconds, to a training loss of {RACE_LOSS} nats, largest
    over smallest mini-batch; both must hold, and the smaller effect is shown. SGD, each size at the
    rate tuned for that time. A run that does not get there, or diverges, counts as all its epochs.

    Smallest effect: a quarter of the time: less is not worth changing the batch size for, and
    timings on one machine vary by about a tenth
    """
    small, *middle, large, _ = _arms(runs)

    def ratios(quantity, arm: str = large) -> Values:
        return log_ratio(quantity(runs, arm), quantity(runs, small))

    yield ratios(updates), ratios(seconds)
    yield Part(f"seconds at batch {_size(small)}", "s", seconds(runs, small))
    yield Part("seconds, largest over smallest", LOG_RATIO, ratios(seconds))
    yield Part("updates, largest over smallest", LOG_RATIO, ratios(updates))
    yield Part("examples, largest over smallest", LOG_RATIO, ratios(examples))
    for arm in middle:
        label = f"seconds, batch {_size(arm):,} over smallest"
        yield Part(label, LOG_RATIO, ratios(seconds, arm))
    yield from censored(runs, [small, *middle, large])


@negative(f"{RACE}/", f"{AGAIN}/", "throughput/")
def tuned_again(runs: Runs) -> tuple[Values, ...]:
    """The largest mini-batch against itself, tuned over other learning rates and timed another
    time: what tuning and timing alone are worth.
    """
    ((size, second),) = runs.grid(f"{AGAIN}/*").items()
    first = f"{RACE}/{size}"
    return tuple(
        log_ratio(quantity(runs, second), quantity(runs, first)) for quantity in (examples, seconds)
    )


def drawn_sizes(runs: Runs) -> dict[int, str]:
    """Batch size -> arm, of those with a finished run."""
    return {size: arm for size, arm in runs.grid(f"{RACE}/*").items() if runs.finished(arm)}


@figure("convergence")
def draw_convergence(runs: Runs) -> Drawn:
    """Training loss of batch sizes {sizes} against the examples seen and against the seconds of
    training, on logarithmic axes.

    Each batch size at the learning rate that takes it to the loss of {RACE_LOSS:g} nats (dotted)
    fastest; one line a seed, which ends there. The seconds are the examples over the speed of this
    machine at that batch size; recording is not counted. Batch {full:,} is the full batch: all
    training images.
    """
    from dlip_reg.report.figures.kit import summarize

    curves = {}
    for size, arm in drawn_sizes(runs).items():
        rate = summarize(speed(runs, arm)).mean or math.nan
        curves[size] = [
            {
                "seed": runs.place(record),
                "epoch": record.curves.epoch,
                "seconds": [n * record.spec.data.n_train / rate for n in record.curves.epoch],
                "train_loss": record.curves.clean_loss,
            }
            for record in runs.finished(arm)
        ]
    if curves:
        plot = report.figures.convergence(curves, RACE_LOSS)
        yield plot, {"sizes": listed(curves), "full": max(curves)}


@figure("to_loss")
def draw_to_loss(runs: Runs) -> Drawn:
    """Seconds, updates and examples to the preset training loss, and examples per second, against
    the batch size.

    Geometric means with intervals, and every seed. A larger batch that needs fewer updates need not
    take less time: that depends on how many more examples a second the machine trains on.
    Batch {full:,} is the full batch: all training images.
    """
    named = {
        "seconds to the loss": seconds,
        "updates to the loss": updates,
        "examples to the loss": examples,
        "examples per second": speed,
    }
    if sizes := drawn_sizes(runs):
        panels = {
            name: {"": {size: read(runs, arm) for size, arm in sizes.items()}}
            for name, read in named.items()
        }
        yield report.figures.against_size(panels), {"full": max(sizes)}


SHARED: dict[str, Any] = {
    "unit": LOG_RATIO,
    "direction": -1,
    "smallest_effect": SMALLEST_SPEED_UP,
    "needs": (f"{RACE}/", "throughput/"),
    "controls": (tuned_again,),
    "draw": together(draw_convergence, draw_to_loss),
}
FASTER_THAN_FULL = Claim(
    id="bs-faster-than-full",
    measure=faster_than_full,
    **SHARED,
)
LARGE_FASTER = Claim(
    id="bs-large-faster",
    measure=large_faster,
    **SHARED,
)
