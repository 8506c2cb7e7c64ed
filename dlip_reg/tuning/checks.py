"""Looks at a hypermodel and its data before a search begins: one model, one batch."""

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np

from dlip_reg.checks import require_whole
from dlip_reg.chunks import count_examples
from dlip_reg.errors import useful_line
from dlip_reg.training.endings import preserve_weights
from dlip_reg.tuning import OBJECTIVES
from dlip_reg.tuning.dataset_graphs import reshuffles
from dlip_reg.tuning.fit_arguments import (
    BY_EXAMPLE,
    first_batch,
    given_by,
    is_dataset,
    made,
    validation_arrays,
)
from dlip_reg.tuning.hypermodel import build, has_plain_fit, require_trainable
from dlip_reg.tuning.objective import CleanValidation, parts_of, require_measured

_NUMBERS = {"epochs", "initial_epoch", "batch_size", "validation_batch_size"}
_NUMBERS |= {"steps_per_epoch", "validation_steps"}
_logger = logging.getLogger(__name__)


def check_search(
    hypermodel: keras_tuner.HyperModel,
    hp: keras_tuner.HyperParameters,
    objective: keras_tuner.Objective,
    data: Mapping[str, Any],
    folds: int | None,
    has_callbacks: bool = False,
) -> None:
    """Train a model with the values of `hp` on one batch, not compiled by TensorFlow.

    Call it where Keras counts names from 0, so that metrics are called what workers call them.
    A hypermodel that fails with these values may work with others: then only a warning is logged.
    One that overrides `fit` may find its data by itself, or take what it likes.

    Raises:
        ValueError: The data do not fit the model, its loss or the objective; there is no model, or
            none that is compiled; or the objective is not measured, unless a callback may do that.
    """
    if reshuffles(data.get("x")) & reshuffles(data.get("validation_data")):
        _logger.warning(
            "The training and validation data come from one dataset that is shuffled anew in each "
            "epoch, so they exchange examples: shuffle with reshuffle_each_iteration=False."
        )
    clean = [part.name for part in parts_of(objective) if part.name in OBJECTIVES]
    is_plain = has_plain_fit(hypermodel)
    arguments = made(data, 0, bool(clean) or is_plain, 0 if folds else None, folds)
    if is_plain and "x" not in arguments:
        raise ValueError("The search needs data: arrays, a dataset, or a function that makes them.")
    accepted = inspect.signature(keras.Model.fit).parameters
    if is_plain and (unknown := sorted(set(arguments) - set(accepted))):
        raise ValueError(f"fit takes no argument {', '.join(unknown)}.")
    if is_plain and is_dataset(arguments["x"]) and arguments.keys() & {"y", "sample_weight"}:
        raise ValueError("A dataset has its own targets and weights: leave out y, sample_weight.")
    for name in _NUMBERS & arguments.keys() if is_plain else ():
        require_whole(name, arguments[name], least=int(not name.endswith(("epoch", "epochs"))))
    splits = {}
    if is_plain and not is_dataset(arguments["x"]):
        splits["training"] = [arguments.get(name) for name in BY_EXAMPLE]
    if clean:
        splits["validation"] = [*validation_arrays(arguments)]
    for name, split in splits.items():
        _check_arrays(name, split)
    try:
        model, other = build(hypermodel, hp), build(hypermodel, hp)
    except keras_tuner.errors.FatalError:
        raise
    except (Exception, SystemExit) as error:
        _logger.warning(
            "The hypermodel fails with the values %s: %s", dict(hp.values), useful_line(error)
        )
        return
    require_trainable(model, hypermodel)
    _require_new(model, other)
    if any(getattr(layer, "stateful", False) for layer in model._flatten_layers()):
        _logger.warning(
            "The model has a layer with stateful=True, which keeps its state from one batch to the "
            "next, so evaluating the best model again gives another score."
        )
    if not is_plain:
        return
    arguments |= given_by(hp)
    model.run_eagerly = True
    try:
        for x, y, *_ in splits.values():
            _check_fit(model, x, y, int(arguments.get("batch_size") or 32))
        few = _one_batch(arguments)
        watched = [CleanValidation(validation_arrays(few))] if clean else []
        weights = arguments.get("class_weight")
        with preserve_weights(model):  # others may hold its layers
            history = model.fit(
                **few, class_weight=weights, shuffle=False, verbose=0, callbacks=watched
            ).history
    except Exception as error:
        raise ValueError(
            f"The model cannot be trained on these data: {useful_line(error).rstrip('.')}."
        ) from error
    for name in clean:
        if name not in history:
            raise ValueError(f"{name} needs a model that is trained on a cross-entropy.")
    if not has_callbacks:
        require_measured(objective, history)


def _require_new(model: keras.Model, other: keras.Model) -> None:
    """ValueError if the two models that a hypermodel built are one, or share an optimizer."""
    optimizer = getattr(model, "optimizer", None)
    same = "model" if other is model else "optimizer"
    if other is model or (optimizer is not None and other.optimizer is optimizer):
        raise ValueError(
            f"The hypermodel uses one {same} for all trials, so each would go on where another "
            f"one ended: let it make a new {same} whenever it builds."
        )


def _one_batch(arguments: dict[str, Any]) -> dict[str, Any]:
    """The first batch of the data and of the validation data, in whatever form they come."""
    few: dict[str, Any] = dict(zip(BY_EXAMPLE, first_batch(arguments), strict=False))
    if (validation := arguments.get("validation_data")) is not None:
        parts = zip(BY_EXAMPLE, keras.utils.unpack_x_y_sample_weight(validation), strict=True)
        few["validation_data"] = first_batch({**arguments, **dict(parts)})
    return few


def _check_arrays(name: str, split: Sequence[Any]) -> None:
    try:
        count_examples(*(part for part in split if part is not None))
    except ValueError as error:
        raise ValueError(f"The {name} data are unusable: {error}") from None
    arrays = [np.asarray(array) for array in keras.tree.flatten(split[0])]
    if any(array.dtype.kind == "f" and not np.isfinite(array).all() for array in arrays):
        raise ValueError(f"The {name} examples must be finite numbers.")


def _check_fit(model: keras.Model, x: Any, y: Any, size: int) -> None:
    """ValueError if the examples, the labels or the end of the model do not fit together."""
    inputs, arrays = keras.tree.flatten(getattr(model, "inputs", None) or []), keras.tree.flatten(x)
    if len(inputs) == len(arrays) == 1:
        taken, found = (tuple(part.shape[1:]) for part in (inputs[0], arrays[0]))
        filled = tuple(map(lambda size, other: size or other, taken, (*found, 1)))
        # Keras adds or takes away an axis at the end.
        if taken and not {found, (*found, 1)} & {filled, (*filled, 1)}:
            raise ValueError(f"The model takes examples of shape {taken}, not {found}.")
    loss = keras.losses.get(model.loss) if isinstance(model.loss, str) else model.loss
    name = getattr(getattr(loss, "fn", loss), "__name__", "")
    if not name.endswith("crossentropy") or keras.tree.is_nested(y):
        return
    few = keras.tree.map_structure(lambda a: a[:size], x)
    outputs = keras.tree.flatten(model(few, training=False))
    if len(outputs) != 1:
        return
    ends = np.asarray(outputs[0], float)
    if name.startswith("sparse"):
        labels, last = np.asarray(y), ends.shape[-1] - 1
        if labels.ndim not in (ends.ndim - 1, ends.ndim) or labels.shape[ends.ndim - 1 :] > (1,):
            raise ValueError(f"The loss takes class numbers, not labels of shape {labels.shape}.")
        if labels.dtype.kind not in "biuf" or (labels != labels.round()).any():
            raise ValueError("The labels must be whole numbers.")
        counted = labels[labels != getattr(loss, "ignore_class", None)]
        if counted.size and (counted.min() < 0 or counted.max() > last):
            raise ValueError(
                f"The labels must be from 0 to {last}, because the model has {last + 1} outputs, "
                f"not {counted.min()} to {counted.max()}."
            )
    from_logits = bool(getattr(loss, "from_logits", False))
    are_logits = bool((ends < 0).any() or (ends > 1).any())
    are_probabilities = not are_logits and np.allclose(ends.sum(axis=-1), 1)
    if np.isfinite(ends).all() and (are_probabilities if from_logits else are_logits):
        raise ValueError(
            f"The model ends in {'probabilities' if from_logits else 'logits'} and its loss has "
            f"from_logits={from_logits}: change the loss, or the activation of the last layer."
        )
