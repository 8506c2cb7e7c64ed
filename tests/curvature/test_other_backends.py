"""What needs TensorFlow says so where Keras runs on another backend."""

import subprocess
import sys

STATEMENTS = (
    "import callbacks",
    "from callbacks import LossCurve",
    "from dlip_reg.curvature import LossFunction",
)
# A stand-in for another backend: Keras imports those that are installed only.
OTHER = f"""
import keras
keras.backend.backend = lambda: "jax"
for statement in {STATEMENTS}:
    try:
        exec(statement)
    except ImportError as error:
        print(error)
"""


def test_another_backend_is_refused_in_one_sentence():
    run = subprocess.run(
        [sys.executable, "-c", OTHER], capture_output=True, encoding="utf-8", check=True
    )
    assert run.stdout.splitlines() == [
        "callbacks and dlip_reg.curvature need Keras on TensorFlow, not on jax: "
        "set KERAS_BACKEND=tensorflow before Keras is imported."
    ] * len(STATEMENTS)
