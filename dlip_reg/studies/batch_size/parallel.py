"""bs-parallel: mini-batches let computation run in parallel."""

from __future__ import annotations

import math
from dataclasses import replace

from dlip_reg import report
from dlip_reg.evidence.paired import LOG_RATIO, Values, log_ratio, minus
from dlip_reg.studies.batch_size.arms import base, measure
from dlip_reg.studies.drawing import Drawn, figure
from dlip_reg.studies.readings import note
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Claim, Measurement, Part, Setting, negative
from dlip_reg.training.throughput import ThroughputSpec

SINGLE, BATCH = 1, 256
ONE, TWO, AGAIN = "one", "two", "one_again"
_THREADS = {ONE: (1, 0), TWO: (2, 0), AGAIN: (1, 1)}  # threads, repetition
# Of the perceptron: two layers of 1,024 units, as on MNIST in Srivastava et al. 2014 (table 2). A
# step of the lab's own small one takes half a millisecond, little of which is computation.
WIDE = (1024, 1024)
GROUP, SMALL = "parallel", "parallel_small"
IMAGES = {SINGLE: 64, BATCH: BATCH}  # an epoch is 64 steps, or one


def arms(setting: Setting) -> list[Arm]:
    """The speed at either batch size with one thread, with two, and with one again.

    "parallel/THREADS/SIZE", and the same for the lab's own small network: "parallel_small/...".
    """
    run = base(setting)
    wide = replace(run, builder={"hidden": WIDE}) if setting.model == "mlp" else run
    return [
        Arm(
            f"{group}/{name}/{size}",
            ThroughputSpec(
                replace(of, batch_size=size, data=setting.data(*[IMAGES[size]] * 3)),
                seconds=0.4,
                threads=threads,
                repetition=repetition,
            ),
            timed=True,
        )
        for group, of in ((GROUP, wide), (SMALL, run))
        for name, (threads, repetition) in _THREADS.items()
        if group == GROUP or name != AGAIN
        for size in (SINGLE, BATCH)
    ]


def _speed(runs: Runs, name: str, size: int, group: str = GROUP) -> Values:
    return runs.values(f"{group}/{name}/{size}", measure("examples_per_second"))


def _speed_up(runs: Runs, name: str, size: int, group: str = GROUP) -> Values:
    """Log-ratio of the speed over that of one thread."""
    return log_ratio(_speed(runs, name, size, group), _speed(runs, ONE, size, group))


def gain(runs: Runs, name: str = TWO, group: str = GROUP) -> Values:
    """The speed-up at a large batch minus that at single examples, as logs."""
    return minus(_speed_up(runs, name, BATCH, group), _speed_up(runs, name, SINGLE, group))


def measured(runs: Runs) -> Measurement:
    """Examples trained on per second with two threads over one, at batch {BATCH} over the same at
    batch {SINGLE} (log-ratio): what an update costs whatever its size cancels out. The perceptron
    has two layers of 1,024 units, so that there is computation to divide.
    """
    values = gain(runs)
    return Measurement(
        values,
        (
            *(
                part
                for size in (SINGLE, BATCH)
                for part in (
                    Part(f"two threads over one at batch {size}", LOG_RATIO,
                         _speed_up(runs, TWO, size)),
                    Part(f"examples per second at batch {size}, one thread", "1/s",
                         _speed(runs, ONE, size)),
                )
            ),
            Part("the same for the lab's small network", LOG_RATIO, gain(runs, group=SMALL)),
        ),
        note(
            all(map(math.isnan, values)),
            "Not measurable here: this process may use one processor core only.",
        ),
    )  # fmt: skip


@figure("threads")
def draw(runs: Runs) -> Drawn:
    """Examples per second at batch {SINGLE} and batch {BATCH}, with one thread and with two, for a
    wide network and for the small one of the other claims.

    A second thread can only help where a step has enough work to divide. That large batches are
    faster with one thread already is the cost of a step, spread over more examples, and no parallel
    computation.
    """
    panels = {
        f"examples per second, {network}": {
            label: {size: _speed(runs, name, size, group) for size in (SINGLE, BATCH)}
            for label, name in (("one thread", ONE), ("two threads", TWO))
        }
        for group, network in ((GROUP, "wide network"), (SMALL, "small network"))
    }
    yield report.figures.against_size(panels)


CLAIM = Claim(
    id="bs-parallel",
    sentence="Mini-batches let computation run in parallel.",
    unit=LOG_RATIO,
    direction=+1,
    smallest_effect=0.1,
    smallest_effect_source="a tenth of the speed, about what timings on one machine vary by; the "
    "most that a second thread can give is 0.69, twice the speed",
    measure=measured,
    needs=(f"{GROUP}/", f"{SMALL}/"),
    controls=(
        negative(
            "One thread against one thread, timed another time: nothing runs in parallel.",
            lambda runs: gain(runs, AGAIN),
            (f"{GROUP}/",),
        ),
    ),
    arms=arms,
    draw=draw,
)
