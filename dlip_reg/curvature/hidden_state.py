"""State of Python and TensorFlow that a model, a loss or data hold and Keras does not know of."""

from __future__ import annotations

import contextlib
import random
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dlip_reg.chunks import KEPT

_LARGE = 2**20  # bytes of an array that is compared by its checksum, so that it is not copied
_MANY = 1000  # entries of a container that is data, unless they are numbers or texts
# Not the user's own.
_LIBRARIES = {"callbacks", "dlip_reg", "keras", "numpy", "tensorflow", *sys.stdlib_module_names}


@contextlib.contextmanager
def restored_state(holders: Iterable[Any]) -> Iterator[set[str]]:
    """Put back in the end what changed of the state that Keras does not know, and name it.

    Args:
        holders: What holds it, such as layers and losses, of which some may be None.

    Yields:
        A set that holds in the end the names of what changed.
    """
    found = _HiddenState()
    for holder in holders:
        found.visit("", holder)
        attributes = getattr(holder, "__dict__", {})
        # The user's functions in what is Keras' own (a Lambda, an activation), too.
        for part in attributes.values():
            if isinstance(part, FunctionType | MethodType | partial):
                found.visit("", part)
    with contextlib.suppress(RuntimeError):  # where operations are deterministic there is none
        found.visit("TensorFlow's global generator", tf.random.get_global_generator())
    before = [(name, read(), read, write) for name, read, write in found.state]
    changed: set[str] = set()
    try:
        yield changed
    finally:
        for name, state, read, write in before:
            known, now = _comparable(state), _comparable(read())
            if known != now and None not in (known, now):
                changed.add(name)
                write(state)


class _HiddenState:
    """`state` lists what the objects that were visited hold: (name, read a copy, put it back).

    Keras' own layers have all their state in its variables. Of the user's own classes and functions
    it is found in attributes of objects and classes, in variables of enclosing functions and of
    modules, and in defaults. What changes a large array is named, but the array is not put back:
    no copy is made of it, since functions mostly read such a one (their data) and do not write.
    Of a container of many arrays or other objects only the number of its entries is compared.
    """

    def __init__(self) -> None:
        self.state: list[tuple[str, Callable[[], Any], Callable[[Any], Any]]] = []
        self._seen: set[int] = set()
        self._waiting: list[tuple[str, Any]] = []
        self._known_to_keras = set(vars(keras.Model(name="any")))

    def visit(self, name: str, value: Any) -> None:
        """Add what `value` holds; `name` may be "" for one that has a name of its own."""
        self._waiting.append((name, value))
        if len(self._waiting) == 1:  # or else the outermost call, as a long chain of objects needs
            for waiting in self._waiting:
                self._visit(*waiting)
            self._waiting.clear()

    def _visit(self, name: str, value: Any) -> None:
        if id(value) in self._seen or isinstance(value, int | float | str | bytes):
            return
        self._seen.add(id(value))
        if isinstance(value, tf.random.Generator):
            value = value.state
        if isinstance(value, tf.Variable):
            self.state.append((name, value.numpy, value.assign))
        elif isinstance(value, np.ndarray):
            if value.nbytes <= _LARGE or value.dtype.hasobject:
                self.state.append((name, value.copy, partial(value.__setitem__, ...)))
            elif value.flags.writeable:
                self.state.append((name, partial(_checksum, value), lambda _: None))
        elif isinstance(value, random.Random):
            self.state.append((name, value.getstate, value.setstate))
        elif isinstance(value, np.random.RandomState):
            self.state.append((name, value.get_state, value.set_state))
        elif isinstance(value, np.random.Generator):
            bits = value.bit_generator
            self.state.append((name, lambda: bits.state, partial(setattr, bits, "state")))
        elif isinstance(value, dict | list | set | deque):

            def refill(state: Any) -> None:
                value.clear()
                (value.extend if isinstance(value, list | deque) else value.update)(state)

            held = [
                part
                for part in (value.values() if isinstance(value, dict) else value)
                if not isinstance(part, int | float | str | bytes)
            ]
            if len(held) > _MANY:
                self.state.append((name, value.__len__, lambda _: None))
            else:
                self.state.append((name, value.copy, refill))
                for part in held:
                    self.visit(name, part)
        elif isinstance(value, partial):
            self.visit(name, (value.func, *value.args, *value.keywords.values()))
        elif isinstance(value, tuple):
            for part in value:
                self.visit(name, part)
        elif isinstance(value, MethodType):
            self.visit("", value.__self__)
            self.visit(name, value.__func__)
        elif isinstance(value, FunctionType):
            if not _is_of_library(value):
                self._visit_function(name or value.__name__, value)
        elif isinstance(value, type):
            if not _is_of_library(value):
                self._visit_names(name or value.__name__, value, vars(value))
                for base in value.__bases__:
                    self.visit("", base)
        elif not _is_of_library(type(value)) and hasattr(value, "__dict__"):
            self.visit(name, type(value))
            keys = list(vars(value))
            if isinstance(value, keras.Layer):
                # With "_self_" TensorFlow begins its own.
                others = {*self._known_to_keras, KEPT}
                keys = [key for key in keys if not (key in others or key.startswith("_self_"))]
            owner = name or getattr(value, "name", type(value).__name__)
            self._visit_names(owner, vars(value), keys)

    def _visit_function(self, owner: str, function: FunctionType) -> None:
        known = function.__globals__
        names = [name for name in function.__code__.co_names if name in known]
        self._visit_names(owner, known, names)
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for name, cell in cells:
            read = partial(getattr, cell, "cell_contents")
            put_back = partial(setattr, cell, "cell_contents")
            with contextlib.suppress(ValueError):  # a variable without a value
                self._visit_name(f"{name} of {owner}", read, put_back)
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self.visit(f"a default of {owner}", default)

    def _visit_names(self, owner: str, holder: dict[str, Any] | type, names: Iterable[str]) -> None:
        """Visit those names of a namespace, or of a class, whose own one is read-only."""
        values = vars(holder) if isinstance(holder, type) else holder
        write = partial(setattr, holder) if isinstance(holder, type) else holder.__setitem__
        for name in names:
            read, put_back = partial(values.get, name), partial(write, name)
            self._visit_name(f"{name} of {owner}", read, put_back)

    def _visit_name(
        self, name: str, read: Callable[[], Any], put_back: Callable[[Any], Any]
    ) -> None:
        """Add a number or text that another may replace, or what anything else holds."""
        value = read()
        if isinstance(value, int | float | str):
            self.state.append((name, read, put_back))
        else:
            self.visit(name, value)


def _is_of_library(defined: Any) -> bool:
    """Whether a class or function is none of the user's own."""
    return str(defined.__module__).partition(".")[0] in _LIBRARIES


def _checksum(array: np.ndarray | np.generic) -> int:
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data)


def _comparable(state: Any) -> Any:
    """Numbers and texts, and containers of them, as what is equal if they are; None for others."""
    if isinstance(state, dict):
        return [(repr(key), _comparable(value)) for key, value in state.items()]
    if isinstance(state, list | tuple | set | deque):
        return list(map(_comparable, state))
    if isinstance(state, np.ndarray | np.generic):
        large = state.nbytes > _LARGE and not state.dtype.hasobject
        return state.dtype.str, state.shape, _checksum(state) if large else state.tobytes()
    return repr(state) if isinstance(state, int | float | str) else None  # NaN is its own repr
