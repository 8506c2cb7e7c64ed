"""Time to decide what comes next while the workers are busy."""

from __future__ import annotations

from concurrent.futures import Future

from dlip_reg.experiments.executors import Workers


class OneAhead:
    """Workers that are given one run more than they do at once.

    The next run is then asked for while they are at work, and waits for the first that is free. An
    oracle that takes long to answer has one more trial in flight for that.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers, self.count = workers, workers.count + 1

    def submit(self, *call) -> Future:
        """Like `Workers.submit`."""
        return self._workers.submit(*call)

    def replace(self) -> str:
        """Like `Workers.replace`."""
        return self._workers.replace()
