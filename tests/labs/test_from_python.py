"""`run_study` in a script, in a notebook, and with arguments that have to change."""

import subprocess
import sys
from dataclasses import replace

import pytest

from dlip_reg.studies import Tuning, UsageError, run_study, varied

STUDY_SOURCE = '''
from dataclasses import replace
from dlip_reg.evidence import minus
from dlip_reg.studies import Arm, Claim, Preset, Study, draw_training, run_study
from dlip_reg.training import DataSpec, RunSpec

data = DataSpec("fashion_mnist_subset", n_train=60, n_validation=20, n_test=20)
slow = RunSpec(model="mlp", data=data, epochs=1, measures=("curves", "test"))


def accuracy(runs, arm):
    return runs.values(arm, lambda record: record.measures.test_accuracy)


claim = Claim(
    id="mine", sentence="Larger steps help.", experiment="Accuracy, fast minus slow.",
    unit="share", direction=1, smallest_effect=0.1, needs=("fast", "slow"), draw=draw_training,
    measure=lambda runs: minus(accuracy(runs, "fast"), accuracy(runs, "slow")),
)
arms = [Arm("slow", slow), Arm("fast", replace(slow, learning_rate=1e-2))]
study = Study(name="mine", arms=arms, claims=[claim], presets={"quick": Preset(seeds=1)})
'''  # fmt: skip
MODEL_SOURCE = """
def small(input_shape, classes):
    import keras

    inputs = keras.Input(input_shape)
    return keras.Model(inputs, keras.layers.Dense(classes)(keras.layers.Flatten()(inputs)))
"""


def test_a_script_without_a_main_guard_is_told_so_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(STUDY_SOURCE + "run_study(study, out='out', workers=2)\n", "utf-8")
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert done.stderr.count("Traceback") == 1
    assert 'under if __name__ == "__main__":' in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.thorough
def test_a_notebook_shows_claims_figures_and_progress(tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    for module in ("ipykernel", "pandas"):
        pytest.importorskip(module)
    (tmp_path / "my_model.py").write_text(MODEL_SOURCE, "utf-8")
    cells = [
        STUDY_SOURCE + "from my_model import small\n"
        "result = run_study(study, out='out', workers=1, model=small)\nresult",
        "result.figures['loss_curves']",
        "result.records[0].spec.model, len(result.records), result.report.is_file()",
        "result.to_dataframe()",
        MODEL_SOURCE.replace("small", "mine") + "run_study(study, out='other', model=mine)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    client = nbclient.NotebookClient(
        notebook, timeout=300, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [cell.outputs for cell in notebook.cells]
    assert not [o for o in outputs[0] if o.get("name") == "stderr"]
    progress, table = (o.data for o in outputs[0] if o.output_type != "stream")
    assert "2/2 runs" in progress["text/plain"]
    assert "Larger steps help." in table["text/html"]
    assert "image/png" in outputs[1][0].data
    assert outputs[2][0].data["text/plain"] == "('my_model:small', 2, True)"
    assert "<table" in outputs[3][0].data["text/html"]
    (error,) = outputs[4]
    assert (
        error.evalue.count(". ") == 0 and "move it to a file next to the notebook" in error.evalue
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"augmentation": [{"class_name": "MixUp"}]}, "MixUp"),
        ({"optimizer": {"class_name": "Adam", "config": {"clipnrm": 1}}}, "clipnrm"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is(change, named, tmp_path):
    found = {}
    exec(STUDY_SOURCE, found)
    slow, fast = found["arms"]
    study = replace(found["study"], arms=[slow, replace(fast, spec=replace(fast.spec, **change))])
    with pytest.raises(UsageError, match=named):
        run_study(study, out=tmp_path / "out", workers=1, announce=pytest.fail)
    assert not (tmp_path / "out").exists()


def test_too_few_images_for_an_arm_made_of_a_tuned_one_are_said_before_the_tuning(tmp_path):
    found = {}
    exec(STUDY_SOURCE, found)
    slow, _ = found["arms"]
    tuned = replace(slow, tuning=Tuning([{"learning_rate": rate} for rate in (1e-3, 1e-2)]))
    more = varied("fast", "slow", data=lambda data: replace(data, n_train=1000 * data.n_train))
    study = replace(found["study"], arms=[tuned, more])
    with pytest.raises(UsageError, match=r"Arm fast .* 60000 for training, .* to 11980 "):
        run_study(study, out=tmp_path / "out", workers=1, announce=pytest.fail)
    assert not (tmp_path / "out").exists()
