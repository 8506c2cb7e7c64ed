"""Run what is missing: many runs at once, resumable, each in a process that may die.

Work goes through the `concurrent.futures.Executor` interface, so the processes of this machine and
a Dask cluster are the same to everything here (`executors` opens either). Records are kept by the
calling process, each as soon as it is there: a sweep that is killed loses the runs in flight and
nothing else.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from typing import Any

from dlip_reg.experiments.executors import Workers
from dlip_reg.experiments.store import RunFolder
from dlip_reg.training.specification import RunSpec

# This many runs in a row whose process died, and none that ended well: the machine, not a run, is
# at fault (no memory, a broken installation), and going on would only take long.
_MOST_DEATHS_IN_A_ROW = 4


class SweepStopped(RuntimeError):
    """The sweep gave up because process after process died."""


@dataclass(frozen=True)
class Failure:
    """A run that gave no record: which, and why."""

    spec: RunSpec
    cause: str


class Sweep:
    """Runs specifications into the records of a folder.

    `run` maps a specification to its record; it must be picklable. `fingerprint` is that of the
    data all runs use. `on_end(spec, seconds)` is called when a run's record is
    there, with None for the seconds where it was there before. Failed runs are gathered in
    `failures`.
    """

    def __init__(
        self,
        folder: RunFolder,
        fingerprint: str,
        run: Callable[[RunSpec], dict[str, Any]],
        workers: Workers,
    ) -> None:
        self._folder, self._fingerprint = folder, fingerprint
        self._run, self._workers = run, workers
        self.on_end: Callable[[RunSpec, float | None], None] = lambda spec, seconds: None
        self._deaths_in_a_row = 0
        self.failures: dict[str, Failure] = {}

    def run(self, specs: Iterable[RunSpec]) -> dict[RunSpec, dict[str, Any]]:
        """The records of `specs`, in their order, each run at most once; failed ones are left out.

        Raises SweepStopped where no process stays alive, and OSError where a record cannot be
        written; what was finished by then is kept.
        """
        specs = list(dict.fromkeys(specs))
        records: dict[RunSpec, dict[str, Any]] = {}
        waiting: deque[RunSpec] = deque()
        for spec in specs:
            record = self._folder.records.load(self._identity(spec))
            if record is None:
                waiting.append(spec)
            else:
                records[spec] = record
                self.on_end(spec, None)
        self._run_missing(waiting, records)
        return {spec: records[spec] for spec in specs if spec in records}

    def _run_missing(self, waiting: deque[RunSpec], records: dict) -> None:
        suspects: deque[RunSpec] = deque()  # were in flight when a process died
        running: dict[Future, RunSpec] = {}
        while waiting or suspects or running:
            # A suspect runs alone, so that a second death is surely its own.
            alone = bool(suspects)
            queue, room = (suspects, 1) if alone else (waiting, self._workers.count)
            while queue and len(running) < room:
                try:
                    future = self._workers.submit(_timed, self._run, queue[0])
                except BrokenExecutor:
                    if not running:  # a process died idle: no run is to blame
                        self._workers.replace()
                    break
                running[future] = queue.popleft()
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            if any(isinstance(future.exception(), BrokenExecutor) for future in done):
                self._after_death(running, suspects, records, alone)
                continue
            for future in done:
                self._collect(running.pop(future), future, records, attempts=1 + alone)

    def _after_death(self, running, suspects, records, alone: bool) -> None:
        """Every run in flight is lost; find out whose fault it was by running them one by one."""
        wait(running)
        how = self._workers.replace()
        self._deaths_in_a_row += 1
        lost = []
        for future, spec in running.items():
            if isinstance(future.exception(), BrokenExecutor):
                lost.append(spec)
            else:
                self._collect(spec, future, records, attempts=1)
        running.clear()
        if alone:
            for spec in lost:
                self._fail(spec, f"its process died twice ({how})", attempts=2)
        else:
            suspects.extend(lost)
        if self._deaths_in_a_row >= _MOST_DEATHS_IN_A_ROW:
            raise SweepStopped(
                f"{self._deaths_in_a_row} processes in a row died ({how}) and no run ended well "
                "between them; the machine may be out of memory (try fewer --workers)."
            )

    def _collect(self, spec: RunSpec, future: Future, records: dict, attempts: int) -> None:
        error = future.exception()
        if error is not None:
            self._fail(spec, f"{type(error).__name__}: {error}", attempts)
            return
        record, seconds = future.result()
        self._folder.records.save(record)
        self._folder.log_timing(record["id"], seconds, attempts, record["status"])
        self._deaths_in_a_row = 0
        records[spec] = record
        self.on_end(spec, seconds)

    def _fail(self, spec: RunSpec, cause: str, attempts: int) -> None:
        identity = self._identity(spec)
        self._folder.log_timing(identity, 0.0, attempts, "failed")
        self.failures[identity] = Failure(spec, cause)

    def _identity(self, spec: RunSpec) -> str:
        return spec.identity(self._fingerprint)


def _timed(run: Callable[[RunSpec], dict[str, Any]], spec: RunSpec):
    start = time.perf_counter()
    record = run(spec)
    return record, time.perf_counter() - start
