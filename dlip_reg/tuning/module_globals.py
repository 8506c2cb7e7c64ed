"""Globals of the user's modules that code reads: sent to workers, and put back in this process."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import sys
import types
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import cloudpickle
import keras
import numpy as np

from dlip_reg.tuning.fingerprints import fingerprint, globals_read, is_described, is_library, walk
from dlip_reg.tuning.pickling import LARGE, CopyingPickler, copied, dumps

_GENERATORS = (
    *(np.random.Generator, np.random.RandomState, random.Random),
    *(keras.random.SeedGenerator, keras.initializers.Initializer),
)
Settings = dict[tuple[str, str], tuple[str, bytes]]


@contextlib.contextmanager
def globals_put_back(*values: Any) -> Iterator[None]:
    """Put back at the end of the block the globals of modules that the code in the values reads.

    Large arrays and layers are left: to compare and copy them takes seconds for each gigabyte.
    """
    before = []
    for (module, name), part in _read_in_modules([*values]).items():
        if _size(part) > LARGE:
            continue
        with contextlib.suppress(Exception):  # what cannot be copied stays as it becomes
            before.append((_holder(module), name, _state(part), copied(part)))
    try:
        yield
    finally:
        for holder, name, state, copy in before:
            now = holder.get(name)
            if _state(now) == state:
                continue
            if type(now) is type(copy) is dict:  # which the program may have imported by its name
                now.clear()
                now.update(copy)
            else:
                holder[name] = copy


def _size(value: Any) -> int:
    """Bytes of an array, or about those of a layer's weights; 0 for another value."""
    if isinstance(value, keras.Layer):
        return 4 * sum(math.prod(weight.shape) for weight in value.weights)
    return int(getattr(value, "nbytes", 0))


def _holder(module: str) -> dict[str, Any]:
    return vars(import_module(module)) if module else keras.saving.get_custom_objects()


def settings_of_modules(values: list[Any]) -> Settings:
    """Globals that the code in these values reads in the user's modules, and Keras' custom objects.

    A worker imports these modules anew, and the program may have changed them since it did.

    Returns:
        (module, name) -> the fingerprint and the pickled value; no module for a custom object, no
        fingerprint for what draws numbers, which is another one after each.
    """
    packed = {}
    for key, part in _read_in_modules(values).items():
        with contextlib.suppress(Exception):  # what cannot be sent stays as it is imported
            copied(part)  # as a worker will load it
            known, drawn = _state(part)
            packed[key] = "" if drawn else known, dumps(part)
    return packed


def set_in_modules(settings: Settings) -> None:
    """Set in modules of this process what the program had set in its own."""
    for (module, name), (known, part) in settings.items():
        with contextlib.suppress(ImportError, AttributeError):  # whoever needs it says so
            holder = _holder(module)
            if fingerprint(holder.get(name)) != known:
                holder[name] = cloudpickle.loads(part)


def _read_in_modules(values: list[Any]) -> dict[tuple[str, str], Any]:
    """(module, name) -> each of these globals that is no code; no module for a custom object."""
    functions = functions_in(values)
    found = {("", name): part for name, part in keras.saving.get_custom_objects().items()}
    found = {key: part for key, part in found.items() if not is_library(part)}
    code = types.FunctionType | type  # which a worker imports
    for module, names in itertools.chain(*map(globals_read, functions)):
        if module.get("__name__") in sys.modules.keys() - {"__main__", "__mp_main__"}:
            read = {(module["__name__"], name): module[name] for name in names}
            found |= {
                key: part
                for key, part in read.items()
                if (is_described(part) or isinstance(part, _GENERATORS))
                and not isinstance(part, code)
            }
    return found


def functions_in(values: list[Any]) -> list[types.FunctionType]:
    """The user's functions among what the values hold."""
    parts = walk(values)[1]
    return [p for p in parts if isinstance(p, types.FunctionType) and not is_library(p)]


def _state(value: Any) -> tuple[str, list[Any]]:
    """The fingerprint, and the states of what draws numbers."""
    known, held = walk(value)
    return known, [state for state in map(_drawn, held) if state]


def _drawn(value: Any) -> Any:
    """The state of what draws numbers; nothing for another value."""
    if isinstance(value, keras.Layer):
        seeds = [v for v in value.variables if v.name == "seed_generator_state"]
        return [seed.numpy().tolist() for seed in seeds]
    return dumps(value, CopyingPickler) if isinstance(value, _GENERATORS) else None
