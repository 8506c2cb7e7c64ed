"""What executions need in other processes: pickled by value, and identified by content."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import io
import re
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle
import keras
import numpy as np
import tensorflow as tf

from dlip_reg.files import write_atomically

_LARGE = 4_000_000  # bytes; more is written to a file once and not sent with each execution
_SETTINGS = ("floatx", "epsilon", "image_data_format", "dtype_policy")
_PLAIN = (str, bytes, bool, int, float, complex)
# What makes up values of these kinds.
_PARTS = {
    types.CodeType: ("co_code", "co_names", "co_consts"),
    types.MethodType: ("__func__", "__self__"),
    functools.partial: ("func", "args", "keywords"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    property: ("fget", "fset"),
    functools.cached_property: ("func",),
}
_REMEDIES = {
    "hypermodel": "let it make files, sessions and locks when it builds, and not hold them",
    "data": "give a function that makes the data in its place",
    "callbacks": "give callbacks that hold no open files, threads or locks",
}


@dataclass(frozen=True)
class Job:
    """What all executions of a search share.

    Args:
        fingerprint: Identifies the content.
        content: The pickled parts, or the file that holds them.
    """

    fingerprint: str
    content: bytes | Path

    @classmethod
    def pack(cls, fingerprint: str, parts: Mapping[str, Any]) -> Job:
        """Pickle the parts.

        Raises:
            ValueError: A part cannot be sent to another process.
        """
        pickled = {}
        for name, part in parts.items():
            try:
                stream = io.BytesIO()
                _Pickler(stream).dump(part)
            except Exception as error:  # of many kinds
                raise ValueError(
                    f"The {name} cannot be sent to worker processes ({type(error).__name__}: "
                    f"{useful_line(error)}); {_REMEDIES.get(name, 'leave it out')}."
                ) from error
            pickled[name] = stream.getvalue()
        return cls(fingerprint, cloudpickle.dumps(pickled))

    def copy_of(self, name: str) -> Any:
        """Return a part as executions get it; not for a job that is `stored`."""
        return cloudpickle.loads(cloudpickle.loads(self.content)[name])

    def stored(self, path: Path) -> Job:
        """Return the job with its content in the file `path` if it is large."""
        if isinstance(self.content, Path) or len(self.content) < _LARGE:
            return self
        write_atomically(path, self.content)
        return replace(self, content=path.absolute())

    def parts(self) -> dict[str, Any]:
        """Return the parts, made anew but for the data, so that no execution sees another's."""
        pickled, data = _unpickled(self)
        return {"data": data, **{name: cloudpickle.loads(part) for name, part in pickled.items()}}


@functools.lru_cache(maxsize=1)
def _unpickled(job: Job) -> tuple[dict[str, bytes], Any]:
    content = job.content if isinstance(job.content, bytes) else job.content.read_bytes()
    pickled = cloudpickle.loads(content)
    return pickled, cloudpickle.loads(pickled.pop("data"))


class _Pickler(cloudpickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, tf.data.Dataset):
            return _dataset, (_graph(value), value.element_spec)
        return super().reducer_override(value)


def _graph(dataset: tf.data.Dataset) -> bytes:
    # 2 refuses what lives in this process alone, such as a Python generator.
    variant = tf.data.experimental.to_variant(dataset)
    return tf.raw_ops.DatasetToGraphV2(input_dataset=variant, external_state_policy=2).numpy()


def _dataset(graph: bytes, spec: Any) -> tf.data.Dataset:
    return tf.data.experimental.from_variant(tf.raw_ops.DatasetFromGraph(graph_def=graph), spec)


def useful_line(error: BaseException) -> str:
    """Return the line of an exception that says what was wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if not lines[0].startswith("Graph execution error"):
        return lines[0]
    # TensorFlow lists where the operation was defined, then says what it found.
    ends = [index for index, line in enumerate(lines) if line.startswith("[[{{node")]
    return lines[ends[0] - 1] if ends and ends[0] else lines[-1]


def keras_settings() -> dict[str, Any]:
    """Return Keras' global settings."""
    settings = {name: getattr(keras.config, name)() for name in _SETTINGS}
    return {**settings, "dtype_policy": settings["dtype_policy"].name}


@contextlib.contextmanager
def with_keras_settings(settings: Mapping[str, Any]) -> Iterator[None]:
    """Use these settings within the block."""
    before = keras_settings()
    try:
        _set(settings)
        yield
    finally:
        _set(before)


def _set(settings: Mapping[str, Any]) -> None:
    for name in _SETTINGS:
        getattr(keras.config, f"set_{name}")(settings[name])


def fingerprint(*values: Any) -> str:
    """Return a hash of what the values hold: numbers, arrays, the code of functions, and the like.

    The code of libraries is left out. The hash is the same in each session.
    """
    digest = hashlib.sha256()
    seen: dict[int, Any] = {}  # holds the values, so that no other one gets their id

    def feed(value: Any) -> None:
        if id(value) in seen and not isinstance(value, _PLAIN):
            return
        seen[id(value)] = value
        digest.update(f"<{type(value).__qualname__}>".encode())
        for part in _content(value):
            if isinstance(part, bytes):
                digest.update(part)
            else:
                feed(part)

    feed(values)
    return digest.hexdigest()


def _content(value: Any) -> Iterator[Any]:
    """The parts of a value: bytes, and values that have parts themselves."""
    if value is None or isinstance(value, _PLAIN):
        yield repr(value).encode()
    elif isinstance(value, Mapping):
        yield from sorted(value.items(), key=lambda item: str(item[0]))
    elif isinstance(value, list | tuple):
        yield from value
    elif isinstance(value, set | frozenset):
        yield from sorted(value, key=repr)
    elif isinstance(value, tf.data.Dataset):
        with contextlib.suppress(tf.errors.OpError):
            yield _without_numbers(_graph(value))
    elif hasattr(value, "__array__"):
        array = np.ascontiguousarray(value)
        yield f"{array.dtype}{array.shape}".encode() + array.tobytes()
    elif isinstance(value, tuple(_PARTS)):
        names = next(names for kind, names in _PARTS.items() if isinstance(value, kind))
        yield from (getattr(value, name) for name in names)
    elif isinstance(value, types.FunctionType | type):
        yield value.__qualname__.encode()
        if not _is_library(value):
            yield from _code(value)
    else:
        yield type(value)
        with contextlib.suppress(Exception):  # what keras refuses to describe
            yield from (value.get_config(), getattr(value, "weights", ()))
            return
        yield getattr(value, "__dict__", {})
        slots = [getattr(kind, "__slots__", ()) for kind in type(value).__mro__]
        yield [getattr(value, name, None) for names in slots for name in names]


def _without_numbers(graph: bytes) -> bytes:
    """A dataset's graph without the numbers that TensorFlow counts through the whole process."""
    proto = tf.compat.v1.GraphDef.FromString(graph)
    functions = sorted(
        proto.library.function,
        key=lambda f: [int(part) if part.isdigit() else part
                       for part in re.split(r"(\d+)", f.signature.name)],
    )  # fmt: skip
    names = {f.signature.name: f"function_{number}" for number, f in enumerate(functions)}
    for function in functions:
        function.signature.name = names[function.signature.name]
    for node in [*proto.node, *(node for function in functions for node in function.node_def)]:
        node.op = names.get(node.op, node.op)
        node.attr.pop("metadata", None)
        for attribute in node.attr.values():
            for called in (attribute.func, *attribute.list.func):
                if called.name in names:
                    called.name = names[called.name]
    ordered = [function.SerializeToString(deterministic=True) for function in functions]
    del proto.library.function[:]
    return b"".join([proto.SerializeToString(deterministic=True), *ordered])


def _code(value: Any) -> Iterator[Any]:
    """The parts of a function, with the globals that it uses, or of a class."""
    if isinstance(value, type):
        yield value.__bases__
        yield {name: part for name, part in vars(value).items() if _is_described(part)}
        return
    yield from (value.__code__, value.__defaults__, value.__kwdefaults__)
    yield [cell.cell_contents for cell in value.__closure__ or ()]
    names = _names_in(value.__code__)
    used = {name: value.__globals__[name] for name in names if name in value.__globals__}
    for name, part in list(used.items()):
        if isinstance(part, types.ModuleType) and not _is_library(part):
            used |= {f"{name}.{n}": vars(part)[n] for n in names if n in vars(part)}
    yield {name: part for name, part in used.items() if _is_described(part)}


def _names_in(code: types.CodeType) -> list[str]:
    """The names that code uses, that of functions within it included."""
    inner = [part for part in code.co_consts if isinstance(part, types.CodeType)]
    return sorted({*code.co_names, *(name for part in inner for name in _names_in(part))})


def _is_described(value: Any) -> bool:
    """Whether a global or a member of a class is code or data, and not a logger or the like."""
    containers = (list, tuple, set, frozenset, Mapping)
    data = (*_PLAIN, *containers, *_PARTS, types.FunctionType, type, keras.Layer)
    return isinstance(value, data) or hasattr(value, "__array__") or (
        not isinstance(value, types.ModuleType) and not _is_library(type(value))
    )  # fmt: skip


def _is_library(value: Any) -> bool:
    """Whether it is of Python, of this package or of an installed one, and not the user's own."""
    module = value if isinstance(value, types.ModuleType) else inspect.getmodule(value)
    name, file = getattr(module, "__name__", ""), getattr(module, "__file__", None)
    if name.partition(".")[0] in (*sys.builtin_module_names, "dlip_reg", "callbacks"):
        return True
    return file is not None and any(Path(file).is_relative_to(f) for f in _library_folders())


@functools.cache
def _library_folders() -> list[str]:
    """Where Python's library and installed packages are; editable ones lie elsewhere."""
    installed = [folder for folder in sys.path if any(Path(folder).glob("*.dist-info"))]
    return [*installed, *map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib"))]
