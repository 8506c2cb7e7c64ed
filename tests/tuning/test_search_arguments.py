"""`search` takes what `fit` takes, and says before it begins what it cannot take."""

import functools
import math
import multiprocessing
import threading
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
import user_builders as users
from fake_executions import FakeExecutions
from further_cases import thorough_after
from test_user_builders import (
    STILL,
    TRAIN,
    VALIDATION,
    X,
    Y,
    assert_best_has_the_score,
    loss_of,
    own_model,
    record_of,
    searched,
)
from tuning_samples import run_fake, thread_workers
from warm_processes import run_script, warm_workers

from callbacks import LossCurve
from dlip_reg.experiments import OutputDirConflictError
from dlip_reg.training import DataSpec
from dlip_reg.tuning import (
    ParallelTuner,
    RegularizationHyperModel,
    WorkerStartError,
    make_oracle,
)
from dlip_reg.tuning.checks import check_search
from dlip_reg.tuning.execution import _measured_again
from dlip_reg.tuning.fit_arguments import made
from dlip_reg.tuning.results import execution_rows

BUILD = functools.partial(users.compiled, users.plain, 0.05)
LOSS = keras_tuner.Objective("val_loss", "min")
CLEAN = keras_tuner.Objective("clean_val_loss", "min")
FROM_LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
NAMED = keras.losses.SparseCategoricalCrossentropy(from_logits=True, name="a_loss")
FEW = X[:40, 0], Y[:40]
LAST = X[40:, 0], Y[40:]
ONE_HOT = FEW[0], np.eye(3)[FEW[1]]


def batches(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)


class OwnBackup(keras.callbacks.BackupAndRestore):
    pass


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y, **options):
        super().__init__(**options)
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x) // 8

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        return self.x[part], self.y[part]


class OfAScript(Batches):
    __module__ = "__main__"


def make_batches(seed):
    return batches(*TRAIN)


def make_arrays():
    return {"x": X[:40], "y": Y[:40], "sample_weight": np.ones(40), "validation_data": VALIDATION}


def halves(x, y):
    """Training and validation examples, as options of `searched`."""
    data, validation = (
        keras.tree.map_structure(lambda a, part=part: a[part], (x, y))
        for part in (slice(40), slice(40, 60))
    )
    return {"data": data, "validation": validation}


def one_of(**options):
    """A builder of a dense model over four numbers; `options` are of its last layer."""

    def build(hp):
        hp.Choice("unused", [1])
        layers = keras.layers
        last = layers.Dense(options.get("units", 3), activation=options.get("activation"))
        model = keras.Sequential([keras.Input(options.get("shape", (4,))), layers.Flatten(), last])
        model.compile("sgd", options.get("loss", "sparse_categorical_crossentropy"))
        return model

    return build


DENSE = one_of(loss=FROM_LOGITS)


def averaged(hp):
    model = BUILD(hp)
    model.compile(keras.optimizers.SGD(0.3, use_ema=True, ema_momentum=0.9), FROM_LOGITS)
    return model


def stopped(hp):
    """Is worst at the end, so that the weights of an earlier epoch are restored."""
    model = BUILD(hp)
    model.optimizer.learning_rate = 0.7
    return model


def named(hp):
    model = users.plain()
    return users.compiled(lambda: keras.Model(model.input, {"kind": model.output}), 0.05, hp)


@functools.cache
def of_this_process():
    return BUILD(keras_tuner.HyperParameters()), keras.optimizers.SGD()


def kept_model(hp):
    hp.Choice("unused", [1, 2])
    return of_this_process()[0]


def kept_optimizer(hp):
    model = BUILD(hp)
    model.compile(of_this_process()[1], FROM_LOGITS)
    return model


WORDS = np.array(["red green", "green", "blue red", "blue"])
TEXTS = tf.data.Dataset.from_tensor_slices((WORDS[:, None], [0, 1, 2, 1])).batch(2)


def reader(hp):
    """A model of texts without an Input, so that it has no variables before it is trained."""
    hp.Choice("unused", [1])
    words = keras.layers.TextVectorization(output_mode="multi_hot")
    words.adapt(WORDS)
    model = keras.Sequential([words, keras.layers.Dense(3)])
    model.compile("sgd", FROM_LOGITS)
    return model


STOP = [keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)]
IGNORING = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
# What is built, the objective, and other options of `searched`.
ACCEPTED = {
    "dataset": (BUILD, CLEAN, {"data": (batches(*TRAIN),), "validation": batches(*VALIDATION)}),
    "PyDataset": (
        *(BUILD, CLEAN),
        {"data": (OfAScript(*TRAIN, workers=2, use_multiprocessing=True),)},
    ),
    "function of a seed": (BUILD, CLEAN, {"data": (make_batches,)}),
    "function of arguments": (BUILD, CLEAN, {"data": (make_arrays,), "validation": None}),
    "lambda": (BUILD, CLEAN, {"data": (lambda: TRAIN,)}),
    "lambda of a seed": (BUILD, CLEAN, {"data": (lambda seed: make_batches(0).shuffle(9, seed),)}),
    "ignored labels": (
        *(one_of(loss=IGNORING), LOSS),
        {"data": (FEW[0], np.where(np.arange(40) % 5, FEW[1], -1)), "validation": LAST},
    ),
    "whole numbers in a column": (
        *(one_of(loss="mse"), CLEAN),
        {"data": (FEW[0], FEW[1][:, None]), "validation": (LAST[0], LAST[1][:, None])},
    ),
    "two outputs": (
        *(functools.partial(users.two_outputs, 0.002), LOSS),
        halves(X, {"kind": Y, "size": X[:, 0, 0]}),
    ),
    "one output in a dict": (named, LOSS, {}),
    "two inputs": (
        *(functools.partial(users.two_inputs, 0.002), LOSS),
        halves({"a": X, "b": X[:, 0, :2]}, Y % 2),
    ),
    "no variables at first": (functools.partial(users.compiled, users.Subclassed, 0.05), LOSS, {}),
}
# The score is that of the weights that training leaves.
for name, build, options in (
    ("texts", reader, {"data": (TEXTS,), "validation": TEXTS}),
    ("arrays of texts", reader, {"data": (WORDS, np.array([0, 1, 2, 1])), "validation": TEXTS}),
    ("averaged weights", averaged, {"epochs": 3}),
    ("restored weights", stopped, {"epochs": 30, "callbacks": STOP}),
    ("validated seldom", BUILD, {"epochs": 3, "validation_freq": 2}),
    ("restored seldom", stopped, {"epochs": 30, "validation_freq": 2, "callbacks": STOP}),
):
    ACCEPTED |= {f"{name}, {goal.name}": (build, goal, options) for goal in (LOSS, CLEAN)}


@pytest.mark.parametrize("case", thorough_after(1, ACCEPTED))
@pytest.mark.filterwarnings("ignore:Early stopping conditioned on:UserWarning")
def test_what_fit_takes_is_taken_and_the_best_model_has_the_score(workers, tmp_path, case):
    build, objective, options = ACCEPTED[case]
    tuner = searched(tmp_path, workers, build, objective=objective, **options)
    assert_best_has_the_score(tuner, options.get("validation") or VALIDATION)
    if build is stopped:
        record = record_of(tuner)
        assert record.epochs < 30 and record.score < record.curve["val_loss"][-1]


@pytest.mark.parametrize("objective", thorough_after(1, ["clean_val_loss", "val_loss"]))
def test_a_validation_split_is_the_end_of_the_data(workers, tmp_path, objective):
    still = functools.partial(users.compiled, users.plain, STILL)
    tuner = searched(
        tmp_path, workers, still, (X, Y), None, keras_tuner.Objective(objective, "min"),
        validation_split=1 / 3,
    )  # fmt: skip
    assert record_of(tuner).score == pytest.approx(loss_of(own_model(still)), rel=1e-5)


def test_a_validation_split_is_not_trained_on():
    found = made({"x": X, "y": Y, "validation_split": 1 / 3}, 0, splits=True)
    np.testing.assert_array_equal(found["x"], X[:40])
    np.testing.assert_array_equal(found["validation_data"][0], X[40:])


def test_weights_of_validation_examples_count_where_it_is_measured_again():
    model, weights = own_model(BUILD), np.linspace(0, 2, len(VALIDATION[1]))
    found = _measured_again(model, [], {"validation_data": (*VALIDATION, weights)})
    losses = [loss_of(model, x[None], y[None]) for x, y in zip(*VALIDATION, strict=True)]
    assert found["val_loss"] == pytest.approx(np.mean(weights * losses), rel=1e-5)


@pytest.mark.thorough
def test_weights_of_examples_and_classes_count(workers, tmp_path):
    scores = [
        record_of(searched(tmp_path / str(number), workers, BUILD, **options)).score
        for number, options in enumerate(
            ({}, {"sample_weight": np.linspace(0, 3, 40)}, {"class_weight": {0: 9, 1: 1, 2: 1}})
        )
    ]
    assert len(set(scores)) == 3


@pytest.mark.thorough
def test_the_steps_of_an_epoch_are_those_that_were_asked_for(workers, tmp_path):
    options = {"steps_per_epoch": 2, "validation_steps": 1, "shuffle": False, "epochs": 2}
    tuner = searched(tmp_path, workers, BUILD, objective=LOSS, batch_size=8, **options)
    model = own_model(BUILD)
    found = model.fit(
        *TRAIN, batch_size=8, validation_data=VALIDATION, verbose=0, **options
    ).history
    for name, column in record_of(tuner).curve.items():
        assert column == pytest.approx(found[name], rel=1e-4)


@pytest.mark.parametrize(
    "data",
    [
        tf.data.Dataset.from_tensor_slices(TRAIN).shuffle(40, seed=1).batch(8),
        users.module_s_dataset, users.module_s_sequence,
    ],
    ids=["dataset", "dataset of a module", "sequence of a module"],
)  # fmt: skip
@pytest.mark.thorough
def test_data_that_shuffle_begin_anew_for_each_trial(tmp_path, data):
    with warm_workers(1) as one:
        tuner = searched(tmp_path, one, BUILD, (data,), objective=LOSS, trials=2, epochs=2)
    first, second = tuner.oracle.trials.values()
    assert first.score == second.score
    whole = data if isinstance(data, tf.data.Dataset) else data()
    model = own_model(BUILD)
    keras.utils.set_random_seed(0)  # as an execution does once more, whatever the builder drew
    own = model.fit(whole, epochs=2, verbose=0).history
    (record,) = tuner.executions(first)
    assert record.curve["loss"] == pytest.approx(own["loss"], rel=1e-5)


def make_generator():
    """Batches by NumPy's global state, so that one that is lost or repeated shows."""
    while True:
        chosen = np.random.permutation(len(TRAIN[0]))[:8]
        yield TRAIN[0][chosen], TRAIN[1][chosen]


@pytest.mark.thorough
def test_a_function_may_make_a_generator(workers, tmp_path):
    record = record_of(
        searched(tmp_path, workers, BUILD, (make_generator,), objective=LOSS, steps_per_epoch=2)
    )
    model = own_model(BUILD)
    model.fit(make_generator(), steps_per_epoch=2, verbose=0)
    assert record.score == pytest.approx(loss_of(model), rel=1e-5)


@pytest.mark.parametrize("kind", ["plain", "mixed"])
@pytest.mark.thorough
def test_frames_of_pandas_are_data(workers, tmp_path, kind):
    pandas = pytest.importorskip("pandas")
    x = X[:, 0].round()
    x[:, 1] = x[:, 1] > 0
    frame = pandas.DataFrame(x)
    if kind == "mixed":  # NumPy has but `object` for all columns
        frame = frame.astype({0: "Float64", 1: bool, 2: "Int64"})
    scores = [
        record_of(searched(tmp_path / name, workers, DENSE, objective=LOSS, **halves(*given))).score
        for name, given in {"arrays": (x, Y), "frames": (frame, pandas.Series(Y))}.items()
    ]
    assert scores[0] == scores[1]


@pytest.mark.thorough
def test_callbacks_are_copied_and_write_into_files_of_each_execution(workers, tmp_path):
    curve, files = LossCurve(TRAIN), tmp_path / "files"
    callbacks = [
        curve,
        keras.callbacks.TensorBoard(str(files / "logs")),
        keras.callbacks.ModelCheckpoint(str(files / "model.keras")),
        keras.callbacks.CSVLogger(str(files / "log.csv")),
    ]
    tuner = searched(
        tmp_path, workers, BUILD, objective=LOSS, trials=2, epochs=2, callbacks=callbacks,
        options={"executions_per_trial": 2},
    )  # fmt: skip
    for trial in tuner.oracle.trials.values():
        for number, record in enumerate(tuner.executions(trial)):
            place = Path(trial.trial_id) / f"execution_{number}"
            assert len((files / place / "log.csv").read_text().splitlines()) == 3
            assert (files / "logs" / place).is_dir()
            model = keras.models.load_model(files / place / "model.keras")
            assert loss_of(model) == pytest.approx(record.score, rel=1e-5)
            assert "TensorBoard" in record.not_shared  # which writes the model's graph
            assert len(record.curve["clean_loss"]) == 2
    assert not curve.history


def sized(hp):
    hp.Fixed("epochs", 3)
    hp.Fixed("loss", "cross-entropy")
    hp.Choice("largest_norm", [math.inf])
    inputs = keras.Input(batch_shape=(hp.Choice("batch_size", [5]), *users.SHAPE))
    return users.compiled(lambda: keras.Model(inputs, users.ending(inputs)), 0.05, hp)


@pytest.mark.thorough
def test_epochs_and_batch_size_may_be_hyperparameters(workers, tmp_path):
    for _ in range(2):  # the second time it is read from the folder
        tuner = searched(tmp_path, workers, sized, objective=LOSS, epochs=1)
    record, (row,) = record_of(tuner), execution_rows(tuner)
    assert record.epochs == 3
    assert row["loss"] == record.curve["loss"][-1] and row["hp_loss"] == "cross-entropy"
    model = own_model(sized)
    keras.utils.set_random_seed(0)
    own = model.fit(*TRAIN, 5, 3, validation_data=VALIDATION, verbose=0).history
    assert record.curve["val_loss"] == pytest.approx(own["val_loss"], rel=1e-4)


def deeper(hp):
    """The second layer's width is there only with the layer."""
    chain = [keras.layers.Dense(hp.Int("first", 2, 4))]
    deep = hp.Boolean("deep")
    with hp.conditional_scope("deep", [True]):
        if deep:
            chain.append(keras.layers.Dense(hp.Int("second", 2, 4)))
    return users.compiled(functools.partial(users.functional, *chain), 0.05, hp)


@pytest.mark.thorough
def test_conditional_hyperparameters_are_found_and_two_objectives_are_summed(workers, tmp_path):
    objectives = [
        keras_tuner.Objective("clean_val_loss", "min"), keras_tuner.Objective("val_accuracy", "max")
    ]  # fmt: skip
    tuner = searched(tmp_path, workers, deeper, objective=objectives, trials=5)
    trials = tuner.oracle.trials.values()
    assert {len(trial.hyperparameters.values) for trial in trials} == {3, 4}
    for trial in trials:
        (record,) = tuner.executions(trial)
        expected = record.curve["clean_val_loss"][-1] - record.curve["val_accuracy"][-1]
        assert trial.score == pytest.approx(expected)


class Looped(keras_tuner.HyperModel):
    """Asks for more in a loop, and under conditions of Python; keeps its layers."""

    def build(self, hp):
        layers, number = keras.layers, hp.Int("layers", 1, 3)
        self.chain = [layers.Dense(hp.Int(f"units_{n}", 2, 9)) for n in range(number)]
        if hp.Choice("kind", ("one", "other", "third")) == "third":
            rate = hp.Float("rate", 0.1, 0.4)
            self.chain.append(layers.Dropout(hp.Boolean("more") and rate))
        return users.compiled(functools.partial(users.functional, *self.chain), 0.05, hp)


def test_what_is_asked_for_in_loops_and_behind_conditions_is_searched_from_the_first_trial(
    tmp_path,
):
    (tmp_path / "calls").mkdir()
    hypermodel, fake = Looped(), FakeExecutions(tmp_path / "calls")
    for trials in (2, 3):  # the second time the search resumes
        oracle = keras_tuner.oracles.RandomSearchOracle(CLEAN, max_trials=trials, seed=1)
        with thread_workers(1) as pool:
            tuner = ParallelTuner(
                oracle, hypermodel, workers=pool, directory=tmp_path, project_name="search"
            )
            run_fake(tuner, fake)
        assert {hp.name for hp in tuner.oracle.get_space().space} == {
            *("units_0", "units_1", "units_2", "layers", "kind", "rate", "more", "unused")
        }
    assert fake.count() == {(0, 0): 1, (1, 0): 1, (2, 0): 1}


FOLDS = {"validation": None, "options": {"folds": 5}}
ALONE = {"validation": None, "objective": keras_tuner.Objective("loss", "min")}
OWN_FUNCTION = batches(*TRAIN).map(lambda x, y: (tf.py_function(abs, [x], tf.float32), y))
TABLE = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), 0)
SOFTMAX = {"activation": "softmax"}
F1 = keras_tuner.Objective("val_f1", "max")
F1_IS_MISSING = r"val_f1 is not among .* accuracy, loss, val_accuracy"


@pytest.mark.parametrize(
    ("build", "data", "options", "said"),
    [
        # What cannot be sent to workers, or taken.
        (BUILD, (OWN_FUNCTION,), {},
         "data cannot be sent .*; give a function that makes the data"),
        (BUILD, TRAIN, {"callbacks": [keras.callbacks.LambdaCallback(threading.Lock().acquire)]},
         "callbacks cannot be sent .*no open files"),
        (BUILD, TRAIN, {"callbacks": [keras.callbacks.LambdaCallback(TABLE.lookup)]},
         "callbacks cannot be sent .*dtype resource"),
        (BUILD, TRAIN, {"callbacks": [keras.callbacks.TerminateOnNaN]}, "objects of .*Callback"),
        (BUILD, TRAIN, {"epoch": 3}, "fit takes no argument epoch"),
        (BUILD, TRAIN, {"epochs": 2.5}, "epochs must be a whole number of 0 or more"),
        (BUILD, (batches(*TRAIN), Y[:40]), {}, "leave out y, sample_weight"),
        (BUILD, TRAIN, {"callbacks": [OwnBackup("backup")]}, "BackupAndRestore .* leave it out"),
        *((BUILD, TRAIN, {"callbacks": [object.__new__(kind)]}, f"{name} .* use ModelCheckpoint")
          for name, kind in vars(keras.callbacks).items() if name == "OrbaxCheckpoint"),
        (BUILD, (None,), {}, "needs data"),
        (BUILD, (DataSpec("imagenet"),), {}, "imagenet"),
        (BUILD, (iter([TRAIN]),), {}, "must be arrays"),
        (BUILD, TRAIN, {"x": TRAIN[0]}, "got x by position and by name"),
        # Validation data.
        (BUILD, TRAIN, {"validation": None}, "needs validation_data"),
        (BUILD, (batches(*TRAIN),), {"validation": None, "validation_split": 0.5},
         "validation_split needs arrays"),
        (BUILD, TRAIN, {"validation": None, "validation_split": 1.5}, "leaves no examples"),
        (BUILD, TRAIN, {"validation": batches(*VALIDATION).repeat()}, "give validation_steps"),
        (BUILD, TRAIN, {"validation": (X[:0], Y[:0])}, "validation data .* one or more exam"),
        (BUILD, TRAIN, {"validation": (X[40:, :5], Y[40:])}, r"not \(5, 4\)"),
        (BUILD, TRAIN, {"validation": (X[40:], Y[40:] + 9)}, "labels must be from 0 to 2"),
        # Folds.
        (BUILD, (batches(*TRAIN),), FOLDS, "Folds need arrays"),
        (BUILD, (Batches(*TRAIN),), FOLDS, "Folds need arrays"),
        (BUILD, (make_arrays,), FOLDS, "Folds need arrays"),
        (BUILD, TRAIN, FOLDS | {"validation": VALIDATION}, "leave out validation_data"),
        (BUILD, TRAIN, FOLDS | {"validation_split": 0.5}, "and validation_split"),
        (BUILD, (X[:3], Y[:3]), FOLDS, "n_splits=5"),
        (BUILD, TRAIN, FOLDS | {"sample_weight": np.ones(41)}, "lengths 40, 41"),
        # Examples, labels and the model.
        (kept_model, TRAIN, {}, "one model for all trials"),
        (kept_optimizer, TRAIN, {}, "one optimizer for all trials"),
        (lambda hp: None, TRAIN, {}, "hypermodel must return a keras.Model, not NoneType"),
        (RegularizationHyperModel(lambda strengths: {}), TRAIN, {}, "a keras.Model, not dict"),
        (lambda hp: users.plain(), TRAIN, {}, "must return a compiled model"),
        (BUILD, (X[:40], Y[:39]), ALONE, "training data .* lengths 39, 40"),
        (BUILD, TRAIN, {"sample_weight": np.ones(39)}, "training data .* lengths 39, 40"),
        (BUILD, (np.full_like(X[:40], np.inf), Y[:40]), ALONE, "finite numbers"),
        (one_of(shape=(8, 5), loss=FROM_LOGITS), TRAIN, ALONE, r"shape \(8, 5\), not \(8, 4\)"),
        (one_of(shape=(28, 28, 1)), (DataSpec("fashion_mnist_subset", grey=True),), ALONE,
         r"\(28, 28, 3\)"),
        (one_of(units=1, **SOFTMAX), FEW, ALONE, "from 0 to 0, because the model has 1 outputs"),
        (one_of(units=2, **SOFTMAX), FEW, ALONE, "from 0 to 1, .* not 0 to 2"),
        (one_of(**SOFTMAX), (FEW[0], FEW[1] + 1), ALONE, "from 0 to 2, .* not 1 to 3"),
        (one_of(**SOFTMAX), (FEW[0], FEW[1] - 1), ALONE, "from 0 to 2, .* not -1 to 1"),
        (one_of(**SOFTMAX), (FEW[0], FEW[1] + 0.5), ALONE, "must be whole numbers"),
        (one_of(**SOFTMAX), (FEW[0], FEW[1].astype(str)), ALONE, "must be whole numbers"),
        (one_of(**SOFTMAX), ONE_HOT, ALONE, r"class numbers, not labels of shape \(40, 3\)"),
        (one_of(), FEW, ALONE, "ends in logits"),
        (one_of(loss=FROM_LOGITS, **SOFTMAX), FEW, ALONE, "ends in probabilities"),
        (one_of(loss=NAMED, **SOFTMAX), FEW, ALONE, "ends in probabilities"),
        (one_of(loss="categorical_crossentropy", **SOFTMAX), (FEW[0], np.eye(4)[FEW[1]]), ALONE,
         "cannot be trained on these data: .*shape"),
        # Objectives.
        (one_of(loss="mse"), ONE_HOT,
         {"objective": keras_tuner.Objective("clean_val_accuracy", "max"), "validation": ONE_HOT},
         "needs a model that is trained on a cross-entropy"),
        (BUILD, TRAIN, {"objective": F1}, F1_IS_MISSING),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_one_sentence_before_the_search(
    tmp_path, build, data, options, said
):
    with pytest.raises(ValueError, match=said) as caught:
        searched(tmp_path, None, build, data, **options)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    assert not list(tmp_path.iterdir())


@pytest.mark.thorough
def test_an_objective_that_a_callback_might_have_measured_ends_the_search(workers, tmp_path):
    callbacks = keras.callbacks.TerminateOnNaN()  # one alone, as fit takes it
    with pytest.raises(keras_tuner.errors.FatalValueError, match=F1_IS_MISSING):
        searched(tmp_path, workers, BUILD, objective=F1, callbacks=callbacks)


@pytest.mark.thorough
def test_labels_in_a_column_are_labels(workers, tmp_path):
    hypermodel = RegularizationHyperModel(
        lambda strengths: users.plain(), l1=None, dropout=None, optimizer="sgd"
    )
    flat = searched(tmp_path / "flat", workers, hypermodel)
    column = searched(
        tmp_path / "column", workers, hypermodel, (X[:40], Y[:40, None]), (X[40:], Y[40:, None])
    )
    assert record_of(flat).score == record_of(column).score


def late(hp):
    """Fails in TensorFlow's graph, after the check: the values of the check are the defaults."""
    bad = hp.Choice("bad", [False, True], default=False)

    class Gathered(keras.layers.Layer):
        def call(self, x):
            return tf.gather(x, [9 if bad else 1], axis=1)

    return users.compiled(functools.partial(users.functional, Gathered()), 0.05, hp)


@pytest.mark.thorough
def test_a_failed_trial_says_what_tensorflow_found(workers, tmp_path, capsys):
    tuner = searched(tmp_path, workers, late, objective=LOSS, trials=4)
    failed, printed = tuner.failed_trials(), capsys.readouterr().out
    assert failed and all(trial.hyperparameters.values["bad"] for trial in failed)
    for trial in failed:
        assert "indices[0] = 9 is not in [0, 8)" in trial.message
        assert "Graph execution error" not in trial.message
        assert f"Trial {trial.trial_id} failed: {trial.message}\n" in printed


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.thorough
def test_data_that_exchange_examples_are_told(workers, tmp_path, caplog, again):
    whole = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(60, 1, again)
    train, validation = whole.take(40).batch(8), whole.skip(40).batch(8)
    tuner = searched(tmp_path, workers, BUILD, (train,), validation, LOSS, epochs=2)
    assert ("exchange examples" in caplog.text) == again
    if not again:
        own = own_model(BUILD).fit(train, validation_data=validation, epochs=2, verbose=0).history
        assert record_of(tuner).curve["val_loss"] == pytest.approx(own["val_loss"], rel=1e-5)


def test_a_layer_that_keeps_its_state_between_batches_is_warned_of(caplog):
    def made():
        inputs = keras.Input(batch_shape=(4, *users.SHAPE))
        return keras.Sequential([inputs, keras.layers.LSTM(users.CLASSES, stateful=True)])

    hypermodel, (x, y) = keras_tuner.HyperModel(), (X[:4], Y[:4])
    hypermodel.build = functools.partial(users.compiled, made, 0.1)
    data = {"x": x, "y": y, "validation_data": (x, y), "batch_size": 4}
    check_search(hypermodel, keras_tuner.HyperParameters(), LOSS, data, None)
    assert "stateful=True" in caplog.text


def test_a_file_and_a_folder_of_keras_tuner_s_own_are_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "stock").mkdir()
    (tmp_path / "stock" / "oracle.json").write_text("{}")
    for name, said in (("file", "is a file"), ("stock", "keras-tuner's own")):
        with pytest.raises(OutputDirConflictError, match=f"{said}.*another folder"):
            ParallelTuner(make_oracle(), BUILD, directory=tmp_path, project_name=name)


SCRIPT = """
import sys
import keras, keras_tuner, numpy as np, tensorflow as tf
from dlip_reg.tuning import ParallelTuner

SIZE = tf.ones(3)  # starts TensorFlow wherever the script is imported

class OwnMetric(keras.metrics.MeanSquaredError):
    pass

def build_outside(hp):
    return helper(hp)

def helper(hp):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    rates = [hp.Choice(f"rate_{n}", [0.1, 0.2]) for n in range(hp.Int("rates", 1, 3))]
    model.compile(keras.optimizers.SGD(rates[0]), "mse", metrics=[OwnMetric(name="own")])
    return model

def main(build):
    x = np.ones((20, 4), "float32")
    print("BEGIN", file=sys.stderr)
    oracle = keras_tuner.oracles.RandomSearchOracle("val_loss", max_trials=1)
    tuner = ParallelTuner(oracle, build, directory=sys.argv[1], workers=1)
    tuner.search(x, x[:, :3], validation_split=0.5)
    print("score", tuner.oracle.get_best_trials(1)[0].score)
"""
GUARDED = """
if __name__ == "__main__":
    def build_inside(hp, inner=build_outside):
        return inner(hp)

    main(build_inside)
"""
# A notebook's cells run in a __main__ that has no file.
NOTEBOOK = f"""
import sys, types
sys.modules["__main__"] = types.ModuleType("__main__")
exec({SCRIPT + chr(10) + "main(build_outside)"!r}, vars(sys.modules["__main__"]))
"""


def run_text(path, text):
    (path / "script.py").write_text(text)
    return run_script(path / "script.py", path / "out")


@pytest.mark.parametrize("text", [SCRIPT + GUARDED, NOTEBOOK], ids=["script", "notebook"])
def test_a_builder_of_a_script_or_notebook_works_and_resumes(tmp_path, text):
    for _ in range(2):
        done = run_text(tmp_path, text)
        assert done.returncode == 0, done.stderr
        assert "score" in done.stdout
        # Nothing of what TensorFlow logs where workers import the script.
        assert done.stderr.partition("BEGIN\n")[2] == ""


def test_a_worker_that_imports_a_script_without_a_main_guard_ends(tmp_path, monkeypatch):
    # The exit status of the worker tells the script, as `tests/labs` test for a study.
    tuner = ParallelTuner(make_oracle(), BUILD, directory=tmp_path)
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    for begin in (tuner.search, lambda: ParallelTuner(make_oracle(), BUILD, directory=tmp_path)):
        with pytest.raises(SystemExit):
            begin()
    assert not list(tmp_path.iterdir())


def test_workers_that_cannot_start_are_told_from_those_that_died(tmp_path):
    text = SCRIPT.replace("import sys\n", "import sys, os\n", 1)
    text += '\nif __name__ == "__mp_main__":\n    os._exit(3)\n' + GUARDED
    done = run_text(tmp_path, text)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "WorkerStartError: Worker processes cannot start (exit code 3)" in last


def test_the_cause_is_said_why_workers_cannot_be_used(tmp_path, monkeypatch):
    configure = "dlip_reg.tuning.tuner.configure_process"
    monkeypatch.setattr(configure, lambda: {}["threads"])
    with pytest.raises(WorkerStartError, match=r"processes cannot start: KeyError: 'threads'$"):
        searched(tmp_path, thread_workers(1), BUILD)


def test_a_penalised_objective_is_accepted_with_a_warning(tmp_path, caplog):
    oracle = keras_tuner.oracles.RandomSearchOracle("val_loss", max_trials=1)
    hypermodel = RegularizationHyperModel(lambda strengths: users.plain())
    ParallelTuner(oracle, hypermodel, directory=tmp_path)
    assert "val_loss includes the penalty" in caplog.text
