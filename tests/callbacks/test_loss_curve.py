"""LossCurve in real fits: what it records, what it leaves alone, and what survives a crash."""

import copy
import csv
import math
import pickle

import keras
import numpy as np
import pytest
from callback_models import (
    TRAIN,
    VALIDATION,
    Interrupt,
    conv_net,
    cross_entropy,
    fit,
    log_softmax,
    resumable_fit,
)

from callbacks import LossCurve, Sparsity
from dlip_reg.clean_loss import penalty

MEASURED = ["clean_loss", "clean_accuracy", "clean_val_loss", "clean_val_accuracy", "penalty"]


def curve(**options):
    return LossCurve(TRAIN, VALIDATION, **options)


def test_the_curve_is_that_of_the_weights_before_training_and_after_each_epoch():
    measured = []

    def measure(*_, **__):
        measured.append((cross_entropy(model, *TRAIN), cross_entropy(model, *VALIDATION)))

    model, recorder = conv_net(), curve(batch_size=32)
    measure()
    measuring = keras.callbacks.LambdaCallback(on_epoch_end=measure)
    history = fit(model, [recorder, measuring], validation_data=VALIDATION)
    assert recorder.history["epoch"] == [0, 1, 2]
    # float32 forward passes in other chunks: 7 digits less the sum of 70 losses.
    assert recorder.history["clean_loss"] == pytest.approx([a for a, _ in measured], rel=1e-6)
    assert recorder.history["clean_val_loss"] == pytest.approx([b for _, b in measured], rel=1e-6)
    assert recorder.history["penalty"][-1] == float(penalty(model))
    assert all(history[name] == recorder.history[name][1:] for name in MEASURED)
    # val_loss is Keras' own: the clean loss plus the penalty.
    whole = np.add(history["clean_val_loss"], history["penalty"])
    assert history["val_loss"] == pytest.approx(whole, rel=1e-6)


def test_a_third_split_is_measured_as_the_others_are():
    test = (VALIDATION[0][:9], VALIDATION[1][:9])
    model, recorder = conv_net(), curve(test=test)
    history = fit(model, [recorder])
    assert list(recorder.history) == [
        "epoch", *MEASURED[:4], "clean_test_loss", "clean_test_accuracy", "penalty"
    ]  # fmt: skip
    expected = cross_entropy(model, *test)
    assert history["clean_test_loss"][-1] == pytest.approx(expected, rel=1e-6)
    hits = model.predict(test[0], verbose=0).argmax(axis=1) == test[1]
    assert history["clean_test_accuracy"][-1] == hits.mean()


CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.mark.parametrize(
    ("smoothing", "duplicate"),
    [(0.0, copy.deepcopy), (0.2, lambda recorder: pickle.loads(pickle.dumps(recorder)))],
    ids=["plain", "smoothed"],
)
def test_fits_on_different_losses_are_compared_on_a_stated_one(smoothing, duplicate):
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    model.compile(keras.optimizers.SGD(0.1), loss)
    one_hot = np.eye(3, dtype="float32")[TRAIN[1]]
    # Class indices for the recorder, whatever fit takes.
    stated, compiled = duplicate(curve(loss=CROSS_ENTROPY)), LossCurve((TRAIN[0], one_hot))
    model.fit(TRAIN[0], one_hot, verbose=0, callbacks=[stated, compiled])
    measured = stated.history["clean_loss"][-1], stated.history["clean_val_loss"][-1]
    expected = [cross_entropy(model, *split) for split in (TRAIN, VALIDATION)]
    assert measured == pytest.approx(expected, rel=1e-6)
    # Smoothing by s mixes in the mean negative log-probability of all classes with a share of s.
    uniform = -log_softmax(model.predict(TRAIN[0], verbose=0)).mean()
    smoothed = (1 - smoothing) * expected[0] + smoothing * uniform
    assert compiled.history["clean_loss"][-1] == pytest.approx(smoothed, rel=1e-6)


def test_callbacks_that_stand_after_it_see_its_logs(tmp_path):
    stop = keras.callbacks.EarlyStopping("clean_val_loss", mode="min", min_delta=1e9)
    log = tmp_path / "log.csv"
    history = fit(conv_net(), [curve(), keras.callbacks.CSVLogger(log), stop], epochs=9)
    assert len(history["clean_val_loss"]) == 2  # the second is no better by 1e9
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["clean_val_loss"]) for row in rows] == history["clean_val_loss"]


@pytest.fixture(scope="module")
def whole():
    recorder = curve(every_n_batches=2)
    resumable_fit([recorder])
    return recorder.history


@pytest.mark.parametrize(
    ("backup_first", "at"), [(True, (0, 1)), (False, (0, 1)), (False, (2, 0)), (True, (2, 4))]
)
def test_a_resumed_fit_measures_as_if_it_had_not_stopped(tmp_path, whole, backup_first, at):
    def callbacks():
        both = [keras.callbacks.BackupAndRestore(tmp_path / "backup"), curve(every_n_batches=2)]
        return both if backup_first else both[::-1]

    with pytest.raises(KeyboardInterrupt):
        resumable_fit([*callbacks(), Interrupt(*at)])
    resumed = callbacks()
    resumable_fit(resumed)
    begin = whole["epoch"].index(at[0])  # as many epochs were complete
    rest = {name: column[begin:] for name, column in whole.items()}
    assert resumed[1 if backup_first else 0].history == rest


def test_a_fit_that_diverges_is_recorded():
    model = conv_net(optimizer=keras.optimizers.SGD(1e30))
    recorder, weights = curve(), Sparsity(TRAIN[0][:8])
    fit(model, [recorder, weights])
    assert math.isfinite(recorder.history["clean_loss"][0])
    assert not math.isfinite(recorder.history["clean_loss"][-1])
    assert all(sum(row["histogram"]) == row["size"] for row in weights.rows[-1]["layers"])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((TRAIN[0],), {}, r"train must be a tuple \(x, y\)"),
        ((TRAIN, VALIDATION[0]), {}, "validation must be a tuple"),
        (((TRAIN[0], TRAIN[1][:5]),), {}, "lengths 5, 70"),
        ((TRAIN,), {"test": TRAIN[0]}, "test must be a tuple"),
        ((TRAIN,), {"loss": "cross_entropy"}, "cross_entropy"),
        ((TRAIN,), {"batch_size": 0}, "batch_size must be a whole number of 1 or more, not 0"),
        ((TRAIN,), {"batch_size": 2.5}, "batch_size must be"),
    ],
)
def test_wrong_settings(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        LossCurve(*arguments, **options)
