"""Rescaled by Dinh et al. 2017, a ReLU net is the same function at another sharpness."""

import math
from dataclasses import replace

import keras
import numpy as np
import pytest
from training_samples import load

from dlip_reg.curvature import LossFunction, top_eigenvalue
from dlip_reg.models import get_builder
from dlip_reg.training import DataSpec, RunSpec
from dlip_reg.training.records import dumps, loads
from dlip_reg.training.rescaling import (
    FACTORS,
    RescalingSpec,
    measure_rescaled,
    rescalable_layers,
    rescale,
)

DATA = DataSpec("fashion_mnist_subset", n_train=60, n_validation=20, n_test=30)
RUN = RunSpec("mlp", DATA, builder={"hidden": [12, 8]}, batch_size=10, epochs=3)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module", autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def record():
    return measure_rescaled(RescalingSpec(RUN), load(RUN))


def build(name="mlp", shape=(28, 28, 1), **options):
    return get_builder(name)(shape, 10, **options)


@pytest.mark.parametrize("factor", [2.0**-5, 8.0])
def test_the_function_is_the_same_to_the_last_bit(factor):
    model = build("lenet5", dense_dropout=0.5)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(7, 28, 28, 1)).astype("float32")
    for weight in model.trainable_variables:  # biases too, which begin at zero
        weight.assign(rng.normal(0, 0.1, weight.shape))
    before, kernel = model(images).numpy(), model.get_layer("dense2").kernel.numpy()
    rescale(model, factor)
    np.testing.assert_array_equal(model(images).numpy(), before)
    np.testing.assert_array_equal(model.get_layer("dense2").kernel.numpy(), factor * kernel)


def test_only_what_is_no_property_of_the_function_moves(record):
    rows = {row.factor: row for row in record.rescaled}
    assert tuple(rows) == FACTORS and 1.0 in rows
    own = rows[1.0]
    for row in rows.values():
        assert (row.loss, row.accuracy) == (own.loss, own.accuracy)
        # Its step is taken in other units: float32 rounding.
        assert row.adaptive_sharpness == pytest.approx(own.adaptive_sharpness, rel=1e-3)
    for measure in ("lambda_max", "keskar_1e_3", "sam_sharpness"):
        values = [getattr(row, measure) for row in rows.values()]
        assert max(values) > 1.01 * min(values)  # far beyond rounding


def test_the_top_eigenvalue_grows_with_the_square_of_a_large_factor():
    # The classifier's block of the Hessian grows by a^2, and at last it is the top one.
    data, model = load(RUN), build(hidden=(8,))
    tops = []
    for factor in (64.0, 2.0):
        rescale(model, factor)
        function = LossFunction(model, data.x_train, data.y_train, loss=LOSS)
        tops.append(top_eigenvalue(function.hessian_product, function.size).value)
    assert math.log2(tops[1] / tops[0]) == pytest.approx(2, abs=0.02)


def test_the_record_is_plain_and_names_the_job(record):
    assert loads(dumps(record)) == record
    spec = RescalingSpec(RUN)
    assert record.id == spec.identity(load(RUN).fingerprint)
    assert (spec.data, spec.seed, record.status) == (DATA, 0, "finished")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {"hidden": ()}),
        ("mlp", {"activation": "tanh"}),
        ("mlp", {"batch_norm": True}),
        ("resnet20", {}),
    ],
)
def test_what_cannot_be_rescaled_is_told(name, options):
    model = build(name, (32, 32, 3) if name == "resnet20" else (28, 28, 1), **options)
    assert rescalable_layers(model) is None
    with pytest.raises(ValueError, match="must end in a dense ReLU layer"):
        rescale(model, 2.0)


@pytest.mark.parametrize("factor", [0, -1.0, math.inf, math.nan])
def test_a_factor_that_is_no_factor_is_refused(factor):
    with pytest.raises(ValueError, match="factor must be"):
        rescale(build(hidden=(4,)), factor)


def test_a_net_that_diverged_has_no_rows():
    wild = replace(RUN, optimizer="sgd", learning_rate=1e30)
    record = measure_rescaled(RescalingSpec(wild), load(wild))
    assert (record.status, record.rescaled) == ("diverged", ())
