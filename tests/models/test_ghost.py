"""Ghost batch normalization: each part of the batch by its own statistics."""

import keras
import numpy as np
import pytest

from dlip_reg.curvature import LossFunction, recalibrate_batch_norm
from dlip_reg.models.ghost import GhostBatchNormalization, ghost_batch_norm

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(2.0, 3.0, (12, 5, 4, 3)).astype("float32")


def call(layer, x, training):
    return keras.ops.convert_to_numpy(layer(x, training=training))


@pytest.mark.parametrize("x", [IMAGES, IMAGES[:, 0, 0]], ids=["images", "vectors"])
def test_it_is_keras_batch_normalization_of_each_part(x):
    ghost, keras_own = GhostBatchNormalization(4), keras.layers.BatchNormalization()
    for layer in (ghost, keras_own):
        layer.build(x.shape)
        layer.gamma.assign([1.0, 2.0, 0.5])
        layer.beta.assign([0.0, -1.0, 3.0])
    expected = np.concatenate([call(keras_own, x[i : i + 4], True) for i in (0, 4, 8)])
    np.testing.assert_allclose(call(ghost, x, True), expected, rtol=1e-4, atol=1e-5)


def test_of_the_whole_batch_it_is_keras_own_moving_statistics_included():
    ghost, keras_own = GhostBatchNormalization(12), keras.layers.BatchNormalization()
    for training in (True, False):
        np.testing.assert_allclose(
            call(ghost, IMAGES, training), call(keras_own, IMAGES, training), rtol=1e-4, atol=1e-5
        )
    for name in ("moving_mean", "moving_variance"):
        np.testing.assert_allclose(
            getattr(ghost, name).numpy(), getattr(keras_own, name).numpy(), rtol=1e-5
        )


def test_moving_statistics_go_to_the_mean_of_the_parts():
    layer = GhostBatchNormalization(4, momentum=0.9)
    call(layer, IMAGES, True)
    parts = IMAGES.reshape(3, 4, 5, 4, 3)
    mean, variance = parts.mean(axis=(1, 2, 3)).mean(axis=0), parts.var(axis=(1, 2, 3)).mean(axis=0)
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.9 + 0.1 * variance, rtol=1e-4)


def test_a_batch_that_is_no_multiple_is_refused():
    with pytest.raises(ValueError, match="multiples of ghost_size 5, not 12"):
        call(GhostBatchNormalization(5), IMAGES, True)
    with pytest.raises(ValueError, match="ghost_size must be"):
        GhostBatchNormalization(1)


def test_a_network_with_ghosts_saves_loads_and_trains(tmp_path):
    model = ghost_batch_norm((12, 12, 1), 3, net="lenet5", ghost_size=4)
    ghosts = [layer for layer in model.layers if isinstance(layer, GhostBatchNormalization)]
    assert [layer.name for layer in ghosts] == ["conv1_bn", "conv2_bn", "dense1_bn", "dense2_bn"]
    assert {layer.ghost_size for layer in ghosts} == {4} and {g.momentum for g in ghosts} == {0.9}
    x, y = RNG.normal(size=(8, 12, 12, 1)).astype("float32"), np.arange(8) % 3
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=8, verbose=0)
    model.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_what_moves_the_weights_takes_the_statistics_of_the_whole_batch():
    model = ghost_batch_norm((12, 12, 1), 3, net="lenet5", ghost_size=4)
    x, y = RNG.normal(size=(8, 12, 12, 1)).astype("float32"), np.arange(8) % 3
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    whole = LossFunction(model, x, y, loss=loss, batch_norm="batch", batch_size=8).value()
    recalibrate_batch_norm(model, x, batch_size=8)
    assert LossFunction(model, x, y, loss=loss).value() == pytest.approx(whole, rel=1e-4)
