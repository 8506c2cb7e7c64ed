"""Percentiles of inputs whose distribution is known."""

import keras
import numpy as np
import pytest
from callback_models import IMAGES, TRAIN, Counting, conv_net, driven, same, state

from callbacks import ActivationPercentiles

layers = keras.layers
RAMP = np.arange(101, dtype="float32")[:, None]  # its p-th percentile is p


def measurements(model, recorder, changes=()):
    """The rows of a fit whose epochs are `changes` to the model."""
    driven(model, recorder, changes)
    return recorder.rows


def ramp_model(*hidden):
    model = keras.Sequential([keras.Input((1,)), *hidden, layers.Dense(2, name="logits")])
    model.layers[0].set_weights([np.array([[1.0, -2.0]]), np.array([0.0, 10.0])])
    return model


def test_units_by_hand_and_their_drift():
    model = ramp_model(layers.Dense(2, "sigmoid", name="hidden"))
    recorder = ActivationPercentiles(RAMP, units=(0, 1))

    def double():
        model.layers[0].set_weights([np.array([[2.0, -2.0]]), np.array([0.0, 10.0])])

    first, second, third = measurements(model, recorder, [double, double])
    # Before the sigmoid: x and 10 - 2 x.
    assert first["units"][0]["percentiles"] == pytest.approx([15, 50, 85])
    assert first["units"][1]["percentiles"] == pytest.approx([-160, -90, -20])
    assert (first["activation_p15"], first["activation_p85"]) == (-72.5, 32.5)
    assert np.isnan(first["activation_drift"]) and np.isnan(first["units"][0]["drift"])
    assert second["units"][0]["percentiles"] == pytest.approx([30, 100, 170])
    # Moved by 15, 50 and 85, while the spread went from 70 to 140; the other unit stood still.
    assert [unit["drift"] for unit in second["units"]] == pytest.approx([50 / 105, 0])
    assert second["activation_drift"] == pytest.approx(25 / 105)
    assert third["activation_drift"] == 0  # since the row before


def test_of_several_calls_of_an_activation_the_last_counts():
    x, sigmoid = keras.Input((1,)), layers.Activation("sigmoid")
    first = layers.Rescaling(2.0)(sigmoid(x))
    model = keras.Model(x, layers.Dense(2)(sigmoid(layers.Rescaling(3.0)(first))))
    (row,) = measurements(model, ActivationPercentiles(RAMP))
    expected = [6 / (1 + np.exp(-p)) for p in (15, 50, 85)]
    assert row["units"][0]["percentiles"] == pytest.approx(expected)


@pytest.mark.parametrize("last", ["linear", "softmax", "sigmoid"])
def test_the_peak_is_that_of_any_hidden_activation(last):
    deep = [layers.Dense(2, "tanh", name="hidden"), layers.Dense(3, "relu", name="second")]
    model = ramp_model(*deep)
    model.get_layer("second").set_weights([np.zeros((2, 3)), np.array([1.0, 2.0, -7.0])])
    model.get_layer("logits").bias.assign([1e6, 0.0])
    model.get_layer("logits").activation = keras.activations.get(last)
    (row,) = measurements(model, ActivationPercentiles(RAMP))
    assert row["activation_p85"] == pytest.approx(1)  # of the last hidden one
    # 10 - 2 x at x = 100, before the tanh, among x and 10 - 2 x; the output's own do not count.
    inputs = np.concatenate([RAMP, 10 - 2 * RAMP])
    assert row["activation_peak"] == pytest.approx(190 / np.sqrt(np.mean(inputs**2)))


@pytest.mark.parametrize(
    ("hidden", "layer"),
    [
        ([layers.Dense(2, "tanh", name="hidden")], "hidden"),
        ([layers.Dense(2, name="hidden"), layers.Activation("tanh", name="after")], "hidden"),
        ([layers.Dense(2, name="hidden"), layers.Activation("tanh", name="after")], "after"),
        ([layers.Dense(2, name="hidden"), layers.ReLU(name="after")], "after"),
        ([layers.Dense(2, name="hidden"), layers.PReLU(name="after")], None),
        (
            [layers.Dense(2, name="hidden"), layers.Dropout(0.9), layers.LeakyReLU(name="after")],
            "hidden",
        ),
    ],
)
def test_the_activation_is_found_by_its_own_name_or_its_stage(hidden, layer):
    model = ramp_model(*[keras.layers.deserialize(keras.layers.serialize(h)) for h in hidden])
    before = {layer.name: set(vars(layer)) for layer in model.layers}
    (row,) = measurements(model, ActivationPercentiles(RAMP, layer=layer))
    assert row["units"][0]["percentiles"] == pytest.approx([15, 50, 85])
    # Nothing of the measurement stays on the layers.
    assert {layer.name: set(vars(layer)) for layer in model.layers} == before


def test_a_channel_takes_its_values_over_all_positions():
    model = conv_net()
    model.get_layer("conv1").kernel.assign(np.eye(9)[4].reshape(3, 3, 1, 1) * np.ones(4))
    before = state(model)
    recorder = ActivationPercentiles(IMAGES, layer="conv1", percentiles=(10, 90, 50), units=3)
    (row,) = measurements(model, recorder)
    # The kernel picks the middle pixel; batch norm standardises over images and positions.
    inner = IMAGES[:, 1:-1, 1:-1].astype(float)
    inner = (inner - inner.mean()) / np.sqrt(inner.var() + 1e-3)
    # float32 through a convolution
    expected = np.percentile(inner, [10, 50, 90])
    assert row["units"][0]["percentiles"] == pytest.approx(expected, abs=1e-5)
    assert row["activation_p50"] == row["units"][0]["percentiles"][1]
    assert same(state(model), before)


def test_two_recorders_of_one_model_do_not_replace_each_other_s_graph():
    counting = keras.Sequential([keras.Input((6, 6, 1)), Counting(), conv_net()])
    recorders = [ActivationPercentiles(TRAIN[0][:8], layer=name) for name in ("conv1", "dense1")]
    for recorder in recorders:
        recorder.set_model(counting)
        recorder.prepare()
    traced = Counting.runs.call_count
    for recorder in recorders * 3:
        recorder.measure()
    assert Counting.runs.call_count == traced
    conv, dense = (recorder.measure()[0]["activation_p50"] for recorder in recorders)
    assert conv != pytest.approx(dense, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": -1}, "units must be"),
        ({"units": ()}, "units must be"),
        ({"units": None}, "units must be"),
        ({"percentiles": 50}, "percentiles must be two or more"),
        ({"percentiles": (50,)}, "percentiles must be two or more"),
        ({"percentiles": (50, 150)}, "percentiles must be two or more"),
        ({"layer": "logits"}, "No hidden activation 'logits'; there are hidden"),
        ({"units": 2}, "hidden has units 0 to 1, not 2"),
    ],
)
def test_wrong_settings_and_what_the_model_has_not(options, message):
    model = ramp_model(layers.Dense(2, "sigmoid", name="hidden"))
    with pytest.raises(ValueError, match=message):
        measurements(model, ActivationPercentiles(RAMP, **options))
