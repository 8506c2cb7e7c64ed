"""Sparsity on kernels and activations whose numbers can be worked out by hand."""

import functools

import keras
import numpy as np
import pytest
from callback_models import TRAIN, Counting, conv_net, driven, fit

from callbacks import Sparsity, hoyer
from callbacks.layers import activation_statistics, kernel_layers

layers = keras.layers


def with_kernels(model, recorder, *kernels):
    """The logs of a fit each of whose epochs makes of the first kernel the next of `kernels`."""
    assign = model.layers[0].kernel.assign
    return driven(model, recorder, [functools.partial(assign, kernel) for kernel in kernels])


def one_kernel(values):
    model = keras.Sequential([keras.Input((len(values),)), layers.Dense(1, name="only")])
    model.layers[0].kernel.assign(np.reshape(values, (-1, 1)))
    return model


def column(*values):
    return np.reshape(np.array(values, float), (-1, 1))


def test_a_kernel_by_hand():
    model = one_kernel([2, -2, 2, -2])
    recorder = Sparsity(bins=8)
    logs = with_kernels(model, recorder, column(0.25, -0.25, 5, -5))
    first, last = (row["layers"][0] for row in recorder.rows)
    assert recorder.edges == [-4, -3, -2, -1, 0, 1, 2, 3, 4]
    assert (first["layer"], first["kind"], first["size"]) == ("only", "dense", 4)
    assert (first["rms"], first["max"], first["near_zero"], first["distance"]) == (2, 2, 0, 0)
    assert first["hoyer"] == pytest.approx(0, abs=1e-12)  # equal sizes
    # below -4 | -4 -3 -2 -1 0 1 2 3 | 4 and above; a bin holds its lower edge
    assert first["histogram"] == [0, 0, 0, 0, 2, 0, 2, 0, 0, 0]
    # The RMS is 3.54 now: 0.25 is 0.071 of it, and 5 is 1.41 of it.
    assert last["histogram"] == [0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    assert (last["near_zero"], last["max"]) == (0, 5)
    norm = np.sqrt(2 * 0.25**2 + 2 * 5**2)
    assert last["rms"] == pytest.approx(norm / 2)
    assert last["hoyer"] == pytest.approx(2 - 10.5 / norm)  # sqrt(4) = 2
    assert last["distance"] == pytest.approx(np.sqrt(2 * 1.75**2 + 2 * 3**2) / 4)
    assert logs[0] == {
        f"dense_{name}": last[name] for name in ("rms", "max", "near_zero", "hoyer", "distance")
    }


@pytest.mark.parametrize(("threshold", "share"), [(0.05, 0), (0.08, 0.5), (1.5, 1)])
def test_the_threshold_is_a_share_of_the_present_rms(threshold, share):
    recorder = Sparsity(threshold=threshold)
    kernel = column(0.25, -0.25, 5, -5)
    with_kernels(one_kernel([2, -2, 2, -2]), recorder, kernel, kernel / 1000, kernel * 1000)
    # Scaling a kernel makes it neither sparser nor denser.
    assert [row["layers"][0]["near_zero"] for row in recorder.rows[1:]] == [share] * 3
    sparseness = [row["layers"][0]["hoyer"] for row in recorder.rows[1:]]
    assert sparseness == pytest.approx([sparseness[0]] * 3)


def test_kernels_of_zeros():
    recorder = Sparsity(bins=2)
    zeros = np.zeros((2, 1))
    with_kernels(one_kernel([0, 0]), recorder, zeros, column(3, 0), zeros)
    rows = [row["layers"][0] for row in recorder.rows]
    assert [row["near_zero"] for row in rows] == [1, 1, 0.5, 1]
    assert [row["distance"] for row in rows] == [0, 0, np.inf, 0]
    assert rows[2]["hoyer"] == 1 and all(np.isnan(rows[at]["hoyer"]) for at in (0, 1, 3))
    assert rows[-1]["histogram"] == [0, 0, 2, 0]


def test_weights_that_are_no_numbers_are_counted_last():
    recorder = Sparsity(bins=2)
    with_kernels(one_kernel([1, 1, 1, 1]), recorder, column(np.nan, -np.inf, np.inf, 0))
    row = recorder.rows[-1]["layers"][0]
    assert row["histogram"] == [0, 0, 0, 4] and row["near_zero"] == 0
    assert np.isnan([row["rms"], row["hoyer"], row["distance"]]).all()


def test_histograms_are_kept_for_the_first_and_the_last_row_alone():
    recorder = Sparsity()
    with_kernels(one_kernel([1, 2]), recorder, *3 * [column(1, 2)])
    parts = [(row["layers"][0], row["kinds"]["dense"]) for row in recorder.rows]
    kept = [[part["histogram"] is not None for part in pair] for pair in parts]
    assert kept == [[True] * 2, [False] * 2, [False] * 2, [True] * 2]
    assert sum(parts[-1][1]["histogram"]) == 2


def test_kinds_pool_their_kernels():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2), layers.Dense(4), layers.Dense(1)])
    for layer, scale in zip(model.layers, (1.0, 10.0, 100.0), strict=True):
        layer.kernel.assign(np.full(layer.kernel.shape, scale))
    recorder = Sparsity(bins=2)
    # One of 4 + 8 + 4 weights moves.
    logs = with_kernels(model, recorder, np.array([[1.0, 1.0], [1.0, 0.0]]))
    pooled = recorder.rows[-1]["kinds"]["dense"]
    squares = 4 * 1 + 8 * 10**2 + 4 * 100**2
    assert pooled["size"] == 16 and pooled["max"] == 100
    assert pooled["near_zero"] == pytest.approx(1 / 16)
    # The other kernels have equal sizes.
    assert pooled["hoyer"] == pytest.approx(4 / 16 * (2 - np.sqrt(3)))
    assert pooled["rms"] == pytest.approx(np.sqrt((squares - 1) / 16))
    assert pooled["distance"] == pytest.approx(np.sqrt(1 / squares))
    assert pooled["histogram"] == [0, 0, 16, 0]
    assert logs[0]["dense_rms"] == pooled["rms"]


@pytest.mark.parametrize("size", [2, 5, 1000])
def test_hoyer_by_its_closed_forms(size):
    rng = np.random.default_rng(size)
    assert hoyer(rng.choice([-3.0, 3.0], size)) == pytest.approx(0, abs=1e-12)
    assert hoyer(np.eye(size)[0] * -0.7) == 1
    # k equal values among n: (sqrt(n) - sqrt(k)) / (sqrt(n) - 1)
    some = np.arange(size) < 2
    expected = (np.sqrt(size) - np.sqrt(2)) / (np.sqrt(size) - 1)
    assert hoyer(some.reshape(1, -1)) == pytest.approx(expected, abs=1e-12)
    values = rng.normal(size=size)
    for scale in (-1, 1e-300, 1e300):
        assert hoyer(values * scale) == pytest.approx(hoyer(values))
    assert 0 < hoyer(values) < 1


@pytest.mark.parametrize("values", [[], [3.0], [0.0, 0.0], [1.0, np.nan], [1.0, np.inf]])
def test_hoyer_is_nan_where_it_is_undefined(values):
    assert np.isnan(hoyer(values))


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
    model.get_layer("dense1").kernel.assign([[1, -1, 0, 6e-4], [0, 0, 1, 0]])
    model.get_layer("dense2").kernel.assign([[1, 0], [1, 0], [0, -1], [0, 0]])
    rows = activation_statistics(model, np.array([[2, 1], [-2, 3]], "float32"))
    # dense1: 2 0 1 .0012 and 0 2 3 0. RMS 1.5, so .0012 < .0015 is near zero as are the zeros.
    # dense2: 2 -1 and 2 -3, which moving mean 0 and variance 1 leave alone; relu: 2 0 and 2 0.
    # Unit 2 of dense2 is dead. The alive one alone has no sparseness, since that needs two values.
    first, second = 2 - 3.0012 / np.sqrt(5 + 144e-8), 2 - 5 / np.sqrt(13)
    sparseness = (first + second) / 2  # sqrt(4) = 2
    expected = [
        ("dense1", "dense1", 8, 8.0012 / 8, 0.5, sparseness, 0),
        ("dense2_relu", "dense2", 4, 1, 0.5, np.nan, 0.5),
    ]
    names = ("layer", "stage", "size", "mean", "near_zero", "hoyer", "dead")
    for row, values in zip(rows, expected, strict=True):
        assert row == dict(zip(names, values, strict=True)) | {
            "kind": "dense",
            "mean": pytest.approx(values[3], rel=1e-7),  # float32
            "hoyer": pytest.approx(values[5], rel=1e-6, nan_ok=True),
        }


def test_units_of_convolutions_are_channels():
    model = keras.Sequential(
        [
            keras.Input((2, 1, 1)),
            layers.Conv2D(4, 1, activation="relu", use_bias=False, name="conv"),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
    # Channel 0 is x, channel 1 is max(-x, 0), channels 2 and 3 are never active.
    model.get_layer("conv").kernel.assign(np.reshape([1.0, -1.0, 0.0, 0.0], (1, 1, 1, 4)))
    x = np.array([[1, 1], [1, -1], [0, 3], [0, 0]], "float32")[..., None, None]
    (row,) = activation_statistics(model, x)
    assert row["size"] == 4 * 2 * 4 and row["dead"] == 0.5
    # Two channels at two places are four values: two, two and one of equal size, and none.
    assert row["hoyer"] == pytest.approx(np.mean([2 - np.sqrt(2), 2 - np.sqrt(2), 1]))
    # One example alone: channel 1 is dead on it, too.
    (row,) = activation_statistics(model, x[:1])
    assert row["dead"] == 0.75 and row["hoyer"] == pytest.approx(0, abs=1e-12)


def test_all_activations_take_one_forward_pass_that_is_traced_once():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            Counting(),
            *(layers.Dense(4, "relu") for _ in range(3)),
            layers.Dense(2),
        ]
    )
    before = Counting.runs.call_count
    for size in (8, 8, 5):
        assert len(activation_statistics(model, np.ones((size, 6), "float32"))) == 3
    assert Counting.runs.call_count - before == 1


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
        # The layers are as they were before the measurement.
        assert all("call" not in vars(layer) for layer in model._flatten_layers())


def test_a_model_without_hidden_activations_has_none():
    model = one_kernel([1, 1])
    recorder = Sparsity(np.ones((3, 2)))
    logs = with_kernels(model, recorder, column(1, 1))
    assert recorder.rows[0]["activations"] == [] and "activation_mean" not in logs[0]


def test_quantised_kernels_are_refused():
    model = one_kernel([1, 2])
    model.quantize("int8")
    with pytest.raises(ValueError, match="floats, but only is quantised"):
        driven(model, Sparsity())


def built_again(model):
    def renamed(layer):
        return type(layer).from_config(layer.get_config() | {"name": f"{layer.name}_again"})

    again = keras.models.clone_model(model, clone_function=renamed)
    again.set_weights(model.get_weights())
    again.compile("adam", model.loss)
    return again


@pytest.mark.thorough
def test_the_same_recorder_keeps_its_initial_weights():
    recorder, model = Sparsity(), conv_net()
    start = keras.ops.convert_to_numpy(model.get_layer("logits").kernel)
    fit(model, [recorder], epochs=1)
    model = built_again(model)
    fit(model, [recorder], epochs=2, initial_epoch=1)
    kernel = keras.ops.convert_to_numpy(model.get_layer("logits_again").kernel)
    expected = np.linalg.norm(kernel - start) / np.linalg.norm(start)
    assert recorder.rows[2]["layers"][-1]["distance"] == pytest.approx(expected)
    fit(model, [recorder], epochs=1)  # another fit, from here on
    assert recorder.rows[0]["layers"][-1]["distance"] == 0
    other = one_kernel([1.0])
    other.compile("sgd", "mse")
    with pytest.raises(ValueError, match="kernels of other shapes: use a new recorder"):
        fit(other, [recorder], epochs=2, initial_epoch=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0}, "threshold must be a finite number above 0"),
        ({"threshold": "small"}, "threshold must be a finite number above 0"),
        ({"bins": 0}, "bins must be a whole number"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError, match=message):
        Sparsity(**options)
