"""One sitting of a lab: its data, output folder and workers, one progress display, the files."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dlip_reg.datasets import DATASET_NAMES, DataError, dataset_fingerprint
from dlip_reg.experiments import RunFolder, Sweep, dask_workers, local_workers
from dlip_reg.experiments.rows import failure_row, record_row
from dlip_reg.experiments.worker import kernel_kinds, run_spec
from dlip_reg.training import TRAINING_VERSION, RunSpec
from dlip_reg.training.process import configure_process


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
        except DataError:
            raise
        except ValueError as error:
            options = self._options
            raise BadInput(
                f"Preset {options.preset} cannot be run with {options.model} on {options.dataset}: "
                f"{error}"
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

    @contextlib.contextmanager
    def progress(self, total: int) -> Iterator[Progress]:
        """While open, `run` shows how many of `total` runs are done and how long the rest takes."""
        with Progress(total) as progress:
            self._sweep.on_end = lambda spec, seconds: progress.advance()
            yield progress

    def run(self, specs: Iterable[RunSpec]) -> dict[RunSpec, dict[str, Any]]:
        """The records of `specs`, running those that are missing; NothingMeasured if all fail."""
        records = self._sweep.run(specs)
        if self._sweep.failures and not records:
            raise NothingMeasured(f"Every run failed: {self._causes()}.")
        return records

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
            notes.append(f"{counted(diverged, 'run')} diverged (a loss became NaN or infinite).")
        if self._sweep.failures:
            notes.append(f"{counted(len(self._sweep.failures), 'run')} failed: {self._causes()}.")
        return notes

    def _causes(self) -> str:
        causes = {_first_line(failure.cause) for failure in self._sweep.failures.values()}
        return "; ".join(sorted(causes))


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
