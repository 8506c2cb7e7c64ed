"""What the benchmarks print alike: the machine, and figures with their spread."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version


def print_machine() -> None:
    """The machine and the versions that the numbers below belong to."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy"))
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores; ", end="")
    print(f"Python {platform.python_version()}, {packages}")


def spread(values: Sequence[float]) -> str:
    """Minimum, median and maximum."""
    return f"min {min(values):.2f}, median {statistics.median(values):.2f}, max {max(values):.2f}"
