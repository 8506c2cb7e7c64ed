"""One sitting of a lab: its data, output folder and workers, one progress display, the files."""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dlip_reg.datasets import dataset_fingerprint
from dlip_reg.experiments import RunFolder, Sweep, dask_workers, local_workers
from dlip_reg.experiments.rows import failure_row, record_row
from dlip_reg.experiments.worker import kernel_kinds, run_spec
from dlip_reg.training import TRAINING_VERSION, RunSpec


class BadInput(ValueError):
    """The arguments have to change."""


class Session:
    """What a lab works with; a context that releases the workers at its end.

    Nothing is written before `open`. Raises what has to reach the user: BadInput, WrongFolder,
    DataError, SchedulerError, OSError.
    """

    def __init__(self, lab: str, options: argparse.Namespace) -> None:
        if options.workers and options.scheduler:
            raise BadInput("--workers is for this machine; a cluster (--scheduler) has its own.")
        self._options = options
        self._data_dir = None if options.data_dir is None else str(options.data_dir.resolve())
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
        self._sweep = Sweep(
            self._folder,
            self._fingerprint,
            functools.partial(run_spec, data_dir=self._data_dir),
            self._workers,
        )

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._workers.close(at_once=error is not None)

    def kernel_kinds(self, spec: RunSpec) -> set[str]:
        """The kinds of kernels in the model of `spec`; BadInput if it cannot take the data."""
        try:
            return self._workers.submit(kernel_kinds, spec, self._data_dir).result()
        except ValueError as error:
            raise BadInput(str(error)) from error

    def open(self, announcement: str) -> None:
        """Make the output folder ready and say what is going to happen."""
        self._folder.open()
        print(announcement, flush=True)

    @contextlib.contextmanager
    def progress(self, total: int) -> Iterator[Progress]:
        """While open, `run` shows how many of `total` runs are done and how long the rest takes."""
        with Progress(total) as progress:
            self._sweep.on_end = lambda spec, seconds: progress.advance()
            yield progress

    def run(self, specs: Iterable[RunSpec]) -> dict[RunSpec, dict[str, Any]]:
        """The records of `specs`, running those that are missing."""
        return self._sweep.run(specs)

    def write(
        self,
        claims: Sequence[Mapping[str, Any]],
        records: Sequence[Mapping[str, Any]],
        report: Callable[[Mapping[str, str], Sequence[str]], Path],
        facts: Mapping[str, str],
    ) -> Path:
        """records.csv, claims.json and the report, then the verdicts on the terminal."""
        from dlip_reg.report import write_claims, write_csv

        failures = self._sweep.failures
        rows = [record_row(record) for record in records]
        rows += [failure_row(identity, failure) for identity, failure in failures.items()]
        write_csv(self._folder.path / "records.csv", rows)
        write_claims(self._folder.path / "claims.json", claims)
        page = report(self._facts(records, facts), self._notes(records))
        _print_verdicts(claims)
        for note in self._notes(records):
            print(note)
        return page

    def _facts(self, records, facts: Mapping[str, str]) -> dict[str, str]:
        versions = ", ".join(f"{name} {number}" for name, number in self._versions.items())
        return {
            "Preset": self._options.preset,
            "Model": self._options.model,
            "Data": f"{self._options.dataset} (SHA-256 {self._fingerprint[:12]}…)",
            **facts,
            "Runs": str(len(records)),
            "Software": versions,
        }

    def _notes(self, records) -> list[str]:
        notes = []
        diverged = sum(record["status"] == "diverged" for record in records)
        if diverged:
            notes.append(f"{diverged} runs diverged (a loss became NaN or infinite).")
        causes = sorted({failure.cause for failure in self._sweep.failures.values()})
        if causes:
            notes.append(f"{len(self._sweep.failures)} runs failed: {'; '.join(causes)}.")
        return notes


class Progress:
    """One line that shows how many runs are done and how long the rest will take."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("runs"),
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

    def expect(self, total: int) -> None:
        """It turned out that there are `total` runs in all."""
        self._bar.update(self._task, total=total)


def _print_verdicts(claims: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from dlip_reg.report.numbers import format_estimate

    table = Table("claim", "effect [interval]", "unit", "verdict", title_justify="left")
    for claim in claims:
        estimate = format_estimate(claim["effect"], claim["ci_low"], claim["ci_high"])
        table.add_row(claim["id"], estimate, claim["unit"], claim["verdict"])
    Console().print(table)
