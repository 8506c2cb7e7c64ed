"""Claims of your own: the examples, and each code block of their guide."""

import ast
import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from blank_pictures import blank_pictures
from further_cases import thorough_after
from PIL import Image
from warm_processes import run_script

from dlip_reg.studies import Preset, run_study
from dlip_reg.studies.regularization import PRESETS, STUDY

FOLDER = Path(__file__).parents[2] / "labs" / "own_claim"
EXAMPLES = ("label_smoothing", "augmentation")
GUIDE = (FOLDER / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
SMALL = {"n_train=1000": "n_train=60", "n_validation=100": "n_validation=20",
         "n_test=2000": "n_test=20", "n_train=3000": "n_train=180", "epochs=12": "epochs=3",
         "epochs=15": "epochs=3", "epochs=4": "epochs=2", "epochs=5": "epochs=2",
         "n_validation=2000": "n_validation=20",
         '"lenet5"': '"mlp"'}  # fmt: skip


def small(source):
    for size, smaller in SMALL.items():
        source = source.replace(size, smaller)
    return source


def imported(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", thorough_after(1, EXAMPLES))
def test_an_example_gives_an_estimate_with_controls_and_figures(name, tmp_path):
    script = tmp_path / f"{name}_small.py"
    script.write_text(small((FOLDER / f"{name}.py").read_text("utf-8")), "utf-8")
    study = imported(script, script.stem).STUDY
    tiny = replace(study, presets={"tiny": Preset(seeds=1, tuning_seeds=1)})
    result = run_study(tiny, "tiny", out=tmp_path / "out", workers=1)
    (claim,) = result.claims
    assert claim.effect is not None and claim.verdict is None
    assert len(claim.controls) == len(study.claims[0].controls)
    assert {"loss_curves", "gap_at_loss"} <= set(claim.figures) & set(result.figures)
    treated = result.runs[study.name]
    assert len({record.spec.data.name for record in result.records}) == 1
    assert all(record is not None for arm in treated for record in treated[arm])


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_imports_nothing_private(name):
    tree = ast.parse((FOLDER / f"{name}.py").read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            names = [alias.name for alias in node.names]
            assert set(names) <= set(getattr(module, "__all__", names)), node.module
            assert not [n for n in (*node.module.split("."), *names) if n.startswith("_")]


def test_the_shortest_example_has_at_most_60_lines():
    assert len((FOLDER / "label_smoothing.py").read_text("utf-8").splitlines()) <= 60


def draw_nothing():
    blank_pictures().start()


@pytest.mark.thorough
def test_the_guides_blocks_are_a_script_that_runs(tmp_path):
    script = [block for block in BLOCKS if not block.startswith("# ")]
    source = small("\n".join(script)).replace('preset="quick"', 'preset="quick", seeds=1')
    (tmp_path / "my_claim.py").write_text(source.replace("workers=2", "workers=1"), "utf-8")
    done = run_script(tmp_path / "my_claim.py", cwd=tmp_path, prepare=draw_nothing)
    assert done.returncode == 0, done.stderr
    assert "weight-decay" in done.stdout and "'loss_curves'" in done.stdout
    assert (tmp_path / "runs" / "weight_decay_quick" / "report.html").is_file()


@pytest.mark.thorough
def test_the_guides_claim_joins_a_lab_with_own_images_and_an_own_model(tmp_path, monkeypatch):
    """Three classes in a folder, a model in a module: the lab's "none" is tuned on them."""
    for block in BLOCKS:
        if block.startswith("# "):
            (tmp_path / Path(block.splitlines()[0][2:]).name).write_text(block, "utf-8")
    generator = np.random.default_rng(0)
    for label in range(3):
        (tmp_path / "images" / str(label)).mkdir(parents=True)
        for number in range(60):
            pixels = generator.integers(80 * label, 80 * label + 90, (9, 7), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / str(label) / f"{number}.png")
    (tmp_path / "images" / "2" / "broken.png").write_bytes(b"<html>")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    claim = importlib.import_module("weight_decay").CLAIM
    sizes = {"n_train": 30, "n_validation": 20, "n_test": 20, "epochs": 3, "seeds": 1}
    study = replace(
        STUDY,
        claims=(*STUDY.claims, claim),
        presets={"tiny": replace(PRESETS["quick"], **sizes)},
        shown=(),  # the other methods, which would be tuned, too
    )
    announced = []
    result = run_study(
        study, claims=["reg-weight-decay"], dataset="readable:images", size=10,
        model="my_model:small", out="out", workers=1, announce=announced.append,
    )  # fmt: skip
    assert result.claims[0].effect is not None
    data = {record.spec.data for record in result.records}
    assert {(one.name, one.size) for one in data} == {(f"readable:{tmp_path / 'images'}", 10)}
    assert "1 of 181 images" in announced[0] and "2/broken.png" in Path(announced[0]).as_posix()
    assert announced[0] in result.notes
    (runs,) = result.runs.values()
    assert runs.guessing == pytest.approx(1 / 3)
    assert all(record.spec.model == "my_model:small" for record in result.records)
