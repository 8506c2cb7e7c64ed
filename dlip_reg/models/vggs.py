"""VGG (Simonyan & Zisserman 2015): 3x3 convolutions in stages, each ended by a max pool.

From 64 pixels on, the paper's form: two hidden dense layers of 4096. Below, they have 512 units,
for there is little to see from: at 32 pixels the last map is 1x1 (so do Liu & Deng 2015 for
CIFAR-10). Pools round up where a map's side is odd, so 28 pixels pass all five: 17 is the least,
5 for `vgg_small`. The paper's dropout is `dense_dropout=0.5`. The builders raise ValueError for an
impossible value; their `options` are those of `BuilderOptions`.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from dlip_reg.models.blocks import Blocks, smallest_side

_WIDTHS = (64, 128, 256, 512, 512)
_Shape = tuple[int, int, int]


def vgg11(input_shape: _Shape = (224, 224, 3), classes: int = 10, **options: Any) -> keras.Model:
    """VGG with 11 weight layers (table 1, column A)."""
    return _vgg("vgg11", input_shape, classes, options, (1, 1, 2, 2, 2))


def vgg16(input_shape: _Shape = (224, 224, 3), classes: int = 10, **options: Any) -> keras.Model:
    """VGG with 16 weight layers (table 1, column D)."""
    return _vgg("vgg16", input_shape, classes, options, (2, 2, 3, 3, 3))


def vgg19(input_shape: _Shape = (224, 224, 3), classes: int = 10, **options: Any) -> keras.Model:
    """VGG with 19 weight layers (table 1, column E)."""
    return _vgg("vgg19", input_shape, classes, options, (2, 2, 4, 4, 4))


def vgg_small(input_shape: _Shape = (28, 28, 1), classes: int = 10, **options: Any) -> keras.Model:
    """The first three stages of VGG-13 (table 1, column B) at a quarter of the width.

    Six convolutions of 16, 16, 32, 32, 64 and 64 filters and dense layers of 128, at any size.
    """
    return _vgg("vgg_small", input_shape, classes, options, (2, 2, 2), narrow=4, units=128)


def _vgg(
    name: str,
    input_shape: _Shape,
    classes: int,
    options: dict[str, Any],
    depths: tuple[int, ...],
    narrow: int = 1,
    units: int | None = None,
) -> keras.Model:
    net = Blocks(name, input_shape, classes, options, smallest=smallest_side(len(depths)))
    x = net.input
    for stage, depth in enumerate(depths, start=1):
        for index in range(1, depth + 1):
            x = net.conv(x, f"conv{stage}_{index}", _WIDTHS[stage - 1] // narrow, 3)
        x = layers.MaxPooling2D(2, padding="same", name=f"pool{stage}")(x)
    x = layers.Flatten(name="flatten")(x)
    units = units or (4096 if net.paper_form else 512)
    x = net.dense(x, "dense1", units)
    x = net.dense(x, "dense2", units)
    return net.model(x)
