"""Sparsity on kernels and activations whose numbers can be worked out by hand."""

import copy
import json
import pickle

import keras
import numpy as np
import pytest
from callback_models import TRAIN, Interrupt, conv_net, fit, resumable_fit

from callbacks import Sparsity
from callbacks.layers import activation_statistics, kernel_layers

layers = keras.layers


def scripted(model, recorder, kernels=(), epochs=1):
    """Drive the callback as a fit does, with `kernels` as what each epoch makes of the first."""
    logs = [{} for _ in range(epochs)]
    recorder.set_model(model)
    recorder.set_params({"epochs": epochs})
    recorder.on_train_begin()
    for epoch in range(epochs):
        recorder.on_epoch_begin(epoch)
        if epoch < len(kernels):
            model.layers[0].kernel.assign(kernels[epoch])
        recorder.on_epoch_end(epoch, logs[epoch])
    recorder.on_train_end()
    return logs


def one_kernel(values):
    model = keras.Sequential([keras.Input((len(values),)), layers.Dense(1, name="only")])
    model.layers[0].kernel.assign(np.reshape(values, (-1, 1)))
    return model


def test_a_kernel_by_hand():
    # RMS 2, so the threshold of 0.05 stands at |w| < 0.1 for good.
    model = one_kernel([2, -2, 2, -2])
    recorder = Sparsity(bins=8)
    logs = scripted(model, recorder, [np.reshape([0.05, -0.09, 0.11, -9], (-1, 1))])
    first, last = (row["layers"][0] for row in recorder.rows)
    assert recorder.edges == [-4, -3, -2, -1, 0, 1, 2, 3, 4]
    assert (first["layer"], first["kind"], first["size"]) == ("only", "dense", 4)
    assert (first["rms"], first["max"], first["near_zero"]) == (2, 2, 0)
    # below -4 | -4 -3 -2 -1 0 1 2 3 | 4 and above; a bin holds its lower edge
    assert first["histogram"] == [0, 0, 0, 0, 2, 0, 2, 0, 0, 0]
    assert last["histogram"] == [1, 0, 0, 0, 1, 2, 0, 0, 0, 0]
    assert last["near_zero"] == 0.5
    # The kernel is float32: 7 digits.
    assert last["max"] == 9
    assert last["rms"] == pytest.approx(np.sqrt((0.05**2 + 0.09**2 + 0.11**2 + 9**2) / 4), rel=1e-7)
    assert logs[0] == {
        "dense_rms": last["rms"],
        "dense_max": last["max"],
        "dense_near_zero": last["near_zero"],
    }


def test_the_threshold_is_a_share_of_the_reference():
    recorder = Sparsity(threshold=0.6)
    scripted(one_kernel([2, -2, 2, -2]), recorder, [np.reshape([1.1, 1.3, -0.1, 5], (-1, 1))])
    assert recorder.rows[-1]["layers"][0]["near_zero"] == 0.5


def test_a_kernel_that_starts_at_zero_takes_its_first_rms_above_zero():
    recorder = Sparsity(bins=8)
    grown = np.reshape([3.0, -3.0], (-1, 1))
    scripted(one_kernel([0, 0]), recorder, [0 * grown, grown, grown / 100], epochs=3)
    near_zero = [row["layers"][0]["near_zero"] for row in recorder.rows]
    assert near_zero == [1, 1, 0, 1]
    assert recorder.rows[2]["layers"][0]["histogram"] == [0, 0, 0, 0, 1, 0, 1, 0, 0, 0]


def test_weights_that_are_no_numbers_are_counted_last():
    recorder = Sparsity(bins=2)
    broken = np.reshape([np.nan, -np.inf, np.inf, 0], (-1, 1))
    scripted(one_kernel([1, 1, 1, 1]), recorder, [broken])
    assert recorder.rows[-1]["layers"][0]["histogram"] == [1, 0, 1, 2]
    assert recorder.rows[-1]["layers"][0]["near_zero"] == 0.25


def test_kinds_pool_their_kernels_each_against_its_own_reference():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2), layers.Dense(4), layers.Dense(1)])
    for layer, scale in zip(model.layers, (1.0, 10.0, 100.0), strict=True):
        layer.kernel.assign(np.full(layer.kernel.shape, scale))
    recorder = Sparsity(bins=2)
    # Of 4 + 8 + 4 weights the 4 first become small against their own reference of 1.
    logs = scripted(model, recorder, [np.full((2, 2), 0.01)])
    pooled = recorder.rows[-1]["kinds"]["dense"]
    assert pooled["size"] == 16 and pooled["max"] == 100 and pooled["near_zero"] == 0.25
    assert pooled["rms"] == pytest.approx(np.sqrt((4 * 0.01**2 + 8 * 10**2 + 4 * 100**2) / 16))
    assert pooled["histogram"] == [0, 0, 16, 0]
    assert logs[0]["dense_rms"] == pooled["rms"]


def test_layers_that_are_watched():
    inputs = keras.Input((8, 8, 3))
    inner = keras.Sequential([keras.Input((6, 6, 4)), layers.Conv2D(2, 3, name="conv")])
    hidden = layers.Conv2D(4, 3, name="conv")(inputs)
    hidden = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(hidden)
    hidden = layers.Flatten()(inner(hidden))
    hidden = layers.BatchNormalization()(layers.Dense(5, name="dense")(hidden))
    hidden = layers.Embedding(3, 2)(hidden)
    model = keras.Model(inputs, layers.EinsumDense("abc,cd->abd", (None, 3), name="einsum")(hidden))
    found = {name: kind for name, (kind, _) in kernel_layers(model).items()}
    conv, depthwise, nested, *dense = found
    assert (conv, depthwise, dense) == ("conv", "depthwise", ["dense", "einsum"])
    assert nested.endswith("/conv")  # two layers of one name go by their paths
    assert [*found.values()] == ["conv"] * 3 + ["dense"] * 2


def test_activations_by_hand():
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(4, "relu", use_bias=False, name="dense1"),
            layers.Dense(2, use_bias=False, name="dense2"),
            layers.BatchNormalization(name="dense2_bn", epsilon=0, center=False, scale=False),
            layers.Activation("relu", name="dense2_relu"),
            layers.Dense(2, name="logits"),
        ]
    )
    model.get_layer("dense1").kernel.assign([[1, -1, 0, 2e-4], [0, 0, 1, 0]])
    model.get_layer("dense2").kernel.assign([[1, 0], [1, 0], [0, -1], [0, 0]])
    rows = activation_statistics(model, np.array([[2, 1], [-2, 3]], "float32"))
    # dense1: 2 0 1 4e-4 and 0 2 3 0. RMS 1.5, so 4e-4 < 1.5e-3 is near zero as are the zeros.
    # dense2: 2 -1 and 2 -3, which moving mean 0 and variance 1 leave alone; relu: 2 0 and 2 0.
    expected = [("dense1", "dense1", 8, 8.0004 / 8, 0.5), ("dense2_relu", "dense2", 4, 1, 0.5)]
    names = ("layer", "stage", "size", "mean", "near_zero")
    for row, values in zip(rows, expected, strict=True):
        assert row == dict(zip(names, values, strict=True)) | {
            "kind": "dense",
            "mean": pytest.approx(values[3], rel=1e-7),  # float32
        }


def test_pooled_activations_weigh_every_value_alike():
    model = conv_net()
    recorder = Sparsity(TRAIN[0][:20])
    history = fit(model, [recorder], epochs=1)
    outputs = [model.get_layer(name).output for name in ("conv1_relu", "dense1")]
    values = keras.Model(model.inputs, outputs).predict(TRAIN[0][:20], verbose=0)
    values = np.concatenate([value.ravel() for value in values]).astype(float)
    assert [row["stage"] for row in recorder.rows[-1]["activations"]] == ["conv1", "dense1"]
    assert [row["kind"] for row in recorder.rows[-1]["activations"]] == ["conv", "dense"]
    # float32 forward passes of 20 and of 32 examples at a time
    assert history["activation_mean"] == pytest.approx([values.mean()], rel=1e-5)
    # No value of this net lies between 0 and a thousandth of the RMS but by chance: 1 in 400.
    assert history["activation_near_zero"] == pytest.approx([np.mean(values == 0)], abs=0.01)


def test_activations_of_nested_and_of_subclassed_models():
    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3, name="inner")
            self.relu = layers.ReLU(name="inner_relu")

        def call(self, x):
            return self.relu(self.dense(x))

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.block, self.top = Block(), layers.Dense(2, "softmax", name="top")

        def call(self, x):
            return self.top(self.block(x))

    x = np.ones((4, 2), "float32")
    subclassed = Net()
    subclassed(x)
    nested = keras.Sequential([keras.Input((2,)), keras.Sequential([Block()]), layers.Dense(2)])
    for model in (subclassed, nested):
        rows = activation_statistics(model, x)
        assert [(row["layer"], row["stage"]) for row in rows] == [("inner_relu", "inner")]
        # The layers are as they were: nothing of the measurement stays on them.
        assert all("call" not in vars(layer) for layer in model._flatten_layers())


def test_a_model_without_hidden_activations_has_none():
    model = one_kernel([1, 1])
    recorder = Sparsity(np.ones((3, 2)))
    logs = scripted(model, recorder)
    assert recorder.rows[0]["activations"] == [] and "activation_mean" not in logs[0]


@pytest.mark.parametrize(
    ("every", "epochs", "expected"),
    [
        (1, 3, [0, 1, 2, 3]),
        (2, 5, [0, 2, 4, 5]),
        (None, 4, [0, 4]),
    ],
)
def test_when_it_measures(every, epochs, expected):
    recorder = Sparsity(every_n_epochs=every)
    logs = scripted(one_kernel([1, 2]), recorder, epochs=epochs)
    assert [row["epoch"] for row in recorder.rows] == expected
    assert [epoch + 1 for epoch, log in enumerate(logs) if log] == expected[1:]


def test_a_fit_that_is_stopped_early_is_measured_at_its_end():
    recorder = Sparsity(every_n_epochs=None)
    stop = keras.callbacks.EarlyStopping("loss", min_delta=1e9)
    fit(conv_net(), [recorder, stop], epochs=9)
    assert [row["epoch"] for row in recorder.rows] == [0, 2]


def test_rows_are_plain_json():
    recorder = Sparsity(TRAIN[0][:8])
    fit(conv_net(), [recorder])
    assert json.loads(json.dumps([recorder.rows, recorder.edges])) == [
        recorder.rows,
        recorder.edges,
    ]


def test_a_resumed_fit_refers_to_the_initial_weights(tmp_path):
    def callbacks():
        return [Sparsity(), keras.callbacks.BackupAndRestore(tmp_path / "backup")]

    whole = Sparsity()
    resumable_fit([whole])
    with pytest.raises(KeyboardInterrupt):
        resumable_fit([*callbacks(), Interrupt(2, 1)])
    resumed = callbacks()
    resumable_fit(resumed)
    assert resumed[0].rows == whole.rows[2:]


def test_the_same_recorder_goes_on():
    recorder, whole = Sparsity(), Sparsity()
    fit(conv_net(), [whole], epochs=1)
    model = conv_net()
    fit(model, [recorder], epochs=1)
    fit(model, [recorder], epochs=2, initial_epoch=1)
    assert [row["epoch"] for row in recorder.rows] == [0, 1, 2]
    assert recorder.rows[:2] == whole.rows


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_copies_before_during_and_after_a_fit_measure_the_same(duplicate):
    original = Sparsity(TRAIN[0][:8])
    recorder, copies = duplicate(original), []
    copying = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_, **__: copies.append(duplicate(recorder))
    )
    fit(conv_net(), [recorder, copying])
    copies.append(duplicate(recorder))
    assert original.rows == [] and copies[-1].rows == recorder.rows
    for copied in (copies[0], copies[-1]):
        fit(conv_net(), [copied])
        assert copied.rows == recorder.rows


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(policy):
    model, recorder = conv_net(policy), Sparsity(TRAIN[0][:20])
    fit(model, [recorder], epochs=1)
    kernel = keras.ops.convert_to_numpy(model.get_layer("dense1").kernel).astype(float)
    assert recorder.rows[-1]["layers"][1]["rms"] == pytest.approx(np.sqrt(np.mean(kernel**2)))
    assert all(0 < row["near_zero"] < 1 for row in recorder.rows[-1]["activations"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0}, "threshold must be a finite number above 0"),
        ({"threshold": "small"}, "threshold must be a finite number above 0"),
        ({"bins": 0}, "bins must be a whole number"),
        ({"every_n_epochs": 0}, "every_n_epochs must be a whole number"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError, match=message):
        Sparsity(**options)


def test_a_model_without_kernels_is_refused():
    model = keras.Sequential([keras.Input((2,)), layers.BatchNormalization()])
    with pytest.raises(ValueError, match="conv or dense layer"):
        scripted(model, Sparsity())
