"""The limits that a POSIX kernel keeps for a process by itself."""

from __future__ import annotations

import contextlib
import resource
from typing import Any

_MB = 1 << 20


def set_limits(limits: dict[str, Any]) -> None:
    """Limit this process: memory of its own, the size of a file, open files, no core dump."""
    wanted = {
        resource.RLIMIT_DATA: limits["memory_mb"] * _MB,
        resource.RLIMIT_FSIZE: limits["disk_mb"] * _MB,
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_CORE: 0,
    }
    for which, value in wanted.items():
        _, hard = resource.getrlimit(which)
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS has not all of them
            resource.setrlimit(which, (lowest, lowest))
