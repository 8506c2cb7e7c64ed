"""The placebo of batch normalization: its scale and shift, without the normalization.

A model function, so that a run can name it: "dlip_reg.studies.batch_norm.placebo:scale_and_shift".
"""

from __future__ import annotations

import importlib
from typing import Any

import keras

from dlip_reg.models import get_builder


class ScaleShift(keras.layers.Layer):
    """gamma * x + beta, one gamma and one beta for each channel or unit, from 1 and 0."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(shape=shape, initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta")

    def call(self, inputs: Any, mask: Any = None) -> Any:
        return inputs * self.gamma + self.beta


def scale_and_shift(
    input_shape: tuple[int, ...], classes: int, *, net: str, **options: Any
) -> keras.Model:
    """The network `net` with batch normalization, and `ScaleShift` in place of each.

    Args:
        input_shape: The shape of one example.
        classes: How many classes there are.
        net: The name of a builder in `dlip_reg.models`, or "package.module:function".
        **options: Options of the builder or function.
    """
    options["batch_norm"] = True
    module, _, name = net.partition(":")
    builder = getattr(importlib.import_module(module), name) if name else get_builder(net)
    model = builder(input_shape=input_shape, classes=classes, **options)
    return keras.models.clone_model(model, clone_function=_without_normalization)


def _without_normalization(layer: keras.Layer) -> keras.Layer:
    if isinstance(layer, keras.layers.BatchNormalization):
        return ScaleShift(name=layer.name)
    return type(layer).from_config(layer.get_config())
