"""What a submission may use."""

from __future__ import annotations

from dataclasses import dataclass


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
