"""The notebooks: paired with their scripts, without outputs, and they run top to bottom."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "labs" / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
# The smallest size of each: one seed of one claim, or a search of two trials.
SMALL = {
    'preset="quick"': 'preset="quick", seeds=1, workers=1, claims=[CLAIM]',
    "max_trials=12": "max_trials=2",
    "n_train=500, n_validation=1000": "n_train=100, n_validation=100",
    "n_train=1000, n_validation=500": "n_train=200, n_validation=300",
    "epochs=5)": "epochs=1)",
    "epochs=8)": "epochs=2)",
}
CLAIMS = {
    "lab_regularization": "reg-l1-sparse",
    "lab_batch_norm": "bn-input-shift",
    "lab_batch_size": "bs-small-better",
}


def notebook(name):
    nbformat = pytest.importorskip("nbformat")
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def test_there_is_a_notebook_for_each_lab_the_tuner_and_the_callbacks():
    assert set(NAMES) == {*CLAIMS, "keras_callbacks", "tuner"}
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_its_script_without_outputs(name):
    jupytext = pytest.importorskip("jupytext")
    script = jupytext.read(FOLDER / f"{name}.py")
    cells = notebook(name).cells
    assert [(c.cell_type, c.source) for c in cells] == [
        (c.cell_type, c.source) for c in script.cells
    ]
    assert all(not c.get("outputs") and c.get("execution_count") is None for c in cells)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_code_cell_installs_the_package_on_colab(name):
    first = next(cell for cell in notebook(name).cells if cell.cell_type == "code")
    assert "google.colab" in first.source and '"pip", "install"' in first.source


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_top_to_bottom_without_a_warning(name, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    book = notebook(name)
    for cell in book.cells:
        for size, smaller in SMALL.items():
            cell.source = cell.source.replace(size, smaller)
        cell.source = cell.source.replace("[CLAIM]", f"[{CLAIMS.get(name)!r}]")
    assert [cell.source for cell in book.cells] != [cell.source for cell in notebook(name).cells]
    nbclient.NotebookClient(
        book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    assert any("image/png" in output.get("data", {}) for output in outputs)
