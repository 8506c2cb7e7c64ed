"""Specifications: what they refuse, how they travel as JSON, and what decides their identity."""

import json
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import keras
import model_samples
import numpy as np
import pytest

from dlip_reg.regularization import Regularization
from dlip_reg.training import DataSpec, RunSpec, Schedule, identity
from dlip_reg.training.specification import LEVEL_PROBES

SPEC = RunSpec("lenet5", DataSpec("fashion_mnist_subset", n_train=100))
FULL = RunSpec(
    "mlp",
    DataSpec("cifar10", n_train=50, n_validation=20, n_test=10, grey=True),
    Regularization(batch_norm=True, dense_dropout=0.5, conv_l1=1e-4, max_norm=2.0),
    builder={"hidden": (30, 20), "kernel_initializer": {"class_name": "Zeros", "config": {}}},
    optimizer="sgd",
    learning_rate=0.1,
    schedule=Schedule(decay=0.01, speed=6, warmup_epochs=2, warmup_from=0.25),
    batch_size=7,
    epochs=3,
    patience=2,
    seed=11,
    measures=("curves", "test", "flow"),
)


@pytest.mark.parametrize("spec", [SPEC, FULL, replace(SPEC, model=model_samples.separable)])
def test_json_round_trip(spec):
    back = RunSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert back == spec
    assert hash(back) == hash(spec)
    assert back.identity("data") == spec.identity("data")


CHANGES = {
    "model": "mlp",
    "data": DataSpec("fashion_mnist_subset", n_train=101),
    "regularization": Regularization(dense_l2=1e-9),
    "builder": {"activation": "tanh"},
    "loss": {"class_name": "CategoricalFocalCrossentropy", "config": {"from_logits": True}},
    "label_smoothing": 0.1,
    "augmentation": [{"class_name": "RandomFlip", "config": {"mode": "horizontal"}}],
    "optimizer": "sgd",
    "learning_rate": 1.0000001e-3,
    "schedule": Schedule(warmup_from=0.5),
    "batch_size": 33,
    "epochs": 11,
    "patience": 3,
    "stop_loss": 0.2,
    "seed": 1,
    "measures": ("test",),
    "loss_levels": (1.0,),
}
DATA_CHANGES = {
    "name": "mnist",
    "n_train": None,
    "n_validation": 10,
    "n_test": 10,
    "grey": True,
    "random_labels": True,
    "size": 32,
}
SCHEDULE_CHANGES = {"decay": 0.5, "speed": 2, "warmup_epochs": 1, "warmup_from": 0.5}


@pytest.mark.parametrize(
    ("part", "changes"), [(None, CHANGES), ("data", DATA_CHANGES), ("schedule", SCHEDULE_CHANGES)]
)
def test_identity_changes_with_every_field(part, changes):
    whole = getattr(SPEC, part) if part else SPEC
    assert set(changes) == {field.name for field in fields(whole)}
    identities = {SPEC.identity("data")}
    for name, value in changes.items():
        changed = replace(whole, **{name: value})
        spec = replace(SPEC, **{part: changed}) if part else changed
        identities.add(spec.identity("data"))
    assert len(identities) == 1 + len(changes)
    assert all(len(each) == 16 and set(each) <= set("0123456789abcdef") for each in identities)


def test_identity_changes_with_the_data_and_the_code(monkeypatch, tmp_path):
    before, code = SPEC.identity("data"), identity.code_hash()
    assert SPEC.identity("other data") != before
    # A copy of the code, in which a student changes a builder.
    root = Path(identity.__file__).parents[2]
    for name in ("callbacks", "dlip_reg"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    builders = tmp_path / "dlip_reg" / "models" / "builders.py"
    show = (
        "from dlip_reg.training import identity, DataSpec, RunSpec as R; "
        "print(identity.code_hash(), R('lenet5', DataSpec('mnist')).identity('data'))"
    )

    def printed():
        ran = [sys.executable, "-B", "-c", show]
        done = subprocess.run(ran, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.split()

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    as_here = printed()
    assert as_here == [code, RunSpec("lenet5", DataSpec("mnist")).identity("data")]
    text = builders.read_bytes()
    builders.write_bytes(text.replace(b"\n", b"\r\n"))
    assert printed() == as_here
    builders.write_bytes(text + b"# wider\n")
    assert not set(printed()) & set(as_here)


@pytest.mark.thorough
def test_the_code_of_a_run_is_all_that_runs_import():
    """But for what reports errors, finds extras and opens standard streams."""
    load = (
        "import importlib, pkgutil, sys, dlip_reg.training as t\n"
        "for m in pkgutil.walk_packages(t.__path__, 'dlip_reg.training.'):\n"
        "    importlib.import_module(m.name)\n"
        "print(*(n for n in sys.modules if n.split('.')[0] in ('dlip_reg', 'callbacks')))"
    )
    done = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True, check=True)
    used = {".".join(name.split(".")[:2]) for name in done.stdout.split()}
    others = {name for name in used if name.split(".")[0] != "callbacks"} - {"dlip_reg"}
    assert others - set(identity.DECIDING) == {
        f"dlip_reg.{name}" for name in ("errors", "extras", "lazy", "streams")
    }


@pytest.mark.parametrize(
    "same",
    [
        {"learning_rate": 2},
        {"learning_rate": np.float32(2), "epochs": np.int64(4), "seed": np.uint8(2)},
        {"measures": ["test", "flow", "curves"]},
        {"builder": {"hidden": (5, 6), "activation": "tanh"}},
        {"builder": '{"hidden":[5,6], "activation":"tanh"}'},
        {"schedule": Schedule(decay=np.float32(0.5), speed=2, warmup_epochs=np.int8(1))},
        {"data": DataSpec("fashion_mnist_subset", n_train=np.int32(100))},
    ],
)
def test_equal_specifications_have_one_identity(same):
    """Else the same run would be made twice, and its record not found."""
    plain = {"learning_rate": 2.0, "epochs": 4, "seed": 2}
    plain |= {"model": "mlp", "measures": ("curves", "test", "flow")}
    plain |= {"builder": {"activation": "tanh", "hidden": [5, 6]}}
    plain |= {"schedule": Schedule(decay=0.5, speed=2.0, warmup_epochs=1)}
    one = replace(SPEC, **(plain | same))
    other = replace(SPEC, **plain)
    assert one == other
    assert one.identity("data") == other.identity("data")


IMPOSSIBLE = {
    "name": [3, Path("images")],
    "measures": [("curves", "speed"), "test", 3],
    "regularization": [{"conv_l2": 0.1}, "l2"],
    "schedule": [0.5],
    "batch_size": [0, 2.5, True],
    "epochs": [0, "3"],
    "seed": [-1, None],
    "learning_rate": [0, float("nan"), float("inf"), "0.1"],
    "patience": [0],
    "builder": [["hidden"], "hidden", {"activation": len}, {"rate": float("nan")}],
    "label_smoothing": [1, -0.1],
    "random_labels": [1],
    "size": [0],
    "model": ["mlpp"],
    "data": ["mnist"],
    "optimizer": ["sdg"],
    "loss": ["mse", {"config": {}}],
    "augmentation": ["flip"],
    "decay": [0, 1.5],
    "speed": [0, float("inf")],
    "warmup_epochs": [-1, 0.5],
    "warmup_from": [2, None],
    "grey": [1],
    "n_train": [0],
    "n_test": [1.0],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in IMPOSSIBLE.items() for value in values]
)
def test_impossible_values_are_refused_in_one_sentence(name, value):
    (target,) = (
        part
        for part in (SPEC, SPEC.data, SPEC.schedule)
        if name in [field.name for field in fields(part)]
    )
    with pytest.raises(ValueError, match=f"^{name} must be .*, not .*\\.$") as caught:
        replace(target, **{name: value})
    assert repr(value) in str(caught.value)


def nested():
    def inner(input_shape, classes): ...

    return inner


DEPTHWISE = {"model": model_samples.depthwise}
AVERAGED = {"optimizer": {"class_name": "SGD", "config": {"use_ema": True}}}
SMOOTHED = {"label_smoothing": 0.1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"builder": {"max_norm": 1.0, "hidden": [3], "batch_norm": True}},
         "leave batch_norm, max_norm to regularization"),
        ({"builder": {"depth": 3}}, "options of lenet5 .*, not depth"),
        ({"measures": ("minimizer",)}, "needs stop_loss"),
        ({"measures": LEVEL_PROBES}, "at loss_levels"),
        ({"loss_levels": (0.0,)}, "loss_levels must be losses above 0"),
        ({"loss_levels": -1}, "loss_levels must be losses above 0"),
        # Targets that cannot be smoothed, or are smoothed already.
        (SMOOTHED | {"loss": {"class_name": "SparseOwn", "module": "own"}}, "must be 0"),
        (SMOOTHED | {"loss": keras.losses.CategoricalCrossentropy(label_smoothing=0.1)},
         "label_smoothing must be 0"),
        (SMOOTHED | {"loss": keras.losses.SparseCategoricalCrossentropy(ignore_class=0)},
         "label_smoothing must be 0"),
        # Which weights are the best is asked before they are averaged.
        *((AVERAGED | option, "use_ema") for option in (
            {"patience": 2}, {"stop_loss": 0.5}, {"loss_levels": (1.0, 0.5)}
        )),
        # Functions without the options, and what other processes cannot import.
        (DEPTHWISE | {"regularization": Regularization(conv_l2=1)}, "conv_kernel_regularizer"),
        (DEPTHWISE | {"builder": {"width": 3}}, "must accept width"),
        *(({"model": model}, r"^model must be .*cannot import that\.$") for model in (
            lambda input_shape, classes: None, nested(), 3, keras.Model
        )),
        *(({"model": model}, "model") for model in (
            "model_samples:missing", "no.such.module:build", "model_samples:", "a-b:c", ":f"
        )),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_in_one_sentence(changes, said):
    with pytest.raises(ValueError, match=said) as caught:
        replace(SPEC, **changes)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
