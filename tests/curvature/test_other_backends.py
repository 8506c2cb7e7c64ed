"""What needs TensorFlow says so where Keras runs on another backend."""

from warm_processes import run_script

STATEMENTS = (
    "import callbacks",
    "from callbacks import LossCurve",
    "from dlip_reg.curvature import LossFunction",
)
# A stand-in for another backend: Keras imports those that are installed only.
OTHER = f"""
import keras, sys
for name in [name for name in sys.modules if name.startswith(("callbacks", "dlip_reg"))]:
    del sys.modules[name]
keras.backend.backend = lambda: "jax"
for statement in {STATEMENTS}:
    try:
        exec(statement)
    except ImportError as error:
        print(error)
"""


def test_another_backend_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "other.py").write_text(OTHER)
    run = run_script(tmp_path / "other.py")
    assert run.stdout.splitlines() == [
        "callbacks and dlip_reg.curvature need Keras on TensorFlow, not on jax: "
        "set KERAS_BACKEND=tensorflow before Keras is imported."
    ] * len(STATEMENTS)
