"""Any model that Keras trains: the recorded score is that of the hypermodel's own model."""

import functools
import random
import warnings

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
import user_builders as users
from further_cases import thorough_after
from warm_processes import warm_workers

from dlip_reg.experiments import OutputDirConflictError
from dlip_reg.tuning import ParallelTuner, RegularizationHyperModel, make_oracle, shared_model
from dlip_reg.tuning.execution import _logs
from dlip_reg.tuning.objective import require_measured

X, Y = users.data()
TRAIN, VALIDATION = (X[:40], Y[:40]), (X[40:], Y[40:])
STILL = 1e-30  # a learning rate at which nothing moves
SHARED = (
    *("set_weights", "depthwise", "batch_norm_and_dropout", "shared_layer", "plain", "separable"),
    *("mixed_precision_layer", "bfloat16_weights", "unbuilt_sequential", "activity_regularizer"),
)


def searched(
    path, workers, hypermodel, data=TRAIN, validation=VALIDATION, objective=None, trials=1,
    options=(), **fit,
):  # fmt: skip
    """A finished search, with these options of the tuner."""
    if isinstance(hypermodel, RegularizationHyperModel):
        oracle = make_oracle("random", max_trials=trials, objective="clean_val_loss")
    else:
        objective = objective or keras_tuner.Objective("clean_val_loss", "min")
        oracle = keras_tuner.oracles.RandomSearchOracle(objective, max_trials=trials, seed=1)
    tuner = ParallelTuner(
        oracle, hypermodel, workers=workers, directory=path, project_name="search", **dict(options)
    )
    tuner.search(*data, validation_data=validation, **{"batch_size": 16, **fit})
    return tuner


def record_of(tuner):
    (trial,) = tuner.oracle.trials.values()
    (record,) = tuner.executions(trial)
    return record


def assert_best_has_the_score(tuner, data=VALIDATION):
    """Keras evaluates the best model to the score on record."""
    (best,) = tuner.get_best_models()
    arguments = data if isinstance(data, tuple) else (data,)
    loss = best.evaluate(*arguments, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(record_of(tuner).score, rel=1e-5)


def own_model(build):
    keras.utils.set_random_seed(0)
    return build(keras_tuner.HyperParameters())


def loss_of(model, x=VALIDATION[0], y=VALIDATION[1]):
    """The mean cross-entropy, written out."""
    logits = np.asarray(model(x, training=False), float)
    return np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y])


@pytest.mark.parametrize(
    "name",
    [
        *thorough_after(2, users.KINDS),
        *(pytest.param(name, marks=pytest.mark.slow) for name in users.SIMILAR),
    ],
)
def test_what_is_recorded_is_the_builder_s_own_model(workers, tmp_path, name):
    build = functools.partial(users.compiled, (users.KINDS | users.SIMILAR)[name], STILL)
    own = loss_of(own_model(build))
    # It moves from the second epoch on.
    move = keras.callbacks.LearningRateScheduler(lambda epoch: 0.05 if epoch else STILL)
    tuner = searched(tmp_path, workers, build, epochs=2, callbacks=[move])
    record = record_of(tuner)
    first, last = record.curve["clean_val_loss"]
    if not name.startswith(("batch_norm", "spectral")):  # statistics follow the data at any rate
        assert first == pytest.approx(own, rel=1e-5)
    (best,) = tuner.get_best_models()
    assert loss_of(best) == pytest.approx(last, rel=1e-5)
    assert record.score == last != pytest.approx(own, rel=1e-4)
    # One model is shared where that is the same, and else it is said why.
    assert (record.not_shared == "") == (name in SHARED)


class OfDeltas(keras_tuner.HyperModel):
    """Of losses that are told from each other by what Keras' configuration of them lacks."""

    held = keras.losses.Huber(0.1)

    def build(self, hp):
        inputs = keras.Input(X.shape[1:])
        model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(inputs)))
        delta = hp.Choice("delta", [1.0, 0.1, 5.0])
        model.compile("sgd", keras.losses.Huber(delta) if delta > 0.1 else self.held)
        return model


@pytest.mark.thorough
def test_losses_are_the_builder_s_own_whatever_their_configuration_lacks(workers, tmp_path):
    tuner = searched(
        tmp_path, workers, OfDeltas(), (X, 9.0 * Y), (X, 9.0 * Y),
        keras_tuner.Objective("val_loss", "min"), trials=3,
    )  # fmt: skip
    for trial in tuner.oracle.trials.values():
        keras.utils.set_random_seed(0)
        model = OfDeltas().build(trial.hyperparameters)
        keras.utils.set_random_seed(0)
        model.fit(X, 9.0 * Y, batch_size=16, verbose=0)
        assert trial.score == pytest.approx(model.evaluate(X, 9.0 * Y, verbose=0), rel=1e-5)
    assert len(tuner.oracle.trials) == 3


def test_a_shared_model_that_is_not_equal_is_not_used(monkeypatch):
    def unequal(model, compile_, key):
        clone = keras.models.clone_model(model)
        compile_(clone)
        return clone

    monkeypatch.setattr(shared_model, "reusable", unequal)
    model = users.compiled(users.plain, 0.1, keras_tuner.HyperParameters())
    before = model.get_weights()
    found, why = shared_model.shared_model(model, (*TRAIN, None), 3)
    assert found is model and "outputs" in why
    assert all(map(np.array_equal, before, model.get_weights()))
    assert int(model.optimizer.iterations) == 0
    model.fit(*TRAIN, verbose=0)


def test_a_model_with_a_loss_that_keras_cannot_make_of_its_configuration_is_not_shared():
    class Own(keras.losses.Loss):
        def __init__(self, factor):
            super().__init__()

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", Own(2.0))
    found, why = shared_model.shared_model(model, (np.ones((4, 3)), np.ones((4, 2))), 1)
    assert found is model and "a function of its own" in why


def test_models_built_one_after_the_other_share_one_that_is_traced_once_without_a_warning():
    x, y = np.ones((4, 3), "float32"), np.arange(4) % 2
    found = []
    for optimizer in ("adam", "adam", keras.optimizers.Adam(), keras.optimizers.Adam(0.1)):
        # Keras gives each optimizer another name.
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="softmax")])
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            shared, why = shared_model.shared_model(model, (x, y), steps=1)
            shared.fit(x, y, batch_size=4, verbose=0)
        assert why == "" and shared is not model
        found.append(shared)
    assert all(shared is found[0] for shared in found)


def excluding(model):
    optimizer = keras.optimizers.AdamW(0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer, "mse")


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model.layers[1].bias, "trainable", False),
        # Neither is attached to a weight, since these are there already.
        lambda model: setattr(model.layers[1], "kernel_regularizer", keras.regularizers.L2(0.1)),
        lambda model: setattr(model.layers[1], "bias_constraint", keras.constraints.MaxNorm(0.1)),
        lambda model: setattr(model, "compute_loss", lambda **options: 0.0),
        lambda model: model.train_on_batch(*TRAIN),
        excluding,
    ],
)
def test_what_no_configuration_tells_is_trained_as_it_is(change):
    for is_changed in (False, True):  # after one of the same configuration was found to be equal
        model = users.compiled(users.plain, 0.1, keras_tuner.HyperParameters())
        if is_changed:
            change(model)
        found, why = shared_model.shared_model(model, (*TRAIN, None), 3)
        assert (found is model) == bool(why) == is_changed


@pytest.mark.parametrize("read", [eval, lambda source: lambda y, p: keras.ops.mean(p, axis=-1)])
def test_a_model_with_a_lambda_for_its_loss_is_trained_as_it_is(read):
    model = users.plain()
    # One of a notebook's cell has no source that a worker could read.
    model.compile("sgd", read("lambda y, p: keras.ops.mean(p, axis=-1)"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, why = shared_model.shared_model(model, (*TRAIN, None), 3)
    assert found is model and why.startswith(("what it was compiled", "it was compiled"))


@pytest.mark.thorough
def test_a_regularization_hypermodel_keeps_the_weights_of_its_builder(workers, tmp_path):
    for number, kind in enumerate(
        (users.set_weights, users.pretrained_backbone, users.KINDS["simple_rnn"])
    ):
        hypermodel = RegularizationHyperModel(
            lambda strengths, kind=kind: kind(), l1=None, dropout=None, learning_rate=STILL,
            optimizer=keras.optimizers.SGD(),
        )  # fmt: skip
        score = record_of(searched(tmp_path / str(number), workers, hypermodel)).score
        assert score == pytest.approx(loss_of(own_model(lambda hp, kind=kind: kind())), rel=1e-5)


def test_a_gan_is_trained_by_its_own_step_and_loaded(workers, tmp_path):
    objective = keras_tuner.Objective("critic_loss", "min")
    tuner = searched(
        tmp_path, workers, functools.partial(users.gan, 0.05), validation=None,
        objective=objective, epochs=2,
    )  # fmt: skip
    (best,) = tuner.get_best_models()
    start = own_model(functools.partial(users.gan, 0.05))
    assert len(best.weights) == len(start.weights) == 4
    assert not any(map(np.allclose, best.get_weights()[::2], start.get_weights()[::2]))


class Counted(users.Subclassed):
    """Counts its calls."""

    def __init__(self):
        super().__init__()
        self.calls = keras.Variable(0, dtype="int32", trainable=False)

    def call(self, x, training=False):
        self.calls.assign_add(1)
        return super().call(x)


@pytest.mark.thorough
def test_a_model_without_variables_at_first_is_called_as_often_as_by_fit(workers, tmp_path):
    tuner = searched(tmp_path, workers, functools.partial(users.compiled, Counted, 0.05), epochs=2)
    (best,) = tuner.get_best_models()
    assert int(best.calls) == 2 * 3


class OwnFit(keras_tuner.HyperModel):
    def build(self, hp):
        return users.compiled(users.plain, hp.Choice("rate", [0.05]), hp)

    def fit(self, hp, model, images, labels, validation_data, **kwargs):
        with hp.conditional_scope("rate", [0.05]):
            steps = hp.Int("steps", 2, 9)
        for _ in range(steps):
            model.train_on_batch(images, labels)
        return {"misses": model.evaluate(*validation_data, verbose=0, return_dict=True)["loss"]}


class OwnLoop(keras_tuner.HyperModel):
    """Compiles nothing, and its model has no weights until it is called."""

    def build(self, hp):
        hp.Choice("unused", [1])
        return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(users.CLASSES)])

    def fit(self, hp, model, validation_data, callbacks, **kwargs):
        images, labels = kwargs["x"], kwargs["y"]
        loss, optimizer = keras.losses.SparseCategoricalCrossentropy(True), keras.optimizers.SGD()
        with tf.GradientTape() as tape:
            value = loss(labels, model(images))
        optimizer.apply(tape.gradient(value, model.weights), model.weights)
        return float(loss(validation_data[1], model(validation_data[0])))


MISSES = keras_tuner.Objective("misses", "min")


class Without(OwnFit):
    """Finds its data by itself, and returns what keras-tuner sums and averages."""

    def fit(self, hp, model, **kwargs):
        model.fit(*TRAIN, verbose=0)
        loss = model.evaluate(*VALIDATION, verbose=0)[0]
        return [loss, {"default_objective": 1, "note": "done", "nothing": None}]


class Quiet(keras.Sequential):
    def fit(self, x, y, verbose):
        return super().fit(x, y, verbose=verbose, callbacks=[keras.callbacks.TerminateOnNaN()])


class OfOwnModel(Without):
    """Its model has a `fit` without callbacks."""

    def build(self, hp):
        layers = keras.Input(users.SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)
        return users.compiled(functools.partial(Quiet, layers), hp.Choice("rate", [0.05]), hp)


class Restoring(OwnFit):
    """Does without the callbacks that it is given, and ends with the weights of an early epoch."""

    def fit(self, hp, model, *data, callbacks, **kwargs):
        model.optimizer.learning_rate = 0.7
        stop = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
        return model.fit(*data, callbacks=stop, epochs=30, verbose=0, **kwargs)


GIVEN = {"validation_data": VALIDATION, "batch_size": 16}


@pytest.mark.parametrize(
    ("hypermodel", "objective", "data", "named"),
    [
        (OwnFit, MISSES, TRAIN, GIVEN),
        (OwnLoop, MISSES, (), GIVEN | {"x": X[:40], "y": Y[:40]}),
        (OwnLoop, MISSES, (), GIVEN | {"x": lambda: TRAIN}),
        (Without, None, (), {}),
        (OfOwnModel, None, (), {}),
        (Restoring, keras_tuner.Objective("val_loss", "min"), TRAIN, GIVEN),
    ],
)
def test_an_overridden_fit_is_called_as_keras_tuner_does_and_its_result_is_the_score(
    workers, tmp_path, hypermodel, objective, data, named
):
    oracle = keras_tuner.oracles.RandomSearchOracle(objective, max_trials=1)
    tuner = ParallelTuner(oracle, hypermodel(), workers=workers, directory=tmp_path)
    tuner.search(*data, **named)
    (best,) = tuner.get_best_models()
    found = loss_of(best)
    expected = (found + 1) / 2 if issubclass(hypermodel, Without) else found
    assert record_of(tuner).score == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("wrong", [None, "good", [1.0, None], {"misses": [1.0]}])
def test_a_result_that_keras_tuner_does_not_take_ends_the_search(wrong):
    said = r"fit must return .* not (None|'good'|{'misses': \[1.0\]})\.$"
    with pytest.raises(keras_tuner.errors.FatalValueError, match=said):
        _logs(wrong, MISSES)


def test_an_objective_with_a_number_for_each_class_is_named():
    with pytest.raises(ValueError, match=r"objective val_f1 must be one number, not 3: .*macro"):
        require_measured(keras_tuner.Objective("val_f1", "max"), {"val_f1": [np.ones(3)]})


@pytest.mark.thorough
def test_what_a_fit_asks_for_is_searched_from_then_on(workers, tmp_path):
    for _ in range(2):  # the second time it is read from the folder
        tuner = searched(tmp_path, workers, OwnFit(), objective=MISSES, trials=6)
        steps = [t.hyperparameters.values["steps"] for t in tuner.oracle.trials.values()]
        assert steps[0] == 2 and len(set(steps)) > 2


@pytest.mark.parametrize("held", ["here", "in a module"])
@pytest.mark.thorough
def test_a_trained_base_does_not_reach_the_next_trial(tmp_path, held):
    base = users.shared_base if held == "in a module" else users.shared_base()
    build = functools.partial(users.on_base, base)
    before = users.shared_base().get_weights()
    with warm_workers(1) as one:
        tuner = searched(tmp_path, one, build, trials=2, epochs=2)
    first, second = tuner.oracle.trials.values()
    assert first.score == second.score
    if held == "here":
        assert all(map(np.array_equal, before, base.get_weights()))


def draws():
    return (
        random.random(),
        np.random.rand(),
        *map(float, (tf.random.normal(()), keras.random.normal(()))),
    )


@pytest.mark.thorough
def test_states_of_a_module_and_of_this_process_stay_as_they_were(workers, tmp_path):
    objective = keras_tuner.Objective("val_loss", "min")
    tuner = searched(
        tmp_path, workers, users.with_states_of_its_module, objective=objective, trials=3
    )
    first, *others = tuner.oracle.trials.values()
    assert [trial.score for trial in others] == [first.score] * 2  # one of the two workers had two
    keras.utils.set_random_seed(3)
    expected = draws()
    keras.utils.set_random_seed(3)
    assert len(tuner.get_best_models(2)) == 2
    assert draws() == expected
    assert float(users.GROWING.calls) == 0


@pytest.mark.parametrize("held", ["here", "in a module"])
@pytest.mark.thorough
def test_the_best_models_share_no_layer_or_it_is_said(workers, tmp_path, caplog, held):
    base = users.shared_base
    if held == "here":
        base = users.functional(keras.layers.Dense(5), keras.layers.UnitNormalization())

    def build(hp):
        model = users.on_base(base, hp)
        model.optimizer.learning_rate = hp.Choice("rate", [0.01, 0.5])
        return model

    objective = keras_tuner.Objective("val_loss", "min")
    tuner = searched(tmp_path, workers, build, objective=objective, trials=4, epochs=2)
    trials = tuner.oracle.get_best_trials(4)[::3]
    assert trials[0].score != trials[1].score
    models = tuner.get_best_models(4)[::3]
    right = [
        loss_of(model) == pytest.approx(trial.score, rel=1e-5)
        for model, trial in zip(models, trials, strict=True)
    ]
    assert right == [held == "here", True]
    assert ("has layers in common" in caplog.text) == (held == "in a module")


def rated(hp):
    """Has metrics that Keras names."""
    inputs = keras.Input(users.SHAPE)
    hidden = keras.layers.Dense(hp.Choice("units", [2, 3, 4]))(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    metrics = [keras.metrics.AUC(), keras.metrics.F1Score(threshold=0.5)]
    model.compile("sgd", "binary_crossentropy", metrics=metrics)
    return model


@pytest.mark.thorough
def test_names_that_keras_makes_up_fit_the_objective_and_each_other(tmp_path, caplog):
    keras.backend.clear_session()  # so names are those that a new process begins with
    base = rated(keras_tuner.HyperParameters())
    many = keras.Sequential(
        [keras.Input(users.SHAPE), *(keras.layers.Identity() for _ in range(25))]
    )

    def compiled(model, hp):
        model.compile(keras.optimizers.SGD(hp.Choice("rate", [1e-4, 2e-4, 3e-4])), "mse")
        return model

    def extended(hp):
        end = keras.layers.Dense(1)(base.layers[-2].output)
        return compiled(keras.Model(base.inputs, end), hp)

    def stacked(hp):
        end = keras.layers.Identity(), keras.layers.Dense(1)
        return compiled(keras.Sequential([keras.Input(users.SHAPE), *many.layers, *end]), hp)

    y = Y[:, None] % 2
    labels = {"data": (X[:40], y[:40]), "validation": (X[40:], y[40:]), "trials": 3}
    for name, build, objective in (
        ("metric", rated, keras_tuner.Objective("val_auc", "max")),
        ("array", rated, keras_tuner.Objective("val_f1_score", "max")),  # of shape (1,)
        ("layers", extended, keras_tuner.Objective("val_loss", "min")),
        ("stack", stacked, keras_tuner.Objective("val_loss", "min")),
    ):
        with warm_workers(1) as fresh:
            tuner = searched(tmp_path / name, fresh, build, objective=objective, **labels)
        assert len(tuner.oracle.trials) == 3 and not tuner.failed_trials()
    assert "hypermodel fails" not in caplog.text  # before the search
    # As a history says that was made here, after other models.
    with pytest.raises(ValueError, match=r"val_auc_1 is not among .* val_auc,"):
        searched(
            tmp_path / "counted", None, rated, objective=keras_tuner.Objective("val_auc_1", "max"),
            **labels,
        )  # fmt: skip


class Reconstruction(keras.Model):
    """Trains without targets."""

    def __init__(self, rate):
        super().__init__()
        self.dense = keras.layers.Dense(X.shape[-1])
        self.compile(keras.optimizers.SGD(rate))

    def call(self, x):
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(keras.ops.square(x - y_pred))


@pytest.mark.thorough
def test_a_search_may_have_inputs_alone(workers, tmp_path):
    def build(hp):
        return Reconstruction(hp.Choice("rate", [1e-3, 2e-3]))

    for number, (validation, options) in enumerate(
        ((X[40:], {}), (None, {"validation_split": 0.25}))
    ):
        tuner = searched(
            tmp_path / str(number), workers, build, (X[:40],), validation,
            keras_tuner.Objective("val_loss", "min"), trials=2, **options,
        )  # fmt: skip
        assert not tuner.failed_trials()


def test_a_global_limit_of_epochs_holds_in_workers_too(workers, tmp_path):
    keras.config.set_max_epochs(1)
    try:
        tuner = searched(
            tmp_path, workers, functools.partial(users.compiled, users.plain, 0.1), epochs=3
        )
    finally:
        keras.config.set_max_epochs(None)
    assert record_of(tuner).epochs == 1


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.thorough
def test_the_global_dtype_policy_travels_and_belongs_to_the_search(workers, tmp_path, policy):
    build = functools.partial(users.compiled, users.plain, 0.05)
    keras.config.set_dtype_policy(policy)
    try:
        tuner = searched(tmp_path, workers, build)
        (best,) = tuner.get_best_models()
        assert best.layers[1].dtype_policy.name == policy

        def as_graph(x, training):
            """Operations one by one round to half precision more often than a graph's do."""
            return best.predict(x, len(x), verbose=0)

        assert loss_of(as_graph) == pytest.approx(record_of(tuner).score, rel=1e-5)
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.raises(OutputDirConflictError, match=f"dtype_policy '{policy}' where"):
        searched(tmp_path, workers, build)
    # The workers are as they were.
    plain = searched(tmp_path / "plain", workers, build)
    assert record_of(plain).score != record_of(tuner).score
