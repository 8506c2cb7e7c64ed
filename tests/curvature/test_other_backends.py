"""What needs TensorFlow says so where Keras runs on another backend."""

import subprocess
import sys

import pytest

# A stand-in for another backend: Keras imports those that are installed only.
OTHER = """
import keras
keras.backend.backend = lambda: "jax"
{statement}
"""


@pytest.mark.parametrize(
    "statement",
    [
        "import callbacks",
        "from callbacks import LossCurve",
        "from dlip_reg.curvature import LossFunction",
    ],
)
def test_another_backend_is_refused_in_one_sentence(statement):
    run = subprocess.run(
        [sys.executable, "-c", OTHER.format(statement=statement)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode != 0
    assert run.stderr.splitlines()[-1] == (
        "ImportError: callbacks and dlip_reg.curvature need Keras on TensorFlow, not on jax: "
        "set KERAS_BACKEND=tensorflow before Keras is imported."
    )
