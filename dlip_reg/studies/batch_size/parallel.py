"""bs-parallel: mini-batches let computation run in parallel."""

import math
from dataclasses import replace
from operator import attrgetter

from dlip_reg import report
from dlip_reg.evidence import LOG_RATIO, Question, Values, log_ratio, minus
from dlip_reg.studies import Arm, Arms, Measured, Runs, claimed, controlled, drawn_by, negative
from dlip_reg.studies.batch_size.arms import base
from dlip_reg.studies.drawing import Drawn, figure
from dlip_reg.studies.readings import is_finished
from dlip_reg.studies.study import Part, Setting
from dlip_reg.training.records import Record
from dlip_reg.training.specification import ThroughputSpec

SINGLE, BATCH = 1, 256
ONE, TWO, AGAIN = "one", "two", "one_again"
_THREADS = {ONE: (1, 0), TWO: (2, 0), AGAIN: (1, 1)}  # threads, repetition
# Of a perceptron: two layers of 1,024 units, as on MNIST in Srivastava et al. 2014 (table 2). One
# step of the lab's own small one takes half a millisecond, little of which is computation.
WIDE = (1024, 1024)
GROUP, SMALL = "parallel", "parallel_small"
IMAGES = {SINGLE: 64, BATCH: BATCH}  # an epoch is 64 steps, or one


def arms(setting: Setting) -> Arms:
    """The speed at either batch size with one thread, with two, and with one again.

    "parallel/THREADS/SIZE", and the same for the network of the other claims:
    "parallel_small/...". Any model but a perceptron is timed as it is, and is the same in both.
    """
    run = base(setting)
    wide = replace(run, builder={"hidden": WIDE}) if setting.model == "mlp" else run
    for group, of in ((GROUP, wide), (SMALL, run)):
        for name, (threads, repetition) in _THREADS.items():
            if group == SMALL and name == AGAIN:
                continue
            for size in (SINGLE, BATCH):
                data = setting.data(IMAGES[size], IMAGES[size], IMAGES[size])
                timed = replace(of, batch_size=size, data=data)
                timing = ThroughputSpec(timed, 0.4, threads, repetition)
                yield Arm(f"{group}/{name}/{size}", timing, timed=True)


def _speed(runs: Runs, name: str, size: int, group: str = GROUP) -> Values:
    return runs.values(f"{group}/{name}/{size}", attrgetter("measures.examples_per_second"))


def _has_no_speed(record: Record) -> bool:
    """Whether the run came to its end and measured nothing: there were fewer cores than threads."""
    return is_finished(record) and record.measures.examples_per_second is None


def _speed_up(runs: Runs, name: str, size: int, group: str = GROUP) -> Values:
    """Log-ratio of the speed over that of one thread."""
    return log_ratio(_speed(runs, name, size, group), _speed(runs, ONE, size, group))


def gain(runs: Runs, name: str = TWO, group: str = GROUP) -> Values:
    """The speed-up at a large batch minus that at single examples, as logs."""
    return minus(_speed_up(runs, name, BATCH, group), _speed_up(runs, name, SINGLE, group))


@negative(f"{GROUP}/")
def one_thread(runs: Runs) -> Values:
    """One thread against one thread, timed another time: nothing runs in parallel."""
    return gain(runs, AGAIN)


@figure("threads")
def draw(runs: Runs) -> Drawn:
    """Examples per second at batch {SINGLE} and batch {BATCH}, with one thread and with two, for
    the network timed and for that of the other claims.

    They differ where that is a perceptron: it is timed with wider layers. A second thread can only
    help where a step has enough work to divide. That large batches are faster with one thread
    already is the cost of a step, spread over more examples, and no parallel computation.
    """
    panels = {
        f"examples per second, {network}": {
            label: {size: _speed(runs, name, size, group) for size in (SINGLE, BATCH)}
            for label, name in (("one thread", ONE), ("two threads", TWO))
        }
        for group, network in ((GROUP, "network timed"), (SMALL, "network of the other claims"))
    }
    yield report.figures.against_size(panels)


@drawn_by(draw)
@controlled(one_thread)
@claimed("bs-parallel", LOG_RATIO, Question(+1, 0.1), f"{GROUP}/", f"{SMALL}/", arms=arms)
def claim(runs: Runs) -> Measured:
    """Mini-batches let computation run in parallel.

    Examples trained on per second with two threads over one, at batch {BATCH} over the same at
    batch {SINGLE} (log-ratio): what an update costs whatever its size cancels out. A perceptron is
    timed with two layers of 1,024 units, so that there is computation to divide; any other model as
    it is.

    Smallest effect: a tenth of the speed, about what timings on one machine vary by; the most that
    a second thread can give is 0.69, twice the speed
    """
    values = gain(runs)
    yield values
    for size in (SINGLE, BATCH):
        speed_up = _speed_up(runs, TWO, size)
        yield Part(f"two threads over one at batch {size}", LOG_RATIO, speed_up)
        one = _speed(runs, ONE, size)
        yield Part(f"examples per second at batch {size}, one thread", "1/s", one)
    yield Part("the same for the network of the other claims", LOG_RATIO, gain(runs, group=SMALL))
    two = runs.grid(f"{GROUP}/{TWO}/*").values()
    if all(map(math.isnan, values)) and runs.count(two, _has_no_speed):
        yield "Not measurable here: this process may use one processor core only."
