"""Where each trainable weight of a model lies in the flat vector of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Parameter:
    """One trainable weight's place in the flat vector: `vector[offset : offset + size]`.

    `kind` is "conv" or "dense" (a layer's kernel), "bias", "norm" (the scale or offset of a
    normalization) or "other" (embeddings, recurrent weights, weights of custom layers).
    """

    name: str
    layer: str
    kind: str
    shape: tuple[int, ...]
    offset: int
    size: int


def layout_of(model: keras.Model) -> tuple[Parameter, ...]:
    """The places of `model.trainable_variables`, in their order."""
    owners = {id(v): layer for layer in model._flatten_layers() for v in layer._trainable_variables}
    parameters, offset = [], 0
    for variable in model.trainable_variables:
        owner = owners.get(id(variable), model)
        shape = tuple(map(int, variable.shape))
        size = int(np.prod(shape))
        kind = _kind(owner, variable)
        parameters.append(Parameter(variable.path, owner.name, kind, shape, offset, size))
        offset += size
    return tuple(parameters)


def _kind(layer: keras.Layer, variable: Any) -> str:
    import keras

    if "normalization" in type(layer).__name__.lower():
        return "norm"
    if variable.name == "bias":
        return "bias"
    if "kernel" in variable.name and len(variable.shape) > 1:
        if "Conv" in type(layer).__name__:
            return "conv"
        if isinstance(layer, keras.layers.Dense | keras.layers.EinsumDense):
            return "dense"
    return "other"
