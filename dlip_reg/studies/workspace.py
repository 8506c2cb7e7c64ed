"""What a study or a search works with: data, an output folder of its own, and workers."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any

from dlip_reg.checks import optional, require_bool, require_text, require_whole
from dlip_reg.datasets import DataError, DatasetArgumentError, dataset_info
from dlip_reg.datasets.names import FOLDERS, absolute_name
from dlip_reg.datasets.splits import draw_splits
from dlip_reg.errors import DlipRegError, cause_of
from dlip_reg.experiments.executors import dask_workers, is_death, local_workers, timing_worker
from dlip_reg.experiments.rows import failure_row, record_row
from dlip_reg.experiments.store import RunFolder, require_kept
from dlip_reg.experiments.sweep import Sweep
from dlip_reg.extras import installed_version
from dlip_reg.files import write_csv
from dlip_reg.studies.progress import counted
from dlip_reg.training.identity import code_hash
from dlip_reg.training.model_functions import is_function
from dlip_reg.training.process import configure_process, onednn_setting
from dlip_reg.training.records import Record
from dlip_reg.training.sources import source_hash
from dlip_reg.training.specification import DataSpec, RunSpec, Spec
from dlip_reg.training.worker import kernel_kinds, run_spec, run_timed


class UsageError(DlipRegError, ValueError):
    """The arguments have to change."""


class NoResultsError(DlipRegError, RuntimeError):
    """No run gave a record, so there is nothing to report."""


@dataclass(frozen=True)
class Resources:
    """Where and with what a study runs.

    Args:
        out: The output folder.
        data_dir: Where full data sets lie (default: the environment variable DLIP_DATA_DIR).
        workers: Local processes of one thread each (default: one per core, or fewer where memory
            is scarce).
        scheduler: The address of a Dask scheduler to run on instead.
        fresh: Whether to empty the output folder first, files of your own included.
    """

    out: Path
    data_dir: str | os.PathLike[str] | None = None
    workers: int | None = None
    scheduler: str | None = None
    fresh: bool = False


class Workspace:
    """Runs specifications into an output folder; a context that releases the workers at its end.

    Making it checks the data and the folder and writes nothing; `open` makes the folder ready.

    Args:
        resources: Where and with what to run.
        dataset: The data set that the folder is for.
        configuration: What must agree between the runs in a folder, beside the data and versions.
        size: The side in pixels to which the images of "folder:PATH" are resized.
        others: Further data sets that runs use.

    Raises:
        UsageError, OutputDirConflictError, DataError, SchedulerError: What has to change.
    """

    def __init__(
        self,
        resources: Resources,
        dataset: str,
        configuration: Mapping[str, Any],
        size: int | None = None,
        others: Sequence[str] = (),
    ) -> None:
        if sys.flags.optimize > 1:
            raise UsageError(
                "python -OO removes the docstrings, from which the report takes its texts; run "
                "without -OO."
            )
        found = find_spec("callbacks")
        if found and not Path(found.origin or "", "../loss_curve.py").resolve().is_file():
            raise UsageError(
                f"{found.origin} hides the package callbacks, which dlip_reg needs: rename it, or "
                "start elsewhere."
            )
        if resources.workers and resources.scheduler:
            raise UsageError(
                "--workers is for this machine; a cluster (--scheduler) has workers of its own."
            )
        try:
            optional(require_whole)("workers", resources.workers)
            optional(require_text)("scheduler", resources.scheduler)
            require_bool("fresh", resources.fresh)
        except ValueError as error:
            raise UsageError(str(error)) from error
        if size is not None and not dataset.startswith(FOLDERS):
            raise UsageError(f"--size applies to images in folder:PATH, not to {dataset}.")
        # Resolved here: the workers of a cluster have another environment.
        data_dir = resources.data_dir or os.environ.get("DLIP_DATA_DIR")
        self.data_dir = str(Path(data_dir).expanduser().resolve()) if data_dir else None
        if resources.data_dir and not Path(resources.data_dir).expanduser().is_dir():
            raise UsageError(f"--data-dir {resources.data_dir} is not a folder.")
        source_hash.cache_clear()  # new workers import what a notebook's user has edited meanwhile
        names = dict.fromkeys(map(absolute_name, (dataset, *others)))
        by_keras = not self.data_dir and {"mnist", "fashion_mnist", "cifar10"} & names.keys()
        if by_keras and "tensorflow" not in sys.modules:  # as it is in a notebook
            configure_process()  # keras.datasets imports TensorFlow, which else logs on import
        sizes = {name: size if name.startswith(FOLDERS) else None for name in names}
        infos = {name: dataset_info(name, self.data_dir, size=sizes[name]) for name in names}
        self.fingerprints = {name: info.fingerprint for name, info in infos.items()}
        self.classes = {name: info.classes for name, info in infos.items()}
        self.left_out = [info.left_out for info in infos.values() if info.left_out]
        self.versions = {name: installed_version(name) for name in ("tensorflow", "keras")}
        configuration = {
            **configuration,
            "dataset": dataset,
            "data": self.fingerprints[absolute_name(dataset)],
            "code": code_hash(),
            **self.versions,
            **onednn_setting(),
        }
        with _writing(resources.out):
            self.folder = RunFolder(resources.out, configuration, fresh=resources.fresh)
        self._on_cluster = bool(resources.scheduler)
        self.workers = (
            dask_workers(resources.scheduler)
            if resources.scheduler
            else local_workers(resources.workers)
        )
        self._timing = timing_worker()
        self._sweep, self._timed_sweep = self._sweeps = [
            Sweep(self.folder, self.fingerprints, partial(run, data_dir=self.data_dir), workers)
            for run, workers in ((run_spec, self.workers), (run_timed, self._timing))
        ]

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for workers in (self.workers, self._timing):
            workers.close(at_once=error is not None)
        self.folder.release()

    @property
    def path(self) -> Path:
        """The output folder."""
        return self.folder.path

    def open(self) -> None:
        """Make the output folder ready.

        Raises:
            UsageError: It cannot be written to.
        """
        with _writing(self.path):
            self.folder.open()

    def check_models(self, specs: Sequence[Spec], preset: str) -> set[str]:
        """Compile the model of each kind of run once; the kinds of kernels that all of them have.

        Raises:
            UsageError: A model that cannot take its data, or another part that Keras refuses.
            NoResultsError: No worker could build it.
        """
        runs = [spec for spec in specs if isinstance(spec, RunSpec)]
        parts = attrgetter("model", "data", "optimizer", "loss", "augmentation")
        builds = {(parts(run), options_of(run)): run for run in runs}.values()
        kinds = [self.kernel_kinds(run, preset) for run in builds]
        return set.intersection(*kinds) if kinds else set()

    def kernel_kinds(self, spec: RunSpec, preset: str) -> set[str]:
        """The kinds of kernels in the model of `spec`; errors as `check_models`."""
        try:
            return set(self.workers.submit(kernel_kinds, spec, self.data_dir).result())
        except DataError as error:
            if self._on_cluster:  # they were found on this machine
                raise DataError(f"On a worker of the cluster, {error}") from error
            raise
        except DatasetArgumentError as error:
            raise _too_few_images(spec.model, spec.data, preset, error) from error
        except ValueError as error:
            by = " by a worker of the cluster" if self._on_cluster else ""
            raise UsageError(
                f"Preset {preset} cannot be run with {spec.model} on {spec.data.name}{by}: {error}"
            ) from error
        # The worker's own troubles, here or on a cluster, and `sys.exit` in code of the user's.
        except (Exception, SystemExit) as error:
            if is_death(error):
                self.workers.replace()
            cause = cause_of(error).rstrip(".")
            raise NoResultsError(f"No worker could build {spec.model} ({cause}).") from error

    def check_images(self, data: Mapping[DataSpec, str], preset: str) -> None:
        """Check that all arms have enough images, also those that are made of tuned ones.

        Args:
            data: The data of the runs -> an arm that uses it.
            preset: For the error.

        Raises:
            UsageError: The data set has fewer images.
        """
        for spec, arm in data.items():
            sizes = spec.n_train, spec.n_validation, spec.n_test
            if any(sizes):
                source = dataset_info(spec.name, self.data_dir, size=spec.size)
                try:
                    draw_splits(spec.name, source, 0, *sizes)
                except DatasetArgumentError as error:
                    raise _too_few_images(f"Arm {arm}", spec, preset, error) from error

    def saved(self, spec: Spec) -> Record | None:
        """The record of an earlier run of `spec`; None if there is none."""
        return self._sweep.saved(spec)

    def run(
        self,
        specs: Sequence[Spec],
        on_end: Callable[[Spec, float | None], None],
        timed: bool = False,
    ) -> Mapping[Spec, Record]:
        """The records of `specs` without those of failed runs.

        Args:
            specs: What to run; those with a record are not run again.
            on_end: Called with each run that has ended and its seconds (None: there was a record).
            timed: Whether the runs measure seconds and so have the machine to themselves.

        Raises:
            NoResultsError: Every run failed.
        """
        sweep = self._timed_sweep if timed else self._sweep
        if timed:
            self.workers.close()
        sweep.on_end = on_end
        # By seed: what is timed is compared seed by seed, so a slow spell of the machine must not
        # hit one arm alone.
        order = sorted(dict.fromkeys(specs), key=lambda spec: (spec.data.name, spec.seed))
        records = sweep.run(order, in_order=timed)
        if timed:
            self._timing.close()
        if sweep.failures and not any(sweep.records for sweep in self._sweeps):
            raise NoResultsError(f"Every run failed: {self._causes()}.")
        return records

    def write_records(self) -> None:
        """Write records.csv: one row for each run that repeats bit for bit, so no timed ones."""
        require_kept(self.path)
        rows = [record_row(record) for record in self._sweep.records.values()]
        rows += [failure_row(*item) for item in self._sweep.failures.items()]
        write_csv(self.path / "records.csv", rows)

    def number_of_records(self) -> int:
        """How many runs have a record."""
        return sum(len(sweep.records) for sweep in self._sweeps)

    def notes(self) -> Iterator[str]:
        """Sentences about images that were left out, and runs that diverged or failed."""
        yield from self.left_out
        records = [record for sweep in self._sweeps for record in sweep.records.values()]
        if diverged := sum(record.status == "diverged" for record in records):
            yield f"{counted(diverged, 'run')} diverged (a loss became NaN or infinite)."
        if failed := sum(len(sweep.failures) for sweep in self._sweeps):
            yield f"{counted(failed, 'run')} failed: {self._causes()}."

    def _causes(self) -> str:
        failures = [failure for sweep in self._sweeps for failure in sweep.failures.values()]
        return "; ".join(sorted({failure.cause.rstrip(".") for failure in failures}))


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """UsageError where the output folder cannot be read or written."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written to ({error.strerror or error}); choose another --out, or "
            "free some space there."
        ) from error


def _too_few_images(what: str, data: DataSpec, preset: str, error: Exception) -> UsageError:
    uses = ("training", "validation", "testing")
    wanted = zip((data.n_train, data.n_validation, data.n_test), uses, strict=True)
    sizes = ", ".join(f"{number} for {use}" for number, use in wanted if number)
    return UsageError(
        f"{what} cannot be run: {data.name} has too few images for preset {preset}, which takes "
        f"{sizes}: {error}"
    )


def missing_layers(kinds: Collection[str]) -> str:
    """Which kinds of layers separate strengths lack: "no convolutions"; "" where both are there."""
    names = {"conv": "no convolutions", "dense": "no dense layers"}
    return " and ".join(name for kind, name in names.items() if kind not in kinds)


def options_of(run: RunSpec) -> frozenset[str]:
    """The options that a model function is called with; a builder is known to accept them all."""
    if not is_function(run.model):
        return frozenset()
    return frozenset((*run.regularization.options_in_use(), *json.loads(run.builder)))
