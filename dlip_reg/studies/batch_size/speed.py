"""bs-faster-than-full and bs-large-faster: how soon each batch size reaches a training loss.

Seconds combine two measurements: how many examples a run takes, which repeats bit for bit, and how
many a second this machine trains on, which is measured on its own. At a given batch size the fewest
examples are the least time, so one learning rate per size, tuned for that, serves both claims.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from dlip_reg import report
from dlip_reg.evidence import LOG_RATIO, Question, Values, log_ratio, mean_of, of_certain_side
from dlip_reg.studies import Measured, Part, claimed, controlled, drawn_by, is_finished, negative
from dlip_reg.studies.batch_size.arms import AGAIN, RACE, RACE_LOSS, epochs_to_loss, listed
from dlip_reg.studies.drawing import Drawn, figure, lines_of, together
from dlip_reg.studies.readings import FAILURES
from dlip_reg.studies.runs import Runs, curves_of, known, spec_of
from dlip_reg.training.records import Record

FASTER = Question(-1, math.log(1.25))
NEEDS = (f"{RACE}/", "throughput/")
Quantity = Callable[[Runs, str], Values]  # of each run of an arm


def examples(runs: Runs, arm: str) -> Values:
    """How many examples each run took to the preset loss.

    One that did not get there, or diverged, counts as all the examples it was given: a lower bound.
    """
    if runs.chosen[arm] is None:  # no rate could be trained with
        return (math.nan,) * len(runs.seeds)
    run = runs.spec(arm)
    most = float(run.epochs)
    epochs = runs.values(arm, lambda record: min(epochs_to_loss(record), most), failure=most)
    return tuple(known(run.data.n_train) * number for number in epochs)


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


def ratio(runs: Runs, quantity: Quantity, arm: str, over: str) -> Values:
    """The log-ratio of a quantity of one arm over another; see `of_certain_side`.

    A run that did not get to the loss would have taken longer.
    """
    longer, shorter = (runs.each([name], _missed, missing=False) for name in (arm, over))
    values = log_ratio(quantity(runs, arm), quantity(runs, over))
    return of_certain_side(values, [longer], [shorter])


def _missed(record: Record) -> bool:
    return not is_finished(record) or math.isinf(epochs_to_loss(record))


def _size(arm: str) -> int:
    return int(arm.rpartition("/")[2])


def _arms(runs: Runs) -> list[str]:
    return list(runs.grid(f"{RACE}/*").values())


def censored(runs: Runs, arms: Sequence[str]) -> Iterator[str]:
    """Sentences on the runs of each arm that did not get to the preset loss."""
    for arm in arms:
        if number := runs.count([arm], _missed):  # so that some rate could be trained with
            yield (
                f"{number} of {len(runs.seeds)} runs of batch {_size(arm):,} did not reach the "
                f"loss within {runs.spec(arm).epochs} epochs; they count as having reached it "
                "then, a lower bound of their time. Where that does not tell which of two sizes "
                f"was faster, the seeds {FAILURES}."
            )


@negative(f"{RACE}/", f"{AGAIN}/", "throughput/")
def tuned_again(runs: Runs) -> tuple[Values, ...]:
    """The largest mini-batch against itself, tuned over other learning rates and timed another
    time: what tuning and timing alone are worth.
    """
    ((size, again),) = runs.grid(f"{AGAIN}/*").items()
    return tuple(ratio(runs, q, again, f"{RACE}/{size}") for q in (examples, seconds))


def drawn_sizes(runs: Runs) -> dict[int, str]:
    """Batch size -> arm, of those with a finished run."""
    return {size: arm for size, arm in runs.grid(f"{RACE}/*").items() if runs.finished(arm)}


@figure("convergence")
def draw_convergence(runs: Runs) -> Drawn:
    """Training loss of batch sizes {sizes} against the examples seen and against the seconds of
    training, on logarithmic axes.

    Each batch size at the learning rate that takes it to the loss of {RACE_LOSS:g} nats (dashed)
    fastest; one line per seed, which ends there. The seconds are the examples over the speed of
    this machine at that batch size; recording is not counted. Batch {full:,} is the full batch: all
    training images.
    """
    from dlip_reg.report.figures.kit import summarize

    def curve(rate: float, record: Record) -> dict[str, Any]:
        curves, images = curves_of(record), known(spec_of(record).data.n_train)
        seconds = [epoch * images / rate for epoch in curves.epoch]
        return {"epoch": curves.epoch, "seconds": seconds, "train_loss": curves.clean_loss}

    curves = {}
    for size, arm in drawn_sizes(runs).items():
        rate = summarize(speed(runs, arm)).mean or math.nan
        curves[size] = lines_of(runs, arm, functools.partial(curve, rate))
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


DRAW = together(draw_convergence, draw_to_loss)


@drawn_by(DRAW)
@controlled(tuned_again)
@claimed("bs-faster-than-full", LOG_RATIO, FASTER, *NEEDS)
def faster_than_full(runs: Runs) -> Measured:
    """Mini-batches converge more quickly than the full batch.

    Log-ratio of the examples, and of the seconds, to a training loss of {RACE_LOSS} nats,
    mini-batch over full batch (mean over the mini-batch sizes); both must hold, and the smaller
    effect is shown. SGD, each size at the rate tuned for that; the full batch has ten times as many
    epochs to get there. A run that does not, or diverges, counts as all its epochs, and as no
    difference where these do not tell which is faster.

    Smallest effect: a quarter of the time: less is not worth changing the batch size for, and
    timings on one machine vary by about a tenth
    """
    *minis, full = _arms(runs)
    named = {"examples": examples, "seconds": seconds}
    yield tuple(mean_of(*(ratio(runs, q, arm, full) for arm in minis)) for q in named.values())
    epochs = tuple(n / _size(full) for n in examples(runs, full))
    yield Part("epochs of the full batch to the loss", "epochs", epochs)
    for name, quantity in named.items():
        for arm in minis:
            label = f"{name}, batch {_size(arm):,} over full batch"
            yield Part(label, LOG_RATIO, ratio(runs, quantity, arm, full))
    yield from censored(runs, [*minis, full])


@drawn_by(DRAW)
@controlled(tuned_again)
@claimed("bs-large-faster", LOG_RATIO, FASTER, *NEEDS)
def large_faster(runs: Runs) -> Measured:
    """With the right learning rate larger batches train faster.

    Log-ratio of the updates, and of the seconds, to a training loss of {RACE_LOSS} nats, largest
    over smallest mini-batch; both must hold, and the smaller effect is shown. SGD, each size at the
    rate tuned for that time. A run that does not get there, or diverges, counts as all its epochs,
    and as no difference where these do not tell which is faster.

    Smallest effect: a quarter of the time: less is not worth changing the batch size for, and
    timings on one machine vary by about a tenth
    """
    small, *middle, large, _ = _arms(runs)
    named = {"seconds": seconds, "updates": updates, "examples": examples}
    ratios = {name: ratio(runs, quantity, large, small) for name, quantity in named.items()}
    yield ratios["updates"], ratios["seconds"]
    yield Part(f"seconds at batch {_size(small)}", "s", seconds(runs, small))
    for name, values in ratios.items():
        yield Part(f"{name}, largest over smallest", LOG_RATIO, values)
    for arm in middle:
        label = f"seconds, batch {_size(arm):,} over smallest"
        yield Part(label, LOG_RATIO, ratio(runs, seconds, arm, small))
    yield from censored(runs, [small, *middle, large])
