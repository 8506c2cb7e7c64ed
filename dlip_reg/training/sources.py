"""The user's own files that a run depends on: a change in one of them makes it another run."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from dlip_reg.extras import installed_folders

_OWN = ("callbacks", "dlip_reg")  # see `identity.code_hash`


@functools.cache
def library_folders() -> list[str]:
    """Where Python's library and installed packages are."""
    own = map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib"))
    return [*installed_folders(), *own]


def file_of(module: str) -> Path | None:
    """The source file of a module, which is not imported; None without one, as in a notebook."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None and module != "__main__":
        with contextlib.suppress(ImportError, ValueError):
            file = getattr(importlib.util.find_spec(module), "origin", None)
    return Path(file) if file and Path(file).is_file() else None


@functools.cache  # a process that has imported a module keeps that version of it
def source_hash(module: str) -> str:
    """The SHA-256 of a module's source, and of what it imports that is not installed.

    That lies beside it or in another folder of sys.path. What an installed module imports does not
    count, nor does this package. "" without a source.
    """
    file = file_of(module)
    if file is None or module.split(".")[0] in _OWN:
        return ""
    depth = 0 if module == "__main__" else module.count(".") + (file.stem == "__init__")
    others = [path for path in map(Path.absolute, map(Path, sys.path)) if not is_installed(path)]
    is_library, roots = is_installed(file), [file.parents[depth], *others]
    found, waiting = dict[Path, bytes](), [file]
    waiting += () if is_library else _files(roots[0], module)
    while waiting:
        file = waiting.pop()
        if file not in found and any(map(file.is_relative_to, roots)):
            found[file] = file.read_bytes()
            waiting += () if is_library else _imported_from(roots, file, found[file])
    digest = hashlib.sha256()
    for file, source in found.items():  # in the order of imports, whatever sys.path has first
        digest.update(f"{file.name}\0".encode() + source + b"\0")
    return digest.hexdigest()


def is_installed(file: Path) -> bool:
    """Whether a file or folder lies where libraries are installed."""
    return any(map(file.is_relative_to, library_folders()))


def _imported_from(roots: Sequence[Path], file: Path, source: bytes) -> Iterator[Path]:
    """The files below `roots` that a file imports, also in its functions."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # whoever imports it says so
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield from _first_files(roots, name.name)
        elif isinstance(node, ast.ImportFrom):
            folders = file.parents[node.level - 1 : node.level] if node.level else roots
            for name in node.names:
                yield from _first_files(folders, f"{node.module or ''}.{name.name}".lstrip("."))


def _first_files(folders: Sequence[Path], module: str) -> list[Path]:
    """The files of a module in the first folder that has any."""
    return next(filter(None, (list(_files(folder, module)) for folder in folders)), [])


def _files(folder: Path, module: str) -> Iterator[Path]:
    """The files of a module below `folder`, and of the packages that it is in."""
    if module.split(".")[0] not in _OWN:
        for part in module.split("."):
            folder /= part
            yield from filter(Path.is_file, (folder.with_suffix(".py"), folder / "__init__.py"))
