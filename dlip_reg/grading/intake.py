"""Submissions as they come: files, notebooks, folders and archives, read as data.

What cannot be part of a submission (links, devices, paths that lead out, too much of anything) is
left out with a note for staff; the rest is graded. Where there are files but no main file, staff
must look: a submission is missing only where its folder is empty.
"""

from __future__ import annotations

import ast
import codecs
import contextlib
import io
import re
import tokenize
import unicodedata
from collections.abc import Iterable, Iterator
from importlib.util import decode_source, find_spec
from itertools import islice
from pathlib import Path, PurePosixPath

from dlip_reg.grading.entries import (
    MAX_FILE,
    MAX_UNPACKED,
    Entry,
    decoded,
    file_entry,
    in_archive,
    in_folder,
    opened,
    short,
)
from dlip_reg.grading.errors import EmptySubmissionError, GradingError, SubmissionError
from dlip_reg.grading.marks import NOT_GRADED
from dlip_reg.grading.names import (
    ARCHIVES,
    BETWEEN_SOURCES,
    ENDINGS,
    IGNORED,
    MAIN,
    NOTEBOOK,
    SOURCES,
    as_path,
    importance,
    is_by_system,
    is_ignored,
    label_of,
    shown,
    why_not,
)
from dlip_reg.grading.notebooks import MODULES, NotebookFormatError, cells_of, parsed, source_of
from dlip_reg.grading.student import Submission

_MAX_BYTES, _MAX_FILES, _MAX_ENTRIES = 20 << 20, 200, 5_000
_MAX_NESTED = 3  # archives in archives
_MAX_SHOWN = 100  # letters of a file's name
_MAX_NOTES = 3  # on files that are left out
# How a file begins that is not Python, whatever its name; a notebook is recognized by its JSON.
_NO_PYTHON = {
    b"{\\rtf": "formatted text (RTF)",
    b"PK\x03\x04": "an archive or an Office document",
    b"%PDF": "a PDF",
    b"<<<<<<<": "an unsettled merge",
    b"<": "a web page or XML",
    b"From: <Saved by": "a web page",
}
# A function or class at the top level of a module.
_DEFINITION = re.compile(rb"^(?:def|class)[ \t]+(\w+)", re.MULTILINE)
_CODING = re.compile(r"\A((?:.*\n)?[ \t\f]*#.*?coding[:=][ \t]*)[-\w.]+")
_ASCII = bytes(range(1, 128))


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
    found = sorted(p for p in path.iterdir() if p.name[0] != "." and p.name not in IGNORED)
    if not found:
        raise GradingError(f"{path} holds no submissions: no file, folder or archive.")
    return found


def read_submission(*paths: Path, starter: bytes = b"") -> Submission:
    """Read the submission at `path`, or one whose files a course system has put side by side.

    Its main file is the one called submission.py, else submission.ipynb, else the only .py or
    .ipynb file, of those the least deep in folders; the `starter` file as it was handed out is only
    taken where there is no other. A lone archive within is opened. What lies outside the main
    file's folder is left out. Of several candidates one is proposed to staff: that which defines
    most of the names that the starter file defines, of several the newest.

    Raises:
        EmptySubmissionError: The folder is empty.
        SubmissionError: Nothing can be read, or there is no main file; one sentence.
    """
    name, kept = ", ".join(shown(path.name) for path in paths), _Kept()
    if all(label_of(path).is_text for path in paths):
        raise SubmissionError(f"{name} was written into a text field: ask for the file.")
    try:
        _read(paths, name, kept)
        if not (kept.files or kept.notes or kept.ignored) and all(path.is_dir() for path in paths):
            raise EmptySubmissionError(f"{name} is empty.")
        for _ in range(_MAX_NESTED):
            inner = [file for file in kept.files if file.lower().endswith(ARCHIVES)]
            if len(inner) != 1 or _candidates(kept.files):
                break
            kept.add_all(in_archive(inner[0].lower(), io.BytesIO(kept.files.pop(inner[0]))))
    except SubmissionError:
        raise
    except Exception as error:  # whatever a parser makes of hostile bytes, it is one submission's
        raise SubmissionError(f"{name} cannot be read: {short(error)}.") from None
    candidates = _candidates_beside(starter, kept)
    if len(candidates) == 1:
        try:
            return _submission(label_of(paths[0]).name, PurePosixPath(candidates[0]), kept)
        except NotebookFormatError as error:
            why = str(error)
    elif candidates:
        best = _proposed(candidates, kept, set(_DEFINITION.findall(starter)))
        other = f"none is called {MAIN}"
        if len({PurePosixPath(file).parent for file in candidates}) > 1:
            other = f"they lie in several folders: if each is a student's, grade {name} itself"
        elif MAIN in candidates:
            other = "their names differ in capital letters only"
        elif MAIN in kept.files:
            other = f"{MAIN} is as it was handed out"
        why = f"There are {len(candidates)} candidates, and {other}."
        why = f"{why} Proposed: keep {best!r} alone."
    else:
        found = ", ".join([*sorted(kept.files), *kept.ignored][:3]) or "nothing"
        why = next(iter(kept.notes), f"There is no {MAIN} and no notebook, but {found}.")
    raise SubmissionError(f"{name} holds no {MAIN} that can be read. {why}")


def _candidates(files: Iterable[str]) -> list[str]:
    """The files that may be the main one."""
    paths = [PurePosixPath(file) for file in files]
    sources = [path for path in paths if path.suffix.lower() in SOURCES]
    called = [[path for path in sources if path.name.lower() == name] for name in (MAIN, NOTEBOOK)]
    modules = [path for path in sources if path.name != "__init__.py"]
    found = next(filter(None, [*called, modules, sources]), [])
    least = min((len(path.parts) for path in found), default=0)
    return [str(path) for path in found if len(path.parts) == least]


def _candidates_beside(starter: bytes, kept: _Kept) -> list[str]:
    """The same without the starter file, where there is something else that may be the main one."""
    candidates, words = _candidates(kept.files), starter.split()
    given = [file for file in candidates if source(file, kept.files[file]).split() == words != []]
    others = _candidates(file for file in kept.files if file not in given)
    if given and len(others) == 1:
        kept.remarks.append(f"{given[0]} is as it was handed out: {others[0]} is graded.")
        kept.files = {file: data for file, data in kept.files.items() if file not in given}
    return others or candidates


def _proposed(candidates: Iterable[str], kept: _Kept, required: set[bytes]) -> str:
    """The candidate that is most likely the main file."""

    found = {file: set(_DEFINITION.findall(source(file, kept.files[file]))) for file in candidates}
    known = required or set().union(*found.values())
    return max(found, key=lambda file: (len(found[file] & known), kept.dates[file], file))


def source(file: str, data: bytes) -> bytes:
    """The file's Python source; none where a notebook cannot be read."""
    try:
        return source_of(data) if file.lower().endswith(".ipynb") else _as_utf8(data)
    except NotebookFormatError:
        return b""


def all_source(submission: Submission) -> bytes:
    """The source of all modules and notebooks, the main one first: what is copied may be in any."""
    files = sorted(submission.files.items(), key=lambda item: item[0] != submission.main)
    return BETWEEN_SOURCES.join(source(*item) for item in files if item[0].endswith(SOURCES))


def _submission(student: str, main: PurePosixPath, kept: _Kept) -> Submission:
    """The files in the folder of the main one, as modules that Python can read."""
    suffix = main.suffix.lower()
    name = main.name if main.suffix == suffix else MAIN if suffix == ".py" else NOTEBOOK
    files = {name: kept.files[str(main)]}
    for path in map(PurePosixPath, kept.files):
        if not path.is_relative_to(main.parent):
            kept.leave_out(str(path), f"it is outside the folder of {main.name}")
        elif path != main:
            # Python finds modules by the ending in small letters only.
            own = path.with_suffix(".py") if path.suffix.lower() == ".py" else path
            files.setdefault(str(own.relative_to(main.parent)), kept.files[str(path)])
    for file, data in files.items():
        if file.endswith(".py") and (text := _as_utf8(data)) != data:
            files[file] = text
            kept.remarks.append(f"Python cannot read {file}'s encoding; it was converted to UTF-8.")
    if suffix == ".py" and (kind := _no_python(files[name])):
        raise NotebookFormatError(f"{main.name} is not Python but {kind}.")
    code = source_of(files[name]) if suffix == ".ipynb" else files[name]
    if not code.strip():
        raise NotebookFormatError(f"{main.name} has no code in it.")
    archives = [file for file in files if file.lower().endswith(ARCHIVES)]
    if archives and main.stem.lower() != PurePosixPath(MAIN).stem:
        kept.remarks.append(f"Not opened: {', '.join(archives)}; graded is {main.name}.")
    names = set(_DEFINITION.findall(code))
    for file in sorted(files.keys() - {name}) if names else ():
        if file.endswith(SOURCES) and set(_DEFINITION.findall(source(file, files[file]))) >= names:
            kept.remarks.append(f"{file} defines all that {main.name} does; {NOT_GRADED}")
    return Submission(student, files, name, kept.notes)


def _no_python(data: bytes) -> str:
    """What a file that is called .py is instead; "" where it may be Python."""
    beginning = data.removeprefix(codecs.BOM_UTF8).lstrip()
    for start, kind in _NO_PYTHON.items():
        if beginning[: len(start)].lower() == start.lower():
            return kind
    with contextlib.suppress(NotebookFormatError):
        cells_of(data)
        return "a notebook"
    return "binary data, such as a Word document or an image" if b"\0" in data else ""


def import_fault(submission: Submission) -> str:
    """Why the main file cannot be imported, as far as its text says; "" where it does not say.

    A notebook can always be run: a cell that raises loses only what it defines.
    """
    if submission.main.endswith(".ipynb"):
        return ""
    # In any folder: the file may put one on the path first.
    parts = {part for file in submission.files for part in PurePosixPath(file).parts}
    own = {part.removesuffix(".py") for part in parts} | {*MODULES}
    try:
        body = parsed(decode_source(submission.files[submission.main]), submission.main).body
    except SyntaxError as error:
        return f"Line {error.lineno}: {error.msg}."
    for node in body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        tops = {name.partition(".")[0] for name in names}
        # What such a statement defines is kept and graded, whatever becomes of the import.
        if not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr) or tops & own:
            return ""
        for top in tops:
            if find_spec(top) is None:
                return f"Line {node.lineno}: there is no module named {top!r}."
    return ""


def _as_utf8(data: bytes) -> bytes:
    """A module in UTF-8, where Python cannot read it as it is."""
    with contextlib.suppress(SyntaxError, UnicodeError, LookupError):
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        # Some that are not like ASCII, such as Punycode, take time by the square of the size.
        if _ASCII.decode(encoding) == _ASCII.decode() and "\0" not in data.decode(encoding):
            return data
    try:
        text = decoded(data)
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return _CODING.sub(r"\1utf-8", text).encode()


def _read(paths: tuple[Path, ...], name: str, kept: _Kept) -> None:
    for path in paths:
        shown_name, lower = shown(path.name), path.name.lower()
        if path.is_symlink():
            raise SubmissionError(f"{shown_name} is a link, which is not followed.")
        if not path.exists():
            raise SubmissionError(f"There is no {shown(str(path))}.")
        if path.is_dir():
            kept.add_all(in_folder(path))
        elif not path.is_file():
            raise SubmissionError(f"{shown_name} is neither a file nor a folder.")
        elif path.stat().st_size > MAX_UNPACKED:
            raise SubmissionError(f"{shown_name} is larger than {MAX_UNPACKED >> 20} MB.")
        elif len(paths) > 1 or lower.endswith(SOURCES):
            own = label_of(path).own if len(paths) > 1 else f"submission{path.suffix.lower()}"
            kept.add_all([file_entry(own, path)])
        elif lower.endswith(ARCHIVES):
            with opened(path) as file:
                kept.add_all(in_archive(lower, file))
        else:
            raise SubmissionError(f"{name} is neither a folder nor one of {', '.join(ENDINGS)}.")


class _Kept:
    """The files kept so far, with their dates, and notes on what was left out."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.dates: dict[str, tuple[int, ...]] = {}
        self.remarks: list[str] = []
        self.ignored: list[str] = []  # the first that may be a student's work after all
        self._left_out: list[str] = []
        self._folders: set[str] = set()
        self._left = _MAX_BYTES

    def leave_out(self, name: str, why: str) -> None:
        self._left_out.append(f"Left out {name[:_MAX_SHOWN]!r}: {why}.")

    @property
    def notes(self) -> tuple[str, ...]:
        more = len(self._left_out) - _MAX_NOTES
        rest = [f"Left out {more} more."] if more > 0 else []
        return (*self._left_out[:_MAX_NOTES], *rest, *self.remarks)

    def add_all(self, entries: Iterable[Entry]) -> None:
        """Read what can be a submission's file, but for what systems and tools leave behind.

        Sources and archives come first: large data must not crowd them out.
        """
        few = list(islice(self._not_ignored(entries), _MAX_ENTRIES))
        few.reverse()  # of one name the last is the newest, which unpacking would keep
        for entry in sorted(few, key=lambda entry: importance(entry.name)):
            path = as_path(unicodedata.normalize("NFC", entry.name))
            if why := entry.why or self._add(path, entry):
                self.leave_out(entry.name, why)
            else:
                self.dates[str(path)] = entry.date

    def _not_ignored(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in entries:
            if not is_ignored(entry.name):
                yield entry
            elif not self.ignored and not is_by_system(entry.name):
                self.ignored.append(shown(entry.name[:_MAX_SHOWN]))

    def _add(self, path: PurePosixPath, entry: Entry) -> str:
        """Keep the file; gives why it cannot be kept, "" if it is.

        What is too large is not read, and what cannot be read counts: an archive of little bytes
        could unpack to much work.
        """
        folders = self._folders.union(map(str, path.parents[:-1]))
        if why := why_not(path):
            return why
        if len(self.files) + len(folders) >= _MAX_FILES:
            return f"there are more than {_MAX_FILES} files and folders"
        if not self.files.keys().isdisjoint((str(path), *folders)):
            return "there is a file of that name already"
        if str(path) in self._folders:
            return "there is a folder of that name already"
        if entry.size > MAX_FILE:
            return f"it is larger than {MAX_FILE >> 20} MB"
        if entry.size > self._left:
            return f"all files together are larger than {_MAX_BYTES >> 20} MB"
        self._left -= entry.size
        try:
            with entry.opener() as stream:
                self.files[str(path)] = stream.read(entry.size)
        except Exception as error:  # of any kind: it is in hostile bytes
            return f"it cannot be read ({short(error)})"
        self._folders = folders
        return ""
