"""One sitting of a lab: its data, output folder and workers, one progress display, the files."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlip_reg.datasets import DATASET_NAMES, DataError, dataset_fingerprint
from dlip_reg.experiments import (
    Experiment,
    Record,
    RunFolder,
    Spec,
    Sweep,
    Workers,
    count_runs,
    dask_workers,
    first_stage,
    local_workers,
    run_together,
    timing_worker,
)
from dlip_reg.experiments.rows import failure_row, record_row
from dlip_reg.experiments.worker import kernel_kinds, run_spec, run_timed
from dlip_reg.training import TRAINING_VERSION, RunSpec
from dlip_reg.training.process import configure_process

if TYPE_CHECKING:
    from dlip_reg.report import Section


class BadInput(ValueError):
    """The arguments have to change."""


class NothingMeasured(RuntimeError):
    """No run gave a record, so there is nothing to report."""


class Session:
    """What a lab works with; a context that releases the workers at its end.

    Nothing is written before `open`. Raises what has to reach the user: BadInput, NothingMeasured,
    WrongFolder, DataError, SchedulerError, SweepStopped, OSError.
    """

    def __init__(self, lab: str, options: argparse.Namespace) -> None:
        if options.workers and options.scheduler:
            raise BadInput("--workers is for this machine; a cluster (--scheduler) has its own.")
        self._options = options
        self.other_runs = 0  # whose records the lab keeps by itself
        # Settled here: the workers of a cluster have another environment.
        data_dir = options.data_dir or os.environ.get("DLIP_DATA_DIR")
        self._data_dir = str(Path(data_dir).expanduser().resolve()) if data_dir else None
        if not self._data_dir and options.dataset != DATASET_NAMES[0]:
            configure_process()  # keras.datasets brings TensorFlow, which else greets at length
        self._fingerprint = dataset_fingerprint(options.dataset, self._data_dir)
        self._versions = {name: version(name) for name in ("tensorflow", "keras")}
        self._folder = RunFolder(
            options.out,
            {
                "lab": lab,
                "preset": options.preset,
                "model": options.model,
                "dataset": options.dataset,
                "data": self._fingerprint,
                "training": TRAINING_VERSION,
                **self._versions,
            },
            fresh=options.fresh,
        )
        self._workers = (
            dask_workers(options.scheduler) if options.scheduler else local_workers(options.workers)
        )
        self._timing = timing_worker()
        self._sweep, self._timed_sweep = self._sweeps = [
            Sweep(
                self._folder,
                self._fingerprint,
                functools.partial(run, data_dir=self._data_dir),
                workers,
            )
            for run, workers in ((run_spec, self._workers), (run_timed, self._timing))
        ]

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind, error, trace) -> None:
        for workers in (self._workers, self._timing):
            workers.close(at_once=error is not None)

    @property
    def path(self) -> Path:
        """The output folder."""
        return self._folder.path

    @property
    def data_dir(self) -> str | None:
        """Where full data sets lie."""
        return self._data_dir

    @property
    def workers(self) -> Workers:
        """What runs."""
        return self._workers

    def check_models(self, experiments: Sequence[Experiment]) -> None:
        """BadInput if a model that `experiments` begin with cannot take its data."""
        runs = [spec for spec in first_stage(experiments) if isinstance(spec, RunSpec)]
        for spec in {(spec.model, spec.data): spec for spec in runs}.values():
            self.kernel_kinds(spec)

    def kernel_kinds(self, spec: RunSpec) -> set[str]:
        """The kinds of kernels in the model of `spec`; BadInput if it cannot take the data."""
        try:
            return self._workers.submit(kernel_kinds, spec, self._data_dir).result()
        except DataError:
            raise
        except ValueError as error:
            raise BadInput(
                f"Preset {self._options.preset} cannot be run with {spec.model} on "
                f"{spec.data.name}: {error}"
            ) from error
        except Exception as error:  # the worker's own troubles, be it here or on a cluster
            cause = _first_line(f"{type(error).__name__}: {error}")
            raise NothingMeasured(f"No worker could build {spec.model} ({cause}).") from error

    def open(self, announcement: str) -> None:
        """Make the output folder ready and say what is going to happen."""
        try:
            self._folder.open()
        except OSError as error:
            raise BadInput(
                f"{self._folder.path} cannot be written to ({error.strerror or error}); choose "
                "another --out, or make room there."
            ) from error
        print(announcement, flush=True)

    def run(self, experiments: Sequence[Experiment]) -> dict[str, Any]:
        """The outcomes of `experiments` by name; NothingMeasured where every run fails.

        One line shows meanwhile how many runs are done and how long the rest will take.
        """
        # What is timed comes last, when the other workers have gone.
        kinds = [[e for e in experiments if e.timed == timed] for timed in (False, True)]
        totals = [count_runs(kind) for kind in kinds]
        outcomes: dict[str, Any] = {}
        ended: set[Spec] = set()
        with Progress(sum(totals)) as progress:

            def advance(spec: Spec, seconds: float | None) -> None:
                if spec not in ended:  # a later stage may ask for a run again
                    ended.add(spec)
                    progress.advance()

            def expect(index: int, total: int) -> None:
                totals[index] = total
                progress.expect(sum(totals))

            for index, (kind, sweep) in enumerate(zip(kinds, self._sweeps, strict=True)):
                sweep.on_end = advance
                outcomes |= run_together(
                    kind,
                    functools.partial(self._records_of, sweep),
                    functools.partial(expect, index),
                )
                self._workers.close()
        return outcomes

    def train(self, specs: Sequence[Spec], advance: Callable[[], None]) -> dict[Spec, Record]:
        """The records of `specs` without those of failed runs; `advance` is called at each's end.

        NothingMeasured where every run fails.
        """
        self._sweep.on_end = lambda spec, seconds: advance()
        return self._records_of(self._sweep, specs)

    def _records_of(self, sweep: Sweep, specs: Sequence[Spec]) -> dict[Spec, Record]:
        records = sweep.run(specs)
        if sweep.failures and not any(sweep.records for sweep in self._sweeps):
            raise NothingMeasured(f"Every run failed: {self._causes()}.")
        return records

    def write(
        self,
        title: str,
        lead: str,
        claims: Sequence[Mapping[str, Any]],
        sections: Sequence[Section],
        facts: Mapping[str, str],
    ) -> Path:
        """records.csv, claims.json and the report, then the verdicts on the terminal."""
        from dlip_reg.report import write_claims, write_csv, write_lab_report

        # Not those of timed runs: no two sittings give the same, and the table is to repeat.
        rows = [record_row(record) for record in self._sweep.records.values()]
        rows += [failure_row(*item) for item in self._sweep.failures.items()]
        write_csv(self._folder.path / "records.csv", rows)
        write_claims(self._folder.path / "claims.json", claims)
        notes = self._notes()
        page = write_lab_report(
            self._folder.path,
            title=title,
            lead=lead,
            claims=claims,
            sections=sections,
            facts=self._facts(facts),
            notes=notes,
        )
        if claims:
            _print_verdicts(claims)
        for note in notes:
            print(note)
        return page

    def _facts(self, facts: Mapping[str, str]) -> dict[str, str]:
        versions = ", ".join(f"{name} {number}" for name, number in self._versions.items())
        options = self._options
        return {
            **({"Paper check": options.paper} if options.paper else {"Preset": options.preset}),
            "Model": options.model,
            "Data": f"{options.dataset} (SHA-256 {self._fingerprint[:12]}…)",
            **facts,
            "Runs": str(sum(len(sweep.records) for sweep in self._sweeps) + self.other_runs),
            "Software": versions,
        }

    def _notes(self) -> list[str]:
        notes = []
        records = [record for sweep in self._sweeps for record in sweep.records.values()]
        diverged = sum(record["status"] == "diverged" for record in records)
        if diverged:
            notes.append(f"{counted(diverged, 'run')} diverged (a loss became NaN or infinite).")
        failed = sum(len(sweep.failures) for sweep in self._sweeps)
        if failed:
            notes.append(f"{counted(failed, 'run')} failed: {self._causes()}.")
        return notes

    def _causes(self) -> str:
        failures = [failure for sweep in self._sweeps for failure in sweep.failures.values()]
        return "; ".join(sorted({_first_line(failure.cause) for failure in failures}))


class Progress:
    """One line that shows how many runs are done and how long the rest will take."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("time left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            # The default window of 30 s swings with the mix of runs.
            speed_estimate_period=120,
        )
        self._task = self._bar.add_task("runs", total=total)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *error) -> None:
        self._bar.stop()

    def advance(self) -> None:
        """One more run is there."""
        self._bar.advance(self._task)

    @property
    def completed(self) -> int:
        """How many runs are there."""
        return int(self._bar.tasks[0].completed)

    def describe(self, text: str) -> None:
        """What stands before the bar, instead of "runs"."""
        self._bar.update(self._task, description=text)

    def expect(self, total: int) -> None:
        """It turned out that there are `total` runs in all."""
        self._bar.update(self._task, total=total)


def counted(number: int, noun: str) -> str:
    """ "1 run", "2 runs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _first_line(text: str) -> str:
    return text.partition("\n")[0].strip().rstrip(".")


def _print_verdicts(claims: Sequence[Mapping[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    from dlip_reg.report.numbers import format_estimate

    # 80 columns have to do.
    table = Table(
        Column("claim", no_wrap=True),
        "effect [interval]",
        Column("verdict", no_wrap=True),
        box=box.SIMPLE,
        pad_edge=False,
    )
    for claim in claims:
        estimate = format_estimate(claim["effect"], claim["ci_low"], claim["ci_high"])
        unit = "" if claim["effect"] is None else f" {claim['unit']}"
        table.add_row(claim["id"], estimate + unit, claim["verdict"])
    Console().print(table)
