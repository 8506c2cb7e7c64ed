"""The wheel and the sdist, built and installed into a fresh environment outside the repository."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
FIT = """
import sys

import keras
import numpy as np

from callbacks import LossCurve, Sharpness
from dlip_reg.callbacks import Sparsity

x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
y = (x[:, 0] > 0).astype("int32")
model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(2)])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
recorders = [LossCurve((x, y)), Sharpness((x, y)), Sparsity(probe=x)]
history = model.fit(x, y, epochs=1, verbose=0, callbacks=recorders).history
assert {"clean_loss", "lambda_max"} <= set(history), sorted(history)
assert "site-packages" in sys.modules["callbacks"].__file__
"""
DATA = """
from dlip_reg.datasets import load_dataset

assert load_dataset(n_train=10).x_train.shape == (10, 28, 28, 1)
"""


class Environment:
    """A virtual environment, and commands that run in a folder outside the repository."""

    def __init__(self, folder):
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        self._scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self._elsewhere = folder / "elsewhere"
        self._elsewhere.mkdir()

    def run(self, program, *arguments):
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.run(
            [self._scripts / program, *arguments],
            cwd=self._elsewhere, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def install(self, *arguments):
        done = self.run("pip", "install", "--quiet", *arguments)
        assert done.returncode == 0, done.stderr

    def installed(self):
        listed = json.loads(self.run("pip", "list", "--format", "json").stdout)
        return {one["name"].lower().replace("_", "-") for one in listed}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel and the sdist, built from a copy without earlier build folders."""
    folder = tmp_path_factory.mktemp("build")
    ignored = shutil.ignore_patterns(
        ".git", "build", "*.egg-info", "runs", "__pycache__", ".*_cache"
    )
    shutil.copytree(ROOT, folder / "source", ignore=ignored)
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", folder / "dist", folder / "source"],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = (folder / "dist").glob("*.whl")
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    return wheel, sdist


def test_the_wheel_holds_the_packages_their_data_and_the_licence(built):
    names = zipfile.ZipFile(built[0]).namelist()
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {
        "callbacks",
        "dlip_reg",
    }
    needed = {
        "callbacks/py.typed",
        "dlip_reg/py.typed",
        "dlip_reg/datasets/packaged/fashion_mnist_subset.npz",
        "dlip_reg/report/templates/report.html",
        "dlip_reg/grading/templates/feedback.html",
        "dlip_reg/grading/isolation/system_calls.csv",
    }
    assert needed <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_both_install_and_run_in_a_fresh_environment(built, tmp_path):
    wheel, sdist = built
    environment = Environment(tmp_path)
    environment.install(wheel)
    optional = {"matplotlib", "jinja2", "keras-tuner", "scikit-learn", "distributed", "filelock",
                "msgpack", "psutil", "pytest", "pandas", "pillow", "plotly"}  # fmt: skip
    assert environment.installed() & optional == set()
    done = environment.run("python", "-c", FIT)
    assert done.returncode == 0, done.stderr
    done = environment.run("python", "-c", DATA)
    assert done.returncode == 0, done.stderr
    for command in (["lab", "regularization"], ["tune"], ["check", "submission.py"]):
        done = environment.run("dlip-reg", *command)
        extra = "grading" if command[0] == "check" else "labs"
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.endswith(f'run pip install "dlip_reg[{extra}]".')

    environment.install(f"{wheel}[labs]")
    done = environment.run("dlip-reg", "lab", "regularization", "--preset", "quick")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "elsewhere" / "runs" / "lab_regularization_quick" / "report.html").is_file()

    environment.install("--no-deps", "--force-reinstall", sdist)
    done = environment.run("python", "-c", DATA)
    assert done.returncode == 0, done.stderr
    assert environment.run("dlip-reg", "--version").stdout.startswith("dlip-reg ")
