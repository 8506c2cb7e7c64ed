"""bs-faster-than-full and bs-large-faster: how soon each batch size reaches a training loss.

Seconds combine two measurements: how many examples a run takes, which repeats bit for bit, and how
many a second this machine trains on, which is measured on its own. At a given batch size the fewest
examples are the least time, so one learning rate per size, tuned for that, serves both claims.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import LOG_RATIO, Values, log_ratio, mean_of
from dlip_reg.studies.batch_size.arms import (
    AGAIN,
    RACE,
    RACE_LOSS,
    epochs_to_loss,
    listed,
    measure,
)
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Claim, Control, Measurement, Part

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

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


def seconds(runs: Runs, arm: str) -> Values:
    """The time that the examples take on this machine."""
    speed = runs.values(f"throughput/{arm}", measure("examples_per_second"))
    return tuple(n / rate for n, rate in zip(examples(runs, arm), speed, strict=True))


def updates(runs: Runs, arm: str) -> Values:
    """The number of steps that the examples make."""
    size = _size(arm)
    return tuple(number / size for number in examples(runs, arm))


def _size(arm: str) -> int:
    return int(arm.rpartition("/")[2])


def _arms(runs: Runs) -> list[str]:
    return [f"{RACE}/{size}" for size in runs.tree(RACE)]


def censored(runs: Runs, arms: Sequence[str]) -> tuple[str, ...]:
    """Sentences on the runs of each arm that did not get to the preset loss."""
    notes = []
    for arm in arms:
        missed = sum(
            record is not None
            and (record.status != "finished" or math.isinf(epochs_to_loss(record)))
            for record in runs[arm]
        )
        if missed:
            notes.append(
                f"{missed} of {len(runs.seeds)} runs of batch {_size(arm):,} did not reach the "
                f"loss within {runs.chosen[arm].epochs} epochs; they count as having reached it "
                "then, a lower bound of their time."
            )
    return tuple(notes)


def faster_than_full(runs: Runs) -> Measurement:
    """Log-ratio of examples, and of seconds, mini-batch over full batch; mean over mini-batches."""
    *minis, full = _arms(runs)

    def ratios(quantity, arm: str) -> Values:
        return log_ratio(quantity(runs, arm), quantity(runs, full))

    named = {"examples": examples, "seconds": seconds}
    return Measurement(
        tuple(mean_of(*(ratios(quantity, arm) for arm in minis)) for quantity in named.values()),
        (
            Part("epochs of the full batch to the loss", "epochs",
                 tuple(n / _size(full) for n in examples(runs, full))),
            *(
                Part(f"{name}, batch {_size(arm):,} over full batch", LOG_RATIO,
                     ratios(quantity, arm))
                for name, quantity in named.items()
                for arm in minis
            ),
        ),
        censored(runs, [*minis, full]),
    )  # fmt: skip


def large_faster(runs: Runs) -> Measurement:
    """Log-ratio of updates, and of seconds, the largest over the smallest mini-batch."""
    small, *middle, large, _ = _arms(runs)

    def ratios(quantity, arm: str = large) -> Values:
        return log_ratio(quantity(runs, arm), quantity(runs, small))

    return Measurement(
        (ratios(updates), ratios(seconds)),
        (
            Part(f"seconds at batch {_size(small)}", "s", seconds(runs, small)),
            Part("seconds, largest over smallest", LOG_RATIO, ratios(seconds)),
            Part("updates, largest over smallest", LOG_RATIO, ratios(updates)),
            Part("examples, largest over smallest", LOG_RATIO, ratios(examples)),
            *(
                Part(f"seconds, batch {_size(arm):,} over smallest", LOG_RATIO,
                     ratios(seconds, arm))
                for arm in middle
            ),
        ),
        censored(runs, [small, *middle, large]),
    )  # fmt: skip


def tuned_again(runs: Runs) -> Measurement:
    """The largest mini-batch over itself, tuned over other rates and timed another time."""
    (size,) = runs.tree(AGAIN)
    first, second = f"{RACE}/{size}", f"{AGAIN}/{size}"
    return Measurement(
        tuple(
            log_ratio(quantity(runs, second), quantity(runs, first))
            for quantity in (examples, seconds)
        )
    )


def draw(runs: Runs) -> list[FigureItem]:
    """Training loss against examples and seconds; and what the preset loss takes, by size."""
    from dlip_reg.report import FigureItem, figures
    from dlip_reg.report.figures.style import summarize

    curves = {}
    for size in runs.tree(RACE):
        speed = runs.values(f"throughput/{RACE}/{size}", measure("examples_per_second"))
        rate = summarize(speed).mean or math.nan
        curves[size] = [
            {
                "epoch": record.curves.epoch,
                "seconds": [n * record.spec.data.n_train / rate for n in record.curves.epoch],
                "train_loss": record.curves.clean_loss,
            }
            for record in runs.finished(f"{RACE}/{size}")
        ]
    curves = {size: lines for size, lines in curves.items() if lines}
    if not curves:
        return []
    sizes = list(curves)
    panels = {
        f"{name} to the loss": {"": {size: read(runs, f"{RACE}/{size}") for size in sizes}}
        for name, read in (("seconds", seconds), ("updates", updates), ("examples", examples))
    }
    panels["examples per second"] = {
        "": {
            size: runs.values(f"throughput/{RACE}/{size}", measure("examples_per_second"))
            for size in sizes
        }
    }
    full = f"Batch {max(sizes):,} is the full batch: all training images."
    return [
        FigureItem(
            "convergence",
            figures.convergence(curves, RACE_LOSS),
            f"Training loss of batch sizes {listed(sizes)} against the examples seen and against "
            "the seconds of training, on logarithmic axes.",
            "Each batch size at the learning rate that takes it to the loss of "
            f"{RACE_LOSS:g} nats (dotted) fastest; one line a seed, which ends there. The seconds "
            "are the examples over the speed of this machine at that batch size; recording is not "
            f"counted. {full}",
        ),
        FigureItem(
            "to_loss",
            figures.against_size(panels),
            "Seconds, updates and examples to the preset training loss, and examples per second, "
            "against the batch size.",
            "Geometric means with intervals, and every seed. Larger batches always need fewer "
            "updates; whether they need less time depends on how many more examples a second the "
            f"machine trains on. {full}",
        ),
    ]


SOURCE = (
    "a quarter of the time: less is not worth changing the batch size for, and timings on one "
    "machine vary by about a tenth"
)
AGAINST_ITSELF = Control(
    "negative",
    "The largest mini-batch against itself, tuned over other learning rates and timed another "
    "time: what tuning and timing alone are worth.",
    tuned_again,
    (f"{RACE}/", f"{AGAIN}/", "throughput/"),
)
FASTER_THAN_FULL = Claim(
    id="bs-faster-than-full",
    sentence="Mini-batches converge more quickly than the full batch.",
    experiment=f"Log-ratio of the examples, and of the seconds, to a training loss of {RACE_LOSS} "
    "nats, mini-batch over full batch (mean over the mini-batch sizes); both must hold, and the "
    "smaller effect is shown. SGD, each size at the rate tuned for that; the full batch has ten "
    "times as many epochs to get there. A run that does not, or diverges, counts as all its "
    "epochs.",
    unit=LOG_RATIO,
    direction=-1,
    smallest_effect=SMALLEST_SPEED_UP,
    smallest_effect_source=SOURCE,
    measure=faster_than_full,
    needs=(f"{RACE}/", "throughput/"),
    controls=(AGAINST_ITSELF,),
    draw=draw,
)
LARGE_FASTER = Claim(
    id="bs-large-faster",
    sentence="With the right learning rate larger batches train faster.",
    experiment=f"Log-ratio of the updates, and of the seconds, to a training loss of {RACE_LOSS} "
    "nats, largest over smallest mini-batch; both must hold, and the smaller effect is shown. SGD, "
    "each size at the rate tuned for that time. A run that does not get there, or diverges, counts "
    "as all its epochs.",
    unit=LOG_RATIO,
    direction=-1,
    smallest_effect=SMALLEST_SPEED_UP,
    smallest_effect_source=SOURCE,
    measure=large_faster,
    needs=(f"{RACE}/", "throughput/"),
    controls=(AGAINST_ITSELF,),
    draw=draw,
)
