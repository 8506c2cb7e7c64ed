"""The arguments of `fit`: made in the worker, and looked at before the search begins."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import GeneratorType
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from callbacks.data import as_arrays
from dlip_reg.chunks import count_examples
from dlip_reg.datasets import dataset_info
from dlip_reg.training.specification import DataSpec
from dlip_reg.tuning.pickling import anew

BY_EXAMPLE = ("x", "y", "sample_weight")
NAMES = (*BY_EXAMPLE, "validation_data")


def named_data(spec: DataSpec, data_dir: str | None) -> tuple[Callable[..., Any], str]:
    """Return a function that makes the data of that name, and what identifies them.

    A seed draws its own split, as in the labs.

    Raises:
        ValueError: As `dataset_info`.
    """
    held = dataset_info(spec.name, data_dir, size=spec.size).fingerprint
    return functools.partial(_load, spec, data_dir), f"{spec}, {held}"


def _load(spec: DataSpec, data_dir: str | None, seed: int) -> dict[str, Any]:
    from dlip_reg.training.worker import load

    data = load(spec, data_dir, seed)
    validation = data.x_validation, data.y_validation
    return {"x": data.x_train, "y": data.y_train, "validation_data": validation}


def made(
    arguments: Mapping[str, Any],
    seed: int,
    splits: bool = False,
    fold: int | None = None,
    folds: int | None = None,
) -> dict[str, Any]:
    """Return the arguments with what their functions make.

    A function as `x` may return `x`, a tuple (x, y), or a dict of arguments of `fit`. With `splits`
    a `validation_split` is taken off here and not by Keras. With `folds` the examples are split in
    so many by the seed, and the one with the number `fold` is the `validation_data`.

    Raises:
        ValueError: A dataset with a `validation_split` or one that leaves nothing, or fewer
            examples than folds.
    """
    result = dict(arguments)
    for name in NAMES:
        value = result.get(name)
        if callable(value) and not is_dataset(value):
            takes_seed = "seed" in inspect.signature(value).parameters
            result[name] = value(seed=seed) if takes_seed else value()
    x = result.get("x")
    if callable(arguments.get("x")):
        x = dict(zip(BY_EXAMPLE, x, strict=False)) if isinstance(x, tuple) else x
        result |= x if isinstance(x, Mapping) and "x" in x else {}
    result = {
        name: keras.tree.map_structure(_prepared, value) if name in NAMES else value
        for name, value in result.items()
        if value is not None
    }
    if fold is not None and folds is not None:
        return _divided(result, *_fold(result["x"], result.get("y"), seed, fold, folds))
    if splits and "validation_data" not in result and (share := result.pop("validation_split", 0)):
        if is_dataset(result["x"]):
            raise ValueError(
                "A validation_split needs arrays: give a dataset its validation_data instead."
            )
        examples = count_examples(result["x"])
        size = int(np.floor(examples * (1 - share)))
        if not 0 < size < examples:
            raise ValueError(f"A validation_split of {share} leaves no examples on one side.")
        return _divided(result, slice(size), slice(size, None))  # as Keras takes them
    return result


def given_by(hp: keras_tuner.HyperParameters) -> dict[str, Any]:
    """The hyperparameters that stand for arguments of `fit`."""
    return {n: v for n, v in hp.values.items() if n in ("epochs", "batch_size")}


def is_dataset(value: Any) -> bool:
    """Whether the value gives batches, so that `fit` takes no `y` beside it."""
    return isinstance(value, tf.data.Dataset | keras.utils.PyDataset | GeneratorType)


def _prepared(part: Any) -> Any:
    """`part` as one execution gets it: datasets that begin anew, arrays in place of pandas' data.

    Layers do not take frames, and a module's own dataset would go on from one reading to the next.
    Keras takes no arrays of texts, but tensors.
    """
    if is_dataset(part):
        part = anew(part)
        if isinstance(part, keras.utils.PyDataset):  # threads: this process is one of many
            part.use_multiprocessing = False
        return part
    if hasattr(part, "to_numpy"):
        kinds = {getattr(kind, "kind", "O") for kind in np.ravel(getattr(part, "dtypes", "O"))}
        array = part.to_numpy()
        if array.dtype == object and kinds <= set("biuf"):  # columns that differ or may lack values
            array = part.to_numpy(dtype=keras.config.floatx(), na_value=np.nan)
        part = array
    is_text = isinstance(part, np.ndarray) and part.size and isinstance(part.flat[0], str | bytes)
    return tf.convert_to_tensor(part) if is_text else part


def _divided(arguments: dict[str, Any], train: Any, validation: Any) -> dict[str, Any]:
    """Return the arguments with the examples at these indices, and others as validation data."""
    whole = {name: arguments[name] for name in BY_EXAMPLE if name in arguments}
    count_examples(*whole.values())  # which raises for those that do not belong together
    parts = [
        keras.tree.map_structure(lambda a, part=part: _prepared(np.asarray(a)[part]), whole)
        for part in (train, validation)
    ]
    held_out = keras.utils.pack_x_y_sample_weight(*map(parts[1].get, BY_EXAMPLE))
    return {**arguments, **parts[0], "validation_data": held_out}


def require_divisible(arguments: Mapping[str, Any]) -> None:
    """Raise a ValueError if the data cannot be split in folds."""
    held_out = [arguments.get(name) for name in ("validation_data", "validation_split")]
    given = [arguments.get(name) for name in BY_EXAMPLE]
    if any(part is not None for part in held_out) or any(
        is_dataset(part) or callable(part) or isinstance(part, Iterator) for part in given
    ):
        raise ValueError(
            "Folds need arrays or a DataSpec, which can be split, and each fold is the validation "
            "data in its turn: leave out validation_data and validation_split."
        )


def _fold(x: Any, y: Any, seed: int, fold: int, folds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the other folds and of this one, stratified where `y` has classes.

    Raises:
        ValueError: There are fewer examples than folds.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn")
        classes = _classes(y)
        # A class with fewer examples than folds is missing in some; without any larger one there is
        # nothing to stratify.
        stratified = (
            classes is not None and np.unique(classes, return_counts=True)[1].max() >= folds
        )
        splitter = StratifiedKFold if stratified else KFold
        parts = splitter(folds, shuffle=True, random_state=seed)
        return list(parts.split(np.zeros(count_examples(x)), classes))[fold]


def _classes(y: Any) -> np.ndarray | None:
    """Return the class of each example; None where the targets are not classes."""
    from sklearn.utils.multiclass import type_of_target

    if y is None or keras.tree.is_nested(y):
        return None
    y = np.asarray(y)
    kind = type_of_target(y) if y.dtype.kind in "biuf" and np.isfinite(y).all() else ""
    if kind == "multilabel-indicator" and (y.sum(1) == 1).all():  # one-hot
        return y.argmax(1)
    return y.ravel() if kind in ("binary", "multiclass") else None


def validation_arrays(arguments: dict[str, Any]) -> tuple[Any, Any]:
    """Return examples and targets of the `validation_data`, in whatever form it comes.

    Raises:
        ValueError: There is none, or it never ends.
    """
    validation = arguments.get("validation_data")
    if is_dataset(validation):
        steps = arguments.get("validation_steps")
        is_generator = isinstance(validation, GeneratorType)
        size = getattr(validation, "cardinality", lambda: 0)()
        if steps is None and (is_generator or size == tf.data.INFINITE_CARDINALITY):
            raise ValueError("The end of the validation_data is not known: give validation_steps.")
        validation = as_arrays("validation_data", validation, steps, fixed_order=False)
        if is_generator:  # it can be read once
            arguments["validation_data"] = validation
            arguments.pop("validation_steps")
    if not isinstance(validation, tuple | list) or len(validation) < 2:
        raise ValueError(
            "The search needs validation_data=(x, y) or a validation_split: its objective is "
            "measured on it."
        )
    return validation[0], validation[1]


def first_batch(arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return examples, targets and sample weights of one batch, as far as there are any.

    A generator is one batch shorter then.
    """
    x, size = arguments["x"], int(arguments.get("batch_size") or 32)
    if is_dataset(x):
        first = as_arrays("x", anew(x), 1, fixed_order=False)
        batch = keras.tree.map_structure(_prepared, first)
    else:
        batch = [arguments.get(name) for name in BY_EXAMPLE]
        batch = keras.tree.map_structure(lambda a: None if a is None else a[:size], batch)
    return tuple(batch) if isinstance(batch, tuple | list) else (batch,)
