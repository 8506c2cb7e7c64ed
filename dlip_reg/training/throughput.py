"""How many examples a second this machine trains on, at one batch size.

TensorFlow is imported when that is measured, so that a script which only plans runs stays light.
"""

from __future__ import annotations

import functools
import multiprocessing
import statistics
import time
from dataclasses import dataclass, replace
from multiprocessing.pool import Pool
from typing import TYPE_CHECKING, ClassVar

from dlip_reg.training.process import configure_threads, start_worker, usable_cores
from dlip_reg.training.records import Record, make_record
from dlip_reg.training.specification import DerivedSpec, RunSpec

if TYPE_CHECKING:
    from dlip_reg.datasets import Dataset

_MOST_EPOCHS = 500
# A measurement takes seconds; a pool would wait forever for a process that was killed.
_SECONDS_TO_WAIT = 300


@dataclass(frozen=True)
class ThroughputSpec(DerivedSpec):
    """How fast the training of `run` is; the run's seed tells repetitions apart.

    Of the run count model, data, batch size and optimizer. The measurement takes `seconds` of
    training or a little more, warm-up not counted.

    Args:
        run: What is trained.
        seconds: For how long.
        threads: How many threads TensorFlow computes with; None for one per core.
        repetition: Tells measurements apart that are otherwise the same.
    """

    kind: ClassVar[str] = "throughput"

    run: RunSpec
    seconds: float = 0.5
    threads: int | None = None
    repetition: int = 0


def measure_throughput(spec: ThroughputSpec, dataset: Dataset) -> Record:
    """Train for a while and return the record, whose `measures` are

    - `examples_per_second`, from the median time of an epoch, the first one left out because it
      includes tracing and fills the caches;
    - `busy_cores`, the CPU time used per second of the same epochs.

    These are the only measures that differ between repetitions. With `threads` given, a process of
    that many threads does the work, and where there are fewer cores nothing is measured.
    """
    if spec.threads is None:
        measures = _measures(spec, dataset)
    elif spec.threads > usable_cores():
        measures = {}
    else:
        waiting = _process(spec.threads).apply_async(_measures, (spec, dataset))
        measures = waiting.get(_SECONDS_TO_WAIT)
    return make_record(spec, dataset.fingerprint, finished=True, measures=measures)


@functools.cache
def _process(threads: int) -> Pool:
    """A process of so many threads: TensorFlow fixes the number when it starts.

    This process may itself be one of an executor's. When it ends it waits for its child processes
    unless they are daemons, which those of a `Pool` are and those of an executor are not.
    """
    return multiprocessing.get_context("spawn").Pool(
        1, start_worker, (functools.partial(configure_threads, threads),)
    )


def _measures(spec: ThroughputSpec, dataset: Dataset) -> dict[str, float]:
    import keras

    from dlip_reg.training.fitting import compiled, fit

    # A step takes as long at any rate; this one keeps the loss finite. A loss to stop at would be
    # evaluated in every epoch, on all images.
    run = replace(
        spec.run,
        learning_rate=1e-4,
        epochs=_MOST_EPOCHS,
        patience=None,
        stop_loss=None,
        measures=(),
    )

    class Clock(keras.callbacks.Callback):
        """Notes the time at every epoch's end, and stops when there is enough of it."""

        def __init__(self) -> None:
            super().__init__()
            self.wall: list[float] = []
            self.processor: list[float] = []

        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            self.wall.append(time.perf_counter())
            self.processor.append(time.process_time())
            self.model.stop_training = (
                len(self.wall) > 3 and self.wall[-1] - self.wall[0] >= spec.seconds
            )

    clock = Clock()
    fit(compiled(run, dataset), run, dataset, [clock])
    size = min(run.batch_size, len(dataset.x_train))
    steps = max(1, len(dataset.x_train) // run.batch_size)
    epoch = statistics.median(b - a for a, b in zip(clock.wall, clock.wall[1:], strict=False))
    processor = clock.processor[-1] - clock.processor[0]
    return {
        "examples_per_second": steps * size / epoch,
        "busy_cores": processor / (clock.wall[-1] - clock.wall[0]),
    }
