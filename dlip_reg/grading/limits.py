"""What a submission may use, and where it runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 1  # how many times a limit in seconds may pass once more while a process waits
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

    @property
    def folders(self) -> list[bytes]:
        """What children add to their path, which PYTHONPATH cannot name if there is a colon in it;
        as bytes: what is not text in this process's encoding may be text in theirs."""
        return [os.fsencode(path.parent) for path in self.packages]


def counted(elapsed: float, used: float) -> float:
    """Seconds that count for a limit, of `elapsed` in which a process has used processors for
    `used` seconds, each of its threads for itself.

    What it spends waiting, for a processor that others have, for a disk, or asleep, does not count
    as long as `elapsed` is at most 1 + PATIENCE times what does.
    """
    return min(max(used, elapsed / (1 + PATIENCE)), elapsed)
