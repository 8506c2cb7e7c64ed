"""Models by function: found by every process, seeded by the run, checked before training."""

import inspect
import random
import sys
from dataclasses import replace

import keras
import model_samples
import numpy as np
import pytest
from further_cases import thorough_after
from training_samples import DATA
from warm_processes import run_script

from dlip_reg.models import MODEL_NAMES, get_builder, option_names
from dlip_reg.models.options import BuilderOptions
from dlip_reg.regularization import Regularization
from dlip_reg.training import RunSpec, sources, worker
from dlip_reg.training.fitting import compiled, require_effect
from dlip_reg.training.initial_weights import random_weights
from dlip_reg.training.model_functions import build
from dlip_reg.training.records import loads
from dlip_reg.training.reuse import can_be_reused
from dlip_reg.training.sources import library_folders, source_hash

SPEC = RunSpec(model_samples.depthwise, DATA, batch_size=20, epochs=2, learning_rate=0.01)
TRAINED = ("depthwise", "own_layers", "subclassed")


GHOST = "dlip_reg.models.ghost:ghost_batch_norm"


def spec_of(name, **changes):
    return replace(SPEC, model=f"model_samples:{name}", **changes)


@pytest.mark.thorough
@pytest.mark.parametrize("name", TRAINED)
def test_runs_repeat_bit_for_bit_and_differ_between_seeds(train, name):
    first = train(spec_of(name, measures=("curves",)))
    train(replace(SPEC, model="mlp", seed=8))
    assert train(spec_of(name, measures=("curves",))) == first
    other = loads(train(spec_of(name, measures=("curves",), seed=1)))
    assert other.curves.clean_loss[0] != loads(first).curves.clean_loss[0]
    assert loads(first).curves.clean_loss[-1] < loads(first).curves.clean_loss[0]


def test_a_layer_that_a_module_made_may_have_the_name_of_a_new_one(dataset):
    one, same = (compiled(spec_of("beside_a_layer_of_the_module"), dataset) for _ in range(2))
    assert [layer.name for layer in one.layers] == [layer.name for layer in same.layers]
    assert all(map(np.array_equal, one.get_weights(), same.get_weights()))


@pytest.mark.parametrize("name", ["separable", "recurrent", "depthwise"])
def test_every_random_weight_of_a_keras_layer_is_drawn_by_the_seed(dataset, name):
    """Whatever the global random state: so arms of one seed are paired layer by layer."""
    weights = []
    for seed in (0, 0, 1):
        model = compiled(spec_of(name, seed=seed), dataset)
        weights.append([v.numpy() for v in model.trainable_variables])
    for one, same, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.any(one) or not np.array_equal(one, other)  # biases begin at zero


def test_the_function_gets_the_regularization_it_accepts_and_starts_at_the_same_weights(dataset):
    strong = Regularization(dense_l2=0.1, dense_dropout=0.5)
    plain = compiled(spec_of("separable"), dataset).get_weights()
    model = compiled(spec_of("separable", regularization=strong), dataset)
    assert any(isinstance(layer, keras.layers.Dropout) for layer in model.layers)
    assert model.layers[-1].kernel_regularizer is not None
    for one, other in zip(plain, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_function_that_takes_options_without_using_them_is_refused(dataset):
    """Its arms would be compared with themselves, and the claim would have no effect."""
    for strengths in ({"dense_dropout": 0.1}, {"dense_l2": 1e-5}, {"conv_l2": 1e-5}):
        spec = spec_of("separable", regularization=Regularization(**strengths))
        require_effect(spec, dataset, {"dense"})  # of convolutions there are none
    for used in ({}, {"dense_l2": 1e-5}):
        spec = spec_of("separable", regularization=Regularization(batch_norm=True, **used))
        with pytest.raises(ValueError, match="must use batch_norm, which it accepts"):
            require_effect(spec, dataset, {"dense"})


@pytest.mark.parametrize(
    ("model", "strengths", "builder"),
    [
        ("gives_zeros", {"dense_dropout": 0.1}, {}),
        ("narrow_and_bounded", {"dense_dropout": 0.1}, {}),
        ("narrow_and_bounded", {"max_norm": 2.0}, {}),
        ("needs_batch_norm", {"batch_norm": True}, {"momentum": 0.9}),
        ("separable", {"dense_dropout": 0.1, "dense_l1": 1e-6, "dense_l2": 1e-6}, {}),
        (GHOST, {"batch_norm": True}, {"net": "mlp", "ghost_size": 4}),
    ],
)
def test_options_with_an_effect_are_not_refused(dataset, model, strengths, builder):
    changes = {"regularization": Regularization(**strengths), "builder": builder}
    model = model if ":" in model else f"model_samples:{model}"
    require_effect(replace(SPEC, model=model, **changes), dataset, {"dense"})


@pytest.mark.thorough
def test_layers_are_named_in_a_record_whatever_was_built_before(train, dataset):
    spec = spec_of("own_layers", measures=("weights",))
    assert train(spec) == train(spec)
    for name in ("one", "other"):  # one structure
        assert compiled(spec_of("named", builder={"name": name}), dataset).layers[-1].name == name


def test_layers_of_one_s_own_start_at_the_same_weights_in_all_methods(dataset):
    dropout = Regularization(dense_dropout=0.5)  # a layer before them that draws a seed, too
    plain, dropped = (
        compiled(spec_of("twice_scaled", regularization=regularization), dataset)
        for regularization in (Regularization(), dropout)
    )
    one, other, *_ = kernels = plain.get_weights()
    for kernel, same in zip(kernels, dropped.get_weights(), strict=True):
        np.testing.assert_array_equal(kernel, same)
    assert not np.array_equal(one, other)
    assert one.std() == pytest.approx(np.sqrt(2 / sum(one.shape)), rel=0.2)  # Glorot & Bengio 2010


def test_weights_that_the_builder_sets_are_kept(dataset):
    fixed, logits = [], []
    for seed in (0, 1):
        model = compiled(spec_of("fixed_kernel", seed=seed), dataset)
        fixed.append(np.array(model.get_layer("fixed").kernel))
        logits.append(np.array(model.get_layer("logits").kernel))
    expected = keras.initializers.GlorotUniform(seed=7)(fixed[0].shape)
    for kernel in fixed:
        np.testing.assert_array_equal(kernel, expected)
    assert not np.array_equal(*logits)


def test_weights_of_an_own_initializer_keep_its_arguments(dataset):
    kernel, _ = compiled(spec_of("own_initializer"), dataset).get_weights()
    assert kernel.std() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("name", ["norm_in_a_model", "norm_in_a_subclassed_model"])
def test_a_run_starts_at_the_statistics_of_batch_norm_in_a_new_model(dataset, name):
    """Keras calls models in models for training, unless they are called with training=False."""
    model = compiled(spec_of(name), dataset)
    moving = {v.name: v.numpy() for v in model.variables if v.name.startswith("moving")}
    assert moving == {"moving_mean": [0.0], "moving_variance": [1.0]}


@pytest.mark.parametrize(
    ("name", "value"),
    [("dtype_policy", "mixed_bfloat16"), ("floatx", "float64"), ("max_epochs", 1)],
)
def test_a_global_setting_of_keras_is_refused_and_does_not_last(monkeypatch, name, value):
    for setup in ("configure_process", "configure_at_full_speed", "load"):
        monkeypatch.setattr(worker, setup, lambda *_: None)
    change, default = getattr(keras.config, f"set_{name}"), getattr(keras.config, name)()
    monkeypatch.setattr(worker, "_runner", lambda spec: lambda *_: change(value))
    for run in (worker.run_spec, worker.run_timed):
        with pytest.raises(ValueError, match=f"Keras' global {name} must be"):
            run(SPEC)
        assert getattr(keras.config, name)() == default
    try:  # of the script
        change(value)
        monkeypatch.setattr(worker, "_runner", lambda spec: pytest.fail("it is run"))
        with pytest.raises(ValueError, match=f"Keras' global {name} must be"):
            worker.run_spec(SPEC)
    finally:
        change(default)


def test_a_model_that_is_more_than_its_configuration_is_trained_as_built(dataset):
    for name, reused in {
        "depthwise": True,
        "separable": True,
        "own_layers": False,
        "with_counting": False,
        "with_lambda": False,
        "subclassed": False,
        "recurrent": False,
    }.items():
        models = [compiled(spec_of(name), dataset) for _ in range(2)]
        fresh = build(spec_of(name), dataset.input_shape, dataset.classes)
        assert (models[0] is models[1]) == can_be_reused(fresh) == reused


@pytest.mark.parametrize("option", ["activation", "regularizer", "call"])
def test_parts_that_are_not_keras_own_prevent_reuse(option):
    def own(values):
        return keras.ops.relu(values)

    inputs = keras.Input((4,))
    layer = keras.layers.Dense(3, activation=own if option == "activation" else "relu")
    model = keras.Model(inputs, layer(inputs))
    if option == "regularizer":
        layer.kernel.regularizer = keras.regularizers.L2(0.1)
    if option == "call":
        layer.call = own
    assert not can_be_reused(model)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("too_few_outputs", r"must give 10 outputs, not shape \(None, 9\)"),
        ("two_outputs", r"must give 10 outputs, not shape \(None, 10\) and \(None, 10\)"),
        ("raises", r"failed: RuntimeError: no such layer\.$"),
        ("exits", r"failed: SystemExit: 3\.$"),  # would end a worker without a word
        ("returns_text", "must return an uncompiled keras.Model, not str"),
        ("unseeded", "from their global seeds"),
        ("with_a_layer_of_the_module", "must make all of its trainable layers anew"),
        ("of_random_depth", "the same layers whatever the global random state is"),
        ("ends_in_softmax", "its loss must have from_logits=False"),
        ("ends_in_softmax_layer", "Leave out the model's softmax, or its loss must have"),
        ("ends_in_sigmoid", "Leave out the model's sigmoid, or its loss must have"),
        ("ends_in_reshaped_softmax", "Leave out the model's softmax, or its loss must have"),
    ],
)
def test_unsuitable_models_are_refused_in_one_sentence(dataset, name, message):
    with pytest.raises(ValueError, match=message) as caught:
        compiled(spec_of(name), dataset)
    assert "\n" not in str(caught.value)


# Keras finds the logits behind a softmax by itself only where that is the very last operation.
@pytest.mark.parametrize(
    "name",
    thorough_after(
        1, ["ends_in_softmax", "ends_in_reshaped_softmax", "ends_in_a_softmax_that_is_no_layer"]
    ),
)
def test_a_softmax_is_trained_on_a_loss_of_probabilities(train, dataset, name):
    loss = keras.losses.SparseCategoricalCrossentropy()
    spec = spec_of(name, loss=loss, measures=("curves",))
    curve = loads(train(spec)).curves.clean_loss
    probabilities = np.array(compiled(spec, dataset)(dataset.x_train))
    of_labels = probabilities[np.arange(len(probabilities)), dataset.y_train]
    assert curve[0] == pytest.approx(-np.log(of_labels).mean(), rel=1e-5)
    assert curve[2] < curve[1] < curve[0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "name",
    [
        *("separable", "ends_in_log_softmax", "ends_in_a_model"),
        *("takes_a_list", "gives_a_dict", "gives_zeros"),
    ],
)
def test_logits_are_not_trained_on_a_loss_of_probabilities(dataset, name):
    spec = spec_of(name, loss=keras.losses.SparseCategoricalCrossentropy())
    with pytest.raises(ValueError, match="ends in logits: its loss must have from_logits=True"):
        compiled(spec, dataset)


def test_the_option_names_are_those_of_the_builders():
    for name in MODEL_NAMES:
        own = set(inspect.signature(get_builder(name)).parameters)
        own -= {"input_shape", "classes", "name", "options"}
        assert set(option_names(name)) == own | set(BuilderOptions.__dataclass_fields__)
    assert set(Regularization().builder_options()) == set(Regularization.OPTIONS)


@pytest.mark.parametrize("changed_by", [None, GHOST])
def test_identity_changes_with_the_source_file(tmp_path, monkeypatch, changed_by):
    monkeypatch.syspath_prepend(tmp_path)
    spec, identities = None, set()
    for version in (1, 2):
        (tmp_path / "edited_model.py").write_text(f"def build(): return {version}\n")
        spec = replace(SPEC, model="edited_model:build")
        if changed_by:  # a function that builds the network and changes it
            spec = replace(SPEC, model=changed_by, builder={"net": spec.model, "ghost_size": 4})
        source_hash.cache_clear()  # as in another process
        identities.add(spec.identity("data"))
    assert len(identities) == 2
    assert "edited_model" not in sys.modules  # nothing was imported for that


# What a student's model imports, also in functions and round and round, and other files beside it.
IMPORTED = {
    "nets/__init__.py": "",
    "nets/deep.py": "from . import blocks\nfrom .parts.layer import a\ndef build(): import tools.a",
    "nets/blocks.py": "import numpy as np, keras, dlip_reg.models.other",
    "nets/parts/__init__.py": "from .. import sizes",
    "nets/parts/layer.py": "a = 'relu'",
    "nets/sizes.py": "import sizes_of_all",
    "sizes_of_all.py": "from nets import deep",
    "tools/a.py": "def broken(:",
}
OTHERS = {"nets/other.py": "1", "plots.py": "import nets", "dlip_reg/models/other.py": "1"}


def test_what_a_model_s_module_imports_from_beside_it_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def identity():
        source_hash.cache_clear()  # as in another process
        return replace(SPEC, model="nets.deep:build").identity("data")

    for name, text in (IMPORTED | OTHERS).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    before, changed = identity(), set()
    for name, text in (IMPORTED | OTHERS).items():
        (tmp_path / name).write_text(f"{text}\n# changed")
        changed |= {name} if identity() != before else set()
        (tmp_path / name).write_text(text)
    assert identity() == before
    assert changed == set(IMPORTED)


def test_what_a_model_s_module_imports_from_elsewhere_counts(tmp_path, monkeypatch):
    for folder in ("scripts", "library"):
        (tmp_path / folder).mkdir()
        monkeypatch.syspath_prepend(tmp_path / folder)
    (tmp_path / "scripts" / "deep_net.py").write_text("import sizes_elsewhere\ndef build(): ...")
    identities = set()
    for size in (1, 2):
        (tmp_path / "library" / "sizes_elsewhere.py").write_text(f"SIZE = {size}")
        source_hash.cache_clear()
        identities.add(replace(SPEC, model="deep_net:build").identity("data"))
    assert len(identities) == 2
    monkeypatch.syspath_prepend(tmp_path)  # as if it were run with -m
    source_hash.cache_clear()
    assert replace(SPEC, model="deep_net:build").identity("data") in identities


def test_the_module_of_an_own_loss_counts_but_not_what_installed_ones_import(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    identities = set()
    for version in (1, 2):
        (tmp_path / "own_losses.py").write_text(f"VERSION = {version}")
        loss = {"class_name": "Own", "module": "own_losses", "registered_name": "own>Own"}
        source_hash.cache_clear()
        identities.add(replace(SPEC, loss=loss).identity("data"))
    assert len(identities) == 2
    assert source_hash("dlip_reg.models.ghost") == source_hash("no_such_module") == ""
    monkeypatch.setattr(sources, "_imported_from", lambda *_: pytest.fail("an installed package"))
    assert source_hash("numpy.matlib") != source_hash("numpy.version")
    # As by pip install --user: beside it are all of its libraries.
    (tmp_path / "own-1.0.dist-info").mkdir()
    library_folders.cache_clear()
    source_hash.cache_clear()
    assert source_hash("own_losses")
    library_folders.cache_clear()


SCRIPT = """
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

from dlip_reg.datasets import dataset_info
from dlip_reg.training.worker import run_spec
from dlip_reg.training import DataSpec, RunSpec

def build(input_shape, classes):
    from keras import Input, Sequential, layers

    return Sequential([Input(input_shape), layers.Flatten(), layers.Dense(classes)])

data = DataSpec("fashion_mnist_subset", n_train=60, n_validation=20, n_test=10)
spec = RunSpec(build, data)  # as a worker that imports the script makes it, too
spec = replace(spec, epochs=1)

if __name__ == "__main__":
    assert spec.model == "__main__:build"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        record = pool.submit(run_spec, spec).result()
    assert record.id == spec.identity(dataset_info("fashion_mnist_subset").fingerprint)
    print(record.status)
"""


def test_a_function_of_the_script_is_found_in_spawned_workers(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = run_script(tmp_path / "script.py")
    assert done.stdout.split()[-1:] == ["finished"], done.stderr


def test_a_function_of_another_script_is_told_to_move_into_a_module(monkeypatch, dataset):
    def build(input_shape, classes): ...

    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "build", build, raising=False)
    monkeypatch.setattr(main, "__file__", __file__, raising=False)
    spec = replace(SPEC, model="__main__:build")
    monkeypatch.delattr(main, "build")  # as in the worker of a cluster
    with pytest.raises(ValueError, match="on a Dask cluster it has to be in a module"):
        compiled(spec, dataset)


def test_a_module_that_exits_when_it_is_imported_is_named(tmp_path, monkeypatch, dataset):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "exiting_net.py").write_text(
        "def net(input_shape, classes): ...\nraise SystemExit('bye')\n"
    )
    with pytest.raises(ValueError, match=r"exiting_net:net cannot be imported: SystemExit: bye\.$"):
        compiled(replace(SPEC, model="exiting_net:net"), dataset)


def test_a_module_in_another_encoding_is_searched_for_the_function(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = (
        "# -*- coding: cp949 -*-\n# \N{HANGUL SYLLABLE HAN}\ndef net(input_shape, classes): ...\n"
    )
    (tmp_path / "encoded_net.py").write_bytes(source.encode("cp949"))
    assert replace(SPEC, model="encoded_net:net").model == "encoded_net:net"
    with pytest.raises(ValueError, match="the module has no other"):
        replace(SPEC, model="encoded_net:other")


def test_a_thread_that_draws_during_one_build_does_not_make_the_weights_unrepeatable():
    builds = []

    def build():
        if not builds:
            random.random()  # as another thread does
        builds.append(None)
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])

    assert random_weights(build) == (True, False)
    assert len(builds) > 3
