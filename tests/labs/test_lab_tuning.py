"""The tuning lab as people run it: its files, its resume, its answers to wrong input."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from lab_process import (
    LABS_FOLDER,
    answers,
    assert_one_sentence,
    contents,
    interrupt,
    rows,
)
from PIL import Image
from waiting import wait_for
from warm_processes import run_script, start_script

SCRIPT = LABS_FOLDER / "lab_tuning.py"
TINY_TUNING = Path(__file__).with_name("tiny_tuning.py")
TINY = ("--preset", "quick", "--max-trials", "3", "--executions-per-trial", "2")


def run_tiny(out, *arguments, **options):
    return run_script(TINY_TUNING, *TINY, "--out", out, *arguments, **options)


def finish(out, *arguments):
    done = run_tiny(out, *arguments)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a tiny run, and what the terminal showed."""
    out = tmp_path_factory.mktemp("tuning") / "out"
    return out, finish(out, "--workers", 1)


def test_the_folder_holds_what_was_promised(finished):
    out, _ = finished
    assert {path.name for path in out.iterdir()} == {
        *("report.html", "figures", "claims.json", "best.json", "best.py", "trials.csv"),
        *("executions.csv", "records.csv", "records", "searches", "folder.json"),
        "timings.csv",
    }
    names = {"response_surface", "strengths", "best_so_far", "claims"}
    figures = {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert {path.name for path in (out / "figures").iterdir()} == figures


def test_the_claim_compares_the_best_trials_on_the_test_set_with_new_seeds(finished):
    out, done = finished
    (claim,) = json.loads((out / "claims.json").read_text())
    best = json.loads((out / "best.json").read_text())
    records = rows(out / "records.csv")

    def tests(search):
        strengths = best[search]["regularization"]
        return [
            float(row["test_accuracy"])
            for row in records
            if all(float(row[n]) == strengths[n] for n in ("conv_l2", "dense_l2"))
            and row["test_accuracy"]
        ]

    separate, tied = tests("random_separate"), tests("random_tied")
    assert len(separate) == len(tied) == 2
    effect = 100 * (sum(separate) - sum(tied)) / 2
    assert claim["id"] == "reg-separate"
    assert claim["effect"] == pytest.approx(effect, abs=1e-9)
    assert claim["verdict"] is None  # as always with fewer than 5 seeds
    assert "reg-separate" in done.stdout
    for kind in ("separate", "tied"):
        score = 100 * best[f"random_{kind}"]["score"]
        assert re.search(
            f"Best of random, {kind}: .*l2 0.0.*accuracy {score:.1f} % af", done.stdout
        )
    # The test set is used by the best trials only, with seeds that no search has used; the runs
    # without a penalty have the seeds of the searches.
    tested = [row for row in records if row["test_accuracy"]]
    assert len(tested) == 2 * len({(row["conv_l2"], row["dense_l2"]) for row in tested}) <= 4
    searched = {row["seed"] for row in rows(out / "executions.csv")}
    assert searched == {row["seed"] for row in records if row not in tested} == {"0", "1"}
    assert not searched & {row["seed"] for row in tested}


def test_the_line_of_python_runs(finished, tmp_path):
    out, _ = finished
    lines = (out / "best.py").read_text()
    best = json.loads((out / "best.json").read_text())
    # Each search has a model of its own.
    check = "print(float({}.get_layer('conv1').kernel_regularizer.l2))"
    script = tmp_path / "script.py"
    script.write_text("\n".join([lines, *map(check.format, best)]), "utf-8")
    done = run_script(script)
    expected = [found["regularization"]["conv_l2"] for found in best.values()]
    # Keras keeps a strength in single precision.
    assert [float(text) for text in done.stdout.split()] == pytest.approx(expected, rel=1e-6)


def test_the_report_is_whole_and_offline(finished, open_report):
    out, done = finished
    page = open_report(out)
    page.assert_whole_and_offline()
    best = json.loads((out / "best.json").read_text())
    for found in best.values():
        assert found["python"].replace("; ", "\n") in page.text
        assert found["epochs"] == 2
    assert "random, separate 3; random, tied 3; each with 2 seeds" in page.text
    assert "random separate and tied, 3 trials each; 2 seeds a trial." in done.stdout


def test_again_it_runs_nothing_and_writes_the_same(finished):
    out, _ = finished
    names = ("trials.csv", "executions.csv", "records.csv", "report.html", "best.json")
    before = {name: (out / name).read_bytes() for name in names}
    timings = contents(out / "searches")
    assert "2 seeds a trial; 0 % of the searches is left." in finish(out).stdout
    assert {name: (out / name).read_bytes() for name in names} == before
    assert contents(out / "searches") == timings


@pytest.mark.slow
def test_a_tied_search_alone_has_no_claim_and_two_kinds_share_a_report(tmp_path, open_report):
    draw = np.random.default_rng(0)
    for number in range(660):
        image = Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8))
        folder = tmp_path / "images" / str(number % 3)
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number}.png")
    arguments = ("--max-trials", 2, "--executions-per-trial", 1, "--tied", "--tuner", "grid,random",
                 "--dataset", f"folder:{tmp_path / 'images'}", "--size", 20)  # fmt: skip
    finish(tmp_path / "out", *arguments)
    assert "input_shape=(20, 20, 3), classes=3" in (tmp_path / "out" / "best.py").read_text()
    assert json.loads((tmp_path / "out" / "claims.json").read_text()) == []
    best = json.loads((tmp_path / "out" / "best.json").read_text())
    assert list(best) == ["grid_tied", "random_tied"]
    grid = [r for r in rows(tmp_path / "out" / "trials.csv") if r["search"] == "grid_tied"]
    # A grid that could be set beside one of two strengths: 2 x 2 points.
    assert [float(row["l2"]) for row in grid] == [3e-4, 1.39e-3, 6.46e-3, 3e-2]
    page = open_report(tmp_path / "out")
    page.assert_whole_and_offline()
    assert "separate" not in page.text


@pytest.mark.slow
def test_folds_and_racing_are_in_the_tables_and_the_report(tmp_path, open_report):
    out = tmp_path / "out"
    done = finish(out, "--max-trials", 4, "--folds", 3, "--racing")
    assert "4 trials each; 2 seeds and 3 folds a trial." in done.stdout
    tried, trials = rows(out / "executions.csv"), rows(out / "trials.csv")
    assert {(row["seed"], row["fold"]) for row in tried} == {
        (str(seed), str(fold)) for seed in range(2) for fold in range(3)
    }
    assert sum(int(row["executions"]) for row in trials) == len(tried)
    for search, found in json.loads((out / "best.json").read_text()).items():
        (best,) = (
            row for row in trials
            if row["search"] == search and row["trial"] == str(found["trial"])
        )  # fmt: skip
        assert best["executions"] == "6" and len(found["scores"]) == 6
    page = open_report(out)
    page.assert_whole_and_offline()
    assert "3 stratified folds of the training images" in page.text
    assert "each with 2 seeds and 3 folds" in page.text
    assert page.text.count("Racing stopped") == 2
    assert "no penalty" not in page.text  # that run was validated on other images


@pytest.mark.slow
def test_hyperband_ends_at_full_epochs_and_says_how_many_trials_did(tmp_path, open_report):
    out = tmp_path / "out"
    done = finish(out, "--executions-per-trial", 1, "--tuner", "hyperband")
    assert "hyperband separate and tied, 30 trials each; 1 seed a trial." in done.stdout
    for search, found in json.loads((out / "best.json").read_text()).items():
        trials = [r for r in rows(out / "trials.csv") if r["search"] == search]
        whole = [float(row["score"]) for row in trials if row["epochs"] == "10"]
        assert (len(trials), len(whole)) == (30, 8)
        assert found["epochs"] == 10 and found["score"] == max(whole)
    page = open_report(out)
    page.assert_whole_and_offline()
    assert "hyperband, tied 30 (8 of them through all epochs)" in page.text


# Arguments, and what the sentence about them says.
WRONG = [
    (["--tuner", "annealing"], "random, bayesian, hyperband, grid"),
    (["--tuner", "random,"], "random, bayesian, hyperband, grid"),
    (["--max-trials", "0"], "1 or more"),
    (["--executions-per-trial", "none"], "1 or more"),
    (["--folds", "1"], "2 or more"),
    (["--folds", "1001"], "the 1000 training images of preset standard"),
    (["--racing", "--tuner", "random,hyperband"], "another --tuner than hyperband"),
    (["--racing", "--executions-per-trial", "1"], "several --executions-per-trial or --folds"),
    (["--preset", "huge"], "quick"),
    (["--workers", "2", "--scheduler", "tcp://127.0.0.1:8786"], "--scheduler"),
    (["--out", "notes"], "no lab's output"),
    (["--size", "0"], "1 or more"),
    (["--model", "lenet6"], "lenet5"),
    (["--model", "no.such.module:build"], "no.such.module"),
    (["--dataset", "imagenet"], "cifar10"),
]


def test_help_names_every_option_and_wrong_input_is_one_sentence(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("mine")
    cases = [["--help"], *(arguments for arguments, _ in WRONG)]
    done, *found = answers(SCRIPT, tmp_path, cases)
    assert (done.returncode, done.stderr, done.imported) == (0, "", [])
    for option in (
        *("preset", "dataset", "size", "model", "workers", "data-dir", "out", "scheduler", "fresh"),
        *("tuner", "max-trials", "executions-per-trial", "tied", "retry-failed"),
        *("folds", "racing"),
    ):
        assert f"--{option}" in done.stdout
    for done, (_, said) in zip(found, WRONG, strict=True):
        assert said in assert_one_sentence(done, 2)
        assert (done.changed, done.imported) == (False, [])


@pytest.mark.parametrize(
    ("model", "says"), [("mlp", "--tied"), ("nets:net", "must accept conv_kernel_regularizer")]
)
def test_a_net_without_separate_strengths_is_one_sentence(tmp_path, model, says):
    (tmp_path / "nets.py").write_text("def net(input_shape, classes): ...")
    done = run_tiny(tmp_path / "out", "--model", model, "--workers", 1, cwd=tmp_path)
    assert says in assert_one_sentence(done, 2)
    assert not (tmp_path / "out").exists()


def test_fewer_trials_and_another_search_are_one_sentence(finished):
    out, _ = finished
    done = run_tiny(out, "--model", "vgg_small")
    assert "another configuration" in assert_one_sentence(done, 2)
    # Fewer trials than there are, in both searches or in one, would no more be one budget.
    done = run_tiny(out, "--max-trials", 2)
    line = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and "holds 3 trials already; give --max-trials 3 or more" in line


@pytest.mark.slow
def test_a_model_function_is_searched_and_five_seeds_give_a_verdict(tmp_path):
    (tmp_path / "nets.py").write_text(
        "import keras\n\n"
        "def net(input_shape, classes, conv_kernel_regularizer=None,"
        " dense_kernel_regularizer=None):\n"
        "    layers = keras.layers\n"
        "    return keras.Sequential([keras.Input(input_shape),\n"
        "        layers.Conv2D(2, 5, 4, kernel_regularizer=conv_kernel_regularizer),\n"
        "        layers.Flatten(),\n"
        "        layers.Dense(classes, kernel_regularizer=dense_kernel_regularizer)])\n"
    )
    arguments = ("--max-trials", "2", "--executions-per-trial", "5", "--model", "nets:net")
    done = run_tiny(tmp_path / "out", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (claim,) = json.loads((tmp_path / "out" / "claims.json").read_text())
    assert claim["n_seeds"] == 5
    assert claim["verdict"] in ("supported", "contradicted", "no effect", "undecided")
    assert "nets" in (tmp_path / "out" / "best.py").read_text()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_second_run_in_the_folder_is_refused_and_ctrl_c_says_how_to_resume(tmp_path):
    out = tmp_path / "out"
    process = start_script(
        TINY_TUNING, *TINY, "--out", out, "--workers", 1, "--executions-per-trial", 20
    )
    wait_for(lambda: list(out.glob("searches/*/trial_*/execution_*.npz")), process)
    line = run_tiny(out).stderr.strip().splitlines()[-1]
    assert line.endswith(f"{out} is in use by another run; wait for it, or choose another --out.")
    interrupt(process, out)
