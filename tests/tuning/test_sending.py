"""What identifies a search: the code and the data that decide its numbers, and nothing else."""

import functools
import importlib
import os
import pickle
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras_tuner.errors import FatalValueError
from warm_processes import run_script

from dlip_reg.errors import useful_line
from dlip_reg.training.sources import library_folders, source_hash
from dlip_reg.tuning.fingerprints import fingerprint
from dlip_reg.tuning.module_globals import globals_put_back
from dlip_reg.tuning.pickling import anew, dumps
from dlip_reg.tuning.sending import Job, _unpickled


def module(source, name="a_students_module"):
    """A module of that source, as if it were a student's file."""
    made = types.ModuleType(name)
    made.__file__ = f"/home/student/{name}.py"
    sys.modules[name] = made
    exec(compile(source, made.__file__, "exec"), vars(made))
    return made


@pytest.mark.parametrize(
    "source",
    [
        "UNITS = {}\ndef build(hp): return UNITS",
        "UNITS = [{}]\ndef build(hp): return UNITS",
        "UNITS = [{}]\ndef build(hp):\n UNITS.append(hp)\n return UNITS[0]",
        "def build(hp): return hp in {{1, {}}}",
        "def helper(): return {}\ndef build(hp): return (lambda: helper())()",
        "def build(hp, units={}): return units",
        "def build(hp, *, units={}): return units",
        "def made(units):\n def build(hp): return units\n return build\nbuild = made({})",
        "class Build:\n units = {}\n def __call__(self, hp): return self.units\nbuild = Build()",
        "class A:\n def f(self): return {}\nclass B(A): pass\nbuild = B()",
        "class A:\n @property\n def f(self): return {}\nbuild = A()",
        "class A:\n @staticmethod\n def f(): return {}\nbuild = A()",
        "class A: pass\nbuild = A()\nbuild.held = {{{}}}",
        "class A:\n __slots__ = ('a',)\nbuild = A()\nbuild.a = {}",
        # Objects of the user's classes, whatever methods these have, and the user's modules.
        "class A:\n __next__ = __iter__ = id\nheld = A()\nheld.a = {}\ndef build(hp): return held",
        "class A:\n def __fspath__(self): return ''\nbuild = A()\nbuild.a = {}",
        "class A: __wrapped__ = id\nbuild = A()\nbuild.a = {}",
        "import sys\nunits = {}\ndef made(held): return lambda hp: held\n"
        "build = made(sys.modules[__name__])",
        # Keras describes them by less than they hold.
        *(
            f"import keras\nclass A(keras.{base}): pass\nbuild = A()\nbuild.held = {{}}"
            for base in ("losses.Loss", "metrics.Mean", "constraints.Constraint", "layers.Layer")
        ),
        "import keras\nbuild = keras.layers.StringLookup()\nbuild.adapt([['{}']])",
        # Objects of libraries' classes.
        *(
            f"import {value.partition('.')[0]}\nHELD = {value}\ndef build(hp): return HELD"
            for value in (
                *("keras.regularizers.L2({})", "keras.initializers.RandomNormal(stddev={})"),
                *("keras.losses.Huber({})", "keras.metrics.TopKCategoricalAccuracy({})"),
                *(
                    "keras.optimizers.schedules.ExponentialDecay(1.0, {}, 0.5)",
                    "builtins.range({})",
                ),
                *("fractions.Fraction({})", "types.SimpleNamespace(units={})", "re.compile('{}')"),
                *("collections.deque([{}])", "functools.cache(lambda: {})"),
                "tensorflow.function(lambda: {})",
            )
        ),
    ],
)
def test_another_number_anywhere_in_the_builder_is_another_search(source, monkeypatch):
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    # A student's file may have the name of a module of Python.
    files = [module(source.format(number), "code") for number in (8, 64, 8)]
    first, second, again = (fingerprint(file.build) for file in files)
    assert first == again != second


def test_the_code_of_a_library_is_left_out_wherever_it_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    found = []
    (tmp_path / "a_library-1.0.dist-info").mkdir()
    for installed in (True, False):
        if not installed:
            (tmp_path / "a_library-1.0.dist-info").rmdir()
        for number in (8, 64):
            library = module(f"def f(): return {number}", "a_library")
            library.__file__ = str(tmp_path / "a_library.py")
            build = module("import a_library\ndef build(hp): return a_library.f()").build
            library_folders.cache_clear()
            found.append(fingerprint(build))
    library_folders.cache_clear()
    assert found[0] == found[1] and found[2] != found[3]


def test_a_search_is_the_same_after_it_was_sent_and_after_other_layers_were_named():
    found = []
    for held in (Held(), Held(), Held().with_layers(), Held().with_layers()):
        found.append(fingerprint(held))
        pickle.dumps(held)
    assert found[0] == found[1] != found[2] == found[3]


def test_a_search_is_the_same_after_keras_made_a_class_of_models_functional():
    class Functional(keras.Model):
        def __init__(self):
            inputs = keras.Input((2,))
            super().__init__(inputs, keras.layers.Dense(1)(inputs))

    before, bases = fingerprint(Functional), Functional.__bases__
    assert Functional() and Functional.__bases__ != bases
    assert fingerprint(Functional) == before


@pytest.mark.parametrize("copy", [anew, lambda value: pickle.loads(dumps(value))])
def test_copies_of_metrics_have_their_arguments_and_numbers_of_their_own(copy):
    class Own(keras.metrics.Metric):
        def __init__(self):
            super().__init__()
            self.sums = [self.add_weight(initializer="zeros")]

        def update_state(self, y, p, sample_weight=None):
            self.sums[0].assign_add(1.0)

        def result(self):
            return self.sums[0]

    for metric, result in ((Own(), 1.0), (keras.metrics.BinaryAccuracy(threshold=0.8), 0.5)):
        made = copy(metric)
        made.update_state([1.0, 1.0], [0.6, 0.9])
        assert (float(made.result()), float(metric.result())) == (result, 0.0)


def test_a_copy_leaves_a_class_of_a_script_as_it_is():
    class OfAScript(Held):  # pickled by value, since nobody can import it
        def method(self):
            return self

    class OfAScriptToo(keras.layers.Layer):  # which Keras finds in no module
        pass

    class Weighted(keras.losses.Loss):  # with a weight that Keras would not save
        __slots__ = ("slot",)

        def __init__(self, weight=1):
            super().__init__()
            self.weight = keras.Variable(weight, name="mine")
            self.slot = weight

    class Reduced(Weighted):
        def __reduce__(self):
            return Reduced, (7,)

    held, method = OfAScript(), OfAScript.method
    held.loss, held.reduced = Weighted(5), Reduced(5)
    held.model = keras.Sequential([keras.Input((2,)), OfAScriptToo()])
    copy = anew(held)
    (kind,) = {type(layer) for layer in copy.model.layers}
    assert kind is OfAScriptToo
    assert copy is not held and type(copy) is OfAScript and OfAScript.method is method
    sent = Job.pack("", {"hypermodel": held, "data": {}}).parts()["hypermodel"]
    assert type(sent.model.layers[0]).__name__ == "OfAScriptToo"
    assert float(sent.loss.weight) == sent.loss.slot == 5 and sent.loss.weight.name == "mine"
    assert sent.reduced.slot == 7


class Held:
    def with_layers(self):
        inputs = keras.Input((2,))
        self.model = keras.Model(inputs, keras.layers.Dense(1, "relu", True, "zeros")(inputs))
        return self


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Exception encountered when calling A.call().\n\n\x1b[1mwrong shape.\x1b[0m\n\nArguments",
         "wrong shape."),
        ("{{function_node __a}} PyFunc is stateful. [Op:Graph] name:", "PyFunc is stateful."),
        ("Exception encountered when calling A.call().",) * 2,
    ],
)  # fmt: skip
def test_the_line_of_an_error_that_says_what_was_wrong(text, line):
    assert useful_line(ValueError(text)) == line


@pytest.mark.parametrize(
    "source",
    [
        "import logging\nlog = logging.getLogger('{}')\ndef build(hp): log.info(hp)",
        "import logging\nclass Net:\n def __init__(self): self.log = logging.getLogger('net')\n"
        "net = Net()\nnet.log.isEnabledFor(ord('{}'))\ndef build(hp): return net",
        "model = '{}'\ndef build(hp): return hp.model",
        "built = '{}'\ndef build(hp):\n global built\n built += hp",
        "built = ['{}']\ndef build(hp): built.append(hp)",
        # Seeds that are drawn, and what no other process can have.
        "import keras\nseeds = keras.random.SeedGenerator()\ndef build(hp): return seeds  # {}",
        "import random\nheld = [r := random.Random('{}')]\nchoice, draw = r.choice, r.random\n"
        "def build(hp): return held, choice, draw",
        "import threading\nlock = threading.Lock()\ndef build(hp): return lock  # {}",
        "import keras\ndraw = keras.initializers.HeNormal()\ndef build(hp): return draw  # {}",
    ],
)
def test_what_decides_no_number_is_left_out(source, monkeypatch):
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    first, second = (fingerprint(module(source.format(text)).build) for text in "ab")
    assert first == second


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("from students_blocks import act", "students_blocks.py"),
        ("import students_nets.deep", "students_nets/deep.py"),
        ("from students_nets import deep", "students_nets/deep.py"),
        ("from .deep import act", "students_nets/deep.py"),
        ("from . import deep", "students_nets/sizes.py"),
        # So many names and numbers that the code needs longer arguments.
        (
            f"{'; '.join(f'a{n} = {n}.5' for n in range(300))}; from students_nets.deep import act",
            "students_nets/deep.py",
        ),
        ("from students_nets import sizes; import keras.layers, numpy as np", None),
    ],
)
def test_what_a_builder_imports_itself_counts(line, changed, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.syspath_prepend(tmp_path)
    files = (
        "students_blocks.py",
        *(f"students_nets/{n}.py" for n in ("__init__", "deep", "sizes")),
    )

    def found(version):
        for name in files:
            text = "from . import sizes\n" if "deep" in name else ""
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text + (f"act = {version}" if name == changed else ""))
        source_hash.cache_clear()  # as in another process
        made = module(f"def build(hp):\n {line}")
        made.__package__ = "students_nets"
        return fingerprint(made.build)

    assert (found(1) != found(2)) == (changed is not None)


def test_to_read_a_cached_property_changes_no_fingerprint():
    class Data:
        images = functools.cached_property(lambda self: np.ones(3))

    data = Data()
    before = fingerprint(data)
    assert data.images.any() and vars(data)
    assert fingerprint(data) == before


def test_what_the_program_changed_in_a_module_reaches_workers(tmp_path, monkeypatch):
    source = "import os\nUNITS = 8\nclass Config: rate = 0\nsame = Config()\nconfig = Config()\n"
    source += "class Sizes:\n class Of: width = 8\n"
    # A decorator gives another class the name of this one.
    source += "class Base: depth = 1\nclass Own(Base): __qualname__ = 'Base'\nBase = Own\n"
    reads = "UNITS, same, config, Sizes.Of.width, Base, os.environ['STUDENTS_WIDTH']"
    (tmp_path / "students_settings.py").write_text(f"{source}def build(hp): {reads}\n")
    monkeypatch.setenv("STUDENTS_WIDTH", "3")
    monkeypatch.syspath_prepend(tmp_path)
    made = importlib.import_module("students_settings")
    custom = keras.saving.get_custom_objects()
    made.UNITS, made.config.rate, custom["own"] = 64, 0.5, lambda x: 2 * x
    made.Sizes.Of.width = 64
    job, before = Job.pack("", {"hypermodel": made.build, "data": {}}), fingerprint(made.build)
    monkeypatch.setenv("STUDENTS_WIDTH", "4")
    assert fingerprint(made.build) != before
    del custom["own"]
    importlib.reload(made)  # as a worker imports it
    same = made.same
    job.parts()
    assert made.UNITS == 64 and made.config.rate == 0.5 and made.same is same
    assert made.Sizes.Of.width == 64
    assert "depth" not in vars(made.Base)
    assert custom.pop("own")(3) == 6
    assert os.environ["STUDENTS_WIDTH"] == "3"
    made.config.rate = 0.7  # as an execution may do
    job.parts()
    assert made.config.rate == 0.5
    custom.pop("own")


def test_a_module_whose_file_was_edited_since_it_was_imported_is_named(tmp_path, monkeypatch):
    file = tmp_path / "students_edited.py"
    file.write_text("class A:\n def act(self, x): return x\n\ndef build(hp): return A().act(hp)\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = importlib.import_module("students_edited")
    parts = {"hypermodel": [made.build, made.A.act], "data": {}}
    job = Job.pack("", parts)
    job.parts()
    made.__loader__ = None  # an import hook's, which changes code
    hooked = Job.pack("", parts)
    _unpickled.cache_clear()  # as in a worker
    file.write_text(file.read_text().replace("return x", "return x + 1"))
    importlib.reload(made)
    with pytest.raises(FatalValueError, match="module students_edited has other code in a worker"):
        job.parts()
    hooked.parts()
    made.__loader__ = made.__spec__.loader
    _unpickled.cache_clear()
    Job.pack("", parts).parts()  # of before the reload, and sent by value


def test_a_name_that_the_program_set_anew_does_not_change_others_of_the_same_object(
    tmp_path, monkeypatch
):
    (tmp_path / "students_sizes.py").write_text("SIZES = {'units': 8}\n")
    text = "import students_sizes\nfrom students_sizes import SIZES\n"
    text += "def build(hp): return SIZES, students_sizes.SIZES\n"
    (tmp_path / "students_model.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    made = importlib.import_module("students_model")
    made.students_sizes.SIZES = {"units": 64}
    job = Job.pack("", {"hypermodel": made.build, "data": {}})
    for name in ("students_sizes", "students_model"):  # as a worker imports them
        made = importlib.reload(sys.modules[name])
    job.parts()
    assert [sizes["units"] for sizes in made.build(None)] == [8, 64]


def dataset(name, shift=0):
    names = tf.data.Dataset.from_tensor_slices([name])
    table = keras.layers.StringLookup(vocabulary=["image"], name="table")
    lengths = names.map(
        lambda name: tf.strings.length(name) + tf.cast(table(name), "int32") + shift
    )
    return lengths.cache().shuffle(9, seed=1).batch(2)


def test_arrays_of_the_same_numbers_in_another_shape_differ():
    assert fingerprint(np.ones((2, 3))) != fingerprint(np.ones((3, 2)))
    assert fingerprint([[1], 2]) != fingerprint([[1, 2]])


def test_strings_in_an_array_count_and_not_where_they_lie():
    first, again, other = (np.array(["a" * 9, word * 9], object) for word in "bbc")
    assert fingerprint(first) == fingerprint(again) != fingerprint(other)


def test_a_path_counts_and_not_whether_it_was_used(monkeypatch):
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    source = "from pathlib import Path\nFOLDER = Path('{}')\ndef make(): return FOLDER / 'a.npz'"
    first, second, again = (module(source.format(name), "code") for name in ("a", "b", "a"))
    assert len({again.FOLDER: "its hash is kept"}) == 1
    found = [fingerprint(file.make) for file in (first, second, again)]
    assert found[0] == found[2] != found[1]


def test_names_that_keras_counts_do_not():
    class Own(keras.Model):
        pass

    def held():
        inputs = keras.Input((2,))
        end = keras.layers.Dense(1, kernel_initializer="zeros")(inputs)
        text = ("a",)  # which is there twice, after strings that Keras makes anew for each name
        return [keras.Model(inputs, end), Own(inputs, end), text, text]

    keras.utils.clear_session()
    assert fingerprint(held()) == fingerprint(held())


def test_globals_are_put_back_where_they_are_and_only_if_they_changed(tmp_path, monkeypatch):
    source = (
        "import keras, numpy as np\nDRAW, DRAWN = map(np.random.default_rng, (0, 0))\n"
        "CONFIG = {'start': keras.initializers.HeNormal()}\nCOUNTS = {'builds': 0}\n"
        "IMAGES = np.zeros(10**6)\n"
        "def build(hp):\n COUNTS['builds'] += 1\n IMAGES[0] += 1\n"
        " return CONFIG, DRAW, DRAWN.random()\n"
    )
    (tmp_path / "students_states.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    made = importlib.import_module("students_states")
    names = "DRAW", "CONFIG", "COUNTS", "IMAGES"
    before = [getattr(made, name) for name in names]
    with globals_put_back(made.build):
        drawn = made.build(None)[-1]
    assert all(getattr(made, name) is part for name, part in zip(names, before, strict=True))
    assert made.COUNTS == {"builds": 0} and made.DRAWN.random() == drawn
    assert made.IMAGES[0] == 1  # large arrays are not copied


def test_a_dataset_differs_from_others_and_not_from_itself():
    here = fingerprint(dataset("image_1.png"))
    assert here == fingerprint(dataset("image_1.png"))
    assert here != fingerprint(dataset("image_2.png"))
    assert here != fingerprint(dataset("image_1.png", 1))


def test_a_dataset_has_the_same_fingerprint_in_another_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import tensorflow as tf, test_sending\n"
        # TensorFlow counts functions through the whole process.
        "for n in range(12): tf.function(lambda: n).get_concrete_function()\n"
        "tf.random.set_seed(3)\n"
        "print(test_sending.fingerprint(test_sending.dataset('image_1.png')))"
    )
    tf.random.set_seed(3)  # which tests before may have set, and is part of a shuffled dataset
    assert run_script(script).stdout.strip() == fingerprint(dataset("image_1.png"))
