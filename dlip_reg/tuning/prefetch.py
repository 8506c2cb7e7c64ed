"""Prefetch the next trial of a slow oracle while the workers are busy."""

from __future__ import annotations

from concurrent.futures import Future

from dlip_reg.experiments.executors import Workers


class PrefetchingWorkers:
    """Workers with one run more in flight than there are processes.

    The oracle proposes the next run while all processes are busy, and the run waits for the first
    free one. A slow oracle so has one more trial in flight.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers, self.count = workers, workers.count + 1

    def submit(self, *call) -> Future:
        """Like `Workers.submit`."""
        return self._workers.submit(*call)

    def replace(self) -> str:
        """Like `Workers.replace`."""
        return self._workers.replace()
