"""What the lab answers before it does anything: quickly, and wrong input in one sentence."""

import subprocess
import sys

import numpy as np
import pytest
from lab_process import ALL, LABS, assert_one_sentence, contents

# Runs a script as `python SCRIPT ARGUMENTS` does, then tells what it imported.
WATCHED = """
import atexit, runpy, sys
from pathlib import Path

heavy = ("tensorflow", "keras", "scipy", "matplotlib", "distributed")
atexit.register(lambda: print("imported:", *(name for name in heavy if name in sys.modules)))
sys.argv = sys.argv[1:]
sys.path[0] = str(Path(sys.argv[0]).parent)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(params=[*LABS.values(), ALL], ids=[*LABS, ALL.name])
def lab(request):
    """Each of the labs, and all of them together."""
    return request.param


@pytest.fixture
def light_lab(lab, tmp_path):
    """Runs the lab's script in an empty folder; nothing heavy may be imported for it."""

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-c", WATCHED, lab.script, *map(str, arguments)],
            cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60, check=False,
        )  # fmt: skip
        *lines, imported = done.stdout.splitlines()
        assert imported == "imported:"
        done.stdout = "\n".join(lines)
        return done

    return run


def test_help_names_every_option(light_lab):
    done = light_lab("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for option in (
        *("preset", "dataset", "model", "seeds", "workers", "data-dir", "out", "scheduler"),
        *("list-claims", "claims", "fresh", "first-seed"),
    ):
        assert f"--{option}" in done.stdout


def test_claims_are_listed_with_the_note_s_sentences(lab, light_lab):
    done = light_lab("--list-claims")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(maxsplit=1) for line in done.stdout.splitlines()] == [
        [claim.id, claim.sentence] for claim in lab.lab.claims
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--preset", "huge"], "quick"),
        (["--dataset", "imagenet"], "cifar10"),
        (["--model", "lenet6"], "lenet5"),
        (["--claims", "no-such-claim"], "it takes {claim}"),
        (["--claims", ""], "it takes {claim}"),
        (["--claims", "{claim},,"], "it takes {claim}"),
        (["--seeds", "0"], "1 or more"),
        (["--seeds", "7"], "5, 10 or 20"),
        (["--first-seed", "-1"], "0 or more"),
        (["--model", "no.such.module:build"], "no.such.module"),
        (["--dataset", "folder:"], "folder:PATH"),
        (["--dataset", "folder:nowhere"], "nowhere"),
        (["--seeds", "many"], "1 or more"),
        (["--workers", "-1"], "1 or more"),
        (["--epochs", "3"], "--epochs"),
        (["--see", "1"], "--see"),
        (["--out"], "--out"),
        (["--workers", "2", "--scheduler", "tcp://127.0.0.1:8786"], "--scheduler"),
        (["--out", "file"], "takes a folder"),
        (["--out", "notes"], "no lab's output"),
        (["--out", "notes", "--fresh"], "no lab's output"),
        (["--dataset", "mnist", "--data-dir", "notes"], "--data-dir"),
        (["--dataset", "mnist", "--data-dir", "nowhere"], "--data-dir"),
        (["--dataset", "mnist", "--data-dir", "data"], "truncated"),
        (["--dataset", "cifar10", "--data-dir", "data"], "uint8"),
    ],
)
def test_wrong_input_is_one_sentence(lab, light_lab, tmp_path, arguments, said):
    first = lab.lab.claims[0].id
    (tmp_path / "file").write_text("mine")
    for folder in ("notes", "data"):
        (tmp_path / folder).mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("mine")
    floats = np.zeros((30, 28, 28)), np.arange(30) % 10
    arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), floats * 2, strict=True))
    np.savez(tmp_path / "data" / "cifar10.npz", **arrays)
    npz = (tmp_path / "data" / "cifar10.npz").read_bytes()
    (tmp_path / "data" / "mnist.npz").write_bytes(npz[: len(npz) // 2])
    before = contents(tmp_path)

    done = light_lab(*(argument.format(claim=first) for argument in arguments))

    assert said.format(claim=first) in assert_one_sentence(done, 2)
    assert done.stdout == ""
    assert contents(tmp_path) == before
