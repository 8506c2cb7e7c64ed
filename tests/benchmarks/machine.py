"""What benchmarks share: the command line, the machine, times side by side, a new process."""

import argparse
import contextlib
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple


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
    a tuple for several values, ... for an argument that has to be given.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=form)
    for name, default in defaults.items():
        kind: dict[str, Any] = {"type": type(default), "default": default}
        if default is ...:
            parser.add_argument(name)
            continue
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


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what it returned."""
    start = time.perf_counter()
    value = function()
    return time.perf_counter() - start, value


class Timing(NamedTuple):
    """What one way to do some work took."""

    start_up: float  # seconds until TensorFlow is imported wherever it is needed
    seconds: float  # for the work itself
    accuracy: float  # a mean, to see that all ways do the same work


def compare(
    ours: Callable[[], Timing],
    theirs: Callable[[], Timing],
    count: int,
    repetitions: int,
    target: float | None = None,
) -> None:
    """Time both in each repetition, by turns the one and the other first; print each, then ratios.

    A ratio is their seconds over ours; "with start-up" counts it for ours, not for theirs. Both
    do `count` runs.
    """
    ratios, with_start, rates = [], [], {"ours": [], "theirs": []}
    for repetition in range(repetitions):
        order = [ours, theirs] if repetition % 2 == 0 else [theirs, ours]
        timings = {way: way() for way in order}
        mine, other = timings[ours], timings[theirs]
        ratios.append(other.seconds / mine.seconds)
        with_start.append(other.seconds / (mine.seconds + mine.start_up))
        texts = []
        for name, timing in zip(rates, (mine, other), strict=True):
            rates[name].append(60 * count / timing.seconds)
            texts.append(
                f"{name} {timing.seconds:6.1f} s, {rates[name][-1]:.1f} runs a minute "
                f"({timing.accuracy:.3f}), start {timing.start_up:.1f} s"
            )
        print(f"  {'   '.join(texts)}   ratio {ratios[-1]:.2f}", flush=True)
    wanted = f", target {target}" if target else ""
    print(f"  ratio{wanted}: {spread(ratios)}; with start-up {spread(with_start)}")
    for name, values in rates.items():
        print(f"  {name}: {spread(values, 1)} runs a minute", flush=True)
    print()


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function gives in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def status(name: str) -> float:
    """MB of this process: "VmRSS", resident now, or "VmHWM", the most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e6
