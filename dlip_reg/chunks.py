"""Data in chunks of examples, and functions of a model that are traced once for all chunks.

Everything that measures a model takes its data in and calls the model through this module.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import re
import threading
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from scipy.sparse import issparse

from dlip_reg.checks import require_whole
from dlip_reg.errors import useful_line

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "callbacks and dlip_reg.curvature need Keras on TensorFlow, not on "
        f"{keras.backend.backend()}: set KERAS_BACKEND=tensorflow before Keras is imported."
    )

import tensorflow as tf
from tensorflow.python.eager import context

PATCHING = threading.RLock()  # one thread at a time replaces functions of Keras and TensorFlow
_KEPT = 32  # results per model
KEPT = "__kept_results"  # the attribute of a model that holds them
# What TensorFlow and Keras say of a tensor of another graph.
_OF_ANOTHER_CALL = re.compile(r"out of scope|cannot be accessed from|KerasTensor")
_NO_SUCH_CLASS = re.compile(r"label value of (-?\d+) .* outside the valid range of \[0, (\d+)\)")
_precision = threading.Lock()
_precisions: list[bool] = []  # what each open `in_full_precision` leaves behind


def count_examples(*arrays: Any) -> int:
    """Return how many examples the arrays (or dicts or lists of them) hold, all the same number.

    Raises:
        ValueError: For none, for unequal numbers, and for what is not a dense array.
    """
    arrays = keras.tree.flatten(arrays)
    if not all(map(_is_dense, arrays)):
        raise ValueError(
            "Examples and targets must be arrays of numbers or texts (dense ones), or dicts or "
            "lists of them."
        )
    lengths = {int(array.shape[0]) for array in arrays}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            "A split needs one or more examples and as many targets, not arrays of lengths "
            f"{', '.join(map(str, sorted(lengths)))}."
        )
    return lengths.pop()


def _is_dense(array: Any) -> bool:
    """Whether it is an array whose rows TensorFlow can take as they are."""
    if isinstance(array, tf.RaggedTensor | tf.SparseTensor) or issparse(array):
        return False
    if getattr(getattr(array, "dtype", None), "kind", "") == "O":
        return all(isinstance(value, str | bytes) for value in np.ravel(array))
    return len(getattr(array, "shape", ())) > 0


def example_weights(n: int, y: Any, sample_weight: Any, class_weight: Any) -> Any:
    """Return the weights of `n` examples, float64: (n,), or (n, ...) for each of their losses.

    Args:
        n: The number of examples.
        y: The targets, which `class_weight` is about.
        sample_weight: An array (n,), (n, 1) or (n, ...), a dict or list of them for several
            outputs, or None.
        class_weight: {class: weight}, or None.

    Raises:
        ValueError: For weights that are not finite, of another number or shape.
    """
    if keras.tree.is_nested(sample_weight):
        return keras.tree.map_structure(
            lambda part: example_weights(n, y, part, class_weight), sample_weight
        )
    weights = np.ones(n) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if weights.shape[:1] != (n,) or not np.isfinite(weights).all():
        raise ValueError(f"sample_weight must be {n} finite numbers, one for each example.")
    while weights.ndim > 1 and weights.shape[-1] == 1:
        weights = weights[..., 0]  # against losses (n,) it would broadcast to (n, n)
    if class_weight is not None:
        if not isinstance(class_weight, Mapping):
            raise ValueError(
                "class_weight must be a dict of the classes' weights, such as {0: 1.0, 1: 2.5}, "
                f"not {class_weight!r}."
            )
        if keras.tree.is_nested(y):
            raise ValueError("class_weight needs a model with one output.")
        classes = np.asarray(y)
        if classes.dtype.kind in "OSU" or not np.isfinite(classes).all():
            raise ValueError("class_weight needs targets that are numbers of classes.")
        if classes.ndim > 1:
            classes = classes.argmax(-1) if classes.shape[-1] > 1 else classes[..., 0]
        if classes.ndim != 1:
            raise ValueError("class_weight needs one class for each example.")
        factors = [class_weight.get(int(label), 1.0) for label in np.round(classes)]
        weights = (weights.T * np.asarray(factors)).T
        if not np.isfinite(weights).all():
            raise ValueError(f"class_weight must hold finite numbers, not {dict(class_weight)}.")
    return weights


def as_tensors(*arrays: Any, dtype: str | None = None) -> tuple[Any, ...]:
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


def with_weight(weights: Any, most: int) -> np.ndarray:
    """Return the indices of the first examples whose weight is not 0, at most that many.

    Where all weights are 0 they are the first ones.
    """
    parts = [np.reshape(part, (len(part), -1)) for part in keras.tree.flatten(weights)]
    have_weight = np.any([part.any(axis=1) for part in parts], axis=0)
    return np.flatnonzero(have_weight if have_weight.any() else ~have_weight)[:most]


def taken(data: Any, chosen: np.ndarray) -> Any:
    """Return the examples at these indices of nested arrays."""

    def rows(array: Any) -> Any:
        is_array = isinstance(array, np.ndarray)
        return array[chosen] if is_array else keras.ops.take(array, chosen, 0)

    return keras.tree.map_structure(rows, data)


def chunks(data: Any, size: int) -> Iterator[Any]:
    """Yield nested arrays in pieces of `size` examples in their order; the last may be smaller."""
    size = require_whole("batch_size", size)
    for start in range(0, count_examples(data), size):
        part = slice(start, start + size)
        yield keras.tree.map_structure(lambda array, part=part: array[part], data)


def summed(
    function: Callable[..., Any],
    data: tuple[Any, ...],
    size: int,
    *vectors: tf.Tensor,
    dtype: str | None = None,
) -> list[np.ndarray]:
    """Return the sums over the chunks of data of the tensors that `function` returns, in float64.

    Args:
        function: Called as `function(chunk, *vectors)`, with chunks of tensors.
        data: A tuple of arrays (or dicts or lists of them).
        size: The number of examples in a chunk.
        vectors: What all chunks share.
        dtype: As in `as_tensors`.

    Raises:
        ValueError: For data that TensorFlow cannot compute with.
    """
    totals: list[np.ndarray] = []
    with in_full_precision():
        for chunk in chunks(data, size):
            try:
                tensors = function(as_tensors(*chunk, dtype=dtype), *vectors)
            except tf.errors.InvalidArgumentError as error:
                raise ValueError(reason_of(error)) from error
            terms = [tensor.numpy().astype(np.float64) for tensor in tensors]
            totals = list(map(np.add, totals, terms)) if totals else terms
    return totals


def reason_of(error: Exception) -> str:
    """Return in one sentence why a model or loss could not be evaluated."""
    reason = useful_line(error)[:400]
    if label := _NO_SUCH_CLASS.search(reason):
        value, classes = label.groups()
        return (
            f"The targets hold the class {value}, but the model has {classes} classes, from 0 on."
        )
    if _OF_ANOTHER_CALL.search(reason):
        return (
            "It uses a tensor that was computed in another call: compute it anew in every call, or "
            "keep it as a number or an array."
        )
    return reason


@contextlib.contextmanager
def in_full_precision() -> Iterator[None]:
    """While open, GPUs multiply float32 as such, not rounded to TensorFloat-32's three digits.

    It is a switch of the whole process: what other threads compute meanwhile is so, too.
    """
    config = tf.config.experimental
    with _precision:
        before = _precisions[0] if _precisions else config.tensor_float_32_execution_enabled()
        _precisions.append(before)
        config.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        with _precision:
            _precisions.pop()
            if not _precisions:
                config.enable_tensor_float_32_execution(before)


def kept(model: keras.Model, key: Hashable, make: Callable[[], Any]) -> Any:
    """Return what `make` returned for this model and key since the model was compiled last.

    The last `_KEPT` results are kept. The model itself holds them, so that a loss among them which
    holds the model does not keep it alive.
    """
    compiled = getattr(model, "_loss_tracker", None)  # which `compile` makes anew
    # Through vars(), since Keras tracks attributes that are set; and by a name that it does not
    # save.
    since, known = vars(model).setdefault(KEPT, (compiled, {}))
    if since is not compiled:
        known = {}
        vars(model)[KEPT] = compiled, known
    if key not in known:
        result = make()
        while len(known) >= _KEPT:
            known.pop(next(iter(known)))
        known[key] = result
    return known[key]


def draws_numbers(model: keras.Model) -> list[bool]:
    """Whether calls of the model may draw from global random states, to be set once it is known."""
    return kept(model, "draws numbers", lambda: [True])


@contextlib.contextmanager
def undisturbed(model: keras.Model | None = None) -> Iterator[keras.StatelessScope]:
    """While open, what calls a model, its layers or its loss leaves no trace in them.

    Updates of variables are dropped, tensors that layers of `model` keep are those of before, and
    the global random states are put back, unless `draws_numbers` says that there is no need: other
    threads, such as one that makes the next batch of training, may have drawn from them. A
    `tf.function` runs as plain Python: traced in here it would hold the tensors that take the place
    of the weights, and be run again in training; traced before, it would not see them. That is a
    switch of the whole process, so that functions which other threads call meanwhile are slower.
    What is computed in here is `in_full_precision`.
    """
    may_draw = model is None or draws_numbers(model)[0]
    with (
        PATCHING,
        random_states_put_back() if may_draw else contextlib.nullcontext(),
        _tensors_put_back(model._flatten_layers() if model is not None else []),
        replaced(tf.nn, "convolution", _convolution(tf.nn.convolution)),
        # It differentiates in variables alone, and not in the tensors that take their place.
        replaced(tf, "recompute_grad", lambda function: function),
    ):
        eagerly = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        try:
            with keras.StatelessScope(collect_losses=True) as scope, in_full_precision():
                yield scope
        finally:
            tf.config.run_functions_eagerly(eagerly)


@contextlib.contextmanager
def random_states_put_back() -> Iterator[None]:
    """Put back at the end what Python, NumPy and TensorFlow draw from, and TensorFlow's seed."""
    python, numpy, seed = random.getstate(), np.random.get_state(), context.context()._seed
    operations = _operation_seeds().getstate()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        if context.context()._seed != seed:
            tf.random.set_seed(seed)
        _operation_seeds().setstate(operations)


@contextlib.contextmanager
def _tensors_put_back(layers: list[keras.Layer]) -> Iterator[None]:
    """While open, layers may keep tensors, as attributes or in lists and dicts among them.

    No later call could use these.
    """
    holders: list[Any] = [vars(layer) for layer in layers]
    for attributes in holders[:]:
        holders += [part for part in attributes.values() if isinstance(part, dict | list)]
    before = [holder.copy() for holder in holders]
    try:
        yield
    finally:
        for now, earlier in zip(holders, before, strict=True):
            # A large one, such as a vocabulary, is looked through for what was replaced alone.
            if isinstance(now, list):
                pairs = itertools.zip_longest(now, earlier)
                if any(map(tf.is_tensor, itertools.chain(*(p for p in pairs if p[0] is not p[1])))):
                    now[:] = earlier
                continue
            others = [name for name, value in now.items() if value is not earlier.get(name)]
            for name in [name for name in others if tf.is_tensor(now[name])]:
                if name in earlier:
                    now[name] = earlier[name]
                else:
                    del now[name]


def _convolution(convolve: Callable[..., Any]) -> Callable[..., Any]:
    """`tf.nn.convolution` with channels last and group by group: all else has no gradient on CPUs.

    Keras leaves it to XLA, in a `tf.function`.
    """

    def convolution(
        input: Any,
        filters: Any,
        strides: Any = None,
        padding: str = "VALID",
        data_format: str | None = None,
        dilations: Any = None,
        name: str | None = None,
    ) -> Any:
        if data_format and data_format[1] == "C":
            channels_last = f"N{data_format[2:]}C"
            moved = keras.ops.moveaxis(input, 1, -1)
            found = convolution(moved, filters, strides, padding, channels_last, dilations)
            return keras.ops.moveaxis(found, -1, 1)
        groups = input.shape[-1] // filters.shape[-2]
        if groups == 1:
            return convolve(input, filters, strides, padding, data_format, dilations)
        parts = zip(tf.split(input, groups, -1), tf.split(filters, groups, -1), strict=True)
        found = [convolve(*part, strides, padding, data_format, dilations) for part in parts]
        return tf.concat(found, -1)

    return convolution


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """While open, `owner.name` is `value`; `owner` is a module or an object with a `__dict__`."""
    # Through vars(), for Keras layers watch their attributes being set.
    attributes = vars(owner)
    missing = object()
    before = attributes.get(name, missing)
    attributes[name] = value
    try:
        yield
    finally:
        if before is missing:
            del attributes[name]
        else:
            attributes[name] = before


def random_states() -> tuple[Any, ...]:
    """What is another whenever a number was drawn from a global random state."""
    numpy_state: Any = np.random.get_state()
    return random.getstate(), numpy_state[2:], _operation_seeds().getstate()


def _operation_seeds() -> random.Random:
    """What TensorFlow draws the seeds of operations outside graphs from, once a seed was set."""
    return getattr(context.context(), "_rng", None) or random.Random(0)


def traced(
    model: keras.Model, purpose: Hashable, function: Callable[..., Any], *, eager: bool = False
) -> Callable[..., Any]:
    """Return `function(model, chunk, *vectors)` as a graph, called as `(chunk, *vectors)`.

    It is traced once for a model and a `purpose`, whoever asks. The number of examples in a chunk
    is left open, so that chunks of all sizes share the trace. XLA is not used: its second
    derivative of max-pooling is wrong on the CPU, where it is slower as well. Neither is AutoGraph,
    as in `fit`: converting the functions takes longer than tracing them.

    Args:
        model: One that is compiled with `run_eagerly` is called eagerly.
        purpose: Names the function and its settings.
        function: It must not hold the model.
        eager: Whether not to trace, which is faster for a handful of calls.
    """
    if eager or model.run_eagerly:
        return functools.partial(function, model)
    alive = weakref.ref(model)

    def call(chunk: Any, *vectors: tf.Tensor) -> Any:
        specs = keras.tree.map_structure(
            lambda tensor: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype), chunk
        )
        rest = [tf.TensorSpec(vector.shape, vector.dtype) for vector in vectors]

        def trace() -> Any:
            def evaluated(*tensors: Any) -> Any:
                return function(alive(), *tensors)

            graph = tf.function(evaluated, autograph=False, jit_compile=False)
            return graph.get_concrete_function(specs, *rest)

        key = (purpose, *keras.tree.flatten(specs), *rest)
        return kept(model, key, trace)(chunk, *vectors)

    return call
