"""Dataclasses as plain JSON values, and back."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


def to_plain(value: Any, defaults: bool = False) -> Any:
    """Return what `json` can write for a value made of dataclasses, mappings, lists and scalars.

    Args:
        value: A dataclass, tuple, list, mapping, scalar or NumPy array. `to_json` is used where
            there is one.
        defaults: Whether fields of dataclasses that have their default are not left out.

    Returns:
        Dicts, lists and scalars; NaN and infinity become None.
    """
    if hasattr(value, "to_json"):
        return value.to_json()
    if hasattr(value, "tolist"):  # a NumPy scalar or array
        value = value.tolist()
    if is_dataclass(value):
        present = {f.name: (getattr(value, f.name), f.default) for f in fields(value)}
        return {
            name: to_plain(item, defaults)
            for name, (item, default) in present.items()
            if defaults or item != default
        }
    if isinstance(value, Mapping):
        return {str(name): to_plain(item, defaults) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item, defaults) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def from_plain(kind: Any, value: Any) -> Any:
    """Return the value of type `kind` that `to_plain` gave as `value`.

    Args:
        kind: A dataclass, `float`, `tuple[X, ...]`, `X | None`, or a scalar type.
        value: Plain values. A number that is not finite counts as None, and None as an empty tuple
            or a dataclass without values.

    Returns:
        The typed value; an object that is a dataclass already is returned unchanged.

    Raises:
        KeyError: `value` has a name that is not a field of the dataclass.
        TypeError: `value` has another structure than `kind`.
    """
    if get_origin(kind) in (Union, UnionType):
        if value is None:
            return None
        kind = next(argument for argument in get_args(kind) if argument is not NoneType)
    if get_origin(kind) is tuple:
        return tuple(from_plain(get_args(kind)[0], item) for item in value or ())
    if is_dataclass(value):
        return value
    if hasattr(kind, "from_json"):
        return kind.from_json(value)
    if isinstance(kind, type) and is_dataclass(kind):
        types, value = field_types(kind), {} if value is None else value
        return kind(**{name: from_plain(types[name], item) for name, item in value.items()})
    if kind is float:
        return float(value) if value is not None and math.isfinite(value) else None
    return value


@functools.cache
def field_types(kind: type) -> dict[str, Any]:
    """Return the types of a dataclass' fields, by name."""
    return get_type_hints(kind)
