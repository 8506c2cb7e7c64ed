"""Running specifications: workers, the sweep that keeps them busy, and the record store."""

from dlip_reg.experiments.executors import (
    SchedulerError as SchedulerError,
    Workers as Workers,
    dask_workers as dask_workers,
    local_workers as local_workers,
    timing_worker as timing_worker,
)
from dlip_reg.experiments.store import (
    OutputDirConflictError as OutputDirConflictError,
    RecordStore as RecordStore,
    RunFolder as RunFolder,
)
from dlip_reg.experiments.sweep import (
    Failure as Failure,
    Sweep as Sweep,
    SweepStoppedError as SweepStoppedError,
)
