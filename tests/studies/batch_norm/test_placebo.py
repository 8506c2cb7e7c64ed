"""The placebo: batch normalization's parameters without its normalization."""

import keras
import numpy as np
import pytest

from dlip_reg.models import lenet5, mlp
from dlip_reg.studies.batch_norm.placebo import ScaleShift, scale_and_shift
from dlip_reg.training.reuse import can_be_reused, reusable

SHAPE = (12, 12, 1)


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(3, 2, (8, *SHAPE)).astype("float32")


def test_it_starts_as_the_plain_network(images):
    placebo = scale_and_shift(SHAPE, 10, net="lenet5")
    plain = lenet5(SHAPE, 10)
    for layer in plain.layers:
        if layer.weights:
            kernel = placebo.get_layer(layer.name).get_weights()[0]
            layer.set_weights([kernel, np.zeros_like(layer.bias)])
    assert np.allclose(plain(images), placebo(images, training=True), atol=1e-5)


def test_it_has_the_weights_of_batch_norm_and_no_statistics():
    placebo, bn = scale_and_shift(SHAPE, 10, net="mlp"), mlp(SHAPE, 10, batch_norm=True)
    shapes = [[w.shape for w in model.trainable_weights] for model in (placebo, bn)]
    assert shapes[0] == shapes[1]
    assert not placebo.non_trainable_weights


def test_an_example_does_not_depend_on_the_others_in_its_batch(images):
    placebo = scale_and_shift(SHAPE, 10, net="lenet5")
    alone = placebo(images[:1], training=True)
    assert np.allclose(alone, placebo(images, training=True)[:1], atol=1e-5)


def test_options_of_the_network_and_model_functions_are_passed_on():
    small = scale_and_shift((4,), 3, net="dlip_reg.models:mlp", hidden=[5, 6])
    assert [layer.units for layer in small.layers if isinstance(layer, keras.layers.Dense)] == [
        5, 6, 3,
    ]  # fmt: skip


def test_models_of_its_structure_share_one_graph():
    first, second = (scale_and_shift(SHAPE, 10, net="lenet5") for _ in range(2))
    assert can_be_reused(first)

    def compile_model(model):
        model.compile("sgd", "mse")

    kept = reusable(first, compile_model)
    second.get_layer("conv1_bn").gamma.assign([2.0] * 6)
    assert reusable(second, compile_model) is kept
    assert isinstance(kept.get_layer("conv1_bn"), ScaleShift)
    assert kept.get_layer("conv1_bn").gamma.numpy().tolist() == [2.0] * 6
