"""Running specifications: workers, the sweep that keeps them busy, and the record store."""

from dlip_reg.experiments.executors import (
    SchedulerError,
    Workers,
    dask_workers,
    local_workers,
    timing_worker,
)
from dlip_reg.experiments.store import OutputDirConflictError, RecordStore, RunFolder
from dlip_reg.experiments.sweep import Failure, Sweep, SweepStoppedError

__all__ = [
    "Failure",
    "OutputDirConflictError",
    "RecordStore",
    "RunFolder",
    "SchedulerError",
    "Sweep",
    "SweepStoppedError",
    "Workers",
    "dask_workers",
    "local_workers",
    "timing_worker",
]
