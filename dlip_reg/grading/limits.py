"""What a submission may use, and where it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 1  # how many times a limit in seconds may pass while others have the processors
MB = 1 << 20
PRELOAD = ("numpy", "tensorflow", "keras", "keras_tuner", "h5py", "matplotlib.pyplot")


@dataclass(frozen=True)
class Limits:
    """Seconds, megabytes and counts for one child; `total_seconds` is for a whole submission, and
    `own_seconds` for what a marking test does itself."""

    test_seconds: float = 20.0
    import_seconds: float = 20.0
    total_seconds: float = 120.0
    memory_mb: int = 1536
    disk_mb: int = 64
    files: int = 1000
    output_mb: int = 1
    threads: int = 256
    open_files: int = 256
    own_seconds: float = 60.0

    def apply(self) -> None:
        """Have a POSIX kernel limit this process: memory of its own, the size of a file, open
        files, no core dump."""
        import resource

        wanted = {
            resource.RLIMIT_DATA: self.memory_mb * MB,
            resource.RLIMIT_FSIZE: self.disk_mb * MB,
            resource.RLIMIT_NOFILE: self.open_files,
            resource.RLIMIT_CORE: 0,
        }
        for which, value in wanted.items():
            _, hard = resource.getrlimit(which)
            lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
            with contextlib.suppress(ValueError, OSError):  # macOS has not all of them
                resource.setrlimit(which, (lowest, lowest))


@dataclass(frozen=True, kw_only=True)
class SandboxSetting:
    """How student code runs.

    Args:
        limits: What each child may use.
        tier: None for the best that this machine offers, or one of TIERS.
        allow_weak: Whether the weak tier is taken where there is no better one.
        preload: The modules that are imported once and shared by all children.
        probes: The package whose functions `Child.run` may name, besides "call".
        packages: Folders of further packages that children may import.
        secret: Paths that student code must not be able to read.
    """

    limits: Limits = field(default_factory=Limits)
    tier: str | None = None
    allow_weak: bool = False
    preload: Sequence[str] = PRELOAD
    probes: str = ""
    packages: Sequence[Path] = ()
    secret: Sequence[Path] = ()


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
