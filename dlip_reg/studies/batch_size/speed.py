"""bs-faster-than-full, bs-parallel, bs-large-faster: how fast each batch size trains.

Each claim pairs by seed. Seconds combine two measurements: runs, which repeat bit for bit, and the
speed of this machine, which is measured on its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dlip_reg.evidence.matching import crossing
from dlip_reg.evidence.paired import LOG_RATIO, Values, log_ratio, mean_of
from dlip_reg.studies.batch_size.arms import between, by_size, ratio_claim
from dlip_reg.studies.batch_size.curves import (
    Losses,
    drawn_curves,
    fit_knee,
    full_batch,
    listed,
    loss_at,
    lowest,
)
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Measurement, Part

if TYPE_CHECKING:
    from dlip_reg.report import Section


def speeds(runs: Runs) -> dict[int, Values]:
    """Batch size -> examples per second, by seed."""
    return by_size(runs, "throughput", "examples_per_second")


def faster_than_full(runs: Runs) -> Measurement:
    """Log-ratio of the training losses after equally many examples, mini-batch over full batch."""
    speed, curves = speeds(runs), _curves(runs, "clean_loss")
    *minis, full = curves
    at_end = by_size(runs, "rates", lambda record: record.curves.clean_loss[-1])
    # The loss of a mini-batch at the moment when the full batch has done its epochs.
    in_time = {
        size: tuple(
            # min(NaN, 1) is NaN: a speed that was not measured gives no loss.
            loss_at(losses, (len(losses) - 1) * min(own / of_full, 1.0))
            for losses, own, of_full in zip(curves[size], speed[size], speed[full], strict=True)
        )
        for size in minis
    }
    examples = {size: log_ratio(at_end[size], at_end[full]) for size in minis}
    seconds = {size: log_ratio(in_time[size], at_end[full]) for size in minis}
    return Measurement(
        mean_of(*examples.values()),
        (
            Part("training loss of the full batch at the end", "nats", at_end[full]),
            Part(
                "mini-batch over full batch after equal seconds",
                LOG_RATIO,
                mean_of(*seconds.values()),
            ),
            *(
                Part(f"batch {size:,} alone, equal {what}", LOG_RATIO, values)
                for what, of_size in (("examples", examples), ("seconds", seconds))
                for size, values in of_size.items()
            ),
        ),
    )


def parallel(runs: Runs) -> Measurement:
    """Log-ratio of the examples per second, the largest mini-batch over single examples."""
    speed, busy = speeds(runs), by_size(runs, "throughput", "busy_cores")
    one, *_, largest, full = speed
    knees = tuple(
        fit_knee(dict(zip(speed, of_seed, strict=True))).size
        for of_seed in zip(*speed.values(), strict=True)
    )
    return Measurement(
        between(speed, largest, one),
        (
            Part(f"examples per second at batch {one}", "1/s", speed[one]),
            Part(f"examples per second at batch {largest:,}", "1/s", speed[largest]),
            Part("knee: the batch size that reaches half of the peak", "examples", knees),
            Part(f"full batch over batch {largest:,}", LOG_RATIO, between(speed, full, largest)),
            *(Part(f"processor cores busy at batch {s:,}", "cores", busy[s]) for s in (one, full)),
        ),
    )


def large_faster(runs: Runs) -> Measurement:
    """Log-ratio of the seconds to a validation loss that all reach, largest over smallest."""
    reached = to_target(runs)
    small, *middle, large = reached["seconds"]

    def ratio(quantity: str, size: int = large) -> Part:
        label = f"{quantity} to the target, batch {size:,} over batch {small}"
        return Part(label, LOG_RATIO, between(reached[quantity], size, small))

    return Measurement(
        ratio("seconds").values,
        (
            Part(f"seconds to the target at batch {small}", "s", reached["seconds"][small]),
            ratio("updates"),
            ratio("examples"),
            *(ratio("seconds", size) for size in middle),
        ),
    )


def to_target(runs: Runs) -> dict[str, dict[int, Values]]:
    """What each mini-batch size takes to the target at its own best rate.

    A seed's target is the highest of the lowest validation losses of the sizes: the lowest loss
    that all of them reach.

    Returns:
        "examples", "updates", "seconds" -> batch size -> one value per seed.
    """
    curves, speed = _curves(runs, "clean_val_loss"), speeds(runs)
    *minis, full = curves
    lows = [[lowest(losses) for losses in curves[size]] for size in minis]
    targets = np.max(lows, axis=0)  # NaN where one size has no loss
    examples = {
        size: tuple(
            crossing(losses, target) * full
            for losses, target in zip(curves[size], targets, strict=True)
        )
        for size in minis
    }
    return {
        "examples": examples,
        "updates": {size: tuple(n / size for n in examples[size]) for size in minis},
        "seconds": {
            size: tuple(n / s for n, s in zip(examples[size], speed[size], strict=True))
            for size in minis
        },
    }


def _curves(runs: Runs, name: str) -> dict[int, list[Losses]]:
    """Batch size -> each seed's losses; empty where the run did not finish."""
    return {
        size: [
            getattr(r.curves, name) if r is not None and r.status == "finished" else ()
            for r in by_seed.values()
        ]
        for size, by_seed in runs.tree("rates").items()
    }


def section(runs: Runs, with_curves: bool) -> Section:
    """Loss against time, and examples per second; `with_curves` if the rates' runs are there."""
    from dlip_reg.report import FigureItem, Section, figures
    from dlip_reg.report.figures.style import summarize
    from dlip_reg.report.numbers import format_number

    speed = speeds(runs)
    mean = {size: summarize(values).mean for size, values in speed.items()}
    knee = fit_knee({size: rate for size, rate in mean.items() if rate is not None})
    items, to_goal = [], {}
    curves = drawn_curves(runs, "rates") if with_curves else {}
    if curves:
        images = max(curves)  # the full batch
        for size, of_size in curves.items():
            for curve in filter(None, of_size):
                rate = mean[size] or math.nan
                curve["seconds"] = [epoch * images / rate for epoch in curve["epoch"]]
        items.append(
            FigureItem(
                "convergence",
                figures.convergence(curves, figures.size_styles(curves)),
                f"Training loss of batch sizes {listed(curves)} against the epochs and against the "
                "seconds of training.",
                "Each batch size at its own best learning rate. The curves on the right are those "
                "on the left with the time that the examples take at that batch size on this "
                f"machine; recording is not counted. {full_batch(curves)}",
            )
        )
        reached = to_target(runs)
        to_goal = {f"{name} to the target": reached[name] for name in ("updates", "seconds")}
    items.append(
        FigureItem(
            "speed",
            figures.training_speed(speed, (knee.size, knee.overhead, knee.per_example), to_goal),
            "Examples per second against the batch size with the knee marked"
            + (", and updates and seconds to a target validation loss." if to_goal else "."),
            "Examples per second: a step takes a fixed overhead and so much per example; at the "
            f"knee, batch {format_number(knee.size)}, both are equal and half of the peak of "
            f"{format_number(knee.peak)} examples a second is reached. To the target: to the "
            "lowest validation loss that all mini-batch sizes reach, each at its own best rate.",
        )
    )
    busy = by_size(runs, "throughput", "busy_cores")
    one, *_, full = speed
    cores = {size: format_number(summarize(busy[size]).mean, 2) for size in (one, full)}
    return Section(
        "How fast it is",
        (
            "Larger batches spread the fixed cost of a step over more examples and keep the "
            "processor's vector units and cores busier: on this machine "
            f"{cores[full]} cores are busy at the full batch of {full:,}, {cores[one]} at single "
            "examples. On a graphics processor the knee lies at far larger batches.",
            "Seconds are those of this machine, measured on their own after the runs, with all "
            "its threads; updates and losses repeat bit for bit, seconds do not.",
        ),
        tuple(items),
    )


FASTER_THAN_FULL = ratio_claim(
    id="bs-faster-than-full",
    sentence="Mini-batches converge more quickly than the full batch.",
    experiment="Log-ratio of the clean training loss after equally many examples, mini-batch over "
    "full batch, averaged over the mini-batch sizes, each at its own best learning rate (SGD).",
    direction=-1,
    measure=faster_than_full,
    needs=("rates/", "throughput/"),
    figures=("convergence",),
)
PARALLEL = ratio_claim(
    id="bs-parallel",
    sentence="Mini-batches let computation run in parallel.",
    experiment="Log-ratio of the examples trained on per second on this machine, the largest "
    "mini-batch over single examples; what an update costs whatever its size counts, too.",
    direction=+1,
    measure=parallel,
    needs=("throughput/",),
    figures=("speed",),
)
LARGE_FASTER = ratio_claim(
    id="bs-large-faster",
    sentence="With the right learning rate larger batches train faster.",
    experiment="Log-ratio of the seconds to a validation loss that all sizes reach, largest over "
    "smallest mini-batch, each at its best rate: updates counted, speed measured on this machine.",
    direction=-1,
    measure=large_faster,
    needs=("rates/", "throughput/"),
    figures=("speed",),
)
