"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from dlip_reg.checks import is_whole
from dlip_reg.models.blocks import Blocks


def mlp(
    input_shape: tuple[int, ...] = (28, 28, 1),
    classes: int = 10,
    *,
    hidden: Sequence[int] = (512, 512),
    **options: Any,
) -> keras.Model:
    """A perceptron with hidden layers `dense1`, `dense2`, ... of the widths `hidden`.

    Inputs of any shape are flattened; an empty `hidden` is softmax regression. `options` are those
    of `BuilderOptions`; the ones for convolutions change nothing here. ValueError for an
    impossible value.
    """
    if not isinstance(hidden, Sequence) or not all(is_whole(u) and u > 0 for u in hidden):
        raise ValueError(f"hidden must be a tuple of positive whole numbers, not {hidden!r}.")
    net = Blocks("mlp", input_shape, classes, options, smallest=None)
    x = net.input
    if len(net.shape) > 1:
        x = layers.Flatten(name="flatten")(x)
    for index, units in enumerate(hidden, start=1):
        x = net.dense(x, f"dense{index}", int(units))
    return net.model(x)
