"""What all recorders that measure on a schedule keep to: when, in which rows, without a trace."""

import copy
import inspect
import json
import math
import pickle
import textwrap
import warnings

import keras
import keras_tuner
import numpy as np
import pytest
from callback_models import (
    TRAIN,
    VALIDATION,
    Interrupt,
    conv_net,
    cross_entropy,
    fit,
    least_squares,
    resumable_fit,
    same,
    state,
)
from further_cases import thorough_after
from warm_processes import run_script

from callbacks import (
    ActivationPercentiles,
    GradientFlow,
    GradientNoise,
    Landscape,
    LossCurve,
    Sharpness,
    Sparsity,
)

MEASURES = ("lambda_max", "sam_sharpness", "adaptive_sharpness")  # Keskar's takes its time
MAKE = {
    LossCurve: lambda **when: LossCurve(TRAIN, VALIDATION, **when),
    GradientFlow: lambda **when: GradientFlow(TRAIN, **when),
    ActivationPercentiles: lambda **when: ActivationPercentiles(TRAIN[0][:40], **when),
    Landscape: lambda **when: Landscape(TRAIN, **when),
    GradientNoise: lambda **when: GradientNoise(TRAIN, batch_size=10, **when),
    Sharpness: lambda **when: Sharpness(TRAIN, measures=MEASURES, subset=40, **when),
    Sparsity: lambda **when: Sparsity(TRAIN[0][:20], **when),
}
CURVE = ("clean_loss", "clean_accuracy", "clean_val_loss", "clean_val_accuracy", "penalty")
LOGGED = {
    LossCurve: CURVE,
    GradientFlow: ("gradient_norm", "gradient_first_over_last", "gradient_growth"),
    ActivationPercentiles: (
        "activation_p15",
        "activation_p50",
        "activation_drift",
        "activation_peak",
    ),
    Landscape: ("loss_range", "gradient_distance_range", "effective_beta"),
    GradientNoise: ("gradient_noise_trace", "gradient_squared_norm"),
    Sharpness: (*MEASURES, "lambda_max_bound", "lambda_max_lr_half", "sharpness_seconds"),
    Sparsity: (
        *("conv_rms", "dense_near_zero", "dense_hoyer", "dense_distance"),
        "activation_mean",
    ),
}
NEEDS = {
    GradientFlow: "a trainable conv or dense kernel",
    ActivationPercentiles: "a hidden activation",
    Sparsity: "a conv or dense layer",
}
DECAY = keras.optimizers.schedules.ExponentialDecay(0.05, 3, 0.5)
EVERY = pytest.mark.parametrize("recorder", MAKE, ids=lambda cls: cls.__name__)


def all_recorders(**when):
    return [make(**when) for make in MAKE.values()]


def timeless(rows):
    return [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in rows]


def assert_same_rows(rows, others):
    # NaN, as the first drift is, equals itself here.
    np.testing.assert_equal(timeless(rows), timeless(others))


@pytest.mark.parametrize(
    "options",
    thorough_after(
        1,
        [
            {},
            {"optimizer": keras.optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=3)},
            {"steps_per_execution": 2, "policy": "mixed_float16"},
            {"jit_compile": True},
            {"run_eagerly": True},
            {
                "optimizer": keras.optimizers.SGD(
                    DECAY, momentum=0.9, gradient_accumulation_steps=2
                ),
                "policy": "mixed_bfloat16",
            },
        ],
    ),
    ids=lambda options: "-".join(options) or "plain",  # alike in all processes
)
def test_a_fit_with_recorders_ends_in_the_same_state_as_one_without(options):
    watched = conv_net(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        history = fit(watched, all_recorders(steps=[3]))
    end = state(watched)
    plain = conv_net(**options)
    fit(plain)
    assert same(state(plain), end)
    names = [name for names in LOGGED.values() for name in names]
    assert all(math.isfinite(value) for name in names for value in history[name])


# Batches 1-5, 6-10 and 11-15 are the three epochs.
AFTER_EACH = [(0, 0), (1, 5), (2, 10), (3, 15)]


@pytest.mark.parametrize(
    ("every_n_epochs", "when", "at_once", "expected", "measured_at"),
    [
        (2, {}, 1, [(0, 0), (2, 10), (3, 15)], ()),
        (None, {"steps": [1, 7]}, 1, [(0, 0), (None, 1), (None, 7), (3, 15)], (1, 7)),
        # The step that ends an epoch is measured once, and bears the epoch's number.
        (None, {"every_n_batches": 5}, 1, AFTER_EACH, (5, 10, 15)),
        # Keras reports after batches 2, 4, 5 and so on.
        (None, {"every_n_batches": 7}, 2, [(0, 0), (None, 7), (None, 14), (3, 15)], (7, 14)),
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in (
                (1, {}, 1, AFTER_EACH, ()),
                (None, {}, 1, [(0, 0), (3, 15)], ()),
                (None, {"steps": [1]}, 2, [(0, 0), (None, 2), (3, 15)], (2,)),
                (None, {"every_n_batches": 3}, 5, AFTER_EACH, (5, 10, 15)),
            )
        ),
    ],
)
def test_when_it_measures(every_n_epochs, when, at_once, expected, measured_at):
    options = {"steps_per_execution": at_once} if at_once > 1 else {}
    recorder, seen = MAKE[ActivationPercentiles](every_n_epochs=every_n_epochs, **when), []
    after = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(logs.get("activation_p50"))
    )
    model = conv_net(**options)
    history = fit(model, [recorder, after], epochs=3)
    within = [row["activation_p50"] for row in recorder.rows if row["step"] in measured_at]
    assert [value for value in seen if value is not None] == within
    assert [(row["epoch"], row["step"]) for row in recorder.rows] == expected
    assert recorder.rows[-1]["step"] == int(model.optimizer.iterations)
    by_epoch = {row["epoch"]: row["activation_p50"] for row in recorder.rows if row["epoch"]}
    assert history["activation_p50"] == list(by_epoch.values())


@pytest.mark.parametrize("is_known", [True, False])
def test_a_fit_that_is_stopped_early_is_measured_at_its_end(is_known):
    recorder = MAKE[ActivationPercentiles](every_n_epochs=None)
    stop = keras.callbacks.EarlyStopping("loss", min_delta=1e9)
    history = fit(conv_net(), [stop, recorder] if is_known else [recorder, stop], epochs=9)
    assert [row["epoch"] for row in recorder.rows] == [0, 2]
    # In time for the logs only behind the callback that stops.
    assert ("activation_p50" in history) == is_known


def test_weights_that_another_callback_sets_after_the_last_batch_are_measured():
    recorder, measured_at = MAKE[LossCurve](every_n_batches=5), []
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    after = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: measured_at.append(cross_entropy(model, *TRAIN))
    )
    model = conv_net(optimizer=keras.optimizers.SGD(0.1, use_ema=True))
    history = fit(model, [swap, recorder, after])
    assert history["clean_loss"] == pytest.approx(measured_at, rel=1e-5)
    expected = [(0, 0), (None, 5), (1, 5), (None, 10), (2, 10)]
    assert [(row["epoch"], row["step"]) for row in recorder.rows] == expected


def test_two_recorders_of_one_kind_in_one_fit():
    recorders = [LossCurve(TRAIN), LossCurve(VALIDATION)]
    with pytest.warns(RuntimeWarning, match="the logs have clean_accuracy already") as told:
        history = fit(conv_net(), recorders)
    assert len([line for line in told if "already" in str(line.message)]) == 1
    assert history["clean_loss"] == recorders[0].history["clean_loss"][1:]
    assert history["clean_loss"] != recorders[1].history["clean_loss"][1:]


@EVERY
def test_a_training_loop_of_ones_own_begins_as_fit_does(recorder):
    made = MAKE[recorder]()
    with pytest.raises(ValueError, match="needs a built model"):
        made.on_train_begin()
    made.set_model(conv_net())
    for ends in (made.on_train_batch_end, made.on_epoch_end):
        with pytest.raises(ValueError, match="call on_train_begin and on_epoch_begin"):
            ends(0)


def test_rows_and_logs_are_plain_numbers_of_the_same_measurement():
    recorders = all_recorders()
    history = fit(conv_net(), recorders, epochs=1)
    for recorder in recorders:
        assert all(type(history[name][0]) is float for name in LOGGED[type(recorder)])
        shared = [name for name in history if name in recorder.rows[-1]]
        assert set(LOGGED[type(recorder)]) <= {*shared, "loss_range", "gradient_distance_range"}
        assert all(history[name] == [recorder.rows[-1][name]] for name in shared)
        assert_same_rows(json.loads(json.dumps(recorder.rows)), recorder.rows)


def test_a_tuner_can_aim_at_each(tmp_path):
    def build(hp):
        hp.Float("unused", 0, 1)
        return conv_net()

    tuner = keras_tuner.RandomSearch(
        build,
        keras_tuner.Objective("clean_val_loss", "min"),
        max_trials=1,
        directory=tmp_path,
        project_name="search",
    )
    recorders = all_recorders()
    tuner.search(*TRAIN, epochs=1, verbose=0, callbacks=recorders)
    trial = tuner.oracle.get_best_trials(1)[0]
    assert trial.score == trial.metrics.get_best_value("clean_val_loss") > 0
    names = [name for names in LOGGED.values() for name in names]
    assert all(math.isfinite(trial.metrics.get_history(name)[0].value[0]) for name in names)
    assert all(recorder.rows == [] for recorder in recorders)  # the tuner fits copies


@pytest.mark.thorough
def test_copies_before_during_and_after_a_fit_measure_the_same():
    originals = all_recorders(steps=[3])
    recorders, copies = copy.deepcopy(originals), []
    copying = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda *_, **__: copies.append(copy.deepcopy(recorders))
    )
    fit(conv_net(), [*recorders, copying], epochs=1)
    after = pickle.loads(pickle.dumps(recorders))
    deep = copy.deepcopy(recorders)
    for copied, recorder, original, other in zip(after, recorders, originals, deep, strict=True):
        assert original.rows == []
        assert_same_rows(copied.rows, recorder.rows)
        # A deep copy shares the data, and a fit leaves nothing heavy behind.
        assert getattr(other, recorder._data[0]) is getattr(recorder, recorder._data[0])
        assert all(getattr(recorder, held) is None for held in recorder._transient)
    for copied in (copies[2], after, pickle.loads(pickle.dumps(originals))):
        fit(conv_net(), copied, epochs=1)
        for recorder, expected in zip(copied, recorders, strict=True):
            assert_same_rows(recorder.rows, expected.rows)


@pytest.mark.thorough
def test_a_resumed_fit_measures_as_if_it_had_not_stopped(tmp_path):
    def fit_(*others):
        recorders = all_recorders(every_n_epochs=2, steps=[2, 8, 13])
        resumable_fit([*recorders, *others])
        return recorders

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    whole = fit_()
    with pytest.raises(KeyboardInterrupt):
        fit_(backup(), Interrupt(2, 1))
    for resumed, recorder in zip(fit_(backup()), whole, strict=True):
        rest = [row for row in recorder.rows if row["step"] >= 10]  # two epochs were complete
        assert [(row["epoch"], row["step"]) for row in rest] == [(2, 10), (None, 13), (4, 20)]
        for row, expected in zip(resumed.rows, rest, strict=True):
            assert (row["epoch"], row["step"]) == (expected["epoch"], expected["step"])
            for name in {*LOGGED[type(recorder)]} & {*row}:
                if not name.endswith(("seconds", "drift", "bound")):
                    # Lanczos started anew is good to its tolerance of 1e-3; the rest is the same.
                    assert row[name] == pytest.approx(expected[name], rel=1e-3), name


def test_the_same_recorder_goes_on():
    recorder, model = MAKE[ActivationPercentiles](steps=[7, 12]), conv_net()
    fit(model, [recorder], epochs=1)
    first = copy.deepcopy(recorder.rows)
    with pytest.raises(KeyboardInterrupt):
        fit(model, [recorder, Interrupt(1, 3)], epochs=2, initial_epoch=1)
    assert [row["step"] for row in recorder.rows] == [0, 5, 7]
    fit(model, [recorder], epochs=3, initial_epoch=1)
    assert [row["step"] for row in recorder.rows] == [0, 5, 7, 10, 12, 15]
    np.testing.assert_equal(recorder.rows[:2], first)
    fit(model, [recorder], epochs=1)  # a new fit
    assert [row["step"] for row in recorder.rows] == [0, 5]


def test_a_new_recorder_counts_the_steps_of_a_fit_with_other_batches():
    model, data, steps = least_squares([1.0]), (np.ones((12, 1)), np.zeros((12, 1))), []
    for first, batch_size in enumerate((4, 6, 3)):
        recorder = LossCurve(data)
        options = {"initial_epoch": first, "batch_size": batch_size, "verbose": 0}
        model.fit(*data, epochs=first + 1, callbacks=[recorder], **options)
        steps.append([row["step"] for row in recorder.rows])
    assert steps == [[0, 3], [3, 5], [5, 9]]


class Spoil(keras.callbacks.Callback):
    """Makes a kernel NaN after the first epoch, and all weights numbers again after the third."""

    def on_epoch_end(self, epoch, logs=None):
        kernel = self.model.get_layer("logits").kernel
        if epoch == 0:
            kernel.assign(np.full(kernel.shape, np.nan))
        if epoch == 2:
            self.model.set_weights([np.full(w.shape, 0.1) for w in self.model.get_weights()])


def test_weights_that_turn_nan_give_nan_and_the_fit_goes_on():
    recorders = all_recorders()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        history = fit(conv_net(), [Spoil(), *recorders], epochs=4)
    told = [str(warning.message) for warning in told if "records NaN" in str(warning.message)]
    for recorder in recorders:
        assert [row["epoch"] for row in recorder.rows] == [0, 1, 2, 3, 4]
        if type(recorder) is ActivationPercentiles:  # it sees NaN where it is, and that is all
            assert math.isnan(recorder.rows[2]["units"][0]["percentiles"][0])
            continue
        if name := {Sparsity: "dense_rms", LossCurve: "clean_loss"}.get(type(recorder)):
            values = [row[name] for row in recorder.rows]  # and so do these
            assert [math.isnan(value) for value in values] == [False, True, True, False, True]
            continue
        names = [name for name in LOGGED[type(recorder)] if not name.endswith("seconds")]
        assert all(math.isnan(value) for name in names for value in history[name][:2])
        assert recorder.rows[1].get("layers") is None
        (message,) = [text for text in told if text.startswith(type(recorder).__name__)]
        assert "after step 5" in message and "finite" in message


@EVERY
def test_what_cannot_be_measured_is_said_before_the_first_step(recorder):
    unbuilt = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    unbuilt.compile("sgd", "mse")
    with pytest.raises(ValueError, match="built model"):
        fit(unbuilt, [MAKE[recorder]()])
    if recorder is LossCurve:  # which needs no weights
        return
    stack = keras.layers.Flatten(), keras.layers.BatchNormalization()
    without = keras.Sequential([keras.Input((6, 6, 1)), *stack])
    without.compile("sgd", "mse")
    without.trainable = recorder in NEEDS
    with pytest.raises(ValueError, match=NEEDS.get(recorder, "no trainable weights")):
        fit(without, [MAKE[recorder]()])


@EVERY
@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"every_n_epochs": 0}, "every_n_epochs must be a whole number of 1 or more"),
        ({"every_n_batches": 2.5}, "every_n_batches must be"),
        ({"every_n_batches": True}, "every_n_batches must be"),
        ({"steps": [3, 0]}, "Every one of steps must be"),
        ({"steps": 5}, "steps must be a list of whole numbers"),
    ],
)
def test_wrong_schedules(recorder, when, message):
    with pytest.raises(ValueError, match=message):
        MAKE[recorder](**when)


@pytest.mark.parametrize("recorder", [GradientFlow, Landscape, GradientNoise, LossCurve, Sharpness])
def test_wrong_data(recorder):
    with pytest.raises(ValueError, match=r"(data|train) must be a tuple \(x, y\)"):
        recorder(TRAIN[0])
    with pytest.raises(ValueError, match="lengths 5, 70"):
        recorder((TRAIN[0], TRAIN[1][:5]))
    with pytest.raises(ValueError, match="lengths 0"):
        recorder((TRAIN[0][:0], TRAIN[1][:0]))
    with pytest.raises(ValueError, match=r"class_weight must be a dict .* not 'balanced'"):
        recorder(TRAIN, class_weight="balanced")
    with pytest.raises(ValueError, match="class_weight must hold finite numbers"):
        recorder(TRAIN, class_weight={0: math.nan})
    with pytest.raises(ValueError, match="class_weight needs targets that are numbers"):
        recorder((TRAIN[0], TRAIN[1].astype(str)), class_weight={0: 1.0})


@EVERY
def test_the_example_of_the_docstring_runs(recorder):
    example = inspect.cleandoc(recorder.__doc__).split("\n\n")[1]
    *lines, last = textwrap.dedent(example).splitlines()
    names = {recorder.__name__: recorder, "model": conv_net()}
    names |= dict(zip(("x_train", "y_train", "x_val", "y_val"), TRAIN + VALIDATION, strict=True))
    names["x_test"] = VALIDATION[0]
    exec("\n".join(lines), names)
    shown = np.asarray(eval(last, names), dtype=object).ravel()
    assert len(shown) >= 2
    (made,) = [value for value in names.values() if isinstance(value, recorder)]
    assert [row["epoch"] for row in made.rows if row["epoch"] is not None] == [0, 1, 2]


MIRRORED = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from callback_models import TRAIN, conv_net, cross_entropy, fit, same, state
from test_scheduled import LOGGED, all_recorders

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
ends = []
for callbacks in (all_recorders(), []):
    with strategy.scope():
        model = conv_net()
    history = fit(model, callbacks, epochs=1)
    measured = history if callbacks else measured
    # Predictions go through both replicas, and so through the second's batch-norm statistics, too.
    ends.append([*state(model), model.predict(TRAIN[0], verbose=0)])
assert same(*ends)
# What is measured at the end is what a single device measures at the weights that are saved.
single = conv_net(metrics=None)
single.set_weights(model.get_weights())
expected = cross_entropy(single, *TRAIN)
assert abs(measured["clean_loss"][0] / expected - 1) < 1e-6, (measured, expected)
for recorder in all_recorders():
    recorder.set_model(single)
    recorder.prepare()
    values, _ = recorder.measure()
    for name in LOGGED[type(recorder)]:
        if not name.endswith(("seconds", "drift", "bound", "lr_half", "distance")):
            # Lanczos from another start: its tolerance
            assert abs(measured[name][0] / values[name] - 1) < 1e-3, (name, measured, values)
print("MIRRORED OK")
"""


@pytest.mark.thorough
def test_two_replicas_end_in_the_same_state_and_measure_the_same(tmp_path):
    script = tmp_path / "mirrored.py"
    script.write_text(MIRRORED, "utf-8")
    run = run_script(script)
    assert "MIRRORED OK" in run.stdout, run.stderr[-3000:]
