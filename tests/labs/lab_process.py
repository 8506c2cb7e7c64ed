"""Runs the labs as a student does, with presets that take seconds."""

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from waiting import alive_in_group, wait_for
from warm_processes import run_script, start_script

LABS_FOLDER = Path(__file__).parents[2] / "labs"
TINY_LAB = Path(__file__).with_name("tiny_lab.py")
PATIENCE = 300  # seconds; a busy machine is not a failure
# Runs a script as `python SCRIPT ARGUMENTS` does, for each of several lists of arguments in turn.
ANSWERS = """
import contextlib, io, json, runpy, sys
from pathlib import Path

def contents():
    return {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")}

script = sys.argv[1]
sys.path[0] = str(Path(script).parent)
before, answers = contents(), []
for arguments in json.load(sys.stdin):
    sys.argv = [script, *arguments]
    out, errors, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            status = end.code or 0
    heavy = ("tensorflow", "keras", "scipy", "matplotlib", "distributed")
    answers.append({
        "returncode": status, "stdout": out.getvalue(), "stderr": errors.getvalue(),
        "changed": contents() != before, "imported": [n for n in heavy if n in sys.modules],
    })
print(json.dumps(answers))
"""


@dataclass(frozen=True)
class TinyLab:
    """A lab made small: what is replaced in its quick preset, and the claims that are measured.

    `claims` take a few runs a seed. `model` is a quicker one than the lab's own.
    """

    name: str
    claims: str
    sizes: dict[str, Any]
    model: str | None = None

    @property
    def script(self):
        return LABS_FOLDER / f"{self.name}.py"

    @property
    def lab(self):
        """The study that the script hands to the command line."""
        return importlib.import_module(f"dlip_reg.studies.{self.name.removeprefix('lab_')}").STUDY

    @property
    def arguments(self):
        """One seed of the claims."""
        return self.asking(self.claims, seeds=1)

    def asking(self, claims, seeds):
        """The arguments for these claims on so many seeds."""
        model = ("--model", self.model) if self.model else ()
        return ("--preset", "quick", "--seeds", str(seeds), "--claims", claims, *model)

    def run(self, *arguments, fault="sound", **options):
        """The finished lab with these arguments, with its output as text."""
        return run_script(TINY_LAB, self.name, fault, *arguments, **options)

    def run_tiny(self, out, *arguments, **options):
        """One seed of the claims into `out`, which has to end well."""
        done = self.run(*self.arguments, "--out", out, *arguments, **options)
        assert done.returncode == 0, done.stderr
        return done

    def start_tiny(self, out, *arguments, start=start_script):
        """The same with blank pictures, under way as the leader of a process group of its own."""
        fault = "blank pictures"
        return start(TINY_LAB, self.name, fault, *self.arguments, "--out", out, *arguments)


_LABS = (
    TinyLab(
        "lab_batch_norm", "bn-large-lr",
        {"epochs": 2, "n_train": 128, "n_validation": 50, "n_test": 50, "rates": (0.01, 0.1),
         "speeds": (1, 12)},
        "mlp",
    ),
    TinyLab(
        "lab_regularization", "reg-overfit",
        {"strengths": 2, "side": 2, "epochs": 2, "n_train": 100, "n_validation": 50, "n_test": 50,
         "sharpness_seeds": 0},
        "mlp",
    ),
    TinyLab(
        "lab_batch_size", "bs-lr-match",
        {"epochs": 4, "n_train": 64, "n_validation": 50, "n_test": 50, "batch_sizes": (16, 32),
         "race_epochs": 2},
    ),
)  # fmt: skip
LABS = {lab.name: lab for lab in _LABS}
# One claim of each lab that so few runs can measure.
ALL = TinyLab("lab_all", "bn-large-lr,reg-dropout-best,bs-lr-match", {})
# Of the first lab: more claims that need some of the runs again.
MORE = "bn-large-lr,bn-fast-decay"


def run(command, **options):
    """The finished process, with its output as text."""
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False, **options,
    )  # fmt: skip


def answers(script, folder, cases):
    """What `script` does in `folder` for each list of arguments, all in one process.

    Each answer has the exit status and the output, whether it wrote, and its heavy imports.
    """
    done = run(
        [sys.executable, "-c", ANSWERS, script],
        cwd=folder, input=json.dumps(list(cases)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [SimpleNamespace(**answer) for answer in json.loads(done.stdout)]


def rows(path):
    """The rows of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def records(out):
    """The names of the records that are there."""
    return {path.stem for path in (out / "records").glob("*.json")}


def kill_after(process, kept, number, delay, kill=os.kill if os.name == "nt" else os.killpg):
    """kill -9 a group of processes, `delay` seconds after `kept()` has `number` members.

    With `os.kill` only its leader is killed, which the others have to notice.
    """
    wait_for(lambda: len(kept()) >= number or process.poll() is not None)
    time.sleep(delay)
    before = kept()
    try:
        kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # the delay was longer than what it had left to do
        assert process.poll() is not None
    process.communicate(timeout=60)
    wait_for(lambda: not alive_in_group(process.pid))
    assert before <= kept()


def interrupt(process, out, number=signal.SIGINT):
    """Ctrl-C ends all processes of a lab that writes to `out`, with a line on how to resume."""
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    *progress, line = [line for line in errors.splitlines() if line.strip()]
    assert str(out) in line and "same command" in line
    assert all(" runs" in text for text in progress)
    wait_for(lambda: not alive_in_group(process.pid))
    assert not [name for name in contents(out) if name.endswith((".part", ".tmp"))]


def assert_one_sentence(done, status):
    """It ended with that exit status and one sentence on stderr."""
    assert done.returncode == status, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert line.endswith(".")
    return line


def contents(folder):
    """Every file below `folder`: its path there and its bytes."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def write_mnist(folder, n_train=40, n_test=20):
    """A file `mnist.npz` in `folder` with so many random images."""
    generator = np.random.default_rng(0)
    arrays = {}
    for split, size in (("train", n_train), ("test", n_test)):
        arrays[f"x_{split}"] = generator.integers(0, 256, (size, 28, 28), np.uint8)
        arrays[f"y_{split}"] = np.arange(size) % 10
    np.savez(folder / "mnist.npz", **arrays)
