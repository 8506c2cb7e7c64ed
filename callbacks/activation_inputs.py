"""What goes into a model's hidden activations, in training's batch statistics."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from callbacks.evaluation import inference, traced
from callbacks.layers import active_layers, graph_of
from dlip_reg.curvature.batch_norm import batch_norm_layers, batch_statistics
from dlip_reg.curvature.replaced import replaced


def activation_inputs(model: keras.Model, layer: str, x: Any) -> tuple[np.ndarray, float]:
    """The input of the activation `layer` for the tensors `x`, and the largest |input| of any.

    `layer` is a name that `callbacks.layers.activation_statistics` gives; of several calls the last
    counts. The other number is the largest absolute value that goes into any hidden activation.
    Dropout is off; batch normalization normalises by the statistics of all of `x` at once, and
    updates nothing.
    """
    # The same object for the same name: so a graph is known again.
    forward = traced(model, f"inputs of {layer}", _inputs_of, sys.intern(layer))
    inputs, largest = forward(x)
    return inputs.numpy(), float(largest)


def _inputs_of(model: keras.Model, name: str, x: Any) -> tuple[tf.Tensor, tf.Tensor]:
    with ExitStack() as stack:
        noted = {
            known: stack.enter_context(_noted_calls(layer))
            for known, layer in active_layers(model).items()
        }
        stack.enter_context(batch_statistics(batch_norm_layers(model)))
        final = {id(output) for output in keras.tree.flatten(inference(model, x))}
    largest = [
        tf.cast(tf.reduce_max(tf.abs(inputs)), tf.float32)
        for calls in noted.values()
        for inputs, output in calls
        if id(output) not in final
    ]
    return noted[name][-1][0], tf.reduce_max(tf.stack(largest))


@contextmanager
def _noted_calls(layer: keras.layers.Layer) -> Iterator[list[tuple]]:
    """While open, what goes into the layer's activation and what comes out is noted."""
    noted: list[tuple] = []
    graph = graph_of(tf.zeros([]))

    def noting(function: Callable) -> Callable:
        def note(inputs, *args, **kwargs):
            output = function(inputs, *args, **kwargs)
            # A tensor within a loop's own graph (TimeDistributed) can't be used outside it.
            if graph_of(output) is graph:
                noted.append((inputs, output))
            return output

        return note

    # ReLU and its like are the activation themselves.
    name = "activation" if hasattr(layer, "activation") else "call"
    with replaced(layer, name, noting(getattr(layer, name))):
        yield noted
