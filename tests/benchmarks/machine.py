"""What every benchmark says about itself: the machine, the versions, and the spread of a number."""

import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path


def describe(*packages: str) -> str:
    """Two lines: the machine with its load now, and the versions."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {version(name)}" for name in packages]
    return f"{platform.system()}, {os.cpu_count()} cores ({cpu}){load}\n{', '.join(versions)}"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """ "median (min to max)"."""
    numbers = statistics.median(values), min(values), max(values)
    return "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(*numbers, d=digits)
