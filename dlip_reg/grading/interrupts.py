"""Interrupts student code that is imported for too long, as Jupyter's button does."""

from __future__ import annotations

import _thread
import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator

from dlip_reg.errors import DlipRegError
from dlip_reg.grading.limits import PATIENCE

SHARE = 0.9  # of the time for an import: what is left ends it in order
_TICK, _AGAIN = 0.1, 1.0
_ASLEEP = 0.1  # the share of a processor that a process has at most while it sleeps


def said_of_stopped(file: str, number: int) -> str:
    """One sentence on what took too long: a cell of a notebook, else a line of a module."""
    what, rest = f"Line {number} of {file}", "the lines after it"
    where = 'under `if __name__ == "__main__":`'
    if file.endswith(".ipynb"):
        what, rest, where = f"Code cell {number}", "the rest of it", "into a function"
    return (
        f"{what} took too long (does it train a model?) and was stopped, and {rest} did not run. "
        f"Put what is slow {where}."
    )


class StoppedError(DlipRegError):
    """Code that took too long was interrupted."""


class Interrupter:
    """Interrupts the main thread, which made it, with KeyboardInterrupt; a context manager.

    It serves honest code. Code that catches the exception goes on, is interrupted again each
    second, and ends by the controller's limit, which nothing in this process can move.

    Attributes:
        used: The seconds so far, half of them or more, without those in which others had the
            processors. A process sees little of these: one that had less than a tenth of a
            processor is taken to have slept.
    """

    def __init__(self) -> None:
        self.used = 0.0
        self._end, self._interrupted = math.inf, False
        self._main = threading.get_ident()
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Interrupter:
        self._handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        signal.signal(signal.SIGINT, self._handler)

    @contextlib.contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Interrupt the block once it has taken `seconds`; StoppedError where that ended it."""
        self._interrupted = False
        try:
            try:
                self._end_at(self.used + seconds)
                yield
            finally:
                self._end_at(math.inf)
        except KeyboardInterrupt as error:
            self._end_at(math.inf)  # if the exception came before that was done
            if not self._interrupted:
                raise
            raise StoppedError().with_traceback(error.__traceback__) from None

    def _end_at(self, end: float) -> None:
        with self._lock:
            self._end = end

    def _watch(self) -> None:
        started = passed = time.monotonic()
        worked = time.process_time()
        while not self._over.wait(_TICK):
            before = passed, worked
            passed, worked = time.monotonic(), time.process_time()
            elapsed, active = passed - before[0], worked - before[1]
            self.used += elapsed if active < _ASLEEP * elapsed else min(active, elapsed)
            self.used = max(self.used, (passed - started) / (1 + PATIENCE))
            with self._lock:
                if self.used >= self._end:
                    self._end, self._interrupted = self.used + _AGAIN, True
                    if hasattr(signal, "pthread_kill"):  # which also ends a call that waits
                        signal.pthread_kill(self._main, signal.SIGINT)
                    else:
                        _thread.interrupt_main()
