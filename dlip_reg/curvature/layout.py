"""Where each trainable weight of a model lies in the flat vector of all of them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from dlip_reg.checks import several

_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_CONVOLUTIONS = (
    *(layers.Conv1D, layers.Conv2D, layers.Conv3D),
    *(layers.SeparableConv1D, layers.SeparableConv2D),
    *_TRANSPOSED,
    *_DEPTHWISE,
)


@dataclass(frozen=True)
class Parameter:
    """One trainable weight's place in the flat vector: `vector[offset : offset + size]`.

    `kind` is "conv" or "dense" (a layer's kernel), "bias", "norm" (the scale or offset of a
    normalization) or "other" (embeddings, recurrent weights, weights of custom layers). `layer` is
    the name of the layer that has the weight, and `block` that name where it is the only one's:
    see `distinct_names`.
    `output_axes` are those of the shape along which its output channels or units lie, counted from
    the last (-1); () for all but kernels: one axis, or slopes of a PReLU.
    """

    name: str
    layer: str
    block: str
    kind: str
    shape: tuple[int, ...]
    output_axes: tuple[int, ...]
    offset: int
    size: int


def layout_of(model: keras.Model) -> tuple[Parameter, ...]:
    """The places of `model.trainable_variables`, in their order."""
    found = {id(v): layer for layer in model._flatten_layers() for v in layer._trainable_variables}
    owners = [found.get(id(variable), model) for variable in model.trainable_variables]
    names = distinct_names(owners)
    parameters, offset = [], 0
    for variable, owner in zip(model.trainable_variables, owners, strict=True):
        shape = tuple(map(int, variable.shape))
        size = int(np.prod(shape))
        kind, axes = _kind(owner, variable), _output_axes(owner, variable)
        of_layer = owner.name, names[id(owner)]
        parameters.append(Parameter(variable.path, *of_layer, kind, shape, axes, offset, size))
        offset += size
    return tuple(parameters)


def blocks_of(
    layout: Sequence[Parameter], by: str | Mapping[str, str | Sequence[str]]
) -> dict[str, list[int]]:
    """Return the indices in the layout of each named group of weights.

    Args:
        layout: The places of all weights.
        by: "layer" for a group of each layer that has weights (`Parameter.block`), or {group:
            pattern or patterns} of weights' names (`Parameter.name`) or layers' names, with "*"
            for any text.

    Raises:
        ValueError: For a group without a weight.
    """
    groups: dict[str, list[int]] = {}
    if isinstance(by, str):
        if by != "layer":
            raise ValueError(f'by must be "layer" or a dict of patterns, not {by!r}.')
        for index, parameter in enumerate(layout):
            groups.setdefault(parameter.block, []).append(index)
    else:
        for name, given in by.items():
            patterns = several(given)
            groups[name] = [
                index
                for index, parameter in enumerate(layout)
                if any(
                    fnmatchcase(text, str(pattern))
                    for pattern in patterns
                    for text in (parameter.name, parameter.layer)
                )
            ]
            if not groups[name]:
                known = textwrap.shorten(", ".join(p.name for p in layout), 300, placeholder=" ...")
                raise ValueError(
                    f'No weight matches {patterns}, in which "*" is any text; '
                    f"the weights are {known}."
                )
    return groups


def distinct_names(layers: Sequence[keras.Layer]) -> dict[int, str]:
    """Return a name for each layer by its `id`, no two alike: its name where no other has it.

    Layers that share a name go by their paths, and are numbered ("dense#2") where these are the
    same, as of layers that were called before the models around them were made.
    """
    distinct = list({id(layer): layer for layer in layers}.values())
    names = [layer.name for layer in distinct]
    paths = [layer.path or layer.name for layer in distinct]
    names = [
        path if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)
    ]
    return {
        id(layer): name if names.count(name) == 1 else f"{name}#{names[: i + 1].count(name)}"
        for i, (layer, name) in enumerate(zip(distinct, names, strict=True))
    }


def split(weights: Any, tensors: list[Any]) -> list[Any]:
    """Cut the flat `weights` (P,) up into the shapes of `tensors`, of P entries together."""
    *ends, _ = np.cumsum([int(np.prod(tensor.shape)) for tensor in tensors]).tolist()
    pieces = ops.split(weights, ends) if ends else [weights]
    return [ops.reshape(p, t.shape) for p, t in zip(pieces, tensors, strict=True)]


def kernel_kind(layer: keras.Layer) -> str | None:
    """Whether a layer's kernels are "conv" or "dense"; None for neither.

    Convolutions are Conv1D to 3D, their transposes, DepthwiseConv and SeparableConv; dense layers
    are Dense and EinsumDense.
    """
    if isinstance(layer, _CONVOLUTIONS):
        return "conv"
    return "dense" if isinstance(layer, layers.Dense | layers.EinsumDense) else None


def _kind(layer: keras.Layer, variable: Any) -> str:
    if "normalization" in type(layer).__name__.lower():
        return "norm"
    if variable.name == "bias":
        return "bias"
    if "kernel" in variable.name and len(variable.shape) > 1:
        return kernel_kind(layer) or "other"
    return "other"


def _output_axes(layer: keras.Layer, variable: Any) -> tuple[int, ...]:
    if (
        len(variable.shape) < 2
        or _kind(layer, variable) in ("bias", "norm")
        or isinstance(layer, layers.PReLU)
    ):
        return ()
    if isinstance(layer, _TRANSPOSED):
        return (-2,)
    if isinstance(layer, _DEPTHWISE) or variable.name == "depthwise_kernel":
        return (-2, -1)  # every input channel has filters of its own
    if isinstance(layer, layers.EinsumDense):
        inputs, kernel = layer.equation.split("->")[0].split(",")
        return tuple(i - len(kernel) for i, axis in enumerate(kernel) if axis not in inputs)
    return (-1,)
