"""The output folder: marks written whole after each submission, and kept for the next run.

OUT/marks/STUDENT.json   one submission's marks, everything (for staff)
"""

from __future__ import annotations

import hashlib
import platform
import re
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from dlip_reg.extras import installed_version
from dlip_reg.files import acquire, write_atomically
from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.grader import Setting
from dlip_reg.grading.marks import Marks, read_marks
from dlip_reg.grading.names import NOT_ON_WINDOWS
from dlip_reg.grading.student import Submission

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
_LIBRARIES = ("tensorflow", "keras", "keras-tuner", "numpy", "pytest")


def file_name(student: str) -> str:
    """A name for the student's files: the student's where that is plain, never the same for two."""
    if _PLAIN.fullmatch(student) and not NOT_ON_WINDOWS.fullmatch(student):
        return student
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", student)[:50].strip("_") or "student"
    plain += "_" if NOT_ON_WINDOWS.fullmatch(plain) else ""  # as in "Con.json"
    return f"{plain}.{hashlib.sha256(student.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _digest(value: object) -> str:
    """A hash of plain data: of its `repr`, which differs where the data do."""
    return hashlib.sha256(repr(value).encode("utf-8", "surrogatepass")).hexdigest()


def tests_key(setting: Setting) -> str:
    """What every mark depends on beside the submission: tests, grader, limits, libraries."""
    files = [
        (path.relative_to(root).as_posix(), path.read_bytes())
        for root in (setting.tests, Path(__file__).parent)
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    ]
    libraries = [(name, installed_version(name)) for name in _LIBRARIES]
    limits = sorted(asdict(setting.limits).items())
    return _digest((platform.python_version(), setting.public_only, libraries, limits, files))


def submission_key(submission: Submission, tests: str) -> str:
    """The key of what is graded: this submission by those tests, whose key it begins with."""
    return f"{tests} {_digest((submission.main, sorted(submission.files.items())))}"


class Results:
    """An output folder, with the marks of earlier runs that came to a test, by student.

    Opening it keeps other graders out until the end of a `with` block.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise GradingError(f"{folder} is a file; --out takes a folder.")
        self.folder = folder
        (folder / "marks").mkdir(parents=True, exist_ok=True)
        # Not thread-local: whichever thread closes the folder releases it.
        self._lock = FileLock(folder / ".lock", timeout=0, thread_local=False)
        try:
            acquire(self._lock)
        except Timeout:
            raise GradingError(f"Another grader is at work in {folder}.") from None
        self.earlier = {
            marks.student: marks
            for path in (folder / "marks").glob("[!.]*.json")
            if (marks := read_marks(path)) is not None
            and marks.tests
            and path.name == f"{file_name(marks.student)}.json"  # no copy of it
        }

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def kept(self, student: str, key: str, seed: str) -> Marks | None:
        """The marks of an earlier run that still hold, with that seed if there is one; a grader
        error never does."""
        marks = self.earlier.get(student)
        if marks is None or marks.key != key or marks.verdict == "grader error":
            return None
        return marks if seed in ("", marks.seed) else None

    def save(self, marks: Marks) -> None:
        """Keep `marks`, whole or not at all; marks without a test never replace some with tests."""
        if marks.tests or marks.student not in self.earlier:
            path = self.folder / "marks" / f"{file_name(marks.student)}.json"
            write_atomically(path, marks.to_json())
