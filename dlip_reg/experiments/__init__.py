"""What to run, running it, and where the records live."""

from dlip_reg.experiments.executors import (
    SchedulerError,
    Workers,
    dask_workers,
    local_workers,
    timing_worker,
)
from dlip_reg.experiments.experiment import (
    Experiment,
    Record,
    Spec,
    Steps,
    count_runs,
    first_stage,
    run_together,
)
from dlip_reg.experiments.store import RecordStore, RunFolder, WrongFolder
from dlip_reg.experiments.sweep import Failure, Sweep, SweepStopped

__all__ = [
    "Experiment",
    "Failure",
    "Record",
    "RecordStore",
    "RunFolder",
    "SchedulerError",
    "Spec",
    "Steps",
    "Sweep",
    "SweepStopped",
    "Workers",
    "WrongFolder",
    "count_runs",
    "dask_workers",
    "first_stage",
    "local_workers",
    "run_together",
    "timing_worker",
]
