"""The code of a Jupyter notebook, and what runs it as Jupyter does: cell by cell."""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import importlib
import inspect
import json
import linecache
import math
import re
import selectors
import sys
import traceback
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Self

from dlip_reg.errors import DlipRegError
from dlip_reg.grading.interrupts import Interrupter, StoppedError, said_of
from dlip_reg.grading.names import MAIN

# That only Jupyter, Colab or Kaggle has, with all that is in them.
MODULES = ("IPython", "google.colab", "ipywidgets", "kaggle_secrets")
_PYTHON_CELL_MAGICS = ("%%time", "%%capture", "%%prun", "%%memit", "%%wandb")  # and %%timeit
_WRITING = ("%%writefile", "%%file")
# Colab runs a cell magic below a form's title, too.
_COMMENTS = re.compile(r"(?:\s*#.*\n)*\s*")
_DEFINITION = re.compile(r"^(def \w+\(|class \w+[(:])", re.M)
_FIRST = re.compile(r"(?:\s*\n)?([ \t]*)")  # what the first line is indented by
# A cell with a magic as Colab exports it.
_COMMENTED = re.compile(
    r"^# Commented out IPython magic to ensure Python compatibility\.\n# %%(.*)((?:\n#.*)*)", re.M
)
# No statement of Python's begins like these: %magic, !command, ?help, help?, x = !command.
_MAGIC = re.compile(
    r"(\s*)(?:(?P<timed>([\w.][\w., ]*=\s*)?%time\s+.+)"
    r"|%run\s+(?:-\w\s+)*(?P<file>[\w./-]+\.(?:py|ipynb))(?:\s.*)?"
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
    """Bytes that are not a notebook."""


def cells_of(data: bytes) -> list[str]:
    """The sources of the code cells; NotebookFormatError where there are no cells."""
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise NotebookFormatError("The file is not JSON.") from None
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
                faults.append(Fault(source, said_of(".ipynb", [number], True), number, True))
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
    shell, namespace, folder, numbers = _Absent("IPython"), vars(module), Path.cwd(), count(1)

    def run_cell(source: str) -> None:
        _run_cell(source, str(folder / f"magic {next(numbers)}"), [], namespace)

    def run_file(file: str) -> None:
        """What `%run` does."""
        if file.endswith(".py"):
            exec(compile(Path(file).read_bytes(), file, "exec"), namespace)
        elif Path(file).is_file():
            for source in cells_of(Path(file).read_bytes()):
                run_cell(source)

    names = {"display": _display, "get_ipython": lambda: shell}
    vars(builtins).update(names)  # for the helper modules of a notebook, too
    namespace["_"] = ""
    vars(shell).update(
        __path__=[],
        get_ipython=lambda: shell,  # there is a module called display, too
        magic=lambda line: run_cell(f"%{line}"),
        run_line_magic=lambda name, line="", *_: run_cell(f"%{name} {line}"),
        run_cell_magic=lambda name, line, cell: run_cell(f"%%{name} {line}\n{cell}"),
        run_file=run_file,
        # Matplotlib adapts itself to older ones.
        version_info=(9, 0),
        __version__="9.0",
    )
    for real in filter(_is_absent, [*sys.modules]):  # which keras-tuner imports if they are there
        del sys.modules[real]
    sys.meta_path.insert(0, _Finder(names))
    sys.modules["IPython"] = shell


def _is_absent(module: str) -> bool:
    """Whether it is one of `MODULES`, or in one of them."""
    return any(f"{module}.".startswith(f"{absent}.") for absent in MODULES)


class _Finder(MetaPathFinder, Loader):
    """Finds a stand-in for each of `MODULES` and what is in them."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if _is_absent(name) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(self._names)


class _Absent(ModuleType):
    """Stands for a module that only Jupyter or Colab has: its functions do nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing()


class _Nothing(str):
    """What is in such a module and what it gives: an empty text with whatever is asked of it."""

    def __new__(cls, *_: Any) -> Self:
        return super().__new__(cls)

    def __getattr__(self, name: str) -> Self:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(self)()

    def __call__(self, *_: Any, **__: Any) -> Self:
        """Do nothing."""
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _display(*values: Any, **options: Any) -> _Nothing | None:
    """Print; gives a handle where one is asked for."""
    print(*values)
    return _Nothing() if options else None


class _EventLoop(asyncio.SelectorEventLoop):
    """An event loop without the sockets by which threads wake one: a sandbox has none."""

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())

    def _make_self_pipe(self) -> None:
        self._ssock = self._csock = None

    def _close_self_pipe(self) -> None:
        pass


def _run_cell(source: str, name: str, futures: list[ast.stmt], namespace: dict[str, Any]) -> None:
    if (first := _FIRST.match(source)) and first[1]:  # as Jupyter, which takes it from all lines
        source = re.sub(rf"^{first[1]}", "", source, flags=re.M)
    magic, _, rest = _COMMENTS.sub("", source, count=1).partition("\n")
    is_code = magic.startswith(_PYTHON_CELL_MAGICS) or not magic.startswith("%%")
    if magic.startswith(_WRITING):
        named = [word.strip("'\"") for word in magic.split()[1:] if word != "-a"]
        file = Path(" ".join(named))
        if file.is_absolute() and not file.parent.is_dir():
            file = Path(file.name)  # as in Colab's /content
        file.parent.mkdir(parents=True, exist_ok=True)  # `!mkdir` does nothing
        with file.open("a" if "-a" in magic.split() else "w", encoding="utf-8") as stream:
            stream.write(f"{rest}\n")  # as Jupyter, so that more may be appended
        importlib.invalidate_caches()
        is_code = file.name == MAIN  # which `check` takes: the notebook is the submission
    elif not is_code and _DEFINITION.search(rest):
        raise SyntaxError(f"A cell with {magic.split()[0]} does not run here.", (name, 1, 0, magic))
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
    _evaluated(ast.Module(body, []), name, namespace)
    if isinstance(shown, ast.Expr):
        value = _evaluated(ast.Expression(shown.value), name, namespace)
        if value is not None:
            namespace["_"] = value


def parsed(source: str, name: str) -> ast.Module:
    """The statements of a cell, or of a module that Colab made of cells, with `pass` for each line
    that only Jupyter understands: where Python does not, and only there, a line may be one."""
    lines = _COMMENTED.sub(_as_magic, source).split("\n")
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
            instead = re.sub(r"%time\s+", "", magic["timed"] or "pass", count=1)
            if magic["assigned"]:
                instead = f"{magic['assigned']}[]"
            elif file := magic["file"]:
                instead = f"get_ipython().run_file({file!r})"
            lines[at : end + 1] = [magic[1] + instead, *[""] * (end - at)]
    return ast.parse("\n".join(lines), name)


def _as_magic(match: re.Match[str]) -> str:
    """The cell that Colab has commented out, run as one with a magic, in as many lines."""
    cell = re.sub(r"^# ?", "", match[2], flags=re.M).removeprefix("\n")
    name, _, line = match[1].partition(" ")
    lines_after = "\n" * match[0].count("\n")
    return f"get_ipython().run_cell_magic({name!r}, {line!r}, {cell!r}){lines_after}"


def _evaluated(tree: ast.Module | ast.Expression, name: str, namespace: dict[str, Any]) -> Any:
    """The tree's value; what it awaits is waited for."""
    mode = "eval" if isinstance(tree, ast.Expression) else "exec"
    code = compile(tree, name, mode, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    value = eval(code, namespace)
    if not code.co_flags & inspect.CO_COROUTINE:
        return value
    # Only Linux has the sandbox, and Windows waits for nothing but sockets.
    make = _EventLoop if sys.platform == "linux" else asyncio.new_event_loop
    with contextlib.closing(make()) as loop:
        return loop.run_until_complete(value)


def _line_in(error: BaseException, name: str) -> object:
    """The deepest line of that cell that the error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    found = [frame.lineno for frame in frames if frame.filename == name]
    return found[-1] if found else "?"
