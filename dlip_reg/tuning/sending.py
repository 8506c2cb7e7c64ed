"""What executions need in other processes: pickled by value, and identified by content."""

from __future__ import annotations

import contextlib
import dis
import functools
import hashlib
import inspect
import io
import itertools
import math
import os
import random
import re
import sys
import types
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

import cloudpickle
import keras
import numpy as np
import tensorflow as tf

from dlip_reg.errors import cause_of
from dlip_reg.files import write_atomically
from dlip_reg.training.sources import file_of, library_folders, source_hash

_LARGE = 4_000_000  # bytes; more is written to a file once, not sent with each execution or copied
_SETTINGS = ("floatx", "epsilon", "image_data_format", "dtype_policy")
_Settings = dict[tuple[str, str], tuple[str, bytes]]
_PLAIN = (str, bytes, bool, int, float, complex)
_READS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")  # of globals, in byte code
_BY_ATTRIBUTES = (keras.losses.Loss, keras.metrics.Metric)
_ADDS = ("append", "extend", "add")  # methods of what holds others
_GENERATORS = (
    *(np.random.Generator, np.random.RandomState, random.Random),
    *(keras.random.SeedGenerator, keras.initializers.Initializer),
)
# What makes up code, methods, partial functions and properties.
_PARTS = ("co_code", "co_names", "co_consts", "__func__", "__self__", "func", "args", "keywords")
_COMPOSED = (
    *(types.CodeType, types.MethodType, functools.partial, staticmethod, classmethod),
    *(property, functools.cached_property),
)
_REMEDIES = {
    "hypermodel": "let it make files, locks and models with classes of its own when it builds",
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
        code = [part for name, part in parts.items() if name != "data"]
        makers = [*filter(callable, parts["data"].values())]
        parts = {
            **parts,
            "environment": _environment(_functions(code)),
            "modules": _settings_of_modules(code),
            "modules of the data": _settings_of_modules(makers),
        }
        for name, part in parts.items():
            try:
                pickled[name] = _pickled(part)
                if name in ("hypermodel", "callbacks"):  # as a worker will do
                    _copied(part)
            except Exception as error:  # of many kinds
                raise ValueError(
                    f"The {name} cannot be sent to worker processes ({cause_of(error)}); "
                    f"{_REMEDIES.get(name, 'leave it out')}."
                ) from error
        return cls(fingerprint, cloudpickle.dumps(pickled))

    def stored(self, path: Path) -> Job:
        """Return the job with its content in the file `path` if it is large."""
        if isinstance(self.content, Path) or len(self.content) < _LARGE:
            return self
        write_atomically(path, self.content)
        return replace(self, content=path.absolute())

    def parts(self, seed: int = 0) -> dict[str, Any]:
        """Return the parts; those but the data anew, so that no execution sees another's.

        Layers that draw numbers get the same states whenever they are loaded with that seed.
        """
        pickled, data, settings = _unpickled(self)
        keras.utils.set_random_seed(seed)
        _set(settings)  # again, for an earlier execution may have changed them
        return {"data": data, **{name: cloudpickle.loads(part) for name, part in pickled.items()}}


@functools.lru_cache(maxsize=1)
def _unpickled(job: Job) -> tuple[dict[str, bytes], Any, _Settings]:
    """The pickled parts, the data, of which `made` makes what each execution gets, and settings."""
    content = job.content if isinstance(job.content, bytes) else job.content.read_bytes()
    pickled = cloudpickle.loads(content)
    os.environ.update(cloudpickle.loads(pickled.pop("environment")))
    settings = cloudpickle.loads(pickled.pop("modules"))
    # Once: such a module may hold on to data that it has loaded.
    _set(settings | cloudpickle.loads(pickled.pop("modules of the data")))
    return pickled, cloudpickle.loads(pickled.pop("data")), settings


def _set(settings: _Settings) -> None:
    """Set in modules of this process what the program had set in its own."""
    for (module, name), (known, part) in settings.items():
        with contextlib.suppress(ImportError, AttributeError):  # whoever needs it says so
            holder = _holder(module)
            if fingerprint(holder.get(name)) != known:
                holder[name] = cloudpickle.loads(part)


def anew(value: Any) -> Any:
    """Return a copy that begins anew, such as a dataset that shuffles; `value` if there is none.

    What it refers to in modules is no part of a copy, and neither are classes.
    """
    with contextlib.suppress(Exception):  # of many kinds
        if isinstance(value, tf.data.Dataset):
            # Within a process Python functions and the like stay what they are.
            return _dataset(_graph(value, policy=1), value.element_spec)
        return _copied(value)
    return value


def _copied(value: Any) -> Any:
    return cloudpickle.loads(_pickled(value, _CopyingPickler))


class _Pickler(cloudpickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, tf.data.Dataset):
            return _dataset, (_graph(value), value.element_spec)
        if isinstance(value, keras.Variable):
            make = functools.partial(keras.Variable, name=value.name)
            return make, (value.numpy(), None, value.dtype, value.trainable)
        by_keras = getattr(type(value), "__reduce__", None) is keras.Layer.__reduce__
        if by_keras and isinstance(value, _BY_ATTRIBUTES) and not _is_library(type(value)):
            # Keras would save its configuration, which need not tell all.
            return object.__new__, (type(value),), value.__getstate__()
        if by_keras and isinstance(value, keras.Layer):
            kinds = [kind for kind in map(type, value._flatten_layers()) if not _is_library(kind)]
            own = {keras.saving.get_registered_name(kind): kind for kind in kinds}
            return _layer, (own, *value.__reduce__())
        return super().reducer_override(value)


def _layer(own: Mapping[str, type], load: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Load what Keras saved, with classes that this process may have nowhere else."""
    with keras.saving.custom_object_scope(own):
        return load(*arguments)


# By their ids.
_classes: weakref.WeakValueDictionary[int, type] = weakref.WeakValueDictionary()


class _CopyingPickler(_Pickler):
    """Refers to classes by id: loading one of a script or notebook would replace its methods."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type):
            _classes[id(value)] = value
            return _class_with, (id(value),)
        return super().reducer_override(value)


def _class_with(number: int) -> type:
    return _classes[number]


def _pickled(value: Any, pickler: type[cloudpickle.Pickler] = _Pickler) -> bytes:
    stream = io.BytesIO()
    with no_warning_of_lambdas():
        pickler(stream).dump(value)
    return stream.getvalue()


def _graph(dataset: tf.data.Dataset, policy: int = 2) -> bytes:
    proto = _proto(dataset, policy)
    # TensorFlow has copies in the process go on with the random state that these name.
    for _, handle in _handles(proto):
        handle.Clear()
    return proto.SerializeToString(deterministic=True)


def _proto(dataset: tf.data.Dataset, policy: int) -> Any:
    # 1 ignores and 2 refuses what lives in this process alone, such as a Python generator.
    variant = tf.data.experimental.to_variant(dataset)
    graph = tf.raw_ops.DatasetToGraphV2(input_dataset=variant, external_state_policy=policy)
    return tf.compat.v1.GraphDef.FromString(graph.numpy())


def _handles(proto: Any) -> Iterator[tuple[Any, Any]]:
    """The nodes of a dataset's graph that shuffle or cache, and what names their state."""
    constants = {node.name: node.attr["value"].tensor for node in proto.node if node.op == "Const"}
    for node in [node for node in proto.node if node.op.startswith(("Shuffle", "Cache"))]:
        for name in {name.partition(":")[0] for name in node.input} & set(constants):
            for handle in constants[name].resource_handle_val:
                yield node, handle


def reshuffles(value: Any) -> set[str]:
    """Name the steps of a dataset that shuffle it anew in each epoch; none of another value."""
    if not isinstance(value, tf.data.Dataset):
        return set()
    found = _handles(_proto(value, policy=1))
    return {handle.name for node, handle in found if node.attr["reshuffle_each_iteration"].b}


def _dataset(graph: bytes, spec: Any) -> tf.data.Dataset:
    return tf.data.experimental.from_variant(tf.raw_ops.DatasetFromGraph(graph_def=graph), spec)


def keras_settings() -> dict[str, Any]:
    """Return Keras' global settings."""
    settings = {name: getattr(keras.config, name)() for name in _SETTINGS}
    return {**settings, "dtype_policy": settings["dtype_policy"].name}


@contextlib.contextmanager
def with_keras_settings(settings: Mapping[str, Any]) -> Iterator[None]:
    """Use these settings within the block, where Keras counts names from 0 ("dense", "dense_1").

    So layers and metrics have the same names in all executions: "auc", and not "auc_1", is what an
    objective or a callback names. keras-tuner, too, clears the session before it builds.
    """
    before = keras_settings()
    try:
        keras.utils.clear_session(free_memory=False)
        set_keras(settings)
        yield
    finally:
        set_keras(before)


def set_keras(settings: Mapping[str, Any]) -> None:
    """Make these Keras' global settings; its dtype policy is one of this thread alone."""
    for name in _SETTINGS:
        getattr(keras.config, f"set_{name}")(settings[name])


@contextlib.contextmanager
def no_warning_of_lambdas() -> Iterator[None]:
    """Do not warn in the block that a configuration with a lambda is unsafe: it stays here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The object being serialized includes a `lambda`")
        yield


@contextlib.contextmanager
def globals_put_back(*values: Any) -> Iterator[None]:
    """Put back at the end of the block the globals of modules that the code in the values reads.

    Large arrays and layers are left: to compare and copy them takes seconds for each gigabyte.
    """
    before = []
    for (module, name), part in _read_in_modules([*values]).items():
        if _size(part) > _LARGE:
            continue
        with contextlib.suppress(Exception):  # what cannot be copied stays as it becomes
            before.append((_holder(module), name, _state(part), _copied(part)))
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


def _settings_of_modules(values: list[Any]) -> _Settings:
    """Globals that the code in these values reads in the user's modules, and Keras' custom objects.

    A worker imports these modules anew, and the program may have changed them since it did.

    Returns:
        (module, name) -> the fingerprint and the pickled value; no module for a custom object, no
        fingerprint for what draws numbers, which is another one after each.
    """
    packed = {}
    for key, part in _read_in_modules(values).items():
        with contextlib.suppress(Exception):  # what cannot be sent stays as it is imported
            _copied(part)  # as a worker will load it
            known, drawn = _state(part)
            packed[key] = "" if drawn else known, _pickled(part)
    return packed


def _read_in_modules(values: list[Any]) -> dict[tuple[str, str], Any]:
    """(module, name) -> each of these globals that is no code; no module for a custom object."""
    functions = _functions(values)
    found = {("", name): part for name, part in keras.saving.get_custom_objects().items()}
    found = {key: part for key, part in found.items() if not _is_library(part)}
    code = types.FunctionType | type  # which a worker imports
    for module, names in itertools.chain(*map(_globals, functions)):
        if module.get("__name__") in sys.modules.keys() - {"__main__", "__mp_main__"}:
            read = {(module["__name__"], name): module[name] for name in names}
            found |= {
                key: part
                for key, part in read.items()
                if (_is_described(part) or isinstance(part, _GENERATORS))
                and not isinstance(part, code)
            }
    return found


def _functions(values: list[Any]) -> list[types.FunctionType]:
    """The user's functions among what the values hold."""
    parts = _walk(values)[1]
    return [p for p in parts if isinstance(p, types.FunctionType) and not _is_library(p)]


def _state(value: Any) -> tuple[str, list[Any]]:
    """The fingerprint, and the states of what draws numbers."""
    known, held = _walk(value)
    return known, [state for state in map(_drawn, held) if state]


def _drawn(value: Any) -> Any:
    """The state of what draws numbers; nothing for another value."""
    if isinstance(value, keras.Layer):
        seeds = [v for v in value.variables if v.name == "seed_generator_state"]
        return [seed.numpy().tolist() for seed in seeds]
    return _pickled(value, _CopyingPickler) if isinstance(value, _GENERATORS) else None


def _environment(functions: Iterable[types.FunctionType]) -> dict[str, str]:
    """The environment variables that functions read by their names."""
    codes = [code for function in functions for code in _codes(function.__code__)]
    readers = [code for code in codes if {"environ", "getenv"} & {*code.co_names}]
    texts = {part for code in readers for part in code.co_consts if isinstance(part, str)}
    return {name: os.environ[name] for name in sorted(texts & os.environ.keys())}


def fingerprint(*values: Any) -> str:
    """Return a hash of what the values hold: numbers, arrays, the code of functions, and the like.

    The code of libraries is left out. The hash is the same in each session.
    """
    return _walk(*values)[0]


def _walk(*values: Any) -> tuple[str, list[Any]]:
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
    elif isinstance(value, Mapping):
        yield from sorted(value.items(), key=lambda item: str(item[0]))
    elif isinstance(value, list | tuple | set | frozenset):
        yield from sorted(value, key=repr) if isinstance(value, set | frozenset) else value
    elif isinstance(value, tf.data.Dataset):
        with contextlib.suppress(tf.errors.OpError):
            yield from _without_numbers(_graph(value))
    elif hasattr(value, "__array__"):
        array = np.ascontiguousarray(value)
        yield f"{array.dtype}{array.shape}".encode()
        # The bytes of objects are where they are in memory.
        yield array.ravel().tolist() if array.dtype.hasobject else array.tobytes()
    elif isinstance(value, _COMPOSED):
        yield [getattr(value, name, None) for name in (*_PARTS, "fget", "fset")]
    elif isinstance(value, types.FunctionType | type):
        yield value.__qualname__.encode()
        if not _is_library(value):
            yield from _code(value)
    else:
        yield from (type(value), *_held(value))


def _held(value: Any) -> list[Any]:
    """What Keras tells of an object, and what a class of the user's adds, or all attributes."""
    parts = list(value._flatten_layers()) if isinstance(value, keras.Layer) else [value]
    own = [_own_attributes(part) for part in parts if not _is_library(type(part))]
    with contextlib.suppress(Exception), no_warning_of_lambdas():
        config = keras.tree.map_structure(_without_count, value.get_config())
        words = [p.get_vocabulary() for p in parts if hasattr(p, "get_vocabulary")]
        return [config, getattr(value, "weights", ()), words, own]
    if isinstance(value, keras.Layer):
        return [value.weights, own]
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    return [getattr(value, "__dict__", {}), [getattr(value, name, None) for name in slots]]


def _own_attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object, without what Keras counts, draws or keeps books in."""
    names = {"name", "seed"}
    if isinstance(value, keras.Layer | keras.optimizers.Optimizer):
        names |= _books()
        names |= {name for name in vars(value) if name.startswith("_")}
    attributes = getattr(value, "__dict__", {}).items()
    return {name: part for name, part in attributes if name not in names and _is_described(part)}


@functools.cache
def _books() -> frozenset[str]:
    return frozenset(vars(keras.Model())) | {"output_names", "stop_training"}


def _without_count(part: Any) -> Any:
    """A name as Keras gives it to the first layer of its kind ("dense" for "dense_1")."""
    return re.sub(r"_\d+$", "", part) if isinstance(part, str) else part


def _without_numbers(graph: bytes) -> Iterator[bytes]:
    """The constants of a dataset's graph, and the rest as text, with numbers of its own.

    TensorFlow counts functions and lookup tables through the whole process.
    """
    proto = tf.compat.v1.GraphDef.FromString(graph)
    functions = {f.signature.name: f for f in proto.library.function}
    # In the order of their numbers, and so a name after one that it begins with.
    names = sorted(functions, key=lambda name: re.sub(r"\d+", lambda n: n[0].zfill(12), name))
    parts = [*proto.node, *map(functions.get, names)]
    for node in [node for part in parts for node in getattr(part, "node_def", [part])]:
        yield node.attr["value"].SerializeToString(deterministic=True)
        for name in ("value", "metadata", "shared_name"):
            node.attr.pop(name, None)
    own = {name: f"function_{number}" for number, name in enumerate(names)}
    counted = "|".join([r"FromGraphDef/\d+/\d+", *map(re.escape, reversed(names))])
    yield re.sub(counted, lambda m: own.get(m[0], ""), "".join(map(str, parts))).encode()


def _code(value: Any) -> Iterator[Any]:
    """The parts of a function, with the globals that it uses, or of a class."""
    if isinstance(value, type):
        # Keras turns Model into Functional when the class makes its first such model.
        yield [keras.Model if _is_functional(base) else base for base in value.__bases__]
        members = {**vars(value), "__slotnames__": None}  # which pickle adds to classes
        yield {name: part for name, part in members.items() if _is_described(part)}
        return
    yield from (value.__code__, value.__defaults__, value.__kwdefaults__)
    yield [cell.cell_contents for cell in value.__closure__ or ()]
    (own, names), *modules = _globals(value)
    used = {name: own[name] for name in names}
    for module, names in modules:
        used |= {f"{module['__name__']}.{name}": module[name] for name in names}
    yield {name: part for name, part in used.items() if _is_described(part)}
    if variables := _environment([value]):
        yield variables
    yield [*map(source_hash, _imported(_steps(value), own.get("__package__")))]


def _steps(function: types.FunctionType) -> list[dis.Instruction]:
    """The byte code of a function, and of those within it."""
    steps = [s for code in _codes(function.__code__) for s in dis.get_instructions(code)]
    return [step for step in steps if step.opname != "EXTENDED_ARG"]  # a part of the next one


def _globals(function: types.FunctionType) -> Iterator[tuple[dict[str, Any], set[str]]]:
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
        if isinstance(part, types.ModuleType) and not _is_library(part):
            yield vars(part), names & vars(part).keys()


def _imported(steps: list[dis.Instruction], package: str | None) -> Iterator[str]:
    """The user's modules that a function imports itself, which are none of its globals."""
    for level, names, step in zip(steps, steps[1:], steps[2:], strict=False):
        if step.opname == "IMPORT_NAME":
            with contextlib.suppress(ImportError):
                name = resolve_name("." * level.argval + step.argval, package)
                top = file_of(name.partition(".")[0])
                if top and not any(top.is_relative_to(f) for f in library_folders()):
                    yield from (name, *(f"{name}.{part}" for part in names.argval or ()))


def _is_functional(kind: type) -> bool:
    return kind.__qualname__ == "Functional" and kind.__module__.startswith("keras.")


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code, and that of functions and classes within it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from _codes(part)


def _is_described(value: Any) -> bool:
    """Whether a global or a member of a class is code or data, and not a logger or the like."""
    containers = (list, tuple, set, frozenset, Mapping)
    data = (*_PLAIN, *containers, *_COMPOSED, types.FunctionType, type, keras.Layer)
    return isinstance(value, data) or hasattr(value, "__array__") or (
        not isinstance(value, types.ModuleType) and not _is_library(type(value))
    )  # fmt: skip


def _is_library(value: Any) -> bool:
    """Whether it is of Python, of this package or of an installed one, and not the user's own."""
    module = value if isinstance(value, types.ModuleType) else inspect.getmodule(value)
    name, file = getattr(module, "__name__", ""), getattr(module, "__file__", None)
    if name.partition(".")[0] in (*sys.builtin_module_names, "dlip_reg", "callbacks"):
        return True
    return file is not None and any(Path(file).is_relative_to(f) for f in library_folders())
