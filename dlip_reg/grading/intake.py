"""Submissions as they come: files, notebooks, folders and archives, read as data.

What cannot be part of a submission (links, devices, paths that lead out, too much of anything) is
left out with a note for staff; the rest is graded. Where there are files but no main file, staff
must look: a submission is missing only where its folder is empty.
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
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.notebooks import NotANotebook, source_of
from dlip_reg.grading.student import Submission

MAIN = "submission.py"
_NOTEBOOK = "submission.ipynb"
_MAX_FILE, _MAX_BYTES, _MAX_FILES, _MAX_ENTRIES = 10 << 20, 20 << 20, 200, 5_000
_MAX_UNPACKED = 64 << 20
_MAX_NESTED = 3  # archives in archives
_MAX_DEPTH, _MAX_NAME = 8, 100
_TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_ARCHIVES = (".zip", *_TAR_ENDINGS)
_SOURCES = (".py", ".ipynb")
_ENDINGS = (*_SOURCES, *_ARCHIVES)
_IGNORED = {"__MACOSX", "__pycache__", ".DS_Store", ".git", ".ipynb_checkpoints", "Thumbs.db"}
_IGNORED_ENDINGS = {".pyc", ".pyo", ".pth"}
_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # read a piece at a time, however packed
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
# A file or an archive's entry: its name, why it is left out ("" if it is not), and what opens it.
Entry = tuple[str, str, Callable[[], IO[bytes]]]


class BadSubmission(GradingError):
    """One submission that cannot be read at all; the others can."""


def shown(text: str) -> str:
    """`text` with accents in one form on every system, and with escapes for what cannot be printed,
    such as bytes of a name that are no UTF-8."""
    text = unicodedata.normalize("NFC", text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def student_of(path: Path) -> str:
    """Whose submission that is, by its file's name."""
    name = shown(path.name)
    endings = [e for e in _ENDINGS if name.lower().endswith(e) and not path.is_dir()]
    return name.removesuffix(name[-max(map(len, endings)) :] if endings else "") or name


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
    """Read the submission at `path`.

    Its main file is the one called submission.py, else submission.ipynb, else the only .py or
    .ipynb file, of those the least deep in folders. A lone archive within is opened. What lies
    outside the main file's folder is left out.

    Returns:
        The submission; `main` is "" where the folder is empty.

    Raises:
        BadSubmission: Nothing can be read, or there is no main file; one sentence.
    """
    name, kept = shown(path.name), _Kept()
    try:
        _read(path, name, kept)
        for _ in range(_MAX_NESTED):
            inner = [file for file in kept.files if file.lower().endswith(_ARCHIVES)]
            if len(inner) != 1 or _candidates(kept.files):
                break
            _unpack(inner[0], io.BytesIO(kept.files.pop(inner[0])), kept)
    except BadSubmission:
        raise
    except Exception as error:  # whatever a parser makes of hostile bytes, it is one submission's
        raise BadSubmission(f"{name} cannot be read: {_short(error)}.") from None
    if path.is_dir() and not kept.files and not kept.notes:
        return Submission(student_of(path), {}, "")
    candidates = _candidates(kept.files)
    if len(candidates) == 1:
        try:
            return _submission(student_of(path), PurePosixPath(candidates[0]), kept)
        except NotANotebook as error:
            why = str(error)
    elif candidates:
        why = f"There are {len(candidates)} candidates, and none is called {MAIN}."
    else:
        others = " (and others)" if len(kept.notes) > 1 else ""
        notes = [f"{note.removesuffix('.')}{others}." for note in kept.notes]
        why = next(iter(notes), f"There is no {MAIN} and no notebook.")
    raise BadSubmission(f"{name} holds no {MAIN} that can be read. {why}")


def _candidates(files: Iterable[str]) -> list[str]:
    """The files that may be the main one."""
    paths = [PurePosixPath(file) for file in files]
    sources = [path for path in paths if path.suffix.lower() in _SOURCES]
    called = [[path for path in sources if path.name.lower() == name] for name in (MAIN, _NOTEBOOK)]
    found = next(filter(None, [*called, sources]), [])
    least = min((len(path.parts) for path in found), default=0)
    return [str(path) for path in found if len(path.parts) == least]


def _submission(student: str, main: PurePosixPath, kept: _Kept) -> Submission:
    """The files in the folder of the main one, which is made a module where it is a notebook."""
    inside = {
        name: path
        for name in kept.files
        if (path := PurePosixPath(name)).is_relative_to(main.parent)
    }
    files = {str(path.relative_to(main.parent)): kept.files[name] for name, path in inside.items()}
    for name in kept.files.keys() - inside.keys():
        kept.leave_out(name, f"it is outside the folder of {main.name}")
    name = main.name
    if main.suffix != ".py":
        data = files[name]
        name, files[MAIN] = MAIN, data if main.suffix.lower() == ".py" else source_of(data)
    return Submission(student, files, name, tuple(kept.notes))


def _read(path: Path, name: str, kept: _Kept) -> None:
    lower = path.name.lower()
    if path.is_symlink():
        raise BadSubmission(f"{name} is a link, which is not followed.")
    if not path.exists():
        raise BadSubmission(f"There is no {shown(str(path))}.")
    if path.is_dir():
        kept.add_all(_in_folder(path))
    elif not path.is_file():
        raise BadSubmission(f"{name} is neither a file nor a folder.")
    elif path.stat().st_size > _MAX_UNPACKED:
        raise BadSubmission(f"{name} is larger than {_MAX_UNPACKED >> 20} MB.")
    elif lower.endswith(_SOURCES):
        kept.add_all([(f"submission{path.suffix.lower()}", "", partial(_opened, path))])
    elif lower.endswith(_ARCHIVES):
        with _opened(path) as file:
            _unpack(path.name, file, kept)
    else:
        raise BadSubmission(f"{name} is neither a folder nor one of {', '.join(_ENDINGS)}.")


def _unpack(name: str, file: IO[bytes], kept: _Kept) -> None:
    kept.add_all(_in_zip(file) if name.lower().endswith(".zip") else _in_tar(file))


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

    def add_all(self, entries: Iterable[Entry]) -> None:
        """Read what can be a submission's file."""
        for number, (name, why, opener) in enumerate(entries):
            if number >= _MAX_ENTRIES:
                self.leave_out("the rest", f"there are more than {_MAX_ENTRIES} entries")
                break
            path = PurePosixPath(name.replace("\\", "/"))
            if not _is_ignored(path) and (why := why or self._add(path, opener)):
                self.leave_out(name, why)

    def _add(self, path: PurePosixPath, opener: Callable[[], IO[bytes]]) -> str:
        """Keep the file; gives why it cannot be kept, "" if it is."""
        folders = self._folders.union(map(str, path.parents[:-1]))
        if why := _why_not(path):
            return why
        if len(self.files) + len(folders) >= _MAX_FILES:
            return f"there are more than {_MAX_FILES} files and folders"
        if not self.files.keys().isdisjoint((str(path), *folders)):
            return "there is a file of that name already"
        if str(path) in self._folders:
            return "there is a folder of that name already"
        most = min(_MAX_FILE, self._left)
        try:
            with opener() as stream:
                data = stream.read(most + 1)
        except Exception as error:  # of any kind: it is in hostile bytes
            return f"it cannot be read ({_short(error)})"
        if len(data) > most:
            return f"it is larger than {most >> 20} MB"
        self._left -= len(data)
        self._folders = folders
        self.files[str(path)] = data
        return ""


def _is_ignored(path: PurePosixPath) -> bool:
    """Whether it is what systems and tools leave behind."""
    return (
        any(part in _IGNORED or part.startswith("._") for part in path.parts)
        or path.suffix in _IGNORED_ENDINGS
    )


def _why_not(path: PurePosixPath) -> str:
    """Why `path` cannot be a submission's file; "" if it can."""
    parts = path.parts
    if not parts or path.is_absolute() or ".." in parts or re.match(r"[A-Za-z]:", parts[0]):
        return "its path leads out of the submission"
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


def _in_folder(folder: Path) -> Iterator[Entry]:
    failed: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=failed.append):
        folders[:] = sorted(name for name in folders if name not in _IGNORED)
        names += [name for name in folders if Path(place, name).is_symlink()]
        for name in sorted(names):
            path = Path(place, name)
            plain = path.is_file() and not path.is_symlink()
            why = "" if plain else "it is a link or no plain file"
            yield path.relative_to(folder).as_posix(), why, partial(_opened, path)
    for error in failed:
        name = Path(error.filename).relative_to(folder).as_posix()
        yield name, f"it cannot be read ({_short(error)})", io.BytesIO


def _in_zip(file: IO[bytes]) -> Iterator[Entry]:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            why = ""
            if stat.S_ISLNK(entry.external_attr >> 16):
                why = "it is a link"
            elif entry.compress_type not in _BOUNDED:
                why = "it is compressed in an unusual way"
            if not entry.is_dir():
                yield entry.filename, why, partial(archive.open, entry)


def _in_tar(file: IO[bytes]) -> Iterator[Entry]:
    packed = _OPENERS.get(file.read(2))
    file.seek(0)
    data = (packed(file) if packed else file).read(_MAX_UNPACKED + 1)
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for entry in archive:
                why = ""
                if entry.size > _MAX_FILE:
                    why = f"it is larger than {_MAX_FILE >> 20} MB"
                elif not entry.isreg() or entry.issparse():
                    why = "it is a link or no plain file"
                if not entry.isdir():
                    yield entry.name, why, partial(archive.extractfile, entry)
    except tarfile.ReadError:
        if len(data) <= _MAX_UNPACKED:
            raise
        yield "the rest", f"it unpacks to more than {_MAX_UNPACKED >> 20} MB", io.BytesIO
