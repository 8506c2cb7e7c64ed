"""What the names of files say: whose they are, of what kind, and whether a submission has them."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path, PurePosixPath
from typing import NamedTuple

MAIN = "submission.py"
NOTEBOOK = "submission.ipynb"
# Of Persian and Indian words, of emoji, and of text from right to left within other text.
_JOINERS = dict.fromkeys(map(ord, "\u200c\u200d\u200e\u200f"))
# Has a sign that Windows does not allow, or an end that it drops, or names a device there.
NOT_ON_WINDOWS = re.compile(
    r'.*[<>:"|?*].*|.*[. ]|(con|prn|aux|nul|com\d|lpt\d)([. ].*)?', re.IGNORECASE
)
_MAX_DEPTH, _MAX_NAME = 8, 200  # of a name: bytes, of which a Korean letter takes three
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
SOURCES = (".py", ".ipynb")
ENDINGS = (*SOURCES, *ARCHIVES)
BETWEEN_SOURCES = b"\n\0\n"  # no file that Python can read has a NUL
# No student's work; the last is Sakai's.
_BY_SYSTEMS = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", ".git", "timestamp.txt"}
IGNORED = _BY_SYSTEMS | {"__pycache__", ".ipynb_checkpoints", ".idea", ".vscode"}
IGNORED |= {"venv", ".venv", "site-packages", "node_modules", "public_tests"}
_IGNORED_ENDINGS = {".pyc", ".pyo", ".pth"}
# How course systems name what they hand out. What comes last, `own`, is the student's own choice,
# and may look like another's name: the pattern that leaves most to it is the right one. `text` is
# what was written into a text field. Blackboard's number and that of nbgrader's exchange is the
# date; `before` is the assignment's title, or that and the beginning of a user name with a _.
# Canvas leaves out the name of who is to be graded anonymously. Sakai's `before` is the name, its
# `name` the login.
_CANVAS_FILE = r"_(\d{2,}_(?P<own>.+)|(?P<text>(text|link)\.html))"
_BY_CANVAS = (
    rf"(LATE_)?(?P<name>anon_[^\W_]{{5}}){_CANVAS_FILE}",
    rf"(?P<name>[^_]+)(_LATE)?_(?P<number>\d+){_CANVAS_FILE}",
)
_BY_SYSTEM = (
    *_BY_CANVAS,
    r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_(file|(?P<text>onlinetext))_?(?P<own>.*)",
    r"(?P<before>.+?)_(?P<name>[^_]+)_attempt_(?P<number>[\d-]{19})(_(?P<own>.+)|(?P<text>\.txt))",
    r"(?P<name>[^+]+)\+[^+]+\+(?P<number>\d{4}-\d\d-\d\d [\d:.]+) [^+]*(\+(?P<own>.*))?",
    r"(?P<number>\d+-\d+) - (?P<name>.+?) - [^-]*\d{4}[^-]*?( - (?P<own>.+))?",
    r"(?P<before>[^()]+, [^()]*[^() ])\((?P<name>[^()]+)\)(?P<own>)",
)
_RESUBMISSION = re.compile(r"-\d+(?=\.\w+(\.\w+)?$)")  # submission-1.py, Canvas' second attempt


class Label(NamedTuple):
    """What a file's name says of its student: the name (all of it where no course system wrote
    it), the number ("" for none), how the student called the file, whether it is what the student
    wrote into a text field, what stands before the name, and whether a course system wrote it and
    does not say whose it is."""

    name: str
    number: str = ""
    own: str = ""
    is_text: bool = False
    before: str = ""
    is_anonymous: bool = False


def shown(text: str) -> str:
    """`text` with accents in one form on every system, and with escapes for what cannot be printed,
    such as bytes of a name that are not UTF-8."""
    text = unicodedata.normalize("NFC", text)
    return "".join(
        c if c.isprintable() or ord(c) in _JOINERS else c.encode("unicode_escape").decode()
        for c in text
    )


def label_of(path: Path) -> Label:
    """Whose submission that is, by its file's name."""
    name = shown(path.name)
    matches = [match for pattern in _BY_SYSTEM if (match := re.fullmatch(pattern, name))]
    if matches:
        match = max(matches, key=lambda match: len(match["own"] or ""))
        found, own = match.groupdict(""), match["own"] or ""
        own = _RESUBMISSION.sub("", own) if match.re.pattern in _BY_CANVAS else own
        number, is_text = found.get("number", ""), bool(found.get("text"))
        before = found.get("before", "")
        return Label(found["name"], number, own, is_text, before, not (number or before))
    endings = [e for e in ENDINGS if name.lower().endswith(e) and not path.is_dir()]
    stem = name[: -max(map(len, endings))] if endings else name
    return Label(stem or name)


def as_path(name: str) -> PurePosixPath:
    """The name as a path, also where Windows wrote it."""
    return PurePosixPath(name.replace("\\", "/"))


def importance(name: str) -> tuple[bool, bool, int, str]:
    """Smaller for what is more likely the submission: by name, by ending, and the least deep;
    else in alphabetical order."""
    path = as_path(name.lower())
    is_named, is_source = path.name in (MAIN, NOTEBOOK), path.name.endswith(ENDINGS)
    return not is_named, not is_source, len(path.parts) if is_source else 0, str(path)


def is_ignored(name: str) -> bool:
    """Whether that is left out without a note."""
    path = as_path(name)
    left_behind = not IGNORED.isdisjoint(path.parts) or path.suffix in _IGNORED_ENDINGS
    return left_behind or is_by_system(name)


def is_by_system(name: str) -> bool:
    """Whether a system has left that behind, which is not a student's work."""
    return any(part in _BY_SYSTEMS or part.startswith("._") for part in as_path(name).parts)


def why_not(path: PurePosixPath) -> str:
    """Why `path` cannot be a submission's file; "" if it can."""
    parts = path.parts
    if not parts or path.is_absolute() or ".." in parts or re.match(r"[A-Za-z]:", parts[0]):
        return "its path leads out of the submission"
    if len(parts) > _MAX_DEPTH or any(len(os.fsencode(part)) > _MAX_NAME for part in parts):
        return "its path is too long"
    if not str(path).translate(_JOINERS).isprintable():
        return "its name has characters that cannot be printed"
    if os.name == "nt" and any(map(NOT_ON_WINDOWS.fullmatch, parts)):
        return "Windows does not allow its name"
    return ""
