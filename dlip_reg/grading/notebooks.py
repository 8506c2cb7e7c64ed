"""The code of a Jupyter notebook, and what runs it as Jupyter does: cell by cell."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import json
import linecache
import math
import re
import selectors
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from dlip_reg.errors import DlipRegError
from dlip_reg.grading.interrupts import Interrupter, StoppedError, said_of_stopped
from dlip_reg.grading.names import MAIN

# That only Jupyter or Colab has.
MODULES = (
    *("IPython", "IPython.display", "IPython.core.display", "IPython.core.interactiveshell"),
    *("google.colab", "google.colab.patches"),
)
_PYTHON_CELL_MAGICS = ("%%time", "%%capture", "%%prun")  # and %%timeit
# No statement of Python's begins like these: %magic, !command, ?help, help?, x = !command.
_MAGIC = re.compile(
    r"(\s*)(?:%time\s+(?P<timed>.+)|%run\s+(?:-\w\s+)*(?P<file>[\w./-]+)\.py(?:\s.*)?"
    r"|(?P<assigned>[\w.]+\s*=\s*)[%!].*|[%!?].*|[\w.]+\?{1,2}\s*)"
)


class Fault(NamedTuple):
    """What did not run to its end: a cell's source and number ("" and a line's of a module), one
    sentence, and whether it was stopped, as too slow."""

    source: str
    text: str
    number: int
    is_stopped: bool = False


class NotebookFormatError(DlipRegError, ValueError):
    """Bytes that are no notebook."""


def cells_of(data: bytes) -> list[str]:
    """The sources of the code cells; NotebookFormatError where there are no cells."""
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise NotebookFormatError("The file is no JSON.") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise NotebookFormatError("The file has no cells (a notebook of format 4 has).")
    code = [cell for cell in cells if isinstance(cell, dict) and cell.get("cell_type") == "code"]
    sources = [source for cell in code if isinstance(source := cell.get("source"), str | list)]
    texts = ["".join(part for part in source if isinstance(part, str)) for source in sources]
    return [text.replace("\r\n", "\n") for text in texts]


def source_of(data: bytes) -> bytes:
    """The code cells one after the other, for comparing: what only Jupyter understands is in it."""
    return "\n\n".join(cells_of(data)).encode("utf-8", "replace")


def run(data: bytes, module: ModuleType, seconds: float = math.inf) -> list[Fault]:
    """Run the notebook's cells in `module`, whatever becomes of the one before.

    A cell that raises loses only what it would have defined; so does one that takes more than half
    of what is left of the `seconds`, of which a notebook's only cell may take all. Lines are
    reported as those of a file "code cell N" in the working folder.
    """
    add_jupyter(module)
    faults: list[Fault] = []
    futures: list[ast.stmt] = []
    sources, folder = cells_of(data), Path.cwd()
    share = 0.5 if len(sources) > 1 else 1.0
    with Interrupter() as interrupter:
        for number, source in enumerate(sources, 1):
            name = str(folder / f"code cell {number}")
            try:
                with interrupter.limit(share * (seconds - interrupter.used)):
                    _run_cell(source, name, futures, vars(module))
            except MemoryError:
                raise
            except StoppedError:
                faults.append(Fault(source, said_of_stopped(".ipynb", [number]), number, True))
            except BaseException as error:
                line = _line_in(error, name)
                if isinstance(error, SyntaxError) and error.filename == name:
                    line = error.lineno
                text = traceback.format_exception_only(error)[-1].strip()
                text = f"Line {line} of code cell {number} raised {text}"
                faults.append(Fault(source, text, number))
    return faults


def add_jupyter(module: ModuleType) -> None:
    """Give the module what code finds in Jupyter and in Colab."""
    stubs = {name: _Absent(name) for name in MODULES}
    names = {"display": print, "get_ipython": lambda: stubs["IPython"], "_": ""}
    for each in (*stubs.values(), module):
        vars(each).update(names)
    # Matplotlib adapts itself to older ones.
    vars(stubs["IPython"]).update(version_info=(9, 0), __version__="9.0")
    sys.modules |= stubs


class _Absent(ModuleType):
    """Stands for a module that only Jupyter or Colab has: its functions do nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(name)

    def __call__(self, *_: Any, **__: Any) -> None:
        """Do nothing."""


class _EventLoop(asyncio.SelectorEventLoop):
    """An event loop without the sockets by which threads wake one: a sandbox has none."""

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())

    def _make_self_pipe(self) -> None:
        self._ssock = self._csock = None

    def _close_self_pipe(self) -> None:
        pass


def _run_cell(source: str, name: str, futures: list[ast.stmt], namespace: dict[str, Any]) -> None:
    magic, _, rest = source.lstrip().partition("\n")
    is_code = magic.startswith(_PYTHON_CELL_MAGICS) or not magic.startswith("%%")
    if magic.startswith("%%writefile"):
        *options, file = magic.split()[1:]
        with Path(file).open("a" if "-a" in options else "w", encoding="utf-8") as stream:
            stream.write(f"{rest}\n")  # as Jupyter, so that more may be appended
        is_code = Path(file).name == MAIN  # which `check` takes: the notebook is the submission
    if not is_code:
        return
    # Where AutoGraph and tracebacks look for the source.
    linecache.cache[name] = (len(source), None, f"{source}\n".splitlines(keepends=True), name)
    body = parsed(source, name).body
    # What a cell imports from __future__ holds for those after it, wherever in the cell it stands.
    futures += [n for n in body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    for node in futures:
        node.lineno = node.end_lineno = 1  # Python refuses them behind other lines
    body = [*futures, *(node for node in body if node not in futures)]
    shown = body.pop() if isinstance(body and body[-1], ast.Expr) else None
    _evaluated(ast.Module(body, []), name, "exec", namespace)
    if isinstance(shown, ast.Expr):
        value = _evaluated(ast.Expression(shown.value), name, "eval", namespace)
        if value is not None:
            namespace["_"] = value


def parsed(source: str, name: str) -> ast.Module:
    """The statements of a cell, or of a module that Colab made of cells, with `pass` for each line
    that only Jupyter understands: where Python does not, and only there, a line may be one."""
    lines = source.split("\n")
    for _ in lines:
        try:
            return ast.parse("\n".join(lines), name)
        except SyntaxError as error:
            at = (error.lineno or 0) - 1
            magic = _MAGIC.fullmatch(lines[at]) if 0 <= at < len(lines) else None
            if magic is None:
                raise
            end = at
            while lines[end].endswith("\\") and end + 1 < len(lines):
                end += 1
            instead = magic["timed"] or "pass"
            if magic["assigned"]:
                instead = f"{magic['assigned']}[]"
            elif file := magic["file"]:
                instead = f"exec(compile(open('{file}.py', 'rb').read(), '{file}.py', 'exec'))"
            lines[at : end + 1] = [magic[1] + instead, *[""] * (end - at)]
    return ast.parse("\n".join(lines), name)


def _evaluated(
    tree: ast.Module | ast.Expression, name: str, mode: str, namespace: dict[str, Any]
) -> Any:
    """The tree's value; what it awaits is waited for."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(tree, name, mode, flags, dont_inherit=True)
    value = eval(code, namespace)
    if not code.co_flags & inspect.CO_COROUTINE:
        return value
    with contextlib.closing(_EventLoop()) as loop:
        return loop.run_until_complete(value)


def _line_in(error: BaseException, name: str) -> object:
    """The deepest line of that cell that the error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    found = [frame.lineno for frame in frames if frame.filename == name]
    return found[-1] if found else "?"
