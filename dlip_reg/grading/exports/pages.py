"""The HTML pages: feedback for one student, an overview for staff. All text is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from itertools import groupby
from typing import Any

import jinja2

from dlip_reg.grading.exports.similarity import Similar, shared_lines
from dlip_reg.grading.marks import NEEDS_STAFF, Marks, messages_once, tidy

_BINS = 10
_EXPLAINED = {
    "passed": "full points",
    "partial": "part of the points",
    "failed": "not as required",
    "error": "your code raised an error or ended the program",
    "timeout": "your code took too long",
    "memory": "your code used too much memory",
    "missing": "not found in your submission",
    "rejected": "staff will look at this",
    "grader error": "an error of the grader: staff will look at this",
}
# What the overview's page may run: this file and nothing else.
_SORTING = resources.files("dlip_reg.grading").joinpath("templates/sort.js").read_text("utf-8")
_SORTING_HASH = base64.b64encode(hashlib.sha256(_SORTING.encode()).digest()).decode()


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("dlip_reg.grading", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def feedback(marks: Marks, max_score: float, hand_out: str = "") -> str:
    """A student's page, by task: of hidden tests it shows the name, the points and nothing else.

    `hand_out` is the address of the hand-out, where "#task-1" leads to the first task.
    """
    page = _environment().get_template("feedback.html")
    tests = sorted(marks.tests, key=lambda test: test.task)
    public = [test for test in tests if test.public]
    tasks = {
        task: replace(marks, tests=tuple(of_task))
        for task, of_task in groupby(tests, key=lambda test: test.task)
    }
    return page.render(
        marks=marks,
        max_score=max_score,
        tasks=tasks,
        messages=dict(zip(public, messages_once(public), strict=True)),
        links={task: _in_hand_out(hand_out, task) for task in tasks},
        explained=_EXPLAINED,
        number=_number,
    )


def _in_hand_out(address: str, task: str) -> str:
    found = re.match(r"\d+", task)
    return f"{address}#task-{found[0]}" if address and found else ""


def comparison(pair: Similar, sources: Mapping[str, bytes], starter: bytes) -> str:
    """Two students' sources side by side, with what they have in common marked."""
    columns = []
    for student, other in ((pair.first, pair.second), (pair.second, pair.first)):
        marked = shared_lines(sources[student], sources[other], starter)
        lines = sources[student].decode("utf-8", "replace").splitlines()
        columns.append((student, [(n in marked, line) for n, line in enumerate(lines, 1)]))
    page = _environment().get_template("comparison.html")
    return page.render(pair=pair, columns=columns)


def overview(
    marks: Sequence[Marks],
    max_score: float,
    pairs: Mapping[Similar, str],
    problems: Sequence[str],
    links: dict[str, str],
) -> str:
    """Staff's page: what needs them, how the marks are distributed, which tests were hardest,
    which submissions are alike. `links` leads to the feedback pages, `pairs` to comparisons."""
    scores = [each.score for each in marks if each.score is not None]
    needs_staff = [each for each in marks if each.verdict in NEEDS_STAFF]
    said = {note for each in needs_staff for note in each.notes}
    page = _environment().get_template("overview.html")
    return page.render(
        marks=marks,
        max_score=max_score,
        needs_staff=needs_staff,
        problems=[problem for problem in problems if problem not in said],
        tiers=sorted({each.tier for each in marks if each.tier}),
        count=len(marks),
        mean=statistics.fmean(scores) if scores else 0.0,
        median=statistics.median(scores) if scores else 0.0,
        bins=_distribution(scores, max_score),
        hardest=_hardest(marks),
        pairs=pairs,
        links=links,
        number=_number,
        sorting=_SORTING,
        sorting_hash=_SORTING_HASH,
    )


def _number(score: float | None) -> str:
    return "?" if score is None else f"{score:g}"


def _distribution(scores: Sequence[float], max_score: float) -> list[dict[str, Any]]:
    """Bins of a tenth of the points each, without their upper end; full marks are in the last."""
    width = max_score / _BINS if max_score else 1.0
    counts = Counter(min(int(score / width + 1e-9), _BINS - 1) for score in scores)
    most = max(counts.values(), default=1)
    return [
        {
            "label": f"{tidy(at * width):g} to {'below ' if at < _BINS - 1 else ''}"
            f"{tidy((at + 1) * width):g}",
            "count": counts[at],
            "percent": round(100 * counts[at] / most),
        }
        for at in range(_BINS)
    ]


def _hardest(marks: Sequence[Marks]) -> list[dict[str, Any]]:
    """Each test with the share of its points that were earned, the lowest first."""
    found: dict[tuple[str, str], list] = defaultdict(list)
    for each in marks:
        for test in each.tests:
            found[test.module, test.name].append(test)
    rows = []
    for tests in found.values():
        known = [test for test in tests if test.score is not None]
        earned = sum(test.score for test in known) / (sum(t.max_score for t in known) or 1.0)
        verdicts = Counter(test.verdict for test in tests)
        rows.append(
            {
                "title": tests[0].title,
                "public": tests[0].public,
                "percent": round(100 * earned),
                "verdicts": ", ".join(f"{count} {name}" for name, count in verdicts.most_common()),
            }
        )
    return sorted(rows, key=lambda row: (row["percent"], row["title"]))
