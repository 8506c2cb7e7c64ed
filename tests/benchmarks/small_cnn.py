"""The CNN of 57,000 weights that the benchmarks share, and its stages of training."""

from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np

from dlip_reg.datasets import load_dataset

STAGES = (0, 1, 3, 20)  # epochs


class Images(NamedTuple):
    """Standardised images (n, 28, 28, 1), float32, and their classes (n,)."""

    x: np.ndarray
    y: np.ndarray


def images(n: int) -> Images:
    """`n` images of the packaged Fashion-MNIST subset, repeated where it has fewer."""
    data = load_dataset("fashion_mnist_subset", n_train=10_000, seed=0)
    index = np.arange(n) % len(data.x_train)
    return Images(data.x_train[index], data.y_train[index])


def cnn(conv=None, dense=None, activation="relu") -> keras.Model:
    """Two convolutions of 16 and 32 filters with 2x2 pools, a dense layer of 64, logits.

    Args:
        conv: The regularizer of the convolutions' kernels.
        dense: That of the dense layers'.
        activation: Of the first layer.
    """
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, activation=activation, kernel_regularizer=conv),
            layers.MaxPool2D(),
            layers.Conv2D(32, 3, activation="relu", kernel_regularizer=conv),
            layers.MaxPool2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu", kernel_regularizer=dense),
            layers.Dense(10, kernel_regularizer=dense),
        ]
    )


def small_cnn() -> keras.Model:
    """The same without regularizers and from fixed weights, compiled with Adam."""
    keras.utils.set_random_seed(0)
    model = cnn()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def trained(model: keras.Model) -> Iterator[int]:
    """Trains `model` on 10,000 images, and yields at each of `STAGES`."""
    data = images(10_000)
    done = 0
    for stage in STAGES:
        if stage > done:
            model.fit(*data, batch_size=128, epochs=stage - done, verbose=0)
        done = stage
        yield stage
