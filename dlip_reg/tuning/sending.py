"""What the executions of a search need in other processes."""

from __future__ import annotations

import functools
import os
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import cloudpickle
import keras
from keras_tuner.errors import FatalValueError

from dlip_reg.errors import cause_of
from dlip_reg.files import write_atomically
from dlip_reg.tuning.fingerprints import environment_read, fingerprint
from dlip_reg.tuning.module_globals import (
    Settings,
    found_in,
    functions_in,
    set_in_modules,
    settings_of_modules,
)
from dlip_reg.tuning.pickling import LARGE, copied, dumps

_MAIN = ("__main__", "__mp_main__")
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
            "environment": environment_read(functions_in(code)),
            "modules": settings_of_modules(code),
            "modules of the data": settings_of_modules(makers),
            "functions": _imported(functions_in([*code, *makers])),
        }
        for name, part in parts.items():
            try:
                pickled[name] = dumps(part)
                if name in ("hypermodel", "callbacks"):  # as a worker will do
                    copied(part)
            except Exception as error:  # of many kinds
                raise ValueError(
                    f"The {name} cannot be sent to worker processes ({cause_of(error)}); "
                    f"{_REMEDIES.get(name, 'leave it out')}."
                ) from error
        return cls(fingerprint, cloudpickle.dumps(pickled))

    def stored(self, path: Path) -> Job:
        """Return the job with its content in the file `path` if it is large."""
        if isinstance(self.content, Path) or len(self.content) < LARGE:
            return self
        write_atomically(path, self.content)
        return replace(self, content=path.absolute())

    def parts(self, seed: int = 0) -> dict[str, Any]:
        """Return the parts; those but the data anew, so that no execution sees another's.

        Layers that draw numbers get the same states whenever they are loaded with that seed.
        """
        pickled, data, settings = _unpickled(self)
        keras.utils.set_random_seed(seed)
        set_in_modules(settings)  # again, since an earlier execution may have changed them
        return {"data": data, **{name: cloudpickle.loads(part) for name, part in pickled.items()}}


@functools.lru_cache(maxsize=1)
def _unpickled(job: Job) -> tuple[dict[str, bytes], Any, Settings]:
    """The pickled parts, the data, of which `made` makes what each execution gets, and settings."""
    content = job.content if isinstance(job.content, bytes) else job.content.read_bytes()
    pickled = cloudpickle.loads(content)
    os.environ.update(cloudpickle.loads(pickled.pop("environment")))
    settings = cloudpickle.loads(pickled.pop("modules"))
    # Once: such a module may hold on to data that it has loaded.
    set_in_modules(settings | cloudpickle.loads(pickled.pop("modules of the data")))
    _require_same(cloudpickle.loads(pickled.pop("functions")))
    return pickled, cloudpickle.loads(pickled.pop("data")), settings


def _imported(functions: Iterable[types.FunctionType]) -> dict[tuple[str, str], str]:
    """(module, name) -> the fingerprint of the code, of functions that a worker imports."""
    named = [(f.__module__, f.__code__.co_qualname, f.__code__) for f in functions]
    # Other loaders, such as pytest's of modules with tests, change the code.
    loaders = {m: getattr(sys.modules.get(m), "__loader__", None) for m, _, _ in named}
    plain = {m for m, loader in loaders.items() if type(loader) is SourceFileLoader}
    plain -= {*_MAIN, *cloudpickle.list_registry_pickle_by_value()}
    # What a module no longer holds by its name is sent by value, as after a reload.
    return {(m, n): fingerprint(c) for m, n, c in named if m in plain and _code_in(m, n) is c}


def _code_in(module: str, name: str) -> Any:
    return getattr(found_in(module, name), "__code__", None)


def _require_same(functions: Mapping[tuple[str, str], str]) -> None:
    """FatalValueError if modules of this process have other code than those of the program."""
    for (module, name), known in functions.items():
        code = _code_in(module, name)
        if code is not None and fingerprint(code) != known:  # a missing one fails where it is used
            raise FatalValueError(
                f"The module {module} has other code in a worker process than in the program: "
                "after a change of its file, restart the program, and the workers of a cluster."
            )
