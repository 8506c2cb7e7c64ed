"""Run specifications in parallel worker processes that may die, and resume from saved records.

Work is submitted to a `concurrent.futures.Executor`, so local processes and a Dask cluster are
handled alike (see `executors`). The calling process saves each record as soon as its run ends: a
sweep that is killed loses only the runs in flight.
"""

import functools
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlip_reg.errors import DlipRegError, cause_of
from dlip_reg.experiments.executors import Workers, is_death
from dlip_reg.experiments.store import RunFolder
from dlip_reg.training.records import Record
from dlip_reg.training.specification import Schedule, Spec

# When the processes of so many runs in a row died twice, the machine is at fault and not a run (too
# little memory, a broken installation), and further runs would fail, too.
_MOST_LOST_IN_A_ROW = 4
# Seconds without the end of a run, until it is asked whether workers are left. On Windows Ctrl-C
# does not end a wait.
_CHECK_EVERY = 5.0 if sys.platform == "win32" else 60.0


class SweepStoppedError(DlipRegError, RuntimeError):
    """The sweep stopped early: worker processes keep dying, or the cluster's connection is lost."""


@dataclass(frozen=True)
class Failure:
    """A run that gave no record, and the cause."""

    spec: Spec
    cause: str


class Sweep:
    """Runs specifications and saves their records in a folder.

    Args:
        folder: Where records are saved, and found again when a sweep is resumed.
        fingerprint: The fingerprint of the data that all runs use, or data set -> fingerprint.
        run: Maps a specification to its record, in a worker process; must be picklable.
        workers: The worker processes.

    Attributes:
        on_end: Called as `on_end(spec, seconds)` when a run has ended or failed; `seconds` is None
            where a saved record was found.
        records: The records that all calls of `run` returned.
        failures: The failed runs by identity, in the order of the specifications.
    """

    def __init__(
        self,
        folder: RunFolder,
        fingerprint: str | Mapping[str, str],
        run: Callable[[Spec], Record],
        workers: Workers,
    ) -> None:
        self._folder, self._fingerprint = folder, fingerprint
        self._run, self._workers = run, workers
        self.on_end: Callable[[Spec, float | None], None] = lambda spec, seconds: None
        self._lost_in_a_row = 0
        self._are_full = False  # the worker processes: one of them has grown too large
        self.records: dict[Spec, Record] = {}
        self.failures: dict[str, Failure] = {}

    def saved(self, spec: Spec) -> Record | None:
        """The saved record of `spec`; None if there is none that can be read."""
        record: Record | None = self._folder.records.load(self._identity(spec))
        return record

    def run(self, specs: Iterable[Spec], in_order: bool = False) -> dict[Spec, Record]:
        """Run the specifications that have no saved record yet.

        Args:
            specs: What to run; each is run at most once.
            in_order: Whether they are run in this order, and not those of one network in a row.

        Returns:
            Specification -> record in the given order, without failed runs.

        Raises:
            SweepStoppedError: Worker processes keep dying, or the cluster's connection is lost.
            OSError: A record cannot be saved. Records saved earlier are kept.
            OutputDirConflictError: The folder was deleted or moved.
        """
        specs = list(dict.fromkeys(specs))
        records: dict[Spec, Record] = {}
        for spec in specs:
            if (record := self.saved(spec)) is not None:
                records[spec] = record
                self.on_end(spec, None)
        if missing := [spec for spec in specs if spec not in records]:
            # A process keeps only a few compiled networks.
            waiting = iter(missing if in_order else sorted(missing, key=_network))
            ended = self.outcomes(lambda: next(waiting, None), self._workers.count)
            records |= {spec: record for spec, record in ended if record is not None}
        order = {self._identity(spec): index for index, spec in enumerate(specs)}
        self.failures = dict(sorted(self.failures.items(), key=lambda item: order.get(item[0], -1)))
        records = {spec: records[spec] for spec in specs if spec in records}
        self.records |= records
        return records

    def outcomes(
        self,
        next_spec: Callable[[], Spec | None],
        in_flight: int,
        saved: Callable[[Spec], Record | None] = lambda spec: None,
    ) -> Iterator[tuple[Spec, Record | None]]:
        """Run the specifications that `next_spec` gives.

        Args:
            next_spec: Called while fewer than `in_flight` runs are submitted. None means that there
                is none for now: it is called again when a run has ended, and None with no run
                submitted ends the sweep.
            in_flight: How many runs are submitted at once.
            saved: Returns the saved record of a run, which then takes the place of the run.

        Yields:
            Each specification whose run has ended, and its record, which is saved; None for a
            failed run, which is then in `failures`.

        Raises:
            SweepStoppedError, OSError, OutputDirConflictError: As `run`.
        """
        waiting: deque[Spec] = deque()  # given and not submitted: at most one
        suspects: deque[Spec] = deque()  # in flight when a process died
        running: dict[Future[Any], Spec] = {}
        while True:
            if self._are_full and not running:
                self._workers.close()  # the next run starts new processes
                self._are_full = False
            # A suspect runs alone, so that it is the cause if a process dies again.
            alone = bool(suspects)
            queue, room = (suspects, 1) if alone else (waiting, 0 if self._are_full else in_flight)
            while len(running) < room:
                if not queue and not alone and (spec := next_spec()) is not None:
                    queue.append(spec)
                if not queue:
                    break
                record = saved(queue[0])
                try:
                    future = (
                        self._workers.submit(_attempt, self._run, queue[0])
                        if record is None
                        else _Saved(record)
                    )
                except BrokenExecutor:
                    if not running:  # an idle process died: no run is the cause
                        self._workers.replace()
                    break
                running[future] = queue.popleft()
            if not (running or waiting or suspects):
                return
            while not (done := wait(running, _CHECK_EVERY, FIRST_COMPLETED).done):
                self._workers.warn_if_gone()
            how = ""
            if any(_is_lost(future) for future in done):
                done, _ = wait(running)  # the other runs end, or are lost, too
                how = self._workers.replace()
            # One after the other, so that `next_spec` knows no more than if they had run by now.
            ended = [future for future in running if future in done]
            for future in ended if how else ended[:1]:
                spec = running.pop(future)
                if isinstance(future, _Saved):
                    yield spec, future.result()
                    self.on_end(spec, None)
                    continue
                if _is_lost(future) and not alone:
                    suspects.append(spec)
                    continue
                record, seconds = self._collect(spec, future, 1 + alone, how)
                yield spec, record
                self.on_end(spec, seconds)
            if self._lost_in_a_row >= _MOST_LOST_IN_A_ROW:
                raise SweepStoppedError(
                    f"{self._lost_in_a_row} runs in a row lost their process twice ({how}); "
                    "the machine may be out of memory (try fewer --workers)."
                )

    def _collect(
        self, spec: Spec, future: Future[Any], attempts: int, how: str
    ) -> tuple[Record | None, float]:
        """Save what a run left; its record, None where it failed, and its seconds."""
        if future.cancelled():
            raise SweepStoppedError(
                "The connection to the Dask scheduler was lost; rerun the same command to resume."
            )
        identity, error = self._identity(spec), future.exception()
        record, cause, seconds, growth = (
            future.result() if error is None else (None, cause_of(error), 0.0, 0)
        )
        self._are_full |= growth > self._workers.most_growth
        self._lost_in_a_row = self._lost_in_a_row + 1 if _is_lost(future) else 0
        if _is_lost(future):
            cause = f"its process died twice ({how})"
        elif record is not None and record.id != identity:
            record, cause = None, "its worker has other data or another version of the program"
        if record is None:
            self.failures[identity] = Failure(spec, cause)
        else:
            self._folder.save(record)
            self.failures.pop(identity, None)
        self._folder.log_timing(identity, seconds, attempts, record.status if record else "failed")
        return record, seconds

    def _identity(self, spec: Spec) -> str:
        known = self._fingerprint
        return spec.identity(known if isinstance(known, str) else known[spec.data.name])


class _Saved(Future[Any]):
    """The place of a run whose record was found."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.set_result(record)


def _network(spec: Spec) -> str:
    """What specifications share whose runs train one compiled network, roughly."""
    run = spec.runs[0]
    regularization = [bool(strength) for strength in vars(run.regularization).values()]
    settings = run.model, run.builder, run.optimizer, run.loss, run.batch_size
    return repr((*settings, regularization, run.schedule == Schedule()))


def _attempt(
    run: Callable[[Spec], Record], spec: Spec
) -> tuple[Record | None, str | None, float, int]:
    """In the worker: the record, the cause of a failure, the seconds, the growth in memory."""
    start = time.perf_counter()
    try:
        record, cause = run(spec), None
    except Exception as error:
        # As text: some exceptions cannot be pickled, and TensorFlow's import TensorFlow.
        record, cause = None, cause_of(error)
    seconds = time.perf_counter() - start
    return record, cause, seconds, _most_memory() - _memory_after_first_run()


def _most_memory() -> int:
    """The most bytes of memory that this process has had."""
    if os.name == "nt":
        import psutil  # of an extra

        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "linux":  # where a process's `ru_maxrss` begins with that of its parent
        peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        return 1024 * int(peak[1]) if peak else 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


@functools.cache
def _memory_after_first_run() -> int:
    return _most_memory()


def _is_lost(future: Future[Any]) -> bool:
    return not future.cancelled() and is_death(future.exception())
