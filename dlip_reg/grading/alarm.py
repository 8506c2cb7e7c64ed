"""Ends a marking test that hangs: its author's fault, and no student's."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from dlip_reg.grading.errors import GraderError

_HAS_TIMERS = hasattr(signal, "setitimer")
_GRACE = 1.0


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise GraderError in the block once it has taken `seconds`; `suspended` ones do not count.

    Python cannot raise it in a loop in C: this process then ends by itself, once all processors
    could have taken so long. There is no limit on Windows. For the main thread.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise GraderError(f"The test did not end within {seconds:g} s of its own.")

    if not _HAS_TIMERS:
        yield
        return
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    # Its signal ends a process. It counts the processor time of all threads, and not real time.
    signal.setitimer(signal.ITIMER_PROF, (seconds + _GRACE) * (os.cpu_count() or 1))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)


@contextlib.contextmanager
def suspended() -> Iterator[None]:
    """Stop the clock of `time_limit`, if it runs: student code is at work, which has its own."""
    left = signal.setitimer(signal.ITIMER_REAL, 0)[0] if _HAS_TIMERS else 0.0
    try:
        yield
    finally:
        if left:
            signal.setitimer(signal.ITIMER_REAL, left)
