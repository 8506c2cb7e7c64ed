"""Pickle by value what a hypermodel, its data and its callbacks hold, for copies and workers."""

from __future__ import annotations

import contextlib
import functools
import io
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import cloudpickle
import keras
import tensorflow as tf

from dlip_reg.tuning.dataset_graphs import dataset_of, graph_of
from dlip_reg.tuning.fingerprints import is_library, no_warning_of_lambdas

LARGE = 4_000_000  # bytes; more is written to a file once, not sent with each execution or copied
_BY_ATTRIBUTES = (keras.losses.Loss, keras.metrics.Metric)
_TRACKED = "keras.src.utils.tracking"  # of containers that losses, metrics and the like hold


class Pickler(cloudpickle.Pickler):
    """Pickles datasets, variables and layers, which cloudpickle alone does not."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, tf.data.Dataset):
            return dataset_of, (graph_of(value), value.element_spec)
        if isinstance(value, keras.Variable):
            make = functools.partial(keras.Variable, name=value.name)
            return make, (value.numpy(), None, value.dtype, value.trainable)
        plain = next((kind for kind in (dict, list, set) if isinstance(value, kind)), None)
        if plain and type(value).__module__ == _TRACKED:  # Python would set items before trackers
            return type(value), (plain(value),), {"tracker": value.tracker}
        by_keras = getattr(type(value), "__reduce__", None) is keras.Layer.__reduce__
        if by_keras and isinstance(value, _BY_ATTRIBUTES):
            # Keras would save its configuration, which lacks the delta of its own Huber, too.
            return object.__new__, (type(value),), value.__getstate__()
        if by_keras and isinstance(value, keras.Layer):
            kinds = [kind for kind in map(type, value._flatten_layers()) if not is_library(kind)]
            own = {keras.saving.get_registered_name(kind): kind for kind in kinds}
            return _layer, (own, *value.__reduce__())
        return super().reducer_override(value)


def _layer(own: Mapping[str, type], load: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Load what Keras saved, with classes that this process may have nowhere else."""
    with keras.saving.custom_object_scope(own):
        return load(*arguments)


# By their ids.
_classes: weakref.WeakValueDictionary[int, type] = weakref.WeakValueDictionary()


class CopyingPickler(Pickler):
    """Refers to classes by id: loading one of a script or notebook would replace its methods."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type):
            _classes[id(value)] = value
            return _class_with, (id(value),)
        return super().reducer_override(value)


def _class_with(number: int) -> type:
    return _classes[number]


def dumps(value: Any, pickler: type[Pickler] = Pickler) -> bytes:
    """Pickle a value by value; its classes by reference where `CopyingPickler` is to do it."""
    stream = io.BytesIO()
    with no_warning_of_lambdas():
        pickler(stream).dump(value)
    return stream.getvalue()


def copied(value: Any) -> Any:
    """Return a deep copy, which shares classes and what modules hold with `value`."""
    return cloudpickle.loads(dumps(value, CopyingPickler))


def anew(value: Any) -> Any:
    """Return a copy that begins anew, such as a dataset that shuffles; `value` if there is none.

    What it refers to in modules is not part of a copy, nor are classes.
    """
    with contextlib.suppress(Exception):  # of many kinds
        if isinstance(value, tf.data.Dataset):
            # Within a process Python functions and the like stay what they are.
            return dataset_of(graph_of(value, policy=1), value.element_spec)
        return copied(value)
    return value
