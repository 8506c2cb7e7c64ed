"""Data in chunks of examples, and functions of a model that are traced once for all chunks.

Everything that measures a model takes its data in and calls the model through this module.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import keras
import numpy as np

from dlip_reg.checks import require_whole

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "callbacks and dlip_reg.curvature need Keras on TensorFlow, not on "
        f"{keras.backend.backend()}: set KERAS_BACKEND=tensorflow before Keras is imported."
    )

import tensorflow as tf

_KEPT = 32  # results per model
_KNOWN: weakref.WeakKeyDictionary[keras.Model, dict[Hashable, Any]] = weakref.WeakKeyDictionary()


def count_examples(*arrays: Any) -> int:
    """Return how many examples the arrays (or dicts or lists of them) hold, all the same number.

    Raises:
        ValueError: For none, for unequal numbers, and for what is not an array.
    """
    try:
        lengths = {int(array.shape[0]) for array in keras.tree.flatten(arrays)}
    except (AttributeError, IndexError) as error:
        raise ValueError(
            "Examples and targets must be arrays, or dicts or lists of them."
        ) from error
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            "A split needs one or more examples and as many targets, not arrays of lengths "
            f"{', '.join(map(str, sorted(lengths)))}."
        )
    return lengths.pop()


def as_tensors(*arrays: Any, dtype: str | None = None) -> tuple:
    """Return the arrays (or dicts or lists of them) as tensors, float64 as `dtype`.

    Args:
        arrays: Equally many examples in each; ValueError as `count_examples`.
        dtype: By default Keras' floatx, as in `fit`.
    """
    count_examples(*arrays)

    def convert(array: Any) -> tf.Tensor:
        tensor = tf.convert_to_tensor(array)
        if tensor.dtype == tf.float64:
            return tf.cast(tensor, dtype or keras.config.floatx())
        return tensor

    return keras.tree.map_structure(convert, arrays)


def chunks(data: Any, size: int) -> Iterator[Any]:
    """Yield nested arrays in pieces of `size` examples in their order; the last may be smaller."""
    size = require_whole("batch_size", size)
    for start in range(0, count_examples(data), size):
        part = slice(start, start + size)
        yield keras.tree.map_structure(lambda array, part=part: array[part], data)


def summed(
    function: Callable, data: tuple, size: int, *vectors: tf.Tensor, dtype: str | None = None
) -> list[np.ndarray]:
    """Return the sums over the chunks of data of the tensors that `function` returns, in float64.

    Args:
        function: Called as `function(chunk, *vectors)`, with chunks of tensors.
        data: A tuple of arrays (or dicts or lists of them).
        size: The number of examples in a chunk.
        vectors: What all chunks share.
        dtype: As in `as_tensors`.
    """
    totals: list[np.ndarray] | None = None
    for chunk in chunks(data, size):
        tensors = function(as_tensors(*chunk, dtype=dtype), *vectors)
        terms = [tensor.numpy().astype(np.float64) for tensor in tensors]
        totals = terms if totals is None else list(map(np.add, totals, terms))
    return totals


def kept(model: keras.Model, key: Hashable, make: Callable[[], Any]) -> Any:
    """Return what `make` returned for this model and key, kept for as long as the model lives.

    The last `_KEPT` results are kept. They must not refer to the model, or it is never freed.
    """
    known = _KNOWN.setdefault(model, {})
    if key not in known:
        result = make()
        while len(known) >= _KEPT:
            known.pop(next(iter(known)))
        known[key] = result
    return known[key]


def traced(
    model: keras.Model,
    purpose: Hashable,
    function: Callable,
    *,
    eager: bool = False,
    autograph: bool = True,
) -> Callable:
    """Return `function(model, chunk, *vectors)` as a graph, called as `(chunk, *vectors)`.

    It is traced once for a model and a `purpose`, whoever asks. The number of examples in a chunk
    is left open, so that chunks of all sizes share the trace. XLA is not used: its second
    derivative of max-pooling is wrong on the CPU, where it is slower as well.

    Args:
        model: One that is compiled with `run_eagerly` is called eagerly.
        purpose: Names the function and its settings.
        function: It must not hold the model.
        eager: Whether not to trace, which is faster for a handful of calls.
        autograph: As in `tf.function`.
    """
    if eager or model.run_eagerly:
        return functools.partial(function, model)
    alive = weakref.ref(model)

    def call(chunk: Any, *vectors: tf.Tensor) -> Any:
        specs = keras.tree.map_structure(
            lambda tensor: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype), chunk
        )
        rest = [tf.TensorSpec(vector.shape, vector.dtype) for vector in vectors]

        def trace() -> Callable:
            graph = tf.function(
                lambda *tensors: function(alive(), *tensors),
                autograph=autograph,
                jit_compile=False,
            )
            return graph.get_concrete_function(specs, *rest)

        key = (purpose, *keras.tree.flatten(specs), *rest)
        return kept(model, key, trace)(chunk, *vectors)

    return call
