"""Sharpness where the Hessian is known, and how it behaves as a callback."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from callback_models import TRAIN, Counting, conv_net, least_squares, measured, same, state
from further_cases import since_keras

import callbacks.sharpness
from callbacks import Sharpness

layers = keras.layers
ALL = ("lambda_max", "keskar_sharpness", "sam_sharpness", "adaptive_sharpness")


def test_the_other_measures_of_a_parabola():
    # f = (3 w)^2 at w = 2: 36. SAM steps to 2.05, ASAM to 2 + .5 * 2, Keskar to 2 + .001 * 3.
    data = (np.full((4, 1), 3.0), np.zeros((4, 1)))
    values, details = measured(least_squares([2.0]), Sharpness(data, measures=ALL[1:], subset=None))
    assert values["sam_sharpness"] == pytest.approx(9 * 2.05**2 - 36, rel=1e-5)  # float32
    assert values["adaptive_sharpness"] == pytest.approx(9 * 3**2 - 36, rel=1e-5)
    phi = 100 * (9 * 2.003**2 - 36) / (1 + 36)
    assert values["keskar_sharpness"] == pytest.approx(phi, rel=1e-4)  # a difference of float32
    searches = {search["name"]: search for search in details["keskar_searches"]}
    assert set(searches) == {"l-bfgs-b", "sign-corner", "sign-ascent"}
    assert searches["sign-corner"]["value"] == values["keskar_sharpness"]
    assert "lambda_max" not in values


def test_the_subset_is_fixed_and_seeded():
    data = np.random.default_rng(1).normal(size=(200, 3)), np.zeros((200, 1))
    model = least_squares(np.ones(3))

    def lambda_max(**options):
        return measured(model, Sharpness(data, **options))[0]["lambda_max"]

    assert lambda_max(subset=50) == lambda_max(subset=50)
    # Other examples, and not another random vector of the search alone.
    assert lambda_max(subset=50, seed=1) != pytest.approx(lambda_max(subset=50), rel=0.01)
    assert lambda_max(subset=None) == lambda_max(subset=200) == lambda_max()


def test_batch_norm_modes():
    model = conv_net(dropout=0.0)
    before = state(model)
    both = [
        measured(model, Sharpness(TRAIN, measures=ALL, batch_norm=mode))[0]
        for mode in ("inference", "batch")
    ]
    assert same(state(model), before)
    moving, batch = both
    # At initialisation moving statistics are 0 and 1, far from the data's.
    assert abs(moving["lambda_max"] / batch["lambda_max"] - 1) > 0.01
    # What moves the weights follows batch statistics in either mode.
    assert all(moving[name] == batch[name] for name in ALL[1:])


def test_only_the_subset_becomes_tensors(monkeypatch):
    sizes = []
    convert = tf.convert_to_tensor

    def noting(array, *args, **kwargs):
        sizes.append(tuple(np.shape(array)[:1]))
        return convert(array, *args, **kwargs)

    monkeypatch.setattr(tf, "convert_to_tensor", noting)
    recorder = Sharpness((np.ones((900, 3)), np.zeros((900, 1))), measures=ALL, subset=50)
    measured(least_squares(np.ones(3)), recorder)
    assert (50,) in sizes and (900,) not in sizes


def test_a_bound_that_stays_wide_is_told_once_in_each_fit(monkeypatch):
    monkeypatch.setattr(callbacks.sharpness, "_MOST_PRODUCTS", 2)
    x = np.random.default_rng(0).normal(size=(300, 12))
    recorder = Sharpness((x, np.ones((300, 1))))
    with pytest.warns(RuntimeWarning, match=r"lambda_max may be up to .* above") as told:
        measured(least_squares(np.ones(12)), recorder)
        recorder.measure()
        recorder.on_fit_start(0)
        recorder.measure()
    assert sum("lambda_max may be" in str(warning.message) for warning in told) == 2


def by_weight():
    rates = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1))
    return keras.optimizers.MultiOptimizer(rates)


@pytest.mark.parametrize(
    "make",
    [lambda: None, pytest.param(by_weight, marks=since_keras("3.15"))],
    ids=["no optimizer", "several"],
)
def test_without_one_optimizer_there_is_no_learning_rate(make):
    model = least_squares(np.ones(3))
    model.compile(make(), loss="mse")
    x = np.random.default_rng(0).normal(size=(20, 3))
    values, _ = measured(model, Sharpness((x, np.ones((20, 1)))))
    assert values["lambda_max"] > 0 and math.isnan(values["lambda_max_lr_half"])
    with pytest.raises(ValueError, match="needs step_lengths or an optimizer"):
        measured(model, callbacks.Landscape((x, np.ones((20, 1)))))
    for name in ("preconditioned", "critical_sharpness"):
        with pytest.raises(ValueError, match="need an optimizer with one learning rate"):
            measured(model, Sharpness((x, np.ones((20, 1))), measures=name))


def test_it_is_traced_once_and_starts_from_the_last_vector():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6, 6, 1)), Counting(), layers.Flatten(), layers.Dense(9, "tanh")]
    )
    model.add(layers.Dense(3))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    recorder = Sharpness(TRAIN, measures=ALL, subset=30)
    first, _ = measured(model, recorder)
    traced = Counting.runs.call_count
    again, _ = recorder.measure()
    assert again["lambda_max"] == pytest.approx(first["lambda_max"], rel=1e-3)
    assert again["lambda_max_products"] <= first["lambda_max_products"]
    measured(model, Sharpness(TRAIN, measures=ALL, subset=50, seed=3))
    assert Counting.runs.call_count == traced
