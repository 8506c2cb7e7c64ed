"""Submissions as they come: files, notebooks, folders and archives, read as data.

What cannot be part of a submission (links, devices, paths that lead out, too much of anything) is
left out with a note for staff; the rest is graded. Where that leaves no main file, staff must look.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO

from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.notebooks import NotANotebook, source_of
from dlip_reg.grading.student import Submission

MAIN = "submission.py"
_NOTEBOOK = "submission.ipynb"
_MAX_FILE, _MAX_BYTES, _MAX_FILES, _MAX_ENTRIES = 10 << 20, 20 << 20, 200, 5_000
_MAX_UNPACKED = 64 << 20
_MAX_DEPTH, _MAX_NAME = 8, 100
_TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_ENDINGS = (".py", ".ipynb", ".zip", *_TAR_ENDINGS)
_IGNORED = {"__MACOSX", "__pycache__", ".DS_Store", ".git", ".ipynb_checkpoints", "Thumbs.db"}
_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # read a piece at a time, however packed
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}


class BadSubmission(GradingError):
    """One submission that cannot be read at all; the others can."""


def shown(text: str) -> str:
    """`text` with escapes for what cannot be printed, such as bytes of a name that are no UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def student_of(path: Path) -> str:
    """Whose submission that is, by its file's name."""
    for ending in sorted(_ENDINGS, key=len, reverse=True):
        if path.name.lower().endswith(ending) and not path.is_dir():
            return shown(path.name[: -len(ending)] or path.name)
    return shown(path.name)


def find_submissions(path: Path, single: bool = False) -> list[Path]:
    """The submissions in the folder `path`, sorted by name: every file and folder that is not
    hidden; with `single`, `path` itself. GradingError where there is none.
    """
    if not path.exists():
        raise GradingError(f"There is no {path}.")
    if single:
        return [path]
    if not path.is_dir():
        raise GradingError(
            f"{path} is a file, not a folder of submissions: unpack it, or give --single if it is "
            "one student's."
        )
    found = sorted(
        p for p in path.iterdir() if not p.name.startswith(".") and p.name not in _IGNORED
    )
    if not found:
        raise GradingError(f"{path} holds no submissions: no file, folder or archive.")
    return found


def bears_no_name(path: Path) -> bool:
    """Whether it is called what every student's file is called."""
    return path.name in (MAIN, _NOTEBOOK)


def read_submission(path: Path) -> Submission:
    """The submission at `path`; BadSubmission, one sentence, where nothing can be read, or where no
    main file is left because something could not be."""
    name = shown(path.name)
    kept = _Kept()
    try:
        _read(path, name, kept)
    except BadSubmission:
        raise
    except Exception as error:  # whatever a parser makes of hostile bytes, it is one submission's
        raise BadSubmission(f"{name} cannot be read: {_short(error)}.") from None
    submission = _with_main(Submission(student_of(path), kept.files, "", tuple(kept.notes)))
    if kept.notes and not submission.main:
        others = " (and others)" if len(kept.notes) > 1 else ""
        first = kept.notes[0].removesuffix(".")
        raise BadSubmission(f"{name} holds no {MAIN} that can be read. {first}{others}.")
    return submission


def _read(path: Path, name: str, kept: _Kept) -> None:
    lower = path.name.lower()
    if path.is_symlink():
        raise BadSubmission(f"{name} is a link, which is not followed.")
    if not path.exists():
        raise BadSubmission(f"There is no {shown(str(path))}.")
    if not path.is_file() and not path.is_dir():
        raise BadSubmission(f"{name} is neither a file nor a folder.")
    if path.is_file() and path.stat().st_size > _MAX_UNPACKED:
        raise BadSubmission(f"{name} is larger than {_MAX_UNPACKED >> 20} MB.")
    if path.is_dir():
        kept.add_all(_in_folder(path, kept))
    elif lower.endswith((".py", ".ipynb")):
        kept.add_all([(f"submission{path.suffix.lower()}", _opened(path))])
    elif lower.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            kept.add_all(_in_zip(archive, kept))
    elif lower.endswith(_TAR_ENDINGS):
        kept.add_all(_in_tar(path, kept))
    else:
        raise BadSubmission(f"{name} is neither a folder nor one of {', '.join(_ENDINGS)}.")


def _short(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return shown(text.splitlines()[0][:200]).rstrip(".")


class _Kept:
    """The files kept so far, and notes on what was left out."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.notes: list[str] = []
        self._folders: set[str] = set()
        self._left = _MAX_BYTES

    def leave_out(self, name: str, why: str) -> None:
        if len(self.notes) < 20:
            self.notes.append(f"Left out {name[:_MAX_NAME]!r}: {why}.")

    def add_all(self, entries: Iterator[tuple[str, IO[bytes] | None]]) -> None:
        """Read what each name leads to; None was left out already."""
        for number, (name, stream) in enumerate(entries):
            if number >= _MAX_ENTRIES:
                self.leave_out("the rest", f"there are more than {_MAX_ENTRIES} entries")
                break
            if stream is not None:
                with stream:
                    self._add(name, stream)

    def _add(self, name: str, stream: IO[bytes]) -> None:
        path = PurePosixPath(name.replace("\\", "/"))
        why = _why_not(path)
        folders = self._folders.union(map(str, path.parents[:-1]))
        if not why and len(self.files) + len(folders) >= _MAX_FILES:
            why = f"there are more than {_MAX_FILES} files and folders"
        if not why and not self.files.keys().isdisjoint((str(path), *folders)):
            why = "there is a file of that name already"
        if not why and str(path) in self._folders:
            why = "there is a folder of that name already"
        if why:
            if why != _QUIETLY:
                self.leave_out(name, why)
            return
        most = min(_MAX_FILE, self._left)
        try:
            data = stream.read(most + 1)
        except Exception as error:
            self.leave_out(name, f"it cannot be read ({_short(error)})")
            return
        if len(data) > most:
            self.leave_out(name, f"it is larger than {most >> 20} MB")
            return
        self._left -= len(data)
        self._folders = folders
        self.files[str(path)] = data


_QUIETLY = "not part of it"


def _why_not(path: PurePosixPath) -> str:
    """Why `path` cannot be a submission's file; "" if it can."""
    parts = path.parts
    if not parts or path.is_absolute() or ".." in parts or re.match(r"[A-Za-z]:", parts[0]):
        return "its path leads out of the submission"
    if any(part in _IGNORED for part in parts) or path.suffix in (".pyc", ".pyo", ".pth"):
        return _QUIETLY
    if len(parts) > _MAX_DEPTH or any(len(os.fsencode(part)) > _MAX_NAME for part in parts):
        return "its path is too long"
    if not str(path).isprintable():
        return "its name has characters that cannot be printed"
    return ""


def _opened(path: Path) -> IO[bytes]:
    """`path` if it is a plain file: neither followed nor waited for."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is not a plain file")
    return os.fdopen(descriptor, "rb")


def _in_folder(folder: Path, kept: _Kept) -> Iterator[tuple[str, IO[bytes] | None]]:
    def leave_out(error: OSError) -> None:
        name = Path(error.filename).relative_to(folder).as_posix()
        kept.leave_out(name, f"it cannot be read ({_short(error)})")

    for place, folders, names in os.walk(folder, onerror=leave_out):
        folders[:] = sorted(name for name in folders if name not in _IGNORED)
        names += [name for name in folders if Path(place, name).is_symlink()]
        for name in sorted(set(names) - _IGNORED):
            path = Path(place, name)
            inside = path.relative_to(folder).as_posix()
            stream = None
            if path.is_symlink() or not path.is_file():
                kept.leave_out(inside, "it is a link or no plain file")
            else:
                try:
                    stream = _opened(path)
                except OSError as error:
                    leave_out(error)
            yield inside, stream


def _in_zip(archive: zipfile.ZipFile, kept: _Kept) -> Iterator[tuple[str, IO[bytes] | None]]:
    for entry in archive.infolist():
        stream = None
        if stat.S_ISLNK(entry.external_attr >> 16):
            kept.leave_out(entry.filename, "it is a link")
        elif entry.compress_type not in _BOUNDED:
            kept.leave_out(entry.filename, "it is compressed in an unusual way")
        elif not entry.is_dir():
            try:
                stream = archive.open(entry)
            except Exception as error:
                kept.leave_out(entry.filename, f"it cannot be read ({_short(error)})")
        yield entry.filename, stream


class _TooMuch(OSError):
    """An archive unpacks to more than anybody hands in."""


class _Capped(io.RawIOBase):
    """A stream that ends with _TooMuch after _MAX_UNPACKED bytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._left = stream, _MAX_UNPACKED

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size if 0 <= size < 1 << 20 else 1 << 20)
        self._left -= len(data)
        if self._left < 0:
            raise _TooMuch
        return data


def _in_tar(path: Path, kept: _Kept) -> Iterator[tuple[str, IO[bytes] | None]]:
    with path.open("rb") as raw:
        packed = _OPENERS.get(raw.read(2))
        raw.seek(0)
        stream = packed(raw) if packed else raw
        try:
            with tarfile.open(fileobj=_Capped(stream), mode="r|") as archive:
                yield from _members(archive, kept)
        except _TooMuch:
            kept.leave_out("the rest", f"it unpacks to more than {_MAX_UNPACKED >> 20} MB")


def _members(archive: tarfile.TarFile, kept: _Kept) -> Iterator[tuple[str, IO[bytes] | None]]:
    for entry in archive:
        stream = None
        if entry.size > _MAX_FILE:
            kept.leave_out(entry.name, f"it is larger than {_MAX_FILE >> 20} MB")
        elif entry.isreg() and not entry.issparse():
            stream = archive.extractfile(entry)
        elif not entry.isdir():
            kept.leave_out(entry.name, "it is a link or no plain file")
        yield entry.name, stream


def _with_main(submission: Submission) -> Submission:
    """The submission with its main file named, a notebook turned into one, and a folder that holds
    all the rest opened."""
    files, notes = dict(submission.files), list(submission.notes)
    while files and MAIN not in files and _NOTEBOOK not in files:
        tops = {PurePosixPath(name).parts[0] for name in files}
        if len(tops) > 1 or any(len(PurePosixPath(name).parts) == 1 for name in files):
            break
        files = {str(PurePosixPath(*PurePosixPath(n).parts[1:])): d for n, d in files.items()}
    main = next((name for name in (MAIN, _NOTEBOOK) if name in files), "")
    if not main:
        candidates = [n for n in files if "/" not in n and n.endswith((".py", ".ipynb"))]
        if len(candidates) == 1:
            main = candidates[0]
        elif candidates:
            notes.append(f"There are {len(candidates)} candidates, and none is called {MAIN}.")
        else:
            notes.append(f"There is no {MAIN} and no notebook.")
    if main.endswith(".ipynb"):
        try:
            files[MAIN] = source_of(files[main])
            main = MAIN
        except NotANotebook as error:
            notes.append(f"{main}: {error}")
            main = ""
    return replace(submission, files=files, main=main, notes=tuple(notes))
