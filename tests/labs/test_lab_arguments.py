"""What the lab answers before it does anything: quickly, and wrong input in one sentence."""

import numpy as np
import pytest
from further_cases import thorough_after
from lab_process import ALL, LABS, answers, assert_one_sentence

# Arguments, and what the sentence about them says; CLAIM stands for the lab's first claim.
WRONG = [
    (["--preset", "huge"], "quick"),
    (["--dataset", "imagenet"], "cifar10"),
    (["--dataset", ""], "cifar10"),
    (["--model", "lenet6"], "lenet5"),
    (["--claims", "no-such-claim"], "known are CLAIM"),
    (["--claims", ""], "known are CLAIM"),
    (["--claims", "CLAIM,,"], "known are CLAIM"),
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
    (["--out", ""], "takes a path"),
    (["--data-dir", ""], "takes a path"),
    (["--out", "file"], "is a file, not a folder"),
    (["--out", "notes"], "no lab's output"),
    (["--out", "notes", "--fresh"], "no lab's output"),
    (["--size", "16"], "--size applies to images in folder:PATH"),
    (["--data-dir", "nowhere"], "--data-dir nowhere is not a folder"),
    (["--dataset", "mnist", "--data-dir", "notes"], "--data-dir"),
    (["--dataset", "mnist", "--data-dir", "nowhere"], "--data-dir"),
    (["--dataset", "mnist", "--data-dir", "data"], "truncated"),
    (["--dataset", "cifar10", "--data-dir", "data"], "uint8"),
]


@pytest.fixture(
    scope="module",
    params=thorough_after(1, [*LABS.values(), ALL]),
    ids=[*LABS, ALL.name],
)
def lab(request):
    """Each of the labs, and all of them together."""
    return request.param


@pytest.fixture(scope="module")
def first_claim(lab):
    return lab.lab.claims[0].id


@pytest.fixture(scope="module")
def answer(lab, first_claim, tmp_path_factory):
    """What the lab's script does with some arguments, in a folder with a few files."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "file").write_text("mine")
    for name in ("notes", "data"):
        (folder / name).mkdir()
    (folder / "notes" / "diary.txt").write_text("mine")
    floats = np.zeros((30, 28, 28)), np.arange(30) % 10
    arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), floats * 2, strict=True))
    np.savez(folder / "data" / "cifar10.npz", **arrays)
    npz = (folder / "data" / "cifar10.npz").read_bytes()
    (folder / "data" / "mnist.npz").write_bytes(npz[: len(npz) // 2])
    cases = [["--help"], ["--list-claims"], *(arguments for arguments, _ in WRONG)]
    asked = [[part.replace("CLAIM", first_claim) for part in case] for case in cases]
    found = answers(lab.script, folder, asked)
    return dict(zip(map(tuple, cases), found, strict=True)).get


def test_help_names_every_option(answer):
    done = answer(("--help",))
    assert (done.returncode, done.stderr, done.imported) == (0, "", [])
    for option in (
        *("preset", "dataset", "model", "seeds", "workers", "data-dir", "out", "scheduler"),
        *("list-claims", "claims", "fresh", "first-seed"),
    ):
        assert f"--{option}" in done.stdout


def test_claims_are_listed_with_the_note_s_sentences(lab, answer):
    done = answer(("--list-claims",))
    assert (done.returncode, done.stderr, done.imported) == (0, "", [])
    assert [line.split(maxsplit=1) for line in done.stdout.splitlines()] == [
        [claim.id, claim.sentence] for claim in lab.lab.claims
    ]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_wrong_input_is_one_sentence(answer, first_claim, arguments, said):
    done = answer(tuple(arguments))
    assert said.replace("CLAIM", first_claim) in assert_one_sentence(done, 2)
    assert (done.stdout, done.changed, done.imported) == ("", False, [])
