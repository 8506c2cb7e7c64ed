"""What to run, running it, and where the records live."""

from dlip_reg.experiments.executors import SchedulerError, Workers, dask_workers, local_workers
from dlip_reg.experiments.store import RecordStore, RunFolder, WrongFolder
from dlip_reg.experiments.sweep import Failure, Sweep, SweepStopped

__all__ = [
    "Failure",
    "RecordStore",
    "RunFolder",
    "SchedulerError",
    "Sweep",
    "SweepStopped",
    "Workers",
    "WrongFolder",
    "dask_workers",
    "local_workers",
]
