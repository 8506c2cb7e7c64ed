"""Runs that train nothing: they note that they were called, and then end as they are told to."""

import os
import signal
import time
import uuid
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from dlip_reg.experiments import RunFolder, Sweep, Workers
from dlip_reg.training import DataSpec, RunSpec, records
from dlip_reg.training.process import start_worker

FINGERPRINT = "the data"


class Awkward(Exception):
    """Pickles, and cannot be unpickled: its text is not what it is made from."""

    def __init__(self, place, reason):
        super().__init__(f"{reason} in {place}\nand a second line")


def make_specs(n):
    return [RunSpec("mlp", DataSpec("fake"), seed=seed) for seed in range(n)]


def make_record(spec, fingerprint=FINGERPRINT):
    return records.make_record(
        spec, fingerprint, True, measures={"val_accuracy": 1 / (3 + spec.seed)}
    )


@dataclass(frozen=True)
class FakeRun:
    """Leaves a file SEED-PID-... in `calls`, acts by `acts[seed]`, sleeps, returns a record."""

    calls: Path
    acts: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __call__(self, spec):
        earlier = self.count(spec.seed)
        (self.calls / f"{spec.seed}-{os.getpid()}-{uuid.uuid4().hex}").touch()
        act = self.acts.get(spec.seed, "")
        if act == "raise":
            raise Awkward(f"seed {spec.seed}", "no luck")
        if act == "exit" or (act == "exit once" and not earlier):
            os._exit(7)
        if act == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60 if act == "sleep" else self.seconds)
        return make_record(spec, "other data" if act == "other data" else FINGERPRINT)

    def count(self, seed):
        """How often the run of that seed was begun."""
        return len(list(self.calls.glob(f"{seed}-*")))

    def pids(self):
        """The processes that were at work."""
        return {int(call.name.split("-")[1]) for call in self.calls.iterdir()}


def thread_workers(count):
    """Enough where nothing dies."""
    return Workers(lambda: ThreadPoolExecutor(count), count)


def start_without_tensorflow():
    start_worker(int)


def process_workers(count, start=start_without_tensorflow, **options):
    """As `local_workers`, without TensorFlow, which takes seconds to load."""
    context = get_context("spawn")
    return Workers(
        lambda: ProcessPoolExecutor(count, mp_context=context, initializer=start), count, **options
    )


def make_sweep(path, run, workers):
    folder = RunFolder(path / "out", {"lab": "fake"})
    folder.open()
    folder.release()  # a test may resume in the same process
    run.calls.mkdir(exist_ok=True)
    return Sweep(folder, FINGERPRINT, run, workers)


def record_files(path):
    """Name and content of every file among the records."""
    return {file.name: file.read_bytes() for file in (path / "out" / "records").iterdir()}


def timings(path):
    """Identity -> (attempts, how it ended), from timings.csv."""
    header, *lines = (path / "out" / "timings.csv").read_text().splitlines()
    assert header == "id,seconds,attempts,ended"
    rows = [line.split(",") for line in lines]
    assert all(float(seconds) >= 0 for _, seconds, _, _ in rows)
    return {identity: (int(attempts), ended) for identity, _, attempts, ended in rows}
