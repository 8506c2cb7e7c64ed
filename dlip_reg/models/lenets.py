"""LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998, section II.B)."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from dlip_reg.checks import require_bool
from dlip_reg.models.blocks import Blocks


def lenet5(
    input_shape: tuple[int, int, int] = (28, 28, 1),
    classes: int = 10,
    *,
    classic: bool = False,
    **options: Any,
) -> keras.Model:
    """LeNet-5 with the widths of the paper: 6 and 16 filters of 5x5, dense layers of 120 and 84.

    The paper pads its 28x28 digits to 32x32: so images below 32 pixels pass `conv1` with padding
    "same", larger ones unpadded; the least is 12. By default ReLU and max pooling. `classic` is
    the form of 1998, tanh and average pooling, with four parts of it put into today's terms: tanh
    is not scaled (the paper's is 1.7159 tanh(2x/3)), the pooled maps have no trained coefficient,
    bias and squashing of their own, `conv2` sees all maps (the paper's table I leaves some out),
    and the classifier is linear, not of radial basis functions.
    `options` are those of `BuilderOptions`. ValueError for an impossible value.
    """
    if require_bool("classic", classic):
        options = {"activation": "tanh"} | options
    pool = layers.AveragePooling2D if classic else layers.MaxPooling2D
    net = Blocks("lenet5", input_shape, classes, options, smallest=12)
    x = net.conv(net.input, "conv1", 6, 5, padding="same" if min(net.shape[:2]) < 32 else "valid")
    x = pool(2, name="pool1")(x)
    x = net.conv(x, "conv2", 16, 5, padding="valid")
    x = pool(2, name="pool2")(x)
    x = layers.Flatten(name="flatten")(x)
    x = net.dense(x, "dense1", 120)
    x = net.dense(x, "dense2", 84)
    return net.model(x)
