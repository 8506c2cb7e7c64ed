"""The definition of the clean loss: the loss of each example alone.

It is without weight penalties and reduction, and with what a Keras mask hides left out. Everything
that measures a loss uses it: `callbacks.evaluation.clean_metrics` over whole
splits, and `dlip_reg.curvature.LossFunction` at any weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from dlip_reg.checks import require_bool

_WEIGHTED_MEAN = "mean_with_sample_weight"  # a reduction


def resolve_loss(loss: Any) -> Any:
    """Return the one loss that `loss` stands for.

    Args:
        loss: A Keras loss, its name or config, or a function of (targets, outputs). Like `compile`,
            a list or dict of a single loss is accepted.

    Returns:
        A `keras.losses.Loss` or a function.

    Raises:
        ValueError: For no loss, several, one that Keras does not know, or a metric.
    """
    if _is_nested(loss):
        losses = keras.tree.flatten(loss)
        loss = losses[0] if len(losses) == 1 else None
    if loss is None:
        raise ValueError("The model must be compiled with one loss, or one loss must be given.")
    if str(loss).lower() in ("crossentropy", "ce"):
        raise ValueError(
            f"Which loss {loss!r} stands for depends on the targets: give its own name, such as "
            '"sparse_categorical_crossentropy".'
        )
    if isinstance(loss, keras.metrics.Metric):
        raise ValueError(
            f"The metric {loss.name!r} keeps state and cannot be a loss; pass a keras.losses.Loss."
        )
    return keras.losses.get(loss)


def _is_nested(loss: Any) -> bool:
    """Whether it is a list or dict of losses, and not the config of one."""
    return isinstance(loss, list | tuple | dict) and "class_name" not in loss


def _resolved_if_any(loss: Any) -> Any:
    return None if loss is None else resolve_loss(loss)


@dataclass(frozen=True)
class OutputLosses:
    """The losses of the examples of one output, and of the same shape and dtype their weights.

    `weights` are the sample weights, 0 where a mask hides a loss. Their mean is the sum of the
    weighted `losses` over that of `counted`. `factor` is the output's loss weight.
    """

    losses: Any
    weights: Any
    counted: Any
    factor: float
    targets: Any
    outputs: Any


class ModelLoss:
    """What a model is measured by: a loss for each of its outputs, and the outputs' loss weights.

    Args:
        model: The model.
        loss: One loss for each output, in a list, or a dict by the outputs' names, or one for all;
            None for an output that has none. By default what the model was compiled with, with its
            `loss_weights`.
        layer_losses: Whether what layers add to the loss from their inputs (`add_loss`,
            `activity_regularizer`) is part of it.

    Raises:
        ValueError: As `resolve_loss`, for a loss that is missing, and for a model that computes
            its loss by a `compute_loss` of its own class, unless `loss` is given; as
            `require_mean` with `layer_losses`; and for a model in float8.
    """

    def __init__(self, model: keras.Model, loss: Any = None, layer_losses: bool = False) -> None:
        if any(variable.overwrite_with_gradient for variable in model.trainable_variables):
            raise ValueError(
                "A model that is quantised to float8 cannot be measured: its scales are trained by "
                "new values in the place of gradients."
            )
        weights = None
        self.layer_losses = require_bool("layer_losses", layer_losses)
        self.is_compiled = loss is None and getattr(model, "compiled", False)
        if self.is_compiled:
            if type(model).compute_loss is not keras.Model.compute_loss:
                raise ValueError(
                    f"{type(model).__name__} has a compute_loss of its own, which may be more than "
                    "a function of targets and outputs: give the loss to measure as loss=."
                )
            loss = model.loss
            weights = getattr(model._compile_loss, "_user_loss_weights", None)
        self.names = getattr(model, "output_names", None)
        outputs = getattr(model, "outputs", None)
        is_unknown = outputs is None and isinstance(loss, dict)  # how many a subclassed model has
        if not (_is_nested(loss) and (is_unknown or len(outputs or loss) > 1)):
            self.loss = resolve_loss(loss)
        elif isinstance(loss, dict):
            self.loss = {name: _resolved_if_any(part) for name, part in loss.items()}
        else:
            self.loss = list(map(_resolved_if_any, loss))
        self.weights = weights
        if layer_losses:
            self.require_mean("losses of layers")

    def require_mean(self, added: str) -> None:
        """ValueError for a sum over examples, to which nothing can be added that is not one."""
        if "sum" in self._reductions:
            raise ValueError(
                f'How much {added} weigh beside a loss whose reduction is "sum" depends on the '
                'size of a batch, so they cannot be measured with it: use "sum_over_batch_size".'
            )

    @property
    def single(self) -> Any:
        """The only loss, of a single output or of all; None where each output has its own."""
        if not isinstance(self.loss, list | dict):
            return self.loss
        losses = [loss for loss in keras.tree.flatten(self.loss) if loss is not None]
        return losses[0] if len(losses) == 1 else None

    @property
    def key(self) -> Any:
        """Hashable, and the same for what computes the same."""
        names = sorted(self.loss) if isinstance(self.loss, dict) else []
        losses = map(loss_key, keras.tree.flatten(self.loss))
        return (*names, *losses), repr(self.weights), self.layer_losses

    def require_divisible(self, targets: Any, weights: Any) -> None:
        """ValueError for several outputs with losses that divide by unequal sums of weights.

        The mean of those over chunks would not be that over all.
        """
        is_weighted = any(np.ptp(part) > 0 for part in keras.tree.flatten(weights))
        if is_weighted and len(keras.tree.flatten(targets)) > 1:
            self._refuse_for_several(_WEIGHTED_MEAN)

    def _refuse_for_several(self, reduction: str) -> None:
        if reduction in self._reductions:
            raise ValueError(
                "Several outputs cannot be measured by losses whose reduction is "
                f'"{reduction}": use "sum_over_batch_size".'
            )

    @property
    def _reductions(self) -> set[Any]:
        losses = [loss for loss in keras.tree.flatten(self.loss) if loss is not None]
        return {getattr(loss, "reduction", "") for loss in losses}

    def of(
        self, outputs: Any, targets: Any, weights: Any, masked: Any = None
    ) -> list[OutputLosses]:
        """The losses of the examples, of every output that has a loss.

        Args:
            outputs: What the model returns.
            targets: An array, or a list or dict of them, one for each output.
            weights: Sample weights, of the examples or of their losses, likewise; one array is for
                all outputs.
            masked: The tensor that carries the Keras mask, if the output of a model with one no
                longer does.
        """
        flat = keras.tree.flatten(outputs)
        first_level = outputs.values() if isinstance(outputs, dict) else outputs
        if keras.tree.is_nested(outputs) and any(map(keras.tree.is_nested, first_level)):
            raise ValueError(
                "A model can be measured whose outputs are a dict or list of tensors, but not one "
                "with dicts or lists in it."
            )
        names = sorted(outputs) if isinstance(outputs, dict) else self.names
        if names is None or len(names) != len(flat):
            names = range(len(flat))
        if len(flat) > 1 and not keras.tree.is_nested(targets):
            raise ValueError(
                f"The model has {len(flat)} outputs, so the targets must be a list or dict of as "
                "many arrays, not one."
            )
        loss = self.single if len(flat) == 1 and self.single is not None else self.loss
        parts = [_by_output(part, names) for part in (loss, targets, weights, self.weights)]
        found = []
        for output, loss, target, weight, factor in zip(flat, *parts, strict=True):
            if loss is not None:
                carrier = output if masked is None else masked
                factor = 1.0 if factor is None else factor
                part = _losses(loss, target, output, weight, carrier, factor)
                if len(flat) > 1 and _mask_of(output, part.losses) is not None:
                    raise ValueError("A model with several outputs cannot be measured with masks.")
                found.append(part)
        if not found:
            raise ValueError("None of the model's outputs has a loss.")
        return found

    def sums(self, model: keras.Model, parts: list[OutputLosses], dtype: Any) -> tuple[Any, Any]:
        """The sum of the weighted losses, and what to divide it by, both in `dtype`.

        Of several outputs it is the sum over the examples of their mean losses; ValueError for
        sums over losses of different numbers. The losses of the model's layers are those of the
        forward pass that was made last.
        """
        totals = []
        for part in parts:
            total = ops.sum(ops.cast(part.losses, dtype) * ops.cast(part.weights, dtype))
            count = ops.sum(ops.cast(part.counted, dtype))
            totals.append((total if part.factor == 1 else part.factor * total, count))
        total, count = totals[0]
        if len(totals) > 1:
            shapes = {tuple(part.losses.shape[1:]) for part in parts}
            if len(shapes) > 1 or self._reductions != {"sum"}:  # else all are the same multiples
                self._refuse_for_several("sum")
            count = ops.cast(ops.shape(parts[0].losses)[0], dtype)
            total = sum(ops.divide_no_nan(*sums) * count for sums in totals)
        if self.layer_losses:
            total = total + count * ops.cast(sum_of_layer_losses(model), dtype)
        return total, count


def _by_output(given: Any, names: Any) -> list[Any]:
    """The parts of `given` in the order of the outputs' names."""
    if isinstance(given, dict):
        return [given.get(name) for name in names]
    if not isinstance(given, list | tuple):
        return [given] * len(names)
    if len(given) != len(names):
        raise ValueError(f"The model has {len(names)} outputs, but {len(given)} are given.")
    return list(given)


def _losses(
    loss: Any, targets: Any, outputs: Any, weights: Any, masked: Any, factor: float
) -> OutputLosses:
    # Keras' losses take both in floatx, too; half precision would round the loss itself.
    dtype = "float64" if outputs.dtype == "float64" else "float32"
    cast_targets = ops.cast(targets, dtype)
    losses = carrier = without_reduction(loss)(cast_targets, ops.cast(outputs, dtype))
    if len(losses.shape) == 0:  # a function that returns the batch's mean
        one_per_example = cast_targets[(slice(None), *[0] * (len(targets.shape) - 1))]
        losses = losses * ops.ones_like(one_per_example, losses.dtype)
    seen = ops.ones_like(losses)
    for mask in (_mask_of(masked, losses), _mask_of(carrier, losses)):
        seen = seen if mask is None else seen * mask
    more = len(losses.shape) - len(weights.shape)
    if more < 0:
        raise ValueError(
            f"sample_weight has {len(weights.shape)} axes, but the losses have only "
            f"{len(losses.shape)}: give one weight for each example, or for each of its losses."
        )
    for _ in range(more):
        weights = weights[..., None]  # an example may have several losses
    weights = seen * ops.cast(weights, seen.dtype)
    weighted_mean = getattr(loss, "reduction", "") == _WEIGHTED_MEAN
    counted = weights if weighted_mean else seen
    return OutputLosses(losses, weights, counted, factor, targets, outputs)


def loss_key(loss: Any) -> Any:
    """Return a hashable key that two losses share if they compute the same."""
    # Keras' own losses are what their configuration says, and their repr what some leave out of it
    # (Huber's delta, axes); any other loss is only itself.
    if isinstance(loss, keras.losses.Loss) and type(loss).__module__.startswith("keras."):
        config = json.dumps(loss.get_config(), default=repr, sort_keys=True)
        return type(loss), config, repr(loss)
    return loss


def without_reduction(loss: Any) -> Callable[[Any, Any], Any]:
    """Return the function (targets, outputs) -> losses of a resolved loss, before its reduction."""
    if isinstance(loss, keras.losses.Loss):
        return loss.call

    # Keras lines up (n,) and (n, 1), which would broadcast to (n, n), for functions, too.
    aligned = keras.losses.MeanSquaredError(name=getattr(loss, "__name__", "loss"))
    aligned.fn = loss
    return lambda targets, outputs: ops.convert_to_tensor(aligned.call(targets, outputs))


class _Ones(keras.losses.Loss):
    """Losses of 1, to which Keras applies the mask that the outputs carry."""

    def call(self, targets: Any, outputs: Any) -> Any:
        return targets


def _mask_of(tensor: Any, losses: Any) -> Any:
    """The Keras mask that a tensor carries, as factors of the losses; None if it carries none."""
    ones = ops.ones_like(losses)
    dtype = keras.backend.standardize_dtype(losses.dtype)
    masked = _Ones("ones", reduction=None, dtype=dtype)(ones, tensor)
    return None if masked is ones else masked


def sum_of_layer_losses(model: keras.Model) -> Any:
    """Return the sum of what layers added to the loss in the last forward pass, as in training.

    That pass was made while `dlip_reg.chunks.undisturbed` is open. 0 if there are none.
    """
    layers = model._flatten_layers()
    return sum(ops.sum(loss) for layer in layers for loss in layer._get_own_losses())


def penalty(model: keras.Model) -> Any:
    """Return the sum of the weights' regularizers, which is what training adds for the weights.

    This is the sum of `model.losses`, less what layers compute from their inputs
    (`activity_regularizer`, `add_loss`), which has no value without data.
    """
    weights = (weight for weight in model.trainable_weights if weight.regularizer is not None)
    return sum(weight.regularizer(weight.value) for weight in weights)


def accuracy_of(loss: Any) -> Callable[[Any, Any], Any] | None:
    """Return the accuracy that goes with a resolved loss, as a function of (targets, outputs).

    It gives one value for each loss. None for a loss that is not a binary, categorical or sparse
    categorical cross-entropy.
    """
    losses, metrics = keras.losses, keras.metrics
    threshold = 0.0 if getattr(loss, "from_logits", False) else 0.5

    def binary_accuracy(targets: Any, outputs: Any) -> Any:
        return ops.mean(metrics.binary_accuracy(targets, outputs, threshold=threshold), axis=-1)

    return {
        losses.sparse_categorical_crossentropy: metrics.sparse_categorical_accuracy,
        losses.categorical_crossentropy: metrics.categorical_accuracy,
        losses.categorical_focal_crossentropy: metrics.categorical_accuracy,
        losses.binary_crossentropy: binary_accuracy,
        losses.binary_focal_crossentropy: binary_accuracy,
    }.get(getattr(loss, "fn", loss))
