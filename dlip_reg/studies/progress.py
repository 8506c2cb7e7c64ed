"""Progress of a long job: a bar on a terminal, one display in a notebook, else a line a minute."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

# Runs that were found on disk end at once; this many that were trained tell the machine's speed.
_FIRST_RUNS = 8
_CHECK_EVERY = 1.0  # seconds after which it is seen whether an update is due


class Progress:
    """Counts the runs of one stage after the other; a context.

    Args:
        minutes: What the job's runs take on the reference machine; None if that is not known.
        run_seconds: What one of its first runs takes there, with `reference_workers` at a time.
        workers: How many runs go on at a time here.
    """

    reference_workers = 2

    def __init__(
        self, minutes: float | None = None, run_seconds: float | None = None, workers: int = 1
    ) -> None:
        self._minutes, self._run_seconds, self._workers = minutes, run_seconds, workers
        self._stage, self._total, self._done, self._trained = "", 0, 0, 0
        self._began = self._shown = time.monotonic()
        self._first, self._first_seconds = 0, 0.0
        self._ended, self._lock = threading.Event(), threading.Lock()

    def __enter__(self) -> Progress:
        in_place = _Bar if sys.stderr.isatty() else _Lines
        self._display: Any = _Cell() if in_notebook() else in_place()
        if not in_notebook():  # a cell's display belongs to the thread of the cell
            threading.Thread(target=self._repeat, daemon=True).start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._ended.set()
        with self._lock:
            self._display.stop(self._text())

    def _repeat(self) -> None:
        """Update the display also while no run ends: one can take many minutes."""
        while not self._ended.wait(_CHECK_EVERY):
            self._update()

    def stage(self, description: str, total: int) -> None:
        """Begin a stage of `total` runs."""
        self._stage, self._total, self._done, self._trained = description, total, 0, 0
        self._began = time.monotonic()
        self._update()

    def describe(self, description: str) -> None:
        """Change what stands before the counts."""
        self._stage = description
        self._update()

    def advance(self, seconds: float | None = None) -> None:
        """One more run has ended; `seconds` is what it took, None if it was there already."""
        self._done += 1
        if seconds is not None:
            self._trained += 1
            self._first_seconds += seconds if self._first < _FIRST_RUNS else 0.0
            self._first += 1
            if self._first == _FIRST_RUNS and self._minutes and self._run_seconds:
                # How long the job takes here, from the time that the first runs took.
                ratio = self._first_seconds / _FIRST_RUNS / self._run_seconds
                minutes = self._minutes * ratio * self.reference_workers / self._workers
                text = f"On this machine expect about {duration(60 * minutes)} for these runs."
                self._display.note(text)
        self._update()

    def _text(self) -> str:
        text = f"{self._stage}: {self._done}/{self._total} runs"
        if self._trained and self._done < self._total:
            seconds = (time.monotonic() - self._began) / self._trained
            text += f", about {duration(seconds * (self._total - self._done))} left of this stage"
        return text

    def _update(self) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._shown >= self._display.every and not self._ended.is_set():
                self._shown = now
                self._display.show(self._text(), self._done, self._total)


def duration(seconds: float) -> str:
    """A length of time for people: "40 seconds", "12 minutes", "3 hours"."""
    if seconds < 90:
        return counted(max(1, round(seconds)), "second")
    if seconds < 5400:
        return counted(round(seconds / 60), "minute")
    return counted(round(seconds / 3600), "hour")


def counted(number: int, noun: str) -> str:
    """ "1 run", "2 runs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class _Lines:
    """Plain lines on stderr, for a file, a batch system or a background job."""

    every = 60.0  # seconds between two updates
    _last = ""

    def show(self, text: str, done: int = 0, total: int = 0) -> None:
        self._last = text
        print(text, file=sys.stderr, flush=True)

    note = show

    def stop(self, text: str) -> None:
        if text != self._last:
            self.show(text)


class _Cell:
    """One display of a notebook cell, updated in place; it needs no widgets."""

    every = 1.0

    def __init__(self) -> None:
        display: Callable[..., Any] = import_module("IPython.display").display
        self._notes: list[str] = []
        self._handle = display({"text/plain": "starting"}, raw=True, display_id=True)

    def show(self, text: str, done: int = 0, total: int = 0) -> None:
        self._handle.update({"text/plain": "\n".join([*self._notes, text])}, raw=True)

    stop = show

    def note(self, text: str) -> None:
        self._notes.append(text)


class _Bar:
    """A bar on a terminal, redrawn in place."""

    every = 0.0

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress as Bar, TextColumn

        self._bar = Bar(TextColumn("{task.description}"), BarColumn(), console=Console(stderr=True))
        self._task = self._bar.add_task("starting", total=None)
        self._bar.start()

    def show(self, text: str, done: int, total: int) -> None:
        self._bar.update(self._task, description=text, completed=done, total=total)

    def note(self, text: str) -> None:
        self._bar.console.print(text)

    def stop(self, text: str) -> None:
        self._bar.stop()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")
