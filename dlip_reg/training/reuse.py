"""Compile once, train many: a compiled model whose strengths live in variables.

Tracing a training step takes longer than several short epochs, and a sweep changes numbers, not
graphs: the L1, L2, dropout and max-norm strengths, the learning rate, the seed. `reusable(model)`
returns a compiled clone of a freshly built model that has its strengths, weights and random
states, and that was traced only if no model of the same structure came before it in this process.
Results equal the fresh model's own to float32 rounding.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

import keras
from keras import layers, ops

# Structures; beyond that the least recently used one is dropped. A graph of 20 layers with what is
# measured on it takes 100 MB.
_MOST_KEPT = 4
_templates: OrderedDict[str, CompiledTemplate] = OrderedDict()

# Layers whose configuration and variables are all that there is to them.
_SAFE_LAYERS = (
    layers.InputLayer,
    layers.Dense,
    *(layers.Conv1D, layers.Conv2D, layers.Conv3D),
    *(layers.DepthwiseConv1D, layers.DepthwiseConv2D),
    *(layers.SeparableConv1D, layers.SeparableConv2D),
    *(layers.Dropout, layers.SpatialDropout2D),
    *(layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization),
    *(layers.Activation, layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU, layers.Softmax),
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.AveragePooling1D, layers.AveragePooling2D),
    *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D),
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D),
    *(layers.Flatten, layers.Reshape, layers.Permute, layers.ZeroPadding1D, layers.ZeroPadding2D),
    *(layers.Add, layers.Multiply, layers.Average, layers.Maximum, layers.Concatenate),
    layers.Rescaling,
)
# Keras wraps a layer's `build`, and the wrapper belongs to the module of the layer.
_KNOWN_CODE = ("keras.", "dlip_reg.")
_PENALIZED = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D)
_PENALTIES = (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)
_OF_WEIGHTS = (keras.regularizers.Regularizer, keras.constraints.Constraint)
_PARTS = (FunctionType, MethodType, *_OF_WEIGHTS, keras.initializers.Initializer)


def can_be_reused(model: keras.Model) -> bool:
    """Whether a clone made of the model's configuration is exactly the model.

    It is for a functional model of the layers in `_SAFE_LAYERS` and of this package's own, with
    Keras' own activations, regularizers, constraints and initializers.
    """
    if not type(model).__module__.startswith("keras.") or not hasattr(model, "operations"):
        return False
    return all(_is_safe(type(op)) and _is_plain(op) for op in model.operations)


def _is_safe(kind: type) -> bool:
    return kind in _SAFE_LAYERS or kind.__module__.startswith("dlip_reg.")


def _is_plain(layer: keras.Layer) -> bool:
    """Whether nothing was given to the layer that its configuration does not tell."""
    held = list(vars(layer).values())
    given = [v for v in held if isinstance(v, _OF_WEIGHTS) and v is not layer.activity_regularizer]
    attached = [p for v in layer.variables for p in (v.regularizer, v.constraint) if p is not None]
    return "call" not in vars(layer) and (
        has_known_code(layer)
        and set(map(id, given)) == set(map(id, attached))
        # One of its weights may be frozen by itself.
        and (not layer.trainable or all(v.trainable for v in layer._trainable_variables))
    )


def has_known_code(holder: Any) -> bool:
    """Whether the functions, regularizers and the like that an object holds are Keras' own."""
    parts = [value for value in vars(holder).values() if isinstance(value, _PARTS)]
    modules = [getattr(part, "__module__", None) or "" for part in parts]
    return all(module.startswith(_KNOWN_CODE) for module in modules)


def reusable(
    model: keras.Model, compile: Callable[[keras.Model], None], key: str = ""
) -> keras.Model:
    """Return a compiled functional model equal to `model`, traced before wherever possible.

    It has `model`'s weights, batch-norm statistics, dropout seeds and strengths; its optimizer
    starts anew, at the learning rate it was compiled with. It belongs to the caller until the next
    call with the same structure.

    Args:
        model: A built model that is not compiled and `can_be_reused`.
        compile: Compiles the clone the first time a structure comes up.
        key: Names what `compile` puts into the graph (loss, metrics, optimizer class ...).
    """
    structure = json.dumps([key, _structure(model)], sort_keys=True)
    if structure in _templates:
        _templates.move_to_end(structure)
    else:
        _templates[structure] = CompiledTemplate(model, compile)
        if len(_templates) > _MOST_KEPT:
            _templates.popitem(last=False)
    return _templates[structure].load_from(model)


class CompiledTemplate:
    """A compiled clone of a model, into which other models of the same structure are loaded."""

    def __init__(self, model: keras.Model, compile: Callable[[keras.Model], None]) -> None:
        # By the name of the layer that was cloned.
        self._strengths: dict[str, dict[str, keras.Variable]] = {}
        self._model = keras.models.clone_model(model, clone_function=self._clone)
        self._names = [layer.name for layer in model.layers]
        compile(self._model)
        if not self._model.optimizer.built:  # one that scales losses must not be built twice
            self._model.optimizer.build(self._model.trainable_variables)
        self._optimizer_start = [v.numpy() for v in self._model.optimizer.variables]

    def _clone(self, layer: keras.Layer) -> keras.Layer:
        variables = {
            name: keras.Variable(value, dtype="float32", trainable=False)
            for name, value in _strengths(layer).items()
        }
        self._strengths[layer.name] = variables
        clone_class = _DROPOUTS[type(layer)] if "rate" in variables else type(layer)
        clone = clone_class.from_config(layer.get_config())
        if "rate" in variables:
            # Through vars(): Keras would make an attribute that is set a weight of the layer.
            vars(clone)["variable_rate"] = variables["rate"]
        if "l1" in variables:
            clone.kernel_regularizer = _VariableL1L2(variables["l1"], variables["l2"])
        if "max_value" in variables:
            clone.kernel_constraint.max_value = variables["max_value"]
        return clone

    def load_from(self, model: keras.Model) -> keras.Model:
        """Return the compiled clone with the weights, states and strengths of `model`."""
        # By position: names that Keras made up ("flatten_3") differ from one build to the next.
        for name, theirs in zip(self._names, model.layers, strict=True):
            if name not in self._strengths:  # an input, which Keras clones by itself
                continue
            ours = self._model.get_layer(name)
            for strength, value in _strengths(theirs).items():
                self._strengths[name][strength].assign(value)
            for variable, value in zip(ours.variables, theirs.variables, strict=True):
                variable.assign(value)
        for variable, start in zip(
            self._model.optimizer.variables, self._optimizer_start, strict=True
        ):
            variable.assign(start)
        self._model.stop_training = False
        return self._model


def _strengths(layer: keras.Layer) -> dict[str, float]:
    """The numbers of a layer that may change without changing its graph."""
    found = {}
    if type(layer) in _DROPOUTS and 0 < layer.rate < 1 and layer.noise_shape is None:
        found["rate"] = layer.rate
    if isinstance(layer, _PENALIZED):
        # Both strengths, also where they are 0: so one graph serves none, L1 and L2.
        regularizer = layer.kernel_regularizer
        if regularizer is None or type(regularizer) in _PENALTIES:
            for name in ("l1", "l2"):
                found[name] = float(getattr(regularizer, name, 0.0))
    constraint: Any = getattr(layer, "kernel_constraint", None)
    if type(constraint) is keras.constraints.MaxNorm:
        found["max_value"] = constraint.max_value
    return found


def _structure(model: keras.Model) -> Any:
    """The model's configuration, with of each strength only the fact that it is there.

    Initializers and seeds are left out, too: they are in the weights and states that are loaded.
    """
    config = json.loads(model.to_json())["config"]
    config.pop("name")
    for layer in config["layers"]:
        strengths = _strengths(model.get_layer(layer["name"]))
        if "rate" in strengths:
            layer["config"]["rate"] = "variable"
        if "l1" in strengths:
            layer["config"]["kernel_regularizer"] = "variable"
        if "max_value" in strengths:
            layer["config"]["kernel_constraint"]["config"]["max_value"] = "variable"
        for name in [n for n in layer["config"] if n == "seed" or n.endswith("_initializer")]:
            del layer["config"][name]
    return _numbered(config, {layer.name: index for index, layer in enumerate(model.layers)})


def _numbered(value: Any, positions: dict[str, int], key: str = "") -> Any:
    """`value` with a layer's position in place of its name, where the config names layers."""
    if isinstance(value, dict):
        return {k: _numbered(item, positions, k) for k, item in value.items()}
    if isinstance(value, list):
        return [_numbered(item, positions, key) for item in value]
    if key in ("name", "keras_history", "input_layers", "output_layers"):
        return positions.get(value, value)
    return value


class _VariableL1L2(keras.regularizers.Regularizer):
    def __init__(self, l1: keras.Variable, l2: keras.Variable) -> None:
        self.l1, self.l2 = l1, l2

    def __call__(self, x: Any) -> Any:
        penalty = ops.cast(self.l1, x.dtype) * ops.sum(ops.absolute(x))
        penalty += ops.cast(self.l2, x.dtype) * ops.sum(ops.square(x))
        return ops.cast(penalty, "float32")  # Keras adds no losses of different types


class _VariableDropout(layers.Dropout):
    """Dropout at a rate held in a variable, with the masks the fixed rate would have."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        rate = ops.cast(self.variable_rate, inputs.dtype)
        mask_shape = getattr(self, "_get_noise_shape", ops.shape)(inputs)
        drawn = keras.random.uniform(mask_shape, dtype=inputs.dtype, seed=self.seed_generator)
        return ops.where(drawn >= rate, inputs / (1 - rate), 0)


class _VariableSpatialDropout2D(_VariableDropout, layers.SpatialDropout2D):
    """The same of whole feature maps."""


_DROPOUTS = {
    layers.Dropout: _VariableDropout,
    layers.SpatialDropout2D: _VariableSpatialDropout2D,
}
