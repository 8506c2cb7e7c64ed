"""Atomic writing: a file has its old content or its new one, whatever interrupts the writing.

And locks, on file systems that have them.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import errno
import io
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlip_reg.codec import to_plain

if TYPE_CHECKING:
    from filelock import FileLock

# Seconds between attempts to replace a file.
PAUSES = (0.05, 0.2, 0.75) if sys.platform == "win32" else ()
PART = ".part"  # the suffix of temporary files; a killed process may leave one behind


class Staged:
    """Writes several files under temporary names and puts them in place together.

    The files are renamed, in the order in which they were written, when the `with` block ends
    without an error. After an error (a full disk, a read-only folder) the old files are as they
    were, the temporary ones are deleted, and the error is raised.
    """

    def __init__(self) -> None:
        self._files: list[tuple[Path, Path]] = []

    def __enter__(self) -> Staged:
        return self

    def temporary(self, path: Path) -> Path:
        """Return the temporary name, in the same folder, under which to write `path`.

        Parent folders are created.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}{PART}")
        self._files.append((temporary, path))
        return temporary

    def write(self, path: Path, content: str | bytes) -> None:
        """Write `content` to a temporary file for `path`; text as UTF-8, line ends unchanged."""
        if isinstance(content, str):
            # The name of a file may have bytes that are not UTF-8; JSON has these escapes, too.
            content = content.encode(errors="backslashreplace")
        self.temporary(path).write_bytes(content)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None:
                for temporary, path in self._files:
                    _replace(temporary, path)
        finally:
            for temporary, _ in self._files:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)


def _replace(temporary: Path, path: Path) -> None:
    """Put a file in place; Windows refuses that as long as another program has the old one open."""
    for pause in (*PAUSES, None):  # a virus scanner or an indexer is done in a moment
        try:
            os.replace(temporary, path)  # noqa: PTH105 - the name says it is atomic
            break
        except PermissionError:
            if pause is None:
                raise
            time.sleep(pause)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write one file atomically; parent folders are created.

    Args:
        path: The file.
        content: Bytes, or text that is written as UTF-8 with its line ends unchanged.

    Raises:
        OSError: If the file cannot be written; an old file is then unchanged.
    """
    with Staged() as staged:
        staged.write(path, content)


def write_json(path: str | Path, value: Any, indent: int | None = None) -> None:
    """Write `value` as strict JSON in UTF-8; NaN and infinity become null.

    Args:
        path: The file.
        value: What `json` can write; dataclasses, NumPy numbers and arrays are accepted too.
        indent: The spaces per level; None for a single line.

    Raises:
        OSError: If the file cannot be written; an old file is then unchanged.
        TypeError: For a value that JSON cannot hold.
    """
    text = json.dumps(
        to_plain(value, defaults=True), indent=indent, ensure_ascii=False, allow_nan=False
    )
    write_atomically(Path(path), f"{text}\n")


def write_csv(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    r"""Write a CSV file with a header, in UTF-8, lines ending with "\n" on every system.

    Args:
        path: The file.
        rows: One mapping per line. Floats are written by `repr`, so they read back exactly; None
            and missing keys become empty fields. The header has the rows' keys in the order in
            which they first appear.

    Raises:
        OSError: If the file cannot be written; an old file is then unchanged.
    """
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    if columns:
        writer.writeheader()
    for row in rows:
        writer.writerow({key: _field(value) for key, value in row.items()})
    write_atomically(Path(path), text.getvalue())


def path_argument(text: str) -> Path:
    """A path of a command line; "" is refused, as an unset variable of a shell gives it."""
    if not text:
        raise argparse.ArgumentTypeError("takes a path, not ''")
    # Shells leave the ~ of --out=~/lab to the program. Path drops the ./ of ./~, which is a folder.
    path = Path(os.path.expanduser(text))  # noqa: PTH111
    return path if path.name.strip(".") else path.resolve()  # . and .. have no name of their own


def acquire(lock: FileLock) -> None:
    """Acquire `lock`; without effect on a file system without locks, as of some network drives.

    Raises:
        filelock.Timeout: Another process holds it.
        OSError: The file cannot be opened.
    """
    try:
        lock.acquire()
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise


def _field(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return repr(value) if isinstance(value, float) else value
