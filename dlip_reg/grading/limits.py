"""What a submission may use."""

from __future__ import annotations

from dataclasses import dataclass

PATIENCE = 4  # how many times a limit in seconds may pass while others have the processors


@dataclass(frozen=True)
class Limits:
    """Seconds, megabytes and counts for one child; `total_seconds` is for a whole submission."""

    test_seconds: float = 20.0
    import_seconds: float = 20.0
    total_seconds: float = 120.0
    memory_mb: int = 1536
    disk_mb: int = 64
    files: int = 1000
    output_mb: int = 1
    threads: int = 256
    open_files: int = 256


@dataclass(frozen=True)
class Times:
    """What the kernel has counted for a process since its start, in seconds: its threads waited for
    a processor, and used processors, each thread's time added to the others'."""

    waited: float = 0.0
    used: float = 0.0

    def lacked(self, earlier: Times, elapsed: float, limit: float) -> float:
        """Seconds of the `elapsed` since `earlier` in which others had the processors, up to
        PATIENCE times `limit`.

        A process that ran has waited for itself, however many of its threads took turns.
        """
        waited = min(self.waited - earlier.waited, elapsed - (self.used - earlier.used))
        return min(max(waited, 0.0), PATIENCE * limit)
