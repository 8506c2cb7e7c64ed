"""How many examples a second this machine trains on, at one batch size."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import statistics
import time
from dataclasses import replace
from multiprocessing.pool import Pool

import keras

from dlip_reg.datasets import Dataset
from dlip_reg.training.fitting import compiled, fit, steps_per_epoch
from dlip_reg.training.process import configure_at_full_speed, start_worker, usable_cores
from dlip_reg.training.records import Record, make_record
from dlip_reg.training.specification import ThroughputSpec

_MOST_EPOCHS = 500
# A measurement takes seconds; a pool would wait forever for a process that was killed.
_SECONDS_TO_WAIT = 300


def measure_throughput(spec: ThroughputSpec, dataset: Dataset) -> Record:
    """Train for a while and return the record, whose only measure is `examples_per_second`.

    It is from the median time of an epoch, the first one left out because it includes tracing and
    fills the caches, and differs between repetitions. With `threads` given, a process of that many
    threads does the work, and where there are fewer cores nothing is measured.
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
        1, start_worker, (functools.partial(configure_at_full_speed, threads),)
    )


def _measures(spec: ThroughputSpec, dataset: Dataset) -> dict[str, float]:
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
    ends: list[float] = []

    def on_epoch_end(epoch: int, logs: dict[str, float] | None = None) -> None:
        ends.append(time.perf_counter())
        model.stop_training = len(ends) > 3 and ends[-1] - ends[0] >= spec.seconds

    model = compiled(run, dataset)
    fit(model, run, dataset, [keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)])
    size = min(run.batch_size, len(dataset.x_train))
    epoch = statistics.median(end - start for start, end in itertools.pairwise(ends))
    return {"examples_per_second": steps_per_epoch(run, dataset) * size / epoch}
