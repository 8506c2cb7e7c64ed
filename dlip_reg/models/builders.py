"""The builders: the multilayer perceptron, LeNet-5, AlexNet, VGG and residual networks.

All take `input_shape`, `classes` and as `options` those of `BuilderOptions`, and raise ValueError
for an impossible value.

LeNet-5 is LeCun, Bottou, Bengio & Haffner 1998 (section II.B), AlexNet Krizhevsky, Sutskever &
Hinton 2012.

VGG (Simonyan & Zisserman 2015): 3x3 convolutions in stages, each ended by a max pool. From 64
pixels on, the paper's form: two hidden dense layers of 4096. Below, they have 512 units, since
there is little to see: at 32 pixels the last map is 1x1 (so do Liu & Deng 2015 for CIFAR-10). Pools
round up where a map's side is odd, so 28 pixels pass all five: 17 is the least, 5 for `vgg_small`.
The paper's dropout is `dense_dropout=0.5`.

Residual networks of basic blocks (He, Zhang, Ren & Sun 2016): `batch_norm` is True by default, as
in the paper; without it convolutions have a bias and deep nets train poorly. Conv dropout stands
between the two convolutions of a block and not on the path that the shortcuts keep open (Zagoruyko
& Komodakis 2016, section 2.4); dense dropout stands before the classifier, the only dense layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from dlip_reg.checks import is_whole, require_bool
from dlip_reg.models.blocks import Blocks, smallest_side

_Shape = tuple[int, int, int]
_Maps = list[keras.KerasTensor]  # one for each tower of AlexNet

_VGG_WIDTHS = (64, 128, 256, 512, 512)
_CIFAR_WIDTHS = (16, 32, 64)
_IMAGENET_WIDTHS = (64, 128, 256, 512)


def mlp(
    input_shape: tuple[int, ...] = (28, 28, 1),
    classes: int = 10,
    *,
    hidden: Sequence[int] = (512, 512),
    **options: Any,
) -> keras.Model:
    """A perceptron with hidden layers `dense1`, `dense2`, ... of the widths `hidden`.

    Inputs of any shape are flattened; the options for convolutions change nothing here.

    Args:
        input_shape: The shape of an example; any.
        classes: The number of logits that the model ends in.
        hidden: The widths of the hidden layers; empty for softmax regression.
        **options: Those of `BuilderOptions`.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: An option or the shape has an impossible value.
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


def lenet5(
    input_shape: _Shape = (28, 28, 1),
    classes: int = 10,
    *,
    classic: bool = False,
    **options: Any,
) -> keras.Model:
    """LeNet-5 with the widths of the paper: 6 and 16 filters of 5x5, dense layers of 120 and 84.

    LeCun et al. 1998 (section II.B) pad their 28x28 digits to 32x32: so images below 32 pixels pass
    `conv1` with padding "same", larger ones unpadded; the least is 12. By default the network has
    ReLU and max pooling.

    Args:
        input_shape: Height, width and channels of an image.
        classes: The number of logits that the model ends in.
        classic: The form of 1998, tanh and average pooling, with four parts of it put into today's
            terms: tanh is not scaled (the paper's is 1.7159 tanh(2x/3)), the pooled maps have no
            trained coefficient, bias and squashing of their own, `conv2` sees all maps (the paper's
            table I leaves some out), and the classifier is linear, not of radial basis functions.
        **options: Those of `BuilderOptions`.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: An option or the shape has an impossible value.
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


def alexnet(input_shape: _Shape = (224, 224, 3), classes: int = 10, **options: Any) -> keras.Model:
    """AlexNet: five convolutions of 96, 256, 384, 384 and 256 filters, two hidden dense layers.

    From 64 pixels on, the form of Krizhevsky et al. 2012 (section 3.5, figure 2): two towers `a`
    and `b` that meet at `conv3` and at `dense1`, `conv1` of 11x11 at stride 4, dense layers of
    4096. `conv1` pads one pixel before and two after, which makes the 55x55 maps of the paper from
    224 pixels and from 227. Below 64 pixels: one tower of the same widths, as the second only
    served to fit two graphics cards, `conv1` of 5x5 at stride 1, dense layers of 512; the least is
    15.

    Local response normalisation, which no Keras layer does, is left out: `batch_norm` takes its
    place. The paper's dropout is `dense_dropout=0.5`.

    Args:
        input_shape: Height, width and channels of an image.
        classes: The number of logits that the model ends in.
        **options: Those of `BuilderOptions`.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: An option or the shape has an impossible value.
    """
    net = Blocks("alexnet", input_shape, classes, options, smallest=15)
    towers = ("a", "b") if net.paper_form else ("",)

    def conv(maps: _Maps, stage: str, filters: int, kernel_size: int, **geometry: Any) -> _Maps:
        return [
            net.conv(x, stage + tower, filters // len(towers), kernel_size, **geometry)
            for x, tower in zip(maps, towers, strict=True)
        ]

    def pool(maps: _Maps, stage: str) -> _Maps:
        return [
            layers.MaxPooling2D(3, strides=2, name=stage + tower)(x)
            for x, tower in zip(maps, towers, strict=True)
        ]

    def join(maps: _Maps, stage: str) -> keras.KerasTensor:
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


def vgg11(input_shape: _Shape = (224, 224, 3), classes: int = 10, **options: Any) -> keras.Model:
    """VGG with 11 weight layers (Simonyan & Zisserman 2015, table 1, column A).

    Args:
        input_shape: Height, width and channels of an image.
        classes: The number of logits that the model ends in.
        **options: Those of `BuilderOptions`.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: An option or the shape has an impossible value.
    """
    return _vgg("vgg11", input_shape, classes, options, (1, 1, 2, 2, 2))


def vgg16(input_shape: _Shape = (224, 224, 3), classes: int = 10, **options: Any) -> keras.Model:
    """VGG with 16 weight layers (Simonyan & Zisserman 2015, table 1, column D).

    Args:
        input_shape: Height, width and channels of an image.
        classes: The number of logits that the model ends in.
        **options: Those of `BuilderOptions`.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: An option or the shape has an impossible value.
    """
    return _vgg("vgg16", input_shape, classes, options, (2, 2, 3, 3, 3))


def vgg19(input_shape: _Shape = (224, 224, 3), classes: int = 10, **options: Any) -> keras.Model:
    """VGG with 19 weight layers (Simonyan & Zisserman 2015, table 1, column E).

    Args:
        input_shape: Height, width and channels of an image.
        classes: The number of logits that the model ends in.
        **options: Those of `BuilderOptions`.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: An option or the shape has an impossible value.
    """
    return _vgg("vgg19", input_shape, classes, options, (2, 2, 4, 4, 4))


def vgg_small(input_shape: _Shape = (28, 28, 1), classes: int = 10, **options: Any) -> keras.Model:
    """The first three stages of VGG-13 (Simonyan & Zisserman 2015) at a quarter of the width.

    Six convolutions of 16, 16, 32, 32, 64 and 64 filters and dense layers of 128, at any size.

    Args:
        input_shape: Height, width and channels of an image.
        classes: The number of logits that the model ends in.
        **options: Those of `BuilderOptions`.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: An option or the shape has an impossible value.
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
            x = net.conv(x, f"conv{stage}_{index}", _VGG_WIDTHS[stage - 1] // narrow, 3)
        x = layers.MaxPooling2D(2, padding="same", name=f"pool{stage}")(x)
    x = layers.Flatten(name="flatten")(x)
    units = units or (4096 if net.paper_form else 512)
    x = net.dense(x, "dense1", units)
    x = net.dense(x, "dense2", units)
    return net.model(x)


def resnet_small(
    input_shape: _Shape = (28, 28, 1), classes: int = 10, **options: Any
) -> keras.Model:
    """The CIFAR ResNet with n = 1 block a stage and half as many filters: 8, 16 and 32.

    It has eight layers (He et al. 2016, section 4.2), and is small enough for experiments on a
    laptop. Images have 3 pixels or more to a side.

    Args:
        input_shape: Height, width and channels of an image.
        classes: The number of logits that the model ends in.
        **options: Those of `BuilderOptions`.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: An option or the shape has an impossible value.
    """
    return _resnet("resnet_small", input_shape, classes, options, (8, 16, 32), (1, 1, 1))


def resnet20(input_shape: _Shape = (32, 32, 3), classes: int = 10, **options: Any) -> keras.Model:
    """The CIFAR ResNet with n = 3 blocks a stage (He et al. 2016, section 4.2).

    Images have 3 pixels or more to a side.

    Args:
        input_shape: Height, width and channels of an image.
        classes: The number of logits that the model ends in.
        **options: Those of `BuilderOptions`.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: An option or the shape has an impossible value.
    """
    return _resnet("resnet20", input_shape, classes, options, _CIFAR_WIDTHS, (3,) * 3)


def resnet32(input_shape: _Shape = (32, 32, 3), classes: int = 10, **options: Any) -> keras.Model:
    """The CIFAR ResNet with n = 5 blocks a stage (He et al. 2016, section 4.2).

    Images have 3 pixels or more to a side.

    Args:
        input_shape: Height, width and channels of an image.
        classes: The number of logits that the model ends in.
        **options: Those of `BuilderOptions`.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: An option or the shape has an impossible value.
    """
    return _resnet("resnet32", input_shape, classes, options, _CIFAR_WIDTHS, (5,) * 3)


def resnet44(input_shape: _Shape = (32, 32, 3), classes: int = 10, **options: Any) -> keras.Model:
    """The CIFAR ResNet with n = 7 blocks a stage (He et al. 2016, section 4.2).

    Images have 3 pixels or more to a side.

    Args:
        input_shape: Height, width and channels of an image.
        classes: The number of logits that the model ends in.
        **options: Those of `BuilderOptions`.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: An option or the shape has an impossible value.
    """
    return _resnet("resnet44", input_shape, classes, options, _CIFAR_WIDTHS, (7,) * 3)


def resnet56(input_shape: _Shape = (32, 32, 3), classes: int = 10, **options: Any) -> keras.Model:
    """The CIFAR ResNet with n = 9 blocks a stage (He et al. 2016, section 4.2).

    Images have 3 pixels or more to a side.

    Args:
        input_shape: Height, width and channels of an image.
        classes: The number of logits that the model ends in.
        **options: Those of `BuilderOptions`.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: An option or the shape has an impossible value.
    """
    return _resnet("resnet56", input_shape, classes, options, _CIFAR_WIDTHS, (9,) * 3)


def resnet18(input_shape: _Shape = (224, 224, 3), classes: int = 10, **options: Any) -> keras.Model:
    """ResNet-18 (He et al. 2016, table 1), projecting where the width changes (its option B).

    From 64 pixels on, the paper's stem: 7x7 at stride 2 and a max pool. Below, 3x3 at stride 1 and
    no pool; the least is 5.

    Args:
        input_shape: Height, width and channels of an image.
        classes: The number of logits that the model ends in.
        **options: Those of `BuilderOptions`.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: An option or the shape has an impossible value.
    """
    return _resnet("resnet18", input_shape, classes, options, _IMAGENET_WIDTHS, (2, 2, 2, 2))


def resnet34(input_shape: _Shape = (224, 224, 3), classes: int = 10, **options: Any) -> keras.Model:
    """ResNet-34 (He et al. 2016, table 1); projections and stem as in `resnet18`.

    Args:
        input_shape: Height, width and channels of an image.
        classes: The number of logits that the model ends in.
        **options: Those of `BuilderOptions`.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: An option or the shape has an impossible value.
    """
    return _resnet("resnet34", input_shape, classes, options, _IMAGENET_WIDTHS, (3, 4, 6, 3))


def _resnet(
    name: str,
    input_shape: _Shape,
    classes: int,
    options: dict[str, Any],
    widths: tuple[int, ...],
    depths: tuple[int, ...],
) -> keras.Model:
    smallest = smallest_side(len(widths) - 1)
    net = Blocks(name, input_shape, classes, {"batch_norm": True} | options, smallest)
    is_imagenet = widths == _IMAGENET_WIDTHS
    has_large_stem = is_imagenet and net.paper_form
    kernel_size, strides = (7, 2) if has_large_stem else (3, 1)
    # No dropout here: it would stand on the path that the shortcuts keep open.
    x = net.conv(net.input, "conv1", widths[0], kernel_size, strides, activate=False)
    x = net.activation(x, "conv1")
    if has_large_stem:
        x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1")(x)
    for stage, (filters, depth) in enumerate(zip(widths, depths, strict=True), start=2):
        for index in range(1, depth + 1):
            name = f"conv{stage}_{index}"
            widens = x.shape[-1] != filters
            residual = net.conv(x, f"{name}a", filters, 3, strides=2 if widens else 1)
            residual = net.conv(residual, f"{name}b", filters, 3, activate=False)
            shortcut = x
            if widens and is_imagenet:
                shortcut = net.conv(x, f"{name}_shortcut", filters, 1, strides=2, activate=False)
            elif widens:
                shortcut = _padded(x, f"{name}_shortcut", filters)
            x = net.activation(layers.Add(name=f"{name}_add")([shortcut, residual]), name)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return net.model(net.dense_dropout(x, "pool"))


def _padded(x: keras.KerasTensor, name: str, filters: int) -> keras.KerasTensor:
    # Option A of section 4.1, free of parameters: every other pixel (a mean over one), and zeros
    # for the new channels. With channels first ZeroPadding2D pads the last two axes.
    x = layers.AveragePooling2D(1, strides=2, name=f"{name}_skip")(x)
    padding = ((0, 0), (0, filters - x.shape[-1]))
    return layers.ZeroPadding2D(padding, data_format="channels_first", name=name)(x)
