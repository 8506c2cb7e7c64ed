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

from dlip_reg.experiments.executors import Workers, is_death
from dlip_reg.experiments.experiment import Record, Spec
from dlip_reg.experiments.store import RunFolder

# This many runs in a row whose process died twice, and none that came to its end: the machine, not
# a run, is at fault (no memory, a broken installation), and going on would only take long.
_MOST_LOST_IN_A_ROW = 4


class SweepStopped(RuntimeError):
    """The sweep gave up: process after process died, or the cluster went away."""


@dataclass(frozen=True)
class Failure:
    """A run that gave no record: which, and why."""

    spec: Spec
    cause: str


class Sweep:
    """Runs specifications into the records of a folder.

    `run` maps a specification to its record; it must be picklable. `fingerprint` is that of the
    data all runs use. `on_end(spec, seconds)` is called when a run has ended, well or not, with
    None for the seconds where its record was there before. Over all calls of `run`, `records`
    gathers what they returned, and `failures` the failed runs by identity and in the order of the
    specifications.
    """

    def __init__(
        self,
        folder: RunFolder,
        fingerprint: str,
        run: Callable[[Spec], Record],
        workers: Workers,
    ) -> None:
        self._folder, self._fingerprint = folder, fingerprint
        self._run, self._workers = run, workers
        self.on_end: Callable[[Spec, float | None], None] = lambda spec, seconds: None
        self._lost_in_a_row = 0
        self.records: dict[Spec, Record] = {}
        self.failures: dict[str, Failure] = {}

    def run(self, specs: Iterable[Spec]) -> dict[Spec, Record]:
        """The records of `specs`, in their order, each run at most once; failed ones are left out.

        Raises SweepStopped where no process stays alive or the cluster is gone, and OSError where
        a record cannot be written; what was finished by then is kept.
        """
        specs = list(dict.fromkeys(specs))
        records: dict[Spec, Record] = {}
        waiting: deque[Spec] = deque()
        for spec in specs:
            record = self._folder.records.load(self._identity(spec))
            if record is None:
                waiting.append(spec)
            else:
                records[spec] = record
                self.on_end(spec, None)

        def keep(spec: Spec, record: Record | None) -> None:
            if record is not None:
                records[spec] = record

        if waiting:
            self.run_asked(lambda: waiting.popleft() if waiting else None, keep)
        order = {self._identity(spec): index for index, spec in enumerate(specs)}
        self.failures = dict(sorted(self.failures.items(), key=lambda item: order.get(item[0], -1)))
        records = {spec: records[spec] for spec in specs if spec in records}
        self.records |= records
        return records

    def run_asked(
        self, ask: Callable[[], Spec | None], tell: Callable[[Spec, Record | None], None]
    ) -> None:
        """Run what `ask` gives, as many at once as there are workers, whether or not it was before.

        `ask()` is called whenever there is room. None from it means nothing for now: it is asked
        again when a run has ended, and with none in flight that is the end. `tell(spec, record)` is
        called when a run has ended and its record is kept; a failed one has None and is among
        `failures`. Raises like `run`.
        """
        waiting: deque[Spec] = deque()  # asked for and not begun: at most one
        suspects: deque[Spec] = deque()  # were in flight when a process died
        running: dict[Future, Spec] = {}
        while True:
            # A suspect runs alone, so that a second death is surely its own.
            alone = bool(suspects)
            queue, room = (suspects, 1) if alone else (waiting, self._workers.count)
            while len(running) < room:
                if not queue and not alone and (spec := ask()) is not None:
                    queue.append(spec)
                if not queue:
                    break
                try:
                    future = self._workers.submit(_attempt, self._run, queue[0])
                except BrokenExecutor:
                    if not running:  # a process died idle: no run is to blame
                        self._workers.replace()
                    break
                running[future] = queue.popleft()
            if not (running or waiting or suspects):
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            if any(_is_lost(future) for future in done):
                self._after_death(running, suspects, tell, alone)
                continue
            for future in done:
                self._collect(running.pop(future), future, tell, attempts=1 + alone)

    def _after_death(self, running, suspects, tell, alone: bool) -> None:
        """Every run in flight is lost; find out whose fault it was by running them one by one."""
        wait(running)
        how = self._workers.replace()
        lost = []
        for future, spec in running.items():
            if _is_lost(future):
                lost.append(spec)
            else:
                self._collect(spec, future, tell, attempts=1)
        running.clear()
        if not alone:
            suspects.extend(lost)
            return
        for spec in lost:
            self._fail(spec, f"its process died twice ({how})", 0.0, 2, tell)
            self._lost_in_a_row += 1
        if self._lost_in_a_row >= _MOST_LOST_IN_A_ROW:
            raise SweepStopped(
                f"{self._lost_in_a_row} runs in a row lost their process twice ({how}); "
                "the machine may be out of memory (try fewer --workers)."
            )

    def _collect(self, spec: Spec, future: Future, tell, attempts: int) -> None:
        if future.cancelled():
            raise SweepStopped("The Dask scheduler went away; the same command goes on later.")
        error = future.exception()
        record, cause, seconds = future.result() if error is None else (None, _cause(error), 0.0)
        self._lost_in_a_row = 0
        if cause is None and record["id"] != self._identity(spec):
            cause = "its worker has other data or another version of the program"
        if cause is not None:
            self._fail(spec, cause, seconds, attempts, tell)
            return
        self._folder.records.save(record)
        self._folder.log_timing(record["id"], seconds, attempts, record["status"])
        self.failures.pop(record["id"], None)
        tell(spec, record)
        self.on_end(spec, seconds)

    def _fail(self, spec: Spec, cause: str, seconds: float, attempts: int, tell) -> None:
        identity = self._identity(spec)
        self._folder.log_timing(identity, seconds, attempts, "failed")
        self.failures[identity] = Failure(spec, cause)
        tell(spec, None)
        self.on_end(spec, seconds)

    def _identity(self, spec: Spec) -> str:
        return spec.identity(self._fingerprint)


def _attempt(run: Callable[[Spec], Record], spec: Spec):
    """What the worker does: the record or None, why there is none or None, and the seconds."""
    start = time.perf_counter()
    try:
        record, cause = run(spec), None
    except Exception as error:
        # As text: some exceptions cannot be pickled, and TensorFlow's would bring TensorFlow along.
        record, cause = None, _cause(error)
    return record, cause, time.perf_counter() - start


def _is_lost(future: Future) -> bool:
    return not future.cancelled() and is_death(future.exception())


def _cause(error: BaseException) -> str:
    """One line that is the same wherever the run fails the same way."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
