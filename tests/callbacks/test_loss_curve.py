"""LossCurve in real fits: what it records, what it leaves alone, and what survives a crash."""

import copy
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

from callbacks import LossCurve
from dlip_reg.clean_loss import penalty


def curve(**options):
    return LossCurve(TRAIN, VALIDATION, **options)


def test_the_curve_is_that_of_the_weights_before_training_and_after_each_epoch():
    splits = {"": TRAIN, "val_": VALIDATION, "test_": (VALIDATION[0][:9], VALIDATION[1][:9])}
    measured = []

    def measure(*_, **__):
        measured.append({name: cross_entropy(model, *split) for name, split in splits.items()})

    model, recorder = conv_net(), curve(test=splits["test_"], batch_size=32)
    measure()
    measuring = keras.callbacks.LambdaCallback(on_epoch_end=measure)
    history = fit(model, [recorder, measuring], validation_data=VALIDATION)
    names = [f"clean_{split}{name}" for split in splits for name in ("loss", "accuracy")]
    assert list(recorder.history) == ["epoch", *names, "penalty"]
    assert recorder.history["epoch"] == [0, 1, 2]
    for split, (x, labels) in splits.items():
        losses = [each[split] for each in measured]
        # float32 forward passes in other chunks: 7 digits less the sum of 70 losses.
        assert recorder.history[f"clean_{split}loss"] == pytest.approx(losses, rel=1e-6)
        hits = model.predict(x, verbose=0).argmax(axis=1) == labels
        assert recorder.history[f"clean_{split}accuracy"][-1] == hits.mean()
    assert recorder.history["penalty"][-1] == float(penalty(model))
    assert all(history[name] == recorder.history[name][1:] for name in (*names, "penalty"))
    # val_loss is Keras' own: the clean loss plus the penalty.
    whole = np.add(history["clean_val_loss"], history["penalty"])
    assert history["val_loss"] == pytest.approx(whole, rel=1e-6)


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


@pytest.mark.parametrize("at", [(0, 1), (2, 4)])
@pytest.mark.thorough
def test_a_resumed_fit_measures_as_if_it_had_not_stopped_behind_the_backup_too(tmp_path, at):
    def fitted(*others):
        recorder = curve(every_n_batches=2)
        resumable_fit([keras.callbacks.BackupAndRestore(tmp_path / "backup"), recorder, *others])
        return recorder.history

    with pytest.raises(KeyboardInterrupt):
        fitted(Interrupt(*at))
    rest, whole = fitted(), fitted()  # the backup of a complete fit is deleted
    begin = whole["epoch"].index(at[0])  # as many epochs were complete
    assert rest == {name: column[begin:] for name, column in whole.items()}


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((TRAIN, VALIDATION[0]), {}, "validation must be a tuple"),
        ((TRAIN,), {"test": TRAIN[0]}, "test must be a tuple"),
        ((TRAIN,), {"test": TRAIN[:1]}, "test must be a tuple .*, not tuple of 1"),
        ((TRAIN,), {"loss": "cross_entropy"}, "cross_entropy"),
        ((TRAIN,), {"batch_size": 0}, "batch_size must be a whole number of 1 or more, not 0"),
    ],
)
def test_wrong_settings(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        LossCurve(*arguments, **options)
