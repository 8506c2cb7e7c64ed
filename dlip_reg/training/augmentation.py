"""Augmentation of training batches, drawn from the run's seed and the number of the step."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf
from keras.src.random.seed_generator import global_seed_generator

from dlip_reg.training.keras_configs import restored
from dlip_reg.training.specification import RunSpec

_DRAWS_PER_STEP = 1024
# The share of values that a layer may clip.
_MOST_OUTSIDE = 0.01


class Augmentation:
    """The augmentation layers of a run, as a function of a batch and its step.

    What they draw depends on the run's seed and the step alone: it is the same for all runs of one
    seed, batch size and augmentation, and for a run that is resumed.

    Args:
        spec: The run.
        images: Some of its training images.

    Raises:
        ValueError: A layer does not exist, does not accept such images or changes labels.
    """

    def __init__(self, spec: RunSpec, images: np.ndarray) -> None:
        texts = [json.dumps(config) for config in json.loads(spec.augmentation)]
        self._layers = list(_single(map(restored, texts)))
        input_shape, labels = images.shape[1:], tf.eye(len(images))
        for layer in self._layers:
            # Keras takes pixels to lie from 0 to 255, where images are not standardised.
            low, high = getattr(layer, "value_range", None) or (-np.inf, np.inf)
            values = np.asarray(images)
            outside = np.mean((values < low) | (values > high))
            if outside > _MOST_OUTSIDE:
                most = max(3, int(np.ceil(np.abs(values).max())))
                raise ValueError(
                    f"augmentation must fit standardised images: {outside:.0%} of their values lie "
                    f"outside the value_range ({low}, {high}) of {type(layer).__name__}, so it "
                    f"must be another one, such as ({-most}, {most})."
                )
            try:  # builds it, outside the graph of the data set
                images = layer(images, training=True)
            except Exception as error:
                raise ValueError(
                    f"The augmentation layer {layer.name} does not accept images of {input_shape}."
                ) from error
        if tuple(images.shape[1:]) != input_shape:
            raise ValueError(
                f"augmentation must keep the shape {input_shape} of images, not give "
                f"{tuple(images.shape[1:])}."
            )
        for layer in self._layers:
            if hasattr(layer, "transform_labels") and _changes_labels(layer, images, labels):
                raise ValueError(
                    f"augmentation must change images alone; {type(layer).__name__} does not."
                )
        states = [
            variable
            for layer in self._layers
            for variable in layer.variables
            if variable.name == "seed_generator_state"
        ]
        if self._layers:  # what layers draw from without a generator of their own
            states.append(global_seed_generator().state)
        self._states = {
            zlib.crc32(f"{spec.seed}/augmentation/{index}".encode()): state
            for index, state in enumerate(states)
        }

    def __bool__(self) -> bool:
        return bool(self._layers)

    def __call__(self, images: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Return the augmented batch of that step."""
        drawn = tf.cast(step, tf.uint32) * np.uint32(_DRAWS_PER_STEP)
        states = [
            (state, tf.stack([tf.constant(seed, tf.uint32), drawn]))
            for seed, state in self._states.items()
        ]
        # The states advance within the step only, so that prefetching and resuming do not matter.
        with keras.StatelessScope(state_mapping=states):
            for layer in self._layers:
                images = layer(images, training=True)
        return images


def _changes_labels(layer: keras.Layer, images: np.ndarray, labels: tf.Tensor) -> bool:
    try:
        given = layer({"images": images, "labels": labels}, training=True)["labels"]
    except Exception:  # it takes images alone, as RandomGrayscale does
        return False
    return not np.array_equal(given, labels)


def _single(layers: Iterable[keras.Layer]) -> Iterator[keras.Layer]:
    """The layers, with those that a pipeline calls one after another in its place."""
    for layer in layers:
        if type(layer) is keras.layers.Pipeline:
            yield from _single(layer.layers)
        else:
            yield layer
