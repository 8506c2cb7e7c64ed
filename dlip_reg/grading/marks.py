"""What a submission earned: plain values, written whole."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NEEDS_STAFF = ("rejected", "grader error")
NOT_GRADED = "it is not graded."  # ends the note on another file that may be the right one
_LONGEST_CAUSE = 300


@dataclass(frozen=True)
class TestMark:
    """One test: `score` is None for a grader error, which is never a zero."""

    name: str
    module: str
    title: str
    public: bool
    max_score: float
    score: float | None
    verdict: str
    message: str = ""
    output: str = ""
    seconds: float = 0.0
    task: str = ""

    __test__ = False  # not a test of pytest's


@dataclass(frozen=True)
class Marks:
    """One submission's marks; `notes` are for staff, `stopped` says what did not run to its end
    on import, for its student as well, `key` says what was graded with what.

    Without tests there is no score, except 0 for who handed in nothing and is to have that: `zero`.
    """

    student: str
    tests: tuple[TestMark, ...]
    tier: str = ""
    seed: str = ""
    key: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    verdict_without_tests: str = "missing"
    zero: bool = False

    @property
    def max_score(self) -> float:
        return tidy(sum(test.max_score for test in self.tests))

    @property
    def score(self) -> float | None:
        """The sum of the tests' scores; None where one of them is not known, or there are none."""
        known = [test.score for test in self.tests if test.score is not None]
        if len(known) < len(self.tests) or not (self.tests or self.zero):
            return None
        return tidy(sum(known))

    @property
    def verdict(self) -> str:
        """The one word for the whole: what staff must see first, else how far it got."""
        found = {test.verdict for test in self.tests}
        if not found:
            return self.verdict_without_tests
        for verdict in reversed(NEEDS_STAFF):
            if verdict in found:
                return verdict
        if len(found) == 1 and "missing" not in found:  # that is who handed in nothing
            return found.pop()
        return "partial" if self.score else "failed"

    @property
    def for_staff(self) -> str:
        """One sentence where every test that was run gave nothing, or where points may be lost
        because something did not run to its end or another file was meant; staff should know why.
        """
        if self.tests and self.score == 0:
            ((message, _),) = Counter(test.message for test in self.tests).most_common(1)
            cause = textwrap.shorten(message, _LONGEST_CAUSE, placeholder=" ...") or "no message"
            return f"{self.student} has 0 points; the most frequent cause: {cause}"
        if self.stopped and {"missing", "error"} & {test.verdict for test in self.tests}:
            return f"{self.student}: {self.stopped[0]}"
        if late := [test.title for test in self.tests if test.verdict == "timeout"]:
            return (
                f"{self.student}: {len(late)} of {len(self.tests)} tests took too long, the first "
                f"{late[0]!r}. If the machine was too slow for them, delete the student's file in "
                "the folder marks and grade again with --workers 1."
            )
        others = [note for note in self.notes if note.endswith(NOT_GRADED)]
        if others and self.score is not None and self.score < self.max_score:
            return f"{self.student} lost points, and {others[0]}"
        return ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Marks:
        """ValueError or TypeError or KeyError where `text` is not what `to_json` gives."""
        values: dict[str, Any] = json.loads(text)
        values["tests"] = tuple(TestMark(**test) for test in values["tests"])
        values["notes"] = tuple(values["notes"])
        values["stopped"] = tuple(values.get("stopped", ()))  # earlier versions knew none
        return cls(**values)


def messages_once(tests: Sequence[TestMark]) -> list[str]:
    """Each test's message; of those that repeat another's a reference to the first."""
    first: dict[str, str] = {}
    return [
        test.message
        if not test.message or first.setdefault(test.message, test.title) == test.title
        else f"The same as for: {first[test.message]}"
        for test in tests
    ]


def number(score: float | None, unknown: str = "?") -> str:
    """The score as text; `unknown` where it is not known."""
    return unknown if score is None else f"{score:g}"


def tidy(number: float) -> float:
    """Without the last digits that adding shares leaves."""
    return round(number, 6) + 0.0


def read_marks(path: Path) -> Marks | None:
    """The marks in `path`, or None where there are none to be read (it is then graded again)."""
    try:
        return Marks.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError):
        return None
