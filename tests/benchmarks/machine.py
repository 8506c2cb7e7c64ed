"""What benchmarks share: the command line, the machine, the spread of a number, a new process."""

import argparse
import contextlib
import multiprocessing
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def describe() -> str:
    """Two lines: the machine with its load now, and the versions of what is installed."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    versions = [f"Python {platform.python_version()}"]
    for name in ("tensorflow", "keras", "keras-tuner", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            versions.append(f"{name} {version(name)}")
    return f"{platform.system()}, {os.cpu_count()} cores ({cpu}){load}\n{', '.join(versions)}"


def begin(doc: str, **defaults: Any) -> argparse.Namespace:
    """The command line's options, once the machine is described; `doc` is the script's own.

    Each option has a default: False for a switch, a class for a value that may be left out (None),
    a tuple for several values.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=form)
    for name, default in defaults.items():
        kind: dict[str, Any] = {"type": type(default), "default": default}
        if default is False:
            kind = {"action": "store_true"}
        elif isinstance(default, type):
            kind = {"type": default}
        elif isinstance(default, tuple):
            kind |= {"type": type(default[0]), "nargs": "+"}
        parser.add_argument(f"--{name.replace('_', '-')}", **kind)
    options = parser.parse_args()
    print(describe())
    return options


def spread(values: Sequence[float], digits: int = 2) -> str:
    """ "median (min to max)"."""
    numbers = statistics.median(values), min(values), max(values)
    return "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(*numbers, d=digits)


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function gives in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def status(name: str) -> float:
    """MB of this process: "VmRSS", resident now, or "VmHWM", the most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e6
