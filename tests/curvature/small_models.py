"""Small Keras models and data, and what they compute under batch statistics."""

import keras
import numpy as np

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(1.0, 2.0, size=(40, 5, 5, 2)).astype("float32")
LABELS = RNG.integers(3, size=40)


def conv_net(batch_norm=True, seed=3):
    """Conv, batch norm, ReLU, dropout, dense, batch norm, dense: logits of 3 classes."""
    keras.utils.set_random_seed(seed)
    norm = keras.layers.BatchNormalization if batch_norm else keras.layers.Identity
    stack = [
        keras.layers.Conv2D(4, 3, name="conv"),
        norm(name="conv_norm"),
        keras.layers.ReLU(),
        keras.layers.Dropout(0.5, name="dropout"),
        keras.layers.Flatten(),
        keras.layers.Dense(6, activation="relu", name="dense"),
        norm(name="dense_norm"),
        keras.layers.Dense(3, name="logits"),
    ]
    model = keras.Sequential([keras.Input((5, 5, 2)), *stack])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    # Random biases, scales and offsets, for those of a new model are zeros and ones.
    rng = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        weight.assign_add(rng.normal(0, 0.2, size=weight.shape))
    return model


def state(model):
    return [keras.ops.convert_to_numpy(variable) for variable in model.variables]


def same(states, others):
    return all(np.array_equal(a, b) for a, b in zip(states, others, strict=True))


def batch_outputs(model, x):
    """The model under the statistics of `x` as one batch: Keras' own training mode, less dropout.

    Only for models without other randomness than dropout, which is switched off here.
    """
    rates = {layer: layer.rate for layer in model.layers if hasattr(layer, "rate")}
    for layer in rates:
        layer.rate = 0.0
    with keras.StatelessScope():
        outputs = keras.ops.convert_to_numpy(model(x, training=True))
    for layer, rate in rates.items():
        layer.rate = rate
    return outputs
