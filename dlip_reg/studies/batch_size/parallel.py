"""bs-parallel: mini-batches let computation run in parallel."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import LOG_RATIO, Values, log_ratio, minus
from dlip_reg.studies.batch_size.arms import base, measure
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Claim, Control, Measurement, Part, Setting
from dlip_reg.training.throughput import ThroughputSpec

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

SINGLE, BATCH = 1, 256
ONE, TWO, AGAIN = "one", "two", "one_again"
_THREADS = {ONE: (1, 0), TWO: (2, 0), AGAIN: (1, 1)}  # threads, repetition
GROUP = "parallel"


def arms(setting: Setting) -> list[Arm]:
    """The speed at either batch size with one thread, with two, and with one again."""
    return [
        Arm(
            f"{GROUP}/{name}/{size}",
            ThroughputSpec(
                replace(base(setting), batch_size=size),
                seconds=0.4,
                threads=threads,
                repetition=repetition,
            ),
            timed=True,
        )
        for name, (threads, repetition) in _THREADS.items()
        for size in (SINGLE, BATCH)
    ]


def _speed(runs: Runs, name: str, size: int) -> Values:
    return runs.values(f"{GROUP}/{name}/{size}", measure("examples_per_second"))


def _speed_up(runs: Runs, name: str, size: int) -> Values:
    """Log-ratio of the speed over that of one thread."""
    return log_ratio(_speed(runs, name, size), _speed(runs, ONE, size))


def gain(runs: Runs, name: str = TWO) -> Values:
    """The speed-up at a large batch minus that at single examples, as logs."""
    return minus(_speed_up(runs, name, BATCH), _speed_up(runs, name, SINGLE))


def measured(runs: Runs) -> Measurement:
    """What a second thread is worth at a large batch, over what it is worth at one example."""
    values = gain(runs)
    notes = ()
    if all(math.isnan(value) for value in values):
        notes = ("Not measurable here: this process may use one processor core only.",)
    return Measurement(
        values,
        tuple(
            part
            for size in (SINGLE, BATCH)
            for part in (
                Part(f"two threads over one at batch {size}", LOG_RATIO,
                     _speed_up(runs, TWO, size)),
                Part(f"examples per second at batch {size}, one thread", "1/s",
                     _speed(runs, ONE, size)),
            )
        ),
        notes,
    )  # fmt: skip


def again(runs: Runs) -> Values:
    """The same with one thread against one thread."""
    return gain(runs, AGAIN)


def draw(runs: Runs) -> list[FigureItem]:
    """Examples per second at either batch size with one thread and with two."""
    from dlip_reg.report import FigureItem, figures

    panel = {
        label: {size: _speed(runs, name, size) for size in (SINGLE, BATCH)}
        for label, name in (("one thread", ONE), ("two threads", TWO))
    }
    return [
        FigureItem(
            "threads",
            figures.against_size({"examples per second": panel}),
            "Examples per second at batch 1 and batch 256, with one thread and with two.",
            "A second thread can only help where a step has enough work to divide. That large "
            "batches are faster with one thread already is the cost of a step, spread over more "
            "examples, and no parallel computation.",
        )
    ]


CLAIM = Claim(
    id="bs-parallel",
    sentence="Mini-batches let computation run in parallel.",
    experiment=f"Examples trained on per second with two threads over one, at batch {BATCH} over "
    f"the same at batch {SINGLE} (log-ratio): what an update costs whatever its size cancels out.",
    unit=LOG_RATIO,
    direction=+1,
    smallest_effect=0.1,
    smallest_effect_source="a tenth of the speed, about what timings on one machine vary by; the "
    "most that a second thread can give is 0.69, twice the speed",
    measure=measured,
    needs=(f"{GROUP}/",),
    controls=(
        Control(
            "negative",
            "One thread against one thread, timed another time: nothing runs in parallel.",
            again,
            (f"{GROUP}/",),
        ),
    ),
    arms=arms,
    draw=draw,
)
