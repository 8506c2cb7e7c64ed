"""AlexNet (Krizhevsky, Sutskever & Hinton 2012)."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from dlip_reg.models.blocks import Blocks

Maps = list[keras.KerasTensor]  # one for each tower


def alexnet(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 10,
    **options: Any,
) -> keras.Model:
    """AlexNet: five convolutions of 96, 256, 384, 384 and 256 filters, two hidden dense layers.

    From 64 pixels on, the paper's form (section 3.5, figure 2): two towers `a` and `b` that meet
    at `conv3` and at `dense1`, `conv1` of 11x11 at stride 4, dense layers of 4096. `conv1` pads
    one pixel before and two after, which makes the 55x55 maps of the paper from 224 pixels and
    from 227. Below 64 pixels: one tower of the same widths, as the second only served to fit two
    graphics cards, `conv1` of 5x5 at stride 1, dense layers of 512; the least is 15.

    Local response normalisation, which no Keras layer does, is left out: `batch_norm` takes its
    place. The paper's dropout is `dense_dropout=0.5`. `options` are those of `BuilderOptions`.
    ValueError for an impossible value.
    """
    net = Blocks("alexnet", input_shape, classes, options, smallest=15)
    towers = ("a", "b") if net.paper_form else ("",)

    def conv(maps: Maps, stage: str, filters: int, kernel_size: int, **geometry: Any) -> Maps:
        return [
            net.conv(x, stage + tower, filters // len(towers), kernel_size, **geometry)
            for x, tower in zip(maps, towers, strict=True)
        ]

    def pool(maps: Maps, stage: str) -> Maps:
        return [
            layers.MaxPooling2D(3, strides=2, name=stage + tower)(x)
            for x, tower in zip(maps, towers, strict=True)
        ]

    def join(maps: Maps, stage: str) -> keras.KerasTensor:
        return layers.Concatenate(name=stage)(maps) if len(maps) > 1 else maps[0]

    if net.paper_form:
        padded = layers.ZeroPadding2D(((1, 2), (1, 2)), name="conv1_pad")(net.input)
        maps = conv([padded] * 2, "conv1", 96, 11, strides=4, padding="valid")
    else:
        maps = conv([net.input], "conv1", 96, 5)
    maps = pool(maps, "pool1")
    maps = pool(conv(maps, "conv2", 256, 5), "pool2")
    maps = conv([join(maps, "join2")] * len(towers), "conv3", 384, 3)
    maps = conv(maps, "conv4", 384, 3)
    maps = pool(conv(maps, "conv5", 256, 3), "pool5")
    x = layers.Flatten(name="flatten")(join(maps, "join5"))
    units = 4096 if net.paper_form else 512
    x = net.dense(x, "dense1", units)
    x = net.dense(x, "dense2", units)
    return net.model(x)
