"""Executions that train nothing."""

import hashlib
import math
import os
import time
import uuid
from pathlib import Path

import numpy as np


class FakeExecutions:
    """Stands in for `execute`: notes each call in `calls`, sleeps, and makes a score of the spec.

    Every `fails`-th trial raises, every `diverges`-th one has no finite score.
    """

    def __init__(self, calls, seconds=0.0, fails=None, diverges=None):
        self.calls, self.seconds = Path(calls), seconds
        self.fails, self.diverges = fails, diverges

    def __call__(self, spec, job):
        assert spec.parent is None or spec.parent.number == spec.number
        call = f"{spec.trial}-{spec.number}-{os.getpid()}-{uuid.uuid4().hex}"
        (self.calls / call).touch()
        # Not all alike, or executions would end in the order they began.
        time.sleep(self.seconds * (1 + int(spec.trial) % 3))
        if self.fails and int(spec.trial) % self.fails == 1:
            raise MemoryError(f"no room for trial {int(spec.trial)}")
        diverged = bool(self.diverges and int(spec.trial) % self.diverges == 1)
        epochs = spec.hyperparameters.values.get("tuner/epochs", job.parts()["data"].get("epochs"))
        curve = {
            name: [None if diverged else score(spec, name, e) for e in range(1, epochs + 1)]
            for name in ("loss", "clean_val_loss", "clean_val_accuracy")
        }
        return spec.record(
            job.fingerprint,
            status="diverged" if diverged else "finished",
            score=curve[job.parts()["objective"].name][-1],
            curve=curve,
            epochs=epochs,
            state={"weights_0000": np.full(3, spec.number, np.float32)},
        )

    def count(self):
        """(trial, execution) -> how often it was begun."""
        found = {}
        for call in self.calls.iterdir():
            trial, number = map(int, call.name.split("-")[:2])
            found[trial, number] = found.get((trial, number), 0) + 1
        return found

    def pids(self):
        """The processes that were at work."""
        return {int(call.name.split("-")[2]) for call in self.calls.iterdir()}


def score(spec, name, epoch):
    """A number in (0, 1) made of the strengths, the seed and the epoch alone.

    An accuracy is highest at the L2 strengths 10**-2.3 (conv) and 10**-3 (dense), and smooth but
    for chance of at most a thousandth.
    """
    values = spec.hyperparameters.values
    strengths = {
        name: values.get(name) or values.get("l2") or 0.0 for name in ("conv_l2", "dense_l2")
    }
    text = f"{name} {sorted(strengths.items())} {spec.number} {epoch}"
    chance = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
    conv, dense = (math.log10(strengths[f"{kind}_l2"] or 1e-4) for kind in ("conv", "dense"))
    accuracy = 0.8 - 0.05 * (conv + 2.3) ** 2 - 0.03 * (dense + 3) ** 2 + 0.001 * chance
    return accuracy if name.endswith("accuracy") else 1 - accuracy
