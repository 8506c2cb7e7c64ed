"""LossFunction on Keras' other backends, where they are installed: this project needs neither."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from random_models import LABELS, LOGITS, X, sequential

from dlip_reg.curvature import LossFunction

FACTS = Path(__file__).with_name("facts_of_every_backend.py")


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_what_holds_on_every_backend(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed (pip install {backend})")
    # Keras takes its backend when it is imported, so each has a process of its own.
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", FACTS]
    environment = os.environ | {"KERAS_BACKEND": backend}
    run = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_backend_that_does_not_differentiate_is_refused(monkeypatch):
    model = sequential(keras.layers.Dense(3))
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    with pytest.raises(ValueError, match="tensorflow, jax, torch, not numpy"):
        LossFunction(model, X, LABELS, loss=LOGITS)
