"""The process that runs student code: asked by frames, it answers with frames.

Everything here runs beside the submission, so nothing here is believed by the controller.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import math
import os
import pkgutil
import sys
import textwrap
import traceback
import warnings
from collections.abc import Iterable, Sequence
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from dlip_reg.errors import DlipRegError
from dlip_reg.grading import notebooks, processes
from dlip_reg.grading.interrupts import Interrupter, StoppedError, said_of
from dlip_reg.grading.limits import Limits
from dlip_reg.grading.notebooks import Fault
from dlip_reg.grading.wire import Channel, UnsendableError, WireError

MODULE_NAME = "submission"
READY = "ready"
_TEXT, _LINE = 3000, 100
# What the system says of a download, or of a file outside of the submission's folder.
_REFUSALS = (
    *("Read-only file system", "Permission denied", "Operation not permitted"),
    "failure in name resolution",
)
_SANDBOX = (
    ". If the sandbox refused this: the grader has no network, no sockets (asyncio) and no other "
    "processes, does not say how full its disk is, and writes only to the submission's folder."
)
_faults: list[Fault] = []  # of the submission, but for what its import raised


def preload(names: Iterable[str], probes: str, folders: Iterable[bytes]) -> None:
    """Import the modules named and every module of probes, which lie in one of `folders` or on the
    path, for children to share.

    RuntimeError if that ran a TensorFlow op, since a process forked after one hangs.
    """
    sys.path += map(os.fsdecode, folders)
    for name in names:
        importlib.import_module(name)
    if plt := sys.modules.get("matplotlib.pyplot"):
        plt.switch_backend("agg")
        # Programs choose one for a screen, which is no fault where there is none.
        vars(plt)["switch_backend"] = vars(sys.modules["matplotlib"])["use"] = lambda *_, **__: None
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

    A request is [nonce, name of a probe, its arguments], where the probe "import" takes what `load`
    does, and gives the numbers of what was stopped and of what raised an exception: cells of a
    notebook, else a line.
    The answer is [nonce, "value", value] or [nonce, what went wrong, text].
    """
    submission: ModuleType | None = None
    folder = f"{Path.cwd()}{os.sep}"  # of the submission, which may change to another
    channel.send(READY)
    while True:
        try:
            nonce, probe, arguments = channel.receive()
        except (OSError, WireError):
            return
        try:
            if probe == "import":
                submission = load(**arguments)
                value = tuple(
                    [fault.number for fault in _faults if fault.is_stopped is stopped]
                    for stopped in (True, False)
                )
            else:
                warnings.simplefilter("ignore")  # the submission may have made them errors
                value = _probe(probes, probe)(submission, **arguments)
            channel.send([nonce, "value", value])
        except UnsendableError as error:
            channel.send([nonce, "error", f"The answer cannot be read: {error}"])
        except BaseException as error:
            channel.send([nonce, *_described(error, folder)])


class _ForbiddenImports:
    """Refuses what the assignment asks a student to write, but no module of the student's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: object = None
    ) -> None:
        if name.partition(".")[0] not in ("callbacks", "dlip_reg"):
            return
        found = PathFinder.find_spec(name, path)  # a package may have set its path to another's
        if found is None or not Path(found.origin or "/").is_relative_to(self._folder):
            raise ImportError(f"A submission may not import {name}: it has to do that work itself.")


class _Loader(SourceFileLoader):
    """Reads a module that may be what Jupyter or Colab made of a notebook."""

    @staticmethod
    def source_to_code(data: Any, path: Any = "", **_: Any) -> Any:
        """The module's code, without lines that only Jupyter understands."""
        parsed = notebooks.parsed(importlib.util.decode_source(data), path)
        # In a cell that is not the first one, these stand where Python refuses them.
        text = [node for node in parsed.body[:1] if ast.get_docstring(parsed) is not None]
        rest = parsed.body[len(text) :]
        rest.sort(key=lambda node: getattr(node, "module", "") != "__future__")
        parsed.body = [*text, *rest]
        return compile(parsed, path, "exec", dont_inherit=True)


def load(file: str, seconds: float = math.inf) -> ModuleType:
    """Import the submission's file as the module `submission`, or run it if it is a notebook.

    What takes longer than `seconds` is stopped, and loses only what it would have defined; so does
    a module that raises an exception or ends the program.
    """
    path = Path(file).absolute()
    sys.meta_path.insert(0, _ForbiddenImports(path.parent))
    sys.path.insert(0, str(path.parent))
    if path.suffix == ".ipynb":
        # Its code is where Jupyter has it, so that `if __name__ == "__main__"` holds.
        module = sys.modules["__main__"] = sys.modules[MODULE_NAME] = ModuleType("__main__")
        for fault in notebooks.run(path.read_bytes(), module, seconds):
            _faults.append(fault._replace(text=f"{fault.text}{_hint(fault.text)}"))
        return module
    loader = _Loader(MODULE_NAME, str(path))
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module
    notebooks.add_jupyter(module)
    try:
        with Interrupter() as interrupter, interrupter.limit(seconds):
            loader.exec_module(module)
    except BaseException as error:
        kind, text = _described(error, f"{path.parent}{os.sep}")
        if kind == "memory" or isinstance(error, SyntaxError):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno or 1 for frame in frames if frame.filename == str(path)), 1)
        is_stopped = isinstance(error, StoppedError)
        said = said_of(path.name, [line], True) if is_stopped else f"Its import ended with {text}"
        _faults.append(Fault("", said, line, is_stopped))
    return module


def _probe(probes: str, name: str) -> Any:
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(f"{probes}.{module}"), function) if module else _call


def _call(submission: ModuleType, name: str, arguments: list[Any], options: dict[str, Any]) -> Any:
    """The probe that every assignment has: what one of the submission's functions returns."""
    return the(submission, name)(*arguments, **options)


def _described(error: BaseException, folder: str) -> tuple[str, str]:
    """What kind of failure this is, and its text with the deepest line in the folder, which is the
    student's; nothing in it may raise."""
    kind = "error"
    try:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename.startswith(folder)]
        names = {base.__name__ for base in type(error).__mro__}
        # A starter file raises the last where nothing is written.
        not_written = "NotImplementedError" in names and own and own[-1] is frames[-1]
        if names & {"MemoryError", "ResourceExhaustedError"}:
            kind = "memory"
        elif "MissingNameError" in names or not_written:
            kind = "missing"
        said = traceback.format_exception_only(error)
        if isinstance(error, SyntaxError) and (file := Path(str(error.filename))).is_file():
            own = [traceback.FrameSummary(str(file), error.lineno, "", line=error.text)]
            said = said[-1:]
        text = "".join(said).strip()[:_TEXT]
        text = text.removeprefix(f"{__name__}.MissingNameError: ")
        where = ""
        if own:
            line = textwrap.shorten(own[-1].line or "?", _LINE, placeholder=" ...")
            where = f" (line {own[-1].lineno} of {Path(own[-1].filename).name}: {line})"
        return kind, f"{text}{where}{_hint(text)}"
    except BaseException:
        return kind, "An exception that cannot be described."


def _hint(text: str) -> str:
    """What is to be said where the sandbox may be the reason."""
    is_refused = any(refusal in text for refusal in _REFUSALS)
    return _SANDBOX if is_refused and _SANDBOX not in text else ""


class MissingNameError(DlipRegError):
    """The submission has no such name; probes raise it by `the`."""


def the(submission: ModuleType, name: str) -> Any:
    """The submission's `name`, callable or not; the test is marked as missing where it has none."""
    if not hasattr(submission, name):
        faults = [fault for fault in _faults if name in fault.source] or _faults
        why = (fault.text for fault in faults[:1])
        raise MissingNameError(" ".join([f"The submission has no {name}.", *why]))
    return getattr(submission, name)


def main() -> None:
    """A fresh process in the weak tier: import what children share, then answer."""
    channel = processes.connected()
    os.dup2(2, 1)
    limits, preloaded, probes, folders = channel.receive()
    preload(preloaded, probes, folders)
    if os.name == "posix":
        Limits(**limits).apply()
    serve(channel, probes)


if __name__ == "__main__":
    from dlip_reg.grading import child  # the module that probes import, not this one again

    child.main()
