"""Compile once, train many: a compiled model whose strengths live in variables.

Tracing a training step takes longer than several short epochs, and a sweep changes numbers, not
graphs: the L1, L2, dropout and max-norm strengths, the learning rate, the seed. `reusable(model)`
hands back a compiled twin of a freshly built model that has its strengths, weights and random
states, and that was traced only if no model of the same structure came before it in this process.
Results equal the fresh model's own to float32 rounding.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable

import keras
from keras import ops

_MOST_KEPT = 16  # structures; beyond that the least recently used one is dropped
_twins: OrderedDict[str, _Twin] = OrderedDict()


def reusable(
    model: keras.Model, compile: Callable[[keras.Model], None], key: str = ""
) -> keras.Model:
    """A compiled functional model equal to `model`, traced before wherever possible.

    `model` is built and not compiled; `compile` compiles its twin the first time a structure comes
    up, and `key` names what it puts into the graph (loss, metrics, optimizer class ...). The twin
    takes over `model`'s weights, batch-norm statistics, dropout seeds and strengths; its optimizer
    starts anew, at the learning rate it was compiled with. It belongs to the caller until the next
    call with the same structure.
    """
    structure = json.dumps([key, _structure(model)], sort_keys=True)
    if structure in _twins:
        _twins.move_to_end(structure)
    else:
        _twins[structure] = _Twin(model, compile)
        if len(_twins) > _MOST_KEPT:
            _twins.popitem(last=False)
    return _twins[structure].take_over(model)


class _Twin:
    def __init__(self, model: keras.Model, compile: Callable[[keras.Model], None]) -> None:
        # By the name of the layer that was cloned.
        self._strengths: dict[str, dict[str, keras.Variable]] = {}
        self._clones: dict[str, keras.Layer] = {}
        self._model = keras.models.clone_model(model, clone_function=self._clone)
        self._names = [layer.name for layer in model.layers]
        compile(self._model)
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
            clone.variable_rate = _Untracked(variables["rate"])
        if "l1" in variables or "l2" in variables:
            clone.kernel_regularizer = _VariableL1L2(variables.get("l1"), variables.get("l2"))
        if "max_value" in variables:
            clone.kernel_constraint.max_value = variables["max_value"]
        self._clones[layer.name] = clone
        return clone

    def take_over(self, model: keras.Model) -> keras.Model:
        # By position: names that Keras made up ("flatten_3") differ from one build to the next.
        for name, theirs in zip(self._names, model.layers, strict=True):
            if name not in self._clones:  # an input, which Keras clones by itself
                continue
            for strength, value in _strengths(theirs).items():
                self._strengths[name][strength].assign(value)
            for variable, value in zip(self._clones[name].variables, theirs.variables, strict=True):
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
    if type(layer) in _DROPOUTS and layer.rate > 0 and layer.noise_shape is None:
        found["rate"] = layer.rate
    regularizer = getattr(layer, "kernel_regularizer", None)
    if type(regularizer) in (
        keras.regularizers.L1,
        keras.regularizers.L2,
        keras.regularizers.L1L2,
    ):
        for name in ("l1", "l2"):
            if getattr(regularizer, name, 0.0) != 0.0:
                found[name] = float(getattr(regularizer, name))
    constraint = getattr(layer, "kernel_constraint", None)
    if type(constraint) is keras.constraints.MaxNorm:
        found["max_value"] = constraint.max_value
    return found


def _structure(model: keras.Model) -> dict:
    """The model's configuration, with of each strength only the fact that it is there.

    Without initializers and seeds, too: they are in the weights and states that are taken over.
    """
    config = json.loads(model.to_json())["config"]
    config.pop("name")
    for layer in config["layers"]:
        strengths = _strengths(model.get_layer(layer["name"]))
        if "rate" in strengths:
            layer["config"]["rate"] = "variable"
        if "l1" in strengths or "l2" in strengths:
            layer["config"]["kernel_regularizer"] = [n for n in ("l1", "l2") if n in strengths]
        if "max_value" in strengths:
            layer["config"]["kernel_constraint"]["config"]["max_value"] = "variable"
        for name in [n for n in layer["config"] if n == "seed" or n.endswith("_initializer")]:
            del layer["config"][name]
    return _numbered(config, {layer.name: index for index, layer in enumerate(model.layers)})


def _numbered(value, positions: dict[str, int], key: str = ""):
    """`value` with a layer's position in place of its name, where the config tells of layers."""
    if isinstance(value, dict):
        return {k: _numbered(item, positions, k) for k, item in value.items()}
    if isinstance(value, list):
        return [_numbered(item, positions, key) for item in value]
    if key in ("name", "keras_history", "input_layers", "output_layers"):
        return positions.get(value, value)
    return value


class _Untracked:
    """Holds a variable that is no weight of the layer it is attached to."""

    def __init__(self, variable: keras.Variable) -> None:
        self.variable = variable


class _VariableL1L2(keras.regularizers.Regularizer):
    def __init__(self, l1: keras.Variable | None, l2: keras.Variable | None) -> None:
        self.l1, self.l2 = l1, l2

    def __call__(self, x):
        penalty = 0.0
        if self.l1 is not None:
            penalty += ops.cast(self.l1, x.dtype) * ops.sum(ops.absolute(x))
        if self.l2 is not None:
            penalty += ops.cast(self.l2, x.dtype) * ops.sum(ops.square(x))
        return penalty


class _VariableDropout(keras.layers.Dropout):
    """Dropout at a rate held in a variable, with the masks the fixed rate would have."""

    def call(self, inputs, training=False):
        if not training:
            return inputs
        rate = ops.cast(self.variable_rate.variable, inputs.dtype)
        drawn = keras.random.uniform(
            self._mask_shape(inputs), dtype=inputs.dtype, seed=self.seed_generator
        )
        return ops.where(drawn >= rate, inputs / (1 - rate), 0)

    def _mask_shape(self, inputs):
        return ops.shape(inputs)


class _VariableSpatialDropout2D(_VariableDropout):
    def __init__(self, rate, data_format=None, **kwargs):
        super().__init__(rate, **kwargs)
        self.data_format = data_format or keras.config.image_data_format()

    def _mask_shape(self, inputs):
        batch, channels_first, _, channels_last = ops.shape(inputs)
        if self.data_format == "channels_first":
            return (batch, channels_first, 1, 1)
        return (batch, 1, 1, channels_last)


_DROPOUTS = {
    keras.layers.Dropout: _VariableDropout,
    keras.layers.SpatialDropout2D: _VariableSpatialDropout2D,
}
