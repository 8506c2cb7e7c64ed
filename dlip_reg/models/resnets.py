"""Residual networks of basic blocks (He, Zhang, Ren & Sun 2016).

`batch_norm` is True by default, as in the paper; without it convolutions have a bias
and deep nets train poorly. Conv dropout stands between the two convolutions of a block and not on
the path that the shortcuts keep open (Zagoruyko & Komodakis 2016, section 2.4); dense dropout
stands before the classifier, the only dense layer. The builders raise ValueError for an impossible
value; their other `options` are those of `BuilderOptions`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from dlip_reg.models.blocks import Blocks, smallest_side

_Shape = tuple[int, int, int]


def resnet_small(
    input_shape: _Shape = (28, 28, 1), classes: int = 10, **options: Any
) -> keras.Model:
    """The CIFAR ResNet (section 4.2) with n = 1 block a stage and half as many filters: 8, 16, 32.

    Eight layers, small enough for experiments on a laptop; images of 3 pixels or more.
    """
    return _cifar_resnet("resnet_small", input_shape, classes, options, 1, filters=8)


def resnet20(input_shape: _Shape = (32, 32, 3), classes: int = 10, **options: Any) -> keras.Model:
    """The CIFAR ResNet (section 4.2) with n = 3 blocks a stage; images of 3 pixels or more."""
    return _cifar_resnet("resnet20", input_shape, classes, options, 3)


def resnet32(input_shape: _Shape = (32, 32, 3), classes: int = 10, **options: Any) -> keras.Model:
    """The CIFAR ResNet (section 4.2) with n = 5 blocks a stage; images of 3 pixels or more."""
    return _cifar_resnet("resnet32", input_shape, classes, options, 5)


def resnet44(input_shape: _Shape = (32, 32, 3), classes: int = 10, **options: Any) -> keras.Model:
    """The CIFAR ResNet (section 4.2) with n = 7 blocks a stage; images of 3 pixels or more."""
    return _cifar_resnet("resnet44", input_shape, classes, options, 7)


def resnet56(input_shape: _Shape = (32, 32, 3), classes: int = 10, **options: Any) -> keras.Model:
    """The CIFAR ResNet (section 4.2) with n = 9 blocks a stage; images of 3 pixels or more."""
    return _cifar_resnet("resnet56", input_shape, classes, options, 9)


def resnet18(input_shape: _Shape = (224, 224, 3), classes: int = 10, **options: Any) -> keras.Model:
    """ResNet-18 (table 1), projecting where the width changes (option B of section 4.1).

    From 64 pixels on, the paper's stem: 7x7 at stride 2 and a max pool. Below, 3x3 at stride 1 and
    no pool; the least is 5.
    """
    return _imagenet_resnet("resnet18", input_shape, classes, options, (2, 2, 2, 2))


def resnet34(input_shape: _Shape = (224, 224, 3), classes: int = 10, **options: Any) -> keras.Model:
    """ResNet-34 (table 1); projections and stem as in `resnet18`."""
    return _imagenet_resnet("resnet34", input_shape, classes, options, (3, 4, 6, 3))


def _cifar_resnet(
    name: str,
    input_shape: _Shape,
    classes: int,
    options: dict[str, Any],
    blocks: int,
    filters: int = 16,
) -> keras.Model:
    net = _start(name, input_shape, classes, options, stages=3)
    x = _stem(net, filters, 3)
    widths = (filters, 2 * filters, 4 * filters)
    return _residual_stages(net, x, widths, (blocks,) * 3, _padded_shortcut)


def _imagenet_resnet(
    name: str, input_shape: _Shape, classes: int, options: dict[str, Any], blocks: tuple[int, ...]
) -> keras.Model:
    net = _start(name, input_shape, classes, options, stages=4)
    if net.paper_form:
        x = _stem(net, 64, 7, strides=2)
        x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1")(x)
    else:
        x = _stem(net, 64, 3)
    return _residual_stages(net, x, (64, 128, 256, 512), blocks, _projected_shortcut)


def _start(
    name: str, input_shape: _Shape, classes: int, options: dict[str, Any], stages: int
) -> Blocks:
    options = {"batch_norm": True} | options
    return Blocks(name, input_shape, classes, options, smallest=smallest_side(stages - 1))


def _stem(net: Blocks, filters: int, kernel_size: int, strides: int = 1) -> keras.KerasTensor:
    # No dropout here: it would stand on the path that the shortcuts keep open.
    x = net.conv(net.input, "conv1", filters, kernel_size, strides, activate=False)
    return net.activation(x, "conv1")


def _residual_stages(
    net: Blocks,
    x: keras.KerasTensor,
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    widening_shortcut: Callable[[Blocks, keras.KerasTensor, str, int], keras.KerasTensor],
) -> keras.Model:
    for stage, (filters, depth) in enumerate(zip(widths, depths, strict=True), start=2):
        for index in range(1, depth + 1):
            name = f"conv{stage}_{index}"
            widens = x.shape[-1] != filters
            residual = net.conv(x, f"{name}a", filters, 3, strides=2 if widens else 1)
            residual = net.conv(residual, f"{name}b", filters, 3, activate=False)
            shortcut = widening_shortcut(net, x, f"{name}_shortcut", filters) if widens else x
            x = net.activation(layers.Add(name=f"{name}_add")([shortcut, residual]), name)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return net.model(net.dense_dropout(x, "pool"))


def _projected_shortcut(
    net: Blocks, x: keras.KerasTensor, name: str, filters: int
) -> keras.KerasTensor:
    return net.conv(x, name, filters, 1, strides=2, activate=False)


def _padded_shortcut(
    net: Blocks, x: keras.KerasTensor, name: str, filters: int
) -> keras.KerasTensor:
    # Option A of section 4.1, free of parameters: every other pixel (a mean over one), and zeros
    # for the new channels. With channels first ZeroPadding2D pads the last two axes.
    x = layers.AveragePooling2D(1, strides=2, name=f"{name}_skip")(x)
    padding = ((0, 0), (0, filters - x.shape[-1]))
    return layers.ZeroPadding2D(padding, data_format="channels_first", name=name)(x)
