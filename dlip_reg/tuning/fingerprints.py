"""What identifies values: numbers, arrays, code with the globals that it reads, and the like."""

from __future__ import annotations

import contextlib
import copyreg
import dis
import functools
import hashlib
import inspect
import itertools
import logging
import os
import re
import sys
import types
import warnings
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import resolve_name
from pathlib import Path, PurePath
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dlip_reg.training.sources import file_of, is_installed, source_hash
from dlip_reg.tuning.dataset_graphs import content_of_graph, graph_of

_PLAIN = (str, bytes, bool, int, float, complex)
_READS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")  # of globals, in byte code
_ADDS = ("append", "extend", "add")  # methods of what holds others
# What makes up code, methods, partial functions and properties.
_PARTS = ("co_code", "co_names", "co_consts", "__func__", "__self__", "func", "args", "keywords")
_COMPOSED = (
    *(types.CodeType, types.MethodType, functools.partial, staticmethod, classmethod),
    *(property, functools.cached_property),
)
# What pickle and Python 3.13 add to classes.
_OF_CLASSES = {"__slotnames__", "__firstlineno__", "__static_attributes__"}
# Not those of loggers, random states, and names and numbers that the system gives.
_STANDARD = sys.stdlib_module_names - {
    *("logging", "random", "tempfile", "threading", "multiprocessing", "subprocess")
}


def fingerprint(*values: Any) -> str:
    """Return a hash of what the values hold: numbers, arrays, the code of functions, and the like.

    The code of libraries is left out. The hash is the same in each session.
    """
    return walk(*values)[0]


def walk(*values: Any) -> tuple[str, list[Any]]:
    """Return the fingerprint of the values, and all that they hold but for plain numbers."""
    digest = hashlib.sha256()
    seen: dict[int, tuple[int, Any]] = {}  # holds the values, so that no other one gets their id

    def feed(value: Any) -> None:
        if id(value) in seen:
            digest.update(f"<{seen[id(value)][0]}>".encode())
            return
        if not isinstance(value, _PLAIN):  # of which Python may have one object or several
            seen[id(value)] = len(seen), value
        digest.update(f"<{type(value).__qualname__}>".encode())
        for part in _content(value):
            if isinstance(part, bytes):
                digest.update(part)
            else:
                feed(part)
        digest.update(b"</>")

    feed(values)
    return digest.hexdigest(), [value for _, value in seen.values()]


def _content(value: Any) -> Iterator[Any]:
    """The parts of a value: bytes, and values that have parts themselves."""
    if value is None or isinstance(value, _PLAIN):
        yield repr(value).encode()
    elif isinstance(value, PurePath):  # which keeps its hash, another one in each session
        yield str(value)
    elif isinstance(value, logging.Logger):  # which knows all others
        yield value.name
    elif isinstance(value, types.ModuleType):
        yield value.__name__
        if not is_library(value):
            held = {name: part for name, part in vars(value).items() if not name.startswith("__")}
            yield {name: part for name, part in held.items() if is_described(part)}
    elif isinstance(value, Mapping):
        yield from sorted(value.items(), key=lambda item: str(item[0]))
    elif isinstance(value, list | tuple | set | frozenset):
        yield from sorted(value, key=repr) if isinstance(value, set | frozenset) else value
    elif isinstance(value, tf.data.Dataset):
        with contextlib.suppress(tf.errors.OpError):
            yield from content_of_graph(graph_of(value))
    elif hasattr(value, "__array__"):
        with contextlib.suppress(tf.errors.OpError):  # of a resource, such as a table
            array = np.ascontiguousarray(value)
            yield f"{array.dtype}{array.shape}".encode()
            # The bytes of objects are where they are in memory.
            yield array.ravel().tolist() if array.dtype.hasobject else array.tobytes()
    elif isinstance(value, _COMPOSED):
        yield [getattr(value, name, None) for name in (*_PARTS, "fget", "fset")]
    elif isinstance(value, types.FunctionType | type):
        yield value.__qualname__.encode()
        if not is_library(value):
            yield from _code(value)
    elif is_library(type(value)) and callable(getattr(value, "__wrapped__", None)):
        yield value.__wrapped__  # as by tf.function
    elif _is_standard(type(value)):
        yield from (type(value), _reduced(value))
    else:
        yield from (type(value), *_held(value))


def _reduced(value: Any) -> list[Any]:
    """What pickle would hold of an object; nothing if pickle refuses it, as it does a lock."""
    with contextlib.suppress(Exception):
        reduce: Any = copyreg.dispatch_table.get(type(value))
        reduced = reduce(value) if reduce else value.__reduce_ex__(4)
        return [[*part] if isinstance(part, Iterator) else part for part in reduced]
    return []


def _held(value: Any) -> list[Any]:
    """What Keras tells of an object, and what a class of the user's adds, or all attributes."""
    parts = list(value._flatten_layers()) if isinstance(value, keras.Layer) else [value]
    own = [_own_attributes(part) for part in parts if not is_library(type(part))]
    with contextlib.suppress(Exception), no_warning_of_lambdas():
        config = keras.tree.map_structure(_without_count, value.get_config())
        words = [p.get_vocabulary() for p in parts if hasattr(p, "get_vocabulary")]
        # Of losses and metrics, whose configuration lacks some of it.
        arguments = getattr(value, "_fn_kwargs", {})
        return [config, arguments, getattr(value, "weights", ()), words, own]
    if isinstance(value, keras.Layer):
        return [value.weights, own]
    state: Any = object.__getstate__(value)  # its attributes and slots
    if isinstance(state, dict):  # to read a cached property changes nothing
        kind, cached = type(value), functools.cached_property
        names = [name for name in state if not isinstance(getattr(kind, name, None), cached)]
        state = {name: state[name] for name in names} or None  # as of an object without any
    return [state]


@contextlib.contextmanager
def no_warning_of_lambdas() -> Iterator[None]:
    """Do not warn in the block that a configuration with a lambda is unsafe: it stays here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The object being serialized includes a `lambda`")
        yield


def _own_attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object, without what Keras counts, draws or keeps books in."""
    names = {"name", "seed"}
    if isinstance(value, keras.Layer | keras.optimizers.Optimizer):
        names |= _books()
        names |= {name for name in vars(value) if name.startswith("_")}
    attributes = getattr(value, "__dict__", {}).items()
    return {name: part for name, part in attributes if name not in names and is_described(part)}


@functools.cache
def _books() -> frozenset[str]:
    return frozenset(vars(keras.Model())) | {"output_names", "stop_training"}


def _without_count(part: Any) -> Any:
    """A name as Keras gives it to the first layer of its kind ("dense" for "dense_1")."""
    return re.sub(r"_\d+$", "", part) if isinstance(part, str) else part


def _code(value: Any) -> Iterator[Any]:
    """The parts of a function, with the globals that it uses, or of a class."""
    if isinstance(value, type):
        # Keras turns Model into Functional when the class makes its first such model.
        yield [keras.Model if _is_functional(base) else base for base in value.__bases__]
        members = {name: part for name, part in vars(value).items() if name not in _OF_CLASSES}
        yield {name: part for name, part in members.items() if is_described(part)}
        return
    yield from (value.__code__, value.__defaults__, value.__kwdefaults__)
    yield [cell.cell_contents for cell in value.__closure__ or ()]
    (own, names), *modules = globals_read(value)
    used = {name: own[name] for name in names}
    for module, names in modules:
        used |= {f"{module['__name__']}.{name}": module[name] for name in names}
    yield {name: part for name, part in used.items() if is_described(part)}
    if variables := environment_read([value]):
        yield variables
    yield [*map(source_hash, _imported(_steps(value), own.get("__package__")))]


def _is_functional(kind: type) -> bool:
    return kind.__qualname__ == "Functional" and kind.__module__.startswith("keras.")


def _steps(function: types.FunctionType) -> list[dis.Instruction]:
    """The byte code of a function, and of those within it."""
    steps = [s for code in _codes(function.__code__) for s in dis.get_instructions(code)]
    return [step for step in steps if step.opname != "EXTENDED_ARG"]  # a part of the next one


def globals_read(function: types.FunctionType) -> Iterator[tuple[dict[str, Any], set[str]]]:
    """The globals of a function with the names that it reads, and so of the user's modules there.

    An attribute may have the name of a global by chance, and neither what the code changes nor what
    it only adds to is a setting.
    """
    steps, own = _steps(function), function.__globals__
    changed = {step.argval for step in steps if step.opname == "STORE_GLOBAL"}
    loaded = [pair for pair in itertools.pairwise(steps) if pair[0].opname.startswith(_READS)]
    read = {name.argval for name, use in loaded if use.argval not in _ADDS} - changed
    yield own, read & own.keys()
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    for part in [own[name] for name in sorted(read & own.keys())]:
        if isinstance(part, types.ModuleType) and not is_library(part):
            yield vars(part), names & vars(part).keys()


def _imported(steps: list[dis.Instruction], package: str | None) -> Iterator[str]:
    """The user's modules that a function imports itself, which are none of its globals."""
    for level, names, step in zip(steps, steps[1:], steps[2:], strict=False):
        if step.opname == "IMPORT_NAME":
            with contextlib.suppress(ImportError):
                name = resolve_name("." * level.argval + step.argval, package)
                top = file_of(name.partition(".")[0])
                if top and not is_installed(top):
                    yield from (name, *(f"{name}.{part}" for part in names.argval or ()))


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code, and that of functions and classes within it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from _codes(part)


def environment_read(functions: Iterable[types.FunctionType]) -> dict[str, str]:
    """The environment variables that functions read by their names."""
    codes = [code for function in functions for code in _codes(function.__code__)]
    readers = [code for code in codes if {"environ", "getenv"} & {*code.co_names}]
    texts = {part for code in readers for part in code.co_consts if isinstance(part, str)}
    return {name: os.environ[name] for name in sorted(texts & os.environ.keys())}


def is_described(value: Any) -> bool:
    """Whether a global or a member of a class is code or data, and not a logger or the like.

    Of libraries' classes these are objects that Keras describes and values of the standard library.
    """
    containers = (list, tuple, set, frozenset, Mapping)
    data = (*_PLAIN, *containers, *_COMPOSED, types.FunctionType, type, keras.Layer)
    if isinstance(value, data) or hasattr(value, "__array__") or hasattr(value, "__wrapped__"):
        return True
    kind = type(value)
    if not is_library(kind):
        return True
    if isinstance(value, types.ModuleType | Iterator | keras.random.SeedGenerator):
        return False
    return _is_standard(kind) or hasattr(value, "get_config")


def _is_standard(kind: type) -> bool:
    """Whether a class is of the standard library, and its objects are the same in each session."""
    top = kind.__module__.partition(".")[0]
    return is_library(kind) and top in _STANDARD


def is_library(value: Any) -> bool:
    """Whether it is of Python, of this package or of an installed one, and not the user's own."""
    module = value if isinstance(value, types.ModuleType) else inspect.getmodule(value)
    name, file = getattr(module, "__name__", ""), getattr(module, "__file__", None)
    if name.partition(".")[0] in (*sys.builtin_module_names, "dlip_reg", "callbacks"):
        return True
    return file is not None and is_installed(Path(file))
