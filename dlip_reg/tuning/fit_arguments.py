"""The arguments of `fit`: made in the worker, and looked at before the search begins."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dlip_reg.datasets import dataset_info
from dlip_reg.training.specification import DataSpec

NAMES = ("x", "y", "sample_weight", "validation_data")


def named_data(spec: DataSpec, data_dir: str | None) -> tuple[Any, str]:
    """Return a function that makes the data of that name, and its fingerprint.

    A seed draws its own split, as in the labs.

    Raises:
        ValueError: As `dataset_info`.
    """
    return functools.partial(_load, spec, data_dir), dataset_info(spec.name, data_dir).fingerprint


def _load(spec: DataSpec, data_dir: str | None, seed: int) -> dict[str, Any]:
    from dlip_reg.datasets import in_colour
    from dlip_reg.experiments.worker import load

    data = load(spec, data_dir, seed)
    data = in_colour(data) if spec.colour else data
    validation = data.x_validation, data.y_validation
    return {"x": data.x_train, "y": data.y_train, "validation_data": validation}


def made(arguments: Mapping[str, Any], seed: int, splits: bool = False) -> dict[str, Any]:
    """Return the arguments with what their functions make.

    A function as `x` may return `x`, a tuple (x, y), or a dict of arguments of `fit`. With `splits`
    a `validation_split` is taken off here and not by Keras.
    """
    result = dict(arguments)
    for name in NAMES:
        value = result.get(name)
        if callable(value) and not is_dataset(value):
            takes_seed = "seed" in inspect.signature(value).parameters
            result[name] = value(seed=seed) if takes_seed else value()
    x = result.get("x")
    if callable(arguments.get("x")) and isinstance(x, tuple):
        result |= dict(zip(("x", "y", "sample_weight"), x, strict=False))
    elif callable(arguments.get("x")) and isinstance(x, Mapping) and "x" in x:
        result |= x
    result = {name: value for name, value in result.items() if value is not None}
    return _split_off(result) if splits and "validation_data" not in result else result


def is_dataset(value: Any) -> bool:
    """Whether the value gives batches, so that `fit` takes no `y` beside it."""
    return isinstance(value, tf.data.Dataset | keras.utils.PyDataset)


def _split_off(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with the last examples as `validation_data`, as Keras takes them."""
    share, names = arguments.pop("validation_split", 0), ("x", "y", "sample_weight")
    if not share:
        return arguments
    whole = {name: arguments[name] for name in names if name in arguments}
    size = int(np.floor(count(whole["x"]) * (1 - share)))
    train, rest = (
        keras.tree.map_structure(lambda a, part=part: np.asarray(a)[part], whole)
        for part in (slice(size), slice(size, None))
    )
    return {**arguments, **train, "validation_data": tuple(rest.values())}


def count(x: Any) -> int:
    """Return how many examples arrays hold."""
    return len(keras.tree.flatten(x)[0])


def validation_arrays(validation: Any) -> tuple[Any, Any]:
    """Return examples and targets of `validation_data`, in whatever form it comes.

    Raises:
        ValueError: There is none.
    """
    if is_dataset(validation):
        batches = [validation[i] for i in range(len(validation))] if isinstance(
            validation, keras.utils.PyDataset
        ) else list(validation)  # fmt: skip
        validation = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)
    if not isinstance(validation, tuple | list) or len(validation) < 2:
        raise ValueError(
            "The search needs validation_data=(x, y) or a validation_split: its objective is "
            "measured on it."
        )
    x, y = validation[:2]
    if getattr(y, "ndim", 1) == 2 and y.shape[1] == 1 and np.issubdtype(y.dtype, np.integer):
        y = np.asarray(y)[:, 0]
    return x, y


def first_batch(arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return examples, targets and sample weights of one batch, as far as there are any."""
    x, size = arguments["x"], int(arguments.get("batch_size") or 32)
    if isinstance(x, keras.utils.PyDataset):
        batch = x[0]
    elif is_dataset(x):
        batch = next(iter(x))
    else:
        batch = [arguments.get(name) for name in ("x", "y", "sample_weight")]
        batch = keras.tree.map_structure(lambda a: None if a is None else a[:size], batch)
    return tuple(batch) if isinstance(batch, tuple | list) else (batch,)
