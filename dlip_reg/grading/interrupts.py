"""Interrupts student code that is imported for too long, as Jupyter's button does."""

from __future__ import annotations

import _thread
import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence

from dlip_reg.errors import DlipRegError
from dlip_reg.grading.limits import counted

SHARE = 0.9  # of the time for an import: what is left ends it in order
_TICK, _AGAIN = 0.05, 1.0
_NAMED = 20


def said_of(file: str, numbers: Sequence[int], is_stopped: bool) -> str:
    """What took too long (then with advice) or raised an exception: cells of a notebook, else a
    line of a module."""
    is_notebook = file.endswith(".ipynb")
    happened, advice = "raised an exception", ""
    if is_stopped:
        ended = "" if is_notebook else " and was stopped"
        happened = f"took too long (is a model trained there?){ended}"
        place = "into a function" if is_notebook else 'under `if __name__ == "__main__":`'
        advice = f" Put what is slow {place}."
    if not is_notebook:
        line = f"Line {numbers[0]} of {file}"
        return f"{line} {happened}, and the lines after it did not run.{advice}"
    named = ", ".join(map(str, numbers[:_NAMED]))
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    cells = f"Code cell{'s' if len(numbers) > 1 else ''} {named}{more}"
    return f"{cells} {happened} and did not run to the end.{advice}"


class StoppedError(DlipRegError):
    """Code that took too long was interrupted."""


class Interrupter:
    """Interrupts the main thread, which made it, with KeyboardInterrupt; a context manager.

    It serves honest code. Code that catches the exception goes on, is interrupted again each
    second, and ends by the controller's limit, which nothing in this process can move.

    Attributes:
        used: The seconds so far that count (see `counted`).
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
        started, before = time.monotonic(), time.process_time()
        while not self._over.wait(_TICK):
            self.used = counted(time.monotonic() - started, time.process_time() - before)
            with self._lock:
                if self.used >= self._end:
                    self._end, self._interrupted = self.used + _AGAIN, True
                    if hasattr(signal, "pthread_kill"):  # which also ends a call that waits
                        signal.pthread_kill(self._main, signal.SIGINT)
                    else:
                        _thread.interrupt_main()
