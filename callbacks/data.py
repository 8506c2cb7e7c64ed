"""How recorders take in data: in every form that `fit` takes, read once and then held fixed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dlip_reg.checks import require_whole
from dlip_reg.chunks import count_examples, example_weights, undisturbed
from dlip_reg.curvature.hidden_state import restored_state

_FORMS = (
    "a tuple (x, y) or (x, y, sample_weight) of arrays (or dicts or lists of them), a "
    "tf.data.Dataset or PyDataset of batches of these, or a generator with data_batches=, the "
    "number of its batches to read"
)


def read_split(
    name: str,
    data: Any,
    data_batches: int | None = None,
    class_weight: Mapping[int, float] | None = None,
) -> tuple[Any, Any, Any]:
    """Return (x, y, weights) as arrays, the weights of examples or losses as in `fit`, or None.

    Args:
        name: What error messages call the data.
        data: What `fit` takes as training data, batches of examples and targets among it.
        data_batches: How many batches to read of a generator, or at most of a dataset.
        class_weight: {class: weight}, as in `fit`.

    Raises:
        ValueError: For data of another form, without targets or without examples, and for a dataset
            that shuffles or draws anew each time it is read.
    """
    data = as_arrays(name, data, data_batches)
    held = len(data) if isinstance(data, list | tuple) else 0
    if held not in (2, 3):
        given = type(data).__name__ + f" of {held}" * isinstance(data, list | tuple)
        raise ValueError(f"{name} must be {_FORMS}, not {given}.")
    x, y, weights = (*data, None)[:3]
    examples = count_examples(x, y)
    if weights is not None or class_weight is not None:
        weights = example_weights(examples, y, weights, class_weight)
    return x, y, weights


def read_probe(name: str, data: Any, data_batches: int | None = None) -> Any:
    """Return the examples x of an array, dict or list of them, or of what `read_split` reads."""
    read = as_arrays(name, data, data_batches)
    if read is not data and isinstance(read, list | tuple):
        read = read[0]
    count_examples(read)
    return read


def as_arrays(
    name: str, data: Any, data_batches: int | None = None, *, fixed_order: bool = True
) -> Any:
    """Return what is held in arrays as it is, and of anything else all batches together.

    Args:
        name: What error messages call the data.
        data: What `fit` takes as data.
        data_batches: As for `read_split`.
        fixed_order: Whether a dataset that shuffles or draws anew each time it is read is refused.

    Raises:
        ValueError: For data without examples or of unknown length, and as `fixed_order` says.
    """
    if data_batches is not None:
        data_batches = require_whole("data_batches", data_batches)
    if isinstance(data, tf.data.Dataset):
        if fixed_order:
            _require_fixed_order(name, data)
        if data_batches is None and data.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError(f"{name} never ends: give data_batches=, the batches to read.")
        batches: Any = data
    elif isinstance(data, keras.utils.PyDataset):
        length = data.num_batches if data_batches is None else data_batches
        if length is None:
            raise ValueError(f"{name} has no number of batches: give it as data_batches=.")
        batches = (data[index] for index in range(length))
    elif isinstance(data, Iterator):
        if data_batches is None:
            raise ValueError(f"{name} is a generator: give its number of batches, data_batches=.")
        batches = data
    else:
        return data
    # So that a dataset may draw random numbers, and training reads what it would have read.
    with undisturbed(), restored_state(_holders(data)):
        read = [
            keras.tree.map_structure(np.asarray, batch)
            for batch in itertools.islice(batches, data_batches)
        ]
    arrays = keras.tree.flatten(read)
    if not arrays or any(array.ndim == 0 for array in arrays):
        raise ValueError(
            f"{name} must hold one or more batches of examples, in dense arrays or tensors: use "
            "batch(), and to_tensor() or tf.sparse.to_dense() where rows are ragged or sparse."
        )
    shapes = [[array.shape[1:] for array in keras.tree.flatten(batch)] for batch in read]
    for different in (shape for shape in shapes if shape != shapes[0]):
        raise ValueError(
            f"{name} has batches with examples of different shapes, {shapes[0]} and {different}: "
            "pad all of them to one, as by padded_batch(..., padded_shapes=...)."
        )
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *read)


def _holders(data: Any) -> Iterator[Any]:
    """What may hold state of the user's that reading the data changes.

    An iterator's is left as it is, since what it reads from moves on, too.
    """
    if not isinstance(data, tf.data.Dataset):
        if not isinstance(data, Iterator):
            yield data
        return
    for wrapped in data._functions():
        # Of some the object is gone and only the dataset uses the variable.
        yield from (known() for known in wrapped.function.graph._weak_variables)
        waiting = [wrapped._func]
        for part in waiting:
            yield getattr(part, "_generator", part)
            if str(getattr(part, "__module__", "")).startswith("tensorflow."):
                # Such as those of `from_generator`, which enclose the user's.
                cells = getattr(part, "__closure__", None) or ()
                waiting += [cell.cell_contents for cell in cells]
    for source in data._inputs():
        yield from _holders(source)


def _require_fixed_order(name: str, dataset: tf.data.Dataset) -> None:
    """ValueError for a dataset that shuffles or draws anew whenever it is read."""
    if getattr(dataset, "_reshuffle_each_iteration", False):
        raise ValueError(
            f"{name} is a dataset that shuffles whenever it is read, so that reading it would "
            "change the order of training: pass it as it is before shuffle(), or one that was made "
            "with shuffle=False."
        )
    if getattr(dataset, "_rerandomize", False):
        raise ValueError(
            f"{name} is a dataset with other random numbers whenever it is read, so that reading "
            "it would change training: make it with rerandomize_each_iteration=False."
        )
    for source in dataset._inputs():
        _require_fixed_order(name, source)
