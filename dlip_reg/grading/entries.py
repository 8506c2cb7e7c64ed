"""The files in folders and archives, read as data; links and the like are listed and not read."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import re
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from dlip_reg.grading.errors import SubmissionError
from dlip_reg.grading.names import IGNORED, shown

MAX_FILE = 10 << 20  # bytes of a submission's file
MAX_UNPACKED = 64 << 20  # bytes of a tar
_MAX_EXTENDED_WORK = 1 << 33  # the squares of the sizes of a tar's extended headers
_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # read a piece at a time, however packed
_OPENERS: dict[bytes, Callable[[IO[bytes]], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZ": bz2.BZ2File,
    b"\xfd7": lzma.LZMAFile,
}
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_ENCRYPTED, _UTF8_NAME = 0x1, 0x800  # flags of a zip entry
_KOREAN_WORD = re.compile("[가-힣]{2}")


class Entry(NamedTuple):
    """A file or an archive's entry."""

    name: str
    why: str  # why it is left out, "" if it is not
    opener: Callable[[], IO[bytes]]
    date: tuple[int, ...] = ()
    size: int = 0  # in bytes, unpacked


def decoded(data: bytes) -> str:
    """Text in UTF-8, UTF-16 or UTF-32, or in Korean's CP949; else UnicodeDecodeError."""
    try:
        return data.decode(json.detect_encoding(data))
    except UnicodeDecodeError:
        text = data.decode("cp949")
        if not _KOREAN_WORD.search(text):  # of other encodings some bytes are CP949 too
            raise
        return text


def short(error: BaseException) -> str:
    """The first line of an error's message, as it can be shown."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return shown(text.splitlines()[0][:200]).rstrip(".")


def opened(path: Path) -> IO[bytes]:
    """`path` if it is a plain file: neither followed nor waited for."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is not a plain file")
    return os.fdopen(descriptor, "rb")


def file_entry(name: str, path: Path) -> Entry:
    """The file at `path`, to be called `name`."""
    found = path.lstat()
    why = "" if stat.S_ISREG(found.st_mode) else "it is a link or no plain file"
    date = time.gmtime(found.st_mtime)[:6]
    return Entry(name, why, partial(opened, path), date, found.st_size)


def in_folder(folder: Path) -> Iterator[Entry]:
    """The files in a folder and its subfolders, those that cannot be listed among them."""
    failed: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=failed.append):
        for name in IGNORED.intersection(folders):
            yield Entry(Path(place, name).relative_to(folder).as_posix(), "", io.BytesIO)
        folders[:] = sorted(name for name in folders if name not in IGNORED)
        links = [name for name in folders if Path(place, name).is_symlink()]
        for path in (Path(place, name) for name in sorted([*names, *links])):
            yield file_entry(path.relative_to(folder).as_posix(), path)
    for error in failed:
        name = Path(error.filename).relative_to(folder).as_posix()
        yield Entry(name, f"it cannot be read ({short(error)})", io.BytesIO)


def in_archive(name: str, file: IO[bytes]) -> Iterator[Entry]:
    """The files in an archive, whose name in small letters tells its kind."""
    return _in_zip(file) if name.endswith(".zip") else _in_tar(file)


class _ShortReads(io.BytesIO):
    """Refuses to read more at a time than a file may have, such as a directory of a million."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_FILE:
            raise SubmissionError("The archive lists too many files.")
        return super().read(size)


def _in_zip(file: IO[bytes]) -> Iterator[Entry]:
    archive = zipfile.ZipFile(_ShortReads(file.read()))
    for entry in archive.infolist():
        why = ""
        if stat.S_ISLNK(entry.external_attr >> 16):
            why = "it is a link"
        elif entry.flag_bits & _ENCRYPTED:
            why = "it is encrypted"
        elif entry.compress_type not in _BOUNDED:
            why = "it is compressed in an unusual way"
        if not entry.filename.endswith(("/", "\\")):  # the latter by PowerShell
            opener = partial(archive.open, entry)
            yield Entry(_zip_name(entry), why, opener, entry.date_time, entry.file_size)


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """The entry's name. Where it is not marked as UTF-8 it is in the encoding of the system that
    packed it; Python takes that for the IBM PC's."""
    with contextlib.suppress(UnicodeError):
        if not entry.flag_bits & _UTF8_NAME:
            return decoded(entry.filename.encode("cp437"))
    return entry.filename


class _TarEntry(tarfile.TarInfo):
    """An entry of one archive (hence of a subclass): until 3.11.10 Python takes for an extended
    header a time that grows with the square of its size."""

    work_left: int

    @classmethod
    def frombuf(cls, *arguments: Any) -> Self:
        entry = super().frombuf(*arguments)
        if entry.type in _EXTENDED:
            cls.work_left -= entry.size**2
            if cls.work_left < 0:
                raise SubmissionError("The archive is broken: its extended headers are too large.")
        return entry


def _in_tar(file: IO[bytes]) -> Iterator[Entry]:
    packed = _OPENERS.get(file.read(2))
    file.seek(0)
    data = (packed(file) if packed else file).read(MAX_UNPACKED + 1)
    kind = type("_", (_TarEntry,), {"work_left": _MAX_EXTENDED_WORK})
    archive = tarfile.TarFile(fileobj=io.BytesIO(data), tarinfo=kind)
    try:
        for entry in archive:
            if entry.size < 0:  # from there tarfile would go back, and round and round
                raise SubmissionError("The archive is broken: a file's size is negative.")
            is_plain = entry.isreg() and not entry.issparse()
            if not entry.isdir():
                why = "" if is_plain else "it is a link or no plain file"
                opener = partial(tarfile.ExFileObject, archive, entry)
                date = time.gmtime(entry.mtime)[:6]
                yield Entry(entry.name, why, opener, date, entry.size)
    except tarfile.ReadError:
        if len(data) <= MAX_UNPACKED:
            raise
        yield Entry("the rest", f"it unpacks to more than {MAX_UNPACKED >> 20} MB", io.BytesIO)
