"""What goes into a model's hidden activations, in training's batch statistics."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from callbacks.evaluation import inference, traced
from callbacks.layers import active_layers, noted_calls
from dlip_reg.curvature.batch_norm import batch_norm_layers, batch_statistics


def activation_inputs(model: keras.Model, layer: str, x: Any) -> tuple[np.ndarray, float]:
    """The input of the activation `layer` for the tensors `x`, and the largest |input| of any.

    `layer` is a name that `callbacks.layers.activation_statistics` gives; of several calls the last
    counts. The other number is the largest absolute value that goes into any hidden activation.
    Dropout is off; batch normalization normalises by the statistics of all of `x` at once, and
    updates nothing.
    """
    forward = traced(model, ("inputs", layer), _inputs_of, layer)
    inputs, largest = forward(x)
    return inputs.numpy(), float(largest)


def _inputs_of(model: keras.Model, name: str, x: Any) -> tuple[tf.Tensor, tf.Tensor]:
    layers = active_layers(model)
    # ReLU and its like are the activation themselves.
    watched = [
        (layer, "activation" if hasattr(layer, "activation") else "call")
        for layer in layers.values()
    ]
    with noted_calls(watched) as calls, batch_statistics(batch_norm_layers(model)):
        final = {id(output) for output in keras.tree.flatten(inference(model, x))}
    largest = [
        tf.cast(tf.reduce_max(tf.abs(inputs)), tf.float32)
        for _, inputs, output in calls
        if id(output) not in final
    ]
    (*_, last) = (inputs for layer, inputs, _ in calls if layer is layers[name])
    return last, tf.reduce_max(tf.stack(largest))
