"""How many examples a second this machine trains on, at one batch size.

TensorFlow is imported when that is measured, so that a script which only plans runs stays light.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dlip_reg.training.identity import identity_of
from dlip_reg.training.specification import DataSpec, RunSpec

if TYPE_CHECKING:
    from dlip_reg.datasets import Dataset

_MOST_EPOCHS = 500


@dataclass(frozen=True)
class ThroughputSpec:
    """How fast the training of `run` is; the run's seed tells repetitions apart.

    Of the run count model, data, batch size and optimizer. The measurement takes `seconds` of
    training or a little more, warm-up not counted.
    """

    run: RunSpec
    seconds: float = 0.5

    @property
    def data(self) -> DataSpec:
        """The run's."""
        return self.run.data

    @property
    def seed(self) -> int:
        """The run's."""
        return self.run.seed

    def to_json(self) -> dict[str, Any]:
        """A plain nested dict that `json` can write."""
        return {
            "job": "throughput",
            "seed": self.seed,
            "run": self.run.to_json(),
            "seconds": self.seconds,
        }

    def identity(self, fingerprint: str) -> str:
        """16 hex digits that name this measurement on the data with that `fingerprint`."""
        return identity_of(self.to_json(), fingerprint)


def measure_throughput(spec: ThroughputSpec, dataset: Dataset) -> dict[str, Any]:
    """Train for a while and return the record: `id`, `spec`, `status` and the `measures`

    - `examples_per_second`, from the median time of an epoch, the first one left out: it holds the
      tracing and fills the caches;
    - `busy_cores`, the processor time used per second of the same epochs.

    Alone in this room it gives other numbers every time.
    """
    import keras

    from dlip_reg.training.fitting import compiled, fit

    # A step takes as long at any rate; this one keeps the loss finite.
    run = replace(spec.run, learning_rate=1e-4, epochs=_MOST_EPOCHS, patience=None, measures=())

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
        "id": spec.identity(dataset.fingerprint),
        "spec": spec.to_json(),
        "status": "finished",
        "measures": {
            "examples_per_second": steps * size / epoch,
            "busy_cores": processor / (clock.wall[-1] - clock.wall[0]),
        },
    }
