"""The blocks all builders are made of: Conv - BN - activation - dropout, and its dense twin."""

from __future__ import annotations

import copy
import random
import zlib
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from dlip_reg.checks import is_whole, require_whole
from dlip_reg.models.options import BuilderOptions

# From this many pixels on the shorter side, alexnet, vgg and resnet18/34 take the form of their
# papers (ImageNet); below it the form that their docstrings give for small images.
PAPER_FORM_PIXELS = 64


def smallest_side(halvings: int) -> int:
    """The fewest pixels that can be halved so often, rounding up, each time from 2 or more."""
    return 2 ** (halvings - 1) + 1


class Blocks:
    """One network under construction: its options checked, its input made.

    `keywords` are the options of `BuilderOptions`, and the `name` of the model if it has another
    than that of its `builder`. `smallest` is the least height and width of an image, in pixels;
    None allows inputs of any rank. Raises ValueError for anything impossible.
    """

    def __init__(
        self,
        builder: str,
        input_shape: tuple[int, ...],
        classes: int,
        keywords: dict[str, Any],
        smallest: int | None,
    ) -> None:
        keywords = dict(keywords)
        self.name = keywords.pop("name", None) or builder
        self.options = BuilderOptions.from_names(keywords, "option")
        self.shape = _checked_shape(builder, input_shape, smallest)
        self.classes = require_whole("classes", classes, least=2)
        if keras.config.image_data_format() != "channels_last":
            raise ValueError("The builders need Keras' image_data_format to be channels_last.")
        self.input = layers.Input(self.shape, name="input")
        # `keras.utils.set_random_seed` seeds this draw.
        self._seed = random.randrange(2**31)

    @property
    def paper_form(self) -> bool:
        """Whether the image is large enough for the form of the ImageNet papers."""
        return min(self.shape[:2]) >= PAPER_FORM_PIXELS

    def conv(
        self,
        x: keras.KerasTensor,
        name: str,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        padding: str = "same",
        activate: bool = True,
    ) -> keras.KerasTensor:
        """Conv2D - BN - activation - dropout; without `activate` only the first two."""
        if strides > 1 and padding == "same":
            # Padded alike on all sides, as in the papers: Keras' "same" would pad an even map
            # more at its end, and the output would lie one pixel off a shortcut's.
            if kernel_size > 1:
                x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
            padding = "valid"
        x = layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            **self._kernel(name, self.options.conv_kernel_regularizer, axis=[0, 1, 2]),
        )(x)
        x = self._batch_norm(x, name)
        if not activate:
            return x
        dropout = layers.SpatialDropout2D if self.options.spatial_dropout else layers.Dropout
        return self._dropout(self.activation(x, name), name, self.options.conv_dropout, dropout)

    def dense(self, x: keras.KerasTensor, name: str, units: int) -> keras.KerasTensor:
        """Dense - BN - activation - dropout."""
        kernel = self._kernel(name, self.options.dense_kernel_regularizer, axis=0)
        x = self._batch_norm(layers.Dense(units, **kernel)(x), name)
        return self.dense_dropout(self.activation(x, name), name)

    def activation(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """The activation alone, as a layer `NAME_act`."""
        return layers.Activation(self.options.activation, name=f"{name}_act")(x)

    def dense_dropout(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """The dropout of dense layers alone, as a layer `NAME_drop`."""
        return self._dropout(x, name, self.options.dense_dropout, layers.Dropout)

    def model(self, x: keras.KerasTensor) -> keras.Model:
        """The model that classifies `x`: a dense layer `logits`, its activation if one is wanted.

        Under mixed precision both compute in float32: half precision is too coarse for a loss.
        """
        wide = keras.config.dtype_policy().variable_dtype
        kernel = self._kernel("logits", self.options.dense_kernel_regularizer, axis=0)
        x = layers.Dense(self.classes, dtype=wide, **(kernel | {"use_bias": True}))(x)
        if self.options.classifier_activation is not None:
            x = layers.Activation(
                self.options.classifier_activation, dtype=wide, name="predictions"
            )(x)
        return keras.Model(self.input, x, name=self.name)

    def _kernel(
        self, name: str, regularizer: Callable[..., Any] | None, axis: int | list[int]
    ) -> dict[str, Any]:
        # Each layer's weights are drawn from a seed of its own, made of the model's and its name:
        # with one global stream a dropout layer, which draws a seed too, would change the initial
        # weights of all layers behind it, and methods could not be compared from one start.
        seed = zlib.crc32(f"{self._seed}/{name}".encode()) & 0x7FFFFFFF
        bound = self.options.max_norm
        return {
            "name": name,
            "use_bias": not self.options.batch_norm,
            "kernel_initializer": _own_initializer(self.options.kernel_initializer, seed),
            # A copy, so that the strength of one layer can be changed alone; a shallow one, so
            # that a variable which a custom regularizer holds on purpose stays the same variable.
            "kernel_regularizer": copy.copy(regularizer),
            "kernel_constraint": bound and keras.constraints.MaxNorm(bound, axis=axis),
        }

    def _batch_norm(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        if not self.options.batch_norm:
            return x
        momentum = self.options.batch_norm_momentum
        return layers.BatchNormalization(momentum=momentum, name=f"{name}_bn")(x)

    @staticmethod
    def _dropout(
        x: keras.KerasTensor, name: str, rate: float, layer: type[keras.Layer]
    ) -> keras.KerasTensor:
        return layer(rate, name=f"{name}_drop")(x) if rate else x


def _checked_shape(builder: str, shape: Any, smallest: int | None) -> tuple[int, ...]:
    """`shape` as a tuple of ints; images, not below `smallest` pixels, unless that is None."""
    wanted = "(height, width, channels)" if smallest else "a tuple such as (features,)"
    if (
        not isinstance(shape, tuple | list)
        or not shape
        or (smallest and len(shape) != 3)
        or not all(is_whole(size) and size > 0 for size in shape)
    ):
        raise ValueError(f"input_shape must be {wanted} in positive whole numbers, not {shape!r}.")
    shape = tuple(int(size) for size in shape)
    if smallest and min(shape[:2]) < smallest:
        raise ValueError(
            f"{builder} takes images of {smallest}x{smallest} pixels or more, "
            f"not {shape[0]}x{shape[1]}."
        )
    return shape


def _own_initializer(initializer: Callable[..., Any], seed: int) -> Callable[..., Any]:
    """An initializer of a layer's own with that `seed`, unless the given one brings its own."""
    if not isinstance(initializer, keras.Initializer):
        return initializer
    config = initializer.get_config()
    if config.get("seed", seed) is not None:
        return initializer
    return type(initializer).from_config(config | {"seed": seed})
