"""Globals of the user's modules that code reads: sent to workers, and put back in this process."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import operator
import random
import sys
import types
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import cloudpickle
import keras
import numpy as np

from dlip_reg.tuning.fingerprints import globals_read, is_described, is_library, walk
from dlip_reg.tuning.pickling import LARGE, CopyingPickler, Pickler, dumps

_GENERATORS = (
    *(np.random.Generator, np.random.RandomState, random.Random),
    *(keras.random.SeedGenerator, keras.initializers.Initializer),
)
_METHODS = (staticmethod, classmethod, property, functools.cached_property)
# The fingerprint of a value, and the states of what draws numbers.
State = tuple[str, list[Any]]
Settings = dict[tuple[str, str], tuple[State, bytes]]


@contextlib.contextmanager
def globals_put_back(*values: Any) -> Iterator[None]:
    """Put back at the end of the block the globals of modules that the code in the values reads.

    Large arrays and layers are left: to compare and copy them takes seconds for each gigabyte.
    """
    before = settings_of_modules([*values], CopyingPickler, LARGE)
    try:
        yield
    finally:
        set_in_modules(before, keeps_dicts=True)


def _size(value: Any) -> int:
    """Bytes of an array, or about those of a layer's weights; 0 for another value."""
    if isinstance(value, keras.Layer):
        return 4 * sum(math.prod(weight.shape) for weight in value.weights)
    return int(getattr(value, "nbytes", 0))


def settings_of_modules(
    values: list[Any], pickler: type[Pickler] = Pickler, largest: float = math.inf
) -> Settings:
    """Globals that the code in these values reads in the user's modules, and Keras' custom objects.

    A worker imports these modules anew, and the program may have changed them since it did.

    Args:
        values: What holds the code.
        pickler: As for `dumps`.
        largest: The most bytes that one of them may have.

    Returns:
        (module, name) -> the state and the pickled value; no module for a custom object.
    """
    packed = {}
    for key, part in _read_in_modules(values).items():
        if _size(part) <= largest:
            with contextlib.suppress(Exception):  # what cannot be copied stays as it is
                packed[key] = _state(part), dumps(part, pickler)
    return packed


def set_in_modules(settings: Settings, keeps_dicts: bool = False) -> None:
    """Set in modules of this process what differs from these settings.

    With `keeps_dicts` a dict gets its entries back, since the program may have imported it by name.
    """
    for (module, name), (state, part) in settings.items():
        with contextlib.suppress(Exception):  # whoever needs what cannot be loaded says so
            custom = keras.saving.get_custom_objects()
            now, put = custom.get(name), functools.partial(custom.__setitem__, name)
            if module:
                *outer, last = name.split(".")
                owner = functools.reduce(getattr, outer, import_module(module))
                now, put = vars(owner).get(last), functools.partial(setattr, owner, last)
            if _state(now) == state:
                continue
            value = cloudpickle.loads(part)
            if keeps_dicts and type(now) is type(value) is dict:
                now.clear()
                now.update(value)
            else:
                put(value)


def _read_in_modules(values: list[Any]) -> dict[tuple[str, str], Any]:
    """(module, name) -> each of these globals that is not code; no module for a custom object.

    So are the attributes of the user's classes, by names such as "Config.rate".
    """
    custom = keras.saving.get_custom_objects()
    found = {("", name): part for name, part in custom.items() if not is_library(part)}
    code = _own(values, types.FunctionType | type)
    functions = [part for part in code if isinstance(part, types.FunctionType)]
    modules = sys.modules.keys() - {"__main__", "__mp_main__"}
    for module, names in itertools.chain(*map(globals_read, functions)):
        if module.get("__name__") in modules:
            read = {(module["__name__"], name): module[name] for name in names}
            found |= {key: part for key, part in read.items() if _is_setting(part)}
    for kind in [part for part in code if isinstance(part, type)]:
        # By its name there may be another one: after a reload, or what a decorator made of it.
        if kind.__module__ in modules and found_in(kind.__module__, kind.__qualname__) is kind:
            for name, part in vars(kind).items():
                if _is_setting(part) and not (name.startswith("__") or isinstance(part, _METHODS)):
                    found[kind.__module__, f"{kind.__qualname__}.{name}"] = part
    return found


def found_in(module: str, name: str) -> Any:
    """What a module holds by a name, such as "Config.rate"; None if it has none."""
    with contextlib.suppress(Exception):
        return operator.attrgetter(name)(import_module(module))
    return None


def _is_setting(value: Any) -> bool:
    """Whether a global is data or draws numbers, and no code, which a worker imports."""
    if isinstance(value, types.FunctionType | type):
        return False
    return is_described(value) or isinstance(value, _GENERATORS)


def functions_in(values: list[Any]) -> list[types.FunctionType]:
    """The user's functions among what the values hold."""
    return _own(values, types.FunctionType)


def _own(values: list[Any], kind: Any) -> list[Any]:
    """What the values hold of that kind that is the user's."""
    return [p for p in walk(values)[1] if isinstance(p, kind) and not is_library(p)]


def _state(value: Any) -> State:
    known, held = walk(value)
    return known, [state for state in map(_drawn, held) if state]


def _drawn(value: Any) -> Any:
    """The state of what draws numbers; nothing for another value."""
    if isinstance(value, keras.Layer):
        seeds = [v for v in value.variables if v.name == "seed_generator_state"]
        return [seed.numpy().tolist() for seed in seeds]
    return dumps(value, CopyingPickler) if isinstance(value, _GENERATORS) else None
