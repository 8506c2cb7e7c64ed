"""The process that runs student code: asked by frames, it answers with frames.

Everything here runs beside the submission, so nothing here is believed by the controller.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from dlip_reg.errors import DlipRegError
from dlip_reg.grading import notebooks
from dlip_reg.grading.wire import Channel, UnsendableError, WireError

MODULE_NAME = "submission"
READY = "ready"
_TEXT = 4000
_faults: list[tuple[str, str]] = []  # the cells of a notebook that raised, and what


def preload(names: Iterable[str], probes: str) -> None:
    """Import the modules named and every module of probes, for children to share.

    RuntimeError if that ran a TensorFlow op, for a process forked after one hangs.
    """
    for name in names:
        importlib.import_module(name)
    if probes:
        package = importlib.import_module(probes)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{probes}.{module.name}")
    if "tensorflow" in sys.modules:
        from tensorflow.python.eager import context

        if context.context()._initialized:
            raise RuntimeError("Importing ran a TensorFlow op: children forked now would hang.")


def serve(channel: Channel, probes: str) -> None:
    """Say that the child is ready, then answer requests until the other end closes.

    A request is a dict: `do` is "import" with a `file`, or "run" with a `probe` and its
    `arguments`; `nonce` comes back in the answer, which is [nonce, "value", value] or
    [nonce, what went wrong, text].
    """
    submission: ModuleType | None = None
    channel.send(READY)
    while True:
        try:
            request = channel.receive()
        except (OSError, WireError):
            return
        nonce = request["nonce"]
        try:
            if request["do"] == "import":
                submission, value = load(request["file"]), None
            else:
                value = _probe(probes, request["probe"])(submission, **request["arguments"])
            channel.send([nonce, "value", value])
        except UnsendableError as error:
            channel.send([nonce, "error", f"The answer cannot be read: {error}"])
        except BaseException as error:
            channel.send([nonce, *_described(error)])


class _ForbiddenImports:
    """Refuses what the assignment asks a student to write."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in ("callbacks", "dlip_reg"):
            raise ImportError(f"A submission may not import {name}: it has to do that work itself.")


def load(file: str) -> ModuleType:
    """Import the submission's file as the module `submission`, or run it if it is a notebook."""
    path = Path(file).absolute()
    sys.meta_path.insert(0, _ForbiddenImports())
    sys.path.insert(0, str(path.parent))
    if path.suffix == ".ipynb":
        # Its code is where Jupyter has it, so that `if __name__ == "__main__"` holds.
        module = sys.modules["__main__"] = sys.modules[MODULE_NAME] = ModuleType("__main__")
        _faults.extend(notebooks.run(path.read_bytes(), module))
        return module
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module
    spec.loader.exec_module(module)
    return module


def _probe(probes: str, name: str) -> Any:
    module, _, function = name.rpartition(".")
    if not module:
        return {"call": _call}[function]
    return getattr(importlib.import_module(f"{probes}.{module}"), function)


def _call(submission: ModuleType, name: str, arguments: list, options: dict) -> Any:
    """The probe that every assignment has: what one of the submission's functions returns."""
    return the(submission, name)(*arguments, **options)


def _described(error: BaseException) -> tuple[str, str]:
    """What kind of failure this is, and its text; nothing in it may raise."""
    kind = "error"
    try:
        names = {base.__name__ for base in type(error).__mro__}
        if names & {"MemoryError", "ResourceExhaustedError"}:
            kind = "memory"
        elif "MissingNameError" in names or (
            "NotImplementedError" in names and _is_students(error)
        ):
            kind = "missing"
        where = _student_line(error)
        text = "".join(traceback.format_exception_only(error)).strip()
        return kind, str(text)[:_TEXT] + where
    except BaseException:
        return kind, "An exception that cannot be described."


def _here() -> str:
    """How the names of the submission's own files begin."""
    return str(Path.cwd()) + os.sep


def _is_students(error: BaseException) -> bool:
    """Whether the submission itself raised it, as a starter file does where nothing is written."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.startswith(_here())


def _student_line(error: BaseException) -> str:
    """ " (line 12 of submission.py)": the deepest line that is the student's."""
    here = _here()
    found = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(here)
    ]
    return f" (line {found[-1].lineno} of {Path(found[-1].filename).name})" if found else ""


class MissingNameError(DlipRegError):
    """The submission has no such name; probes raise it by `the`."""


def the(submission: ModuleType, name: str) -> Any:
    """The submission's `name`, callable or not; the test is marked as missing where it has none."""
    if not hasattr(submission, name):
        why = [text for source, text in _faults if name in source] or [text for _, text in _faults]
        raise MissingNameError(" ".join([f"The submission has no {name}.", *why[:1]]))
    return getattr(submission, name)
