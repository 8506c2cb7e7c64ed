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
from itertools import chain, groupby, pairwise
from typing import Any

import jinja2
import numpy as np

from dlip_reg.grading.exports.similarity import Similar, compared_lines, shared_lines
from dlip_reg.grading.marks import NEEDS_STAFF, Marks, TestMark, messages_once, number, tidy

_BINS = 10
# What the overview's page may run: this file and nothing else.
_SORTING = resources.files("dlip_reg.grading").joinpath("templates/sort.js").read_text("utf-8")
_SORTING_HASH = base64.b64encode(hashlib.sha256(_SORTING.encode()).digest()).decode()


_PAGES = jinja2.Environment(
    loader=jinja2.PackageLoader("dlip_reg.grading", "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.globals["number"] = number


def feedback(marks: Marks, max_score: float, hand_out: str = "") -> str:
    """A student's page, by task: of hidden tests it shows the name, the points and nothing else.

    `hand_out` is the address of the hand-out, where "#task-1" leads to the first task.
    """
    tests = sorted(marks.tests, key=lambda test: (int(_number_of(test.task) or 0), test.task))
    public = [test for test in tests if test.public]
    tasks = {
        task: replace(marks, tests=tuple(of_task))
        for task, of_task in groupby(tests, key=lambda test: test.task)
    }
    return _PAGES.get_template("feedback.html").render(
        marks=marks,
        max_score=max_score,
        tasks=tasks,
        messages=dict(zip(public, messages_once(public), strict=True)),
        hand_out=hand_out,
        numbers={task: _number_of(task) for task in tasks},
    )


def _number_of(task: str) -> str:
    """The digits that the name of a task begins with; "" without any."""
    return re.split(r"\D", task, maxsplit=1)[0]


def comparison(pair: Similar, sources: Mapping[str, bytes], starter: bytes) -> str:
    """Two students' sources side by side, with what they have in common marked."""
    columns = []
    for student, other in ((pair.first, pair.second), (pair.second, pair.first)):
        marked = shared_lines(sources[student], sources[other], starter)
        lines = [
            each.decode("utf-8", "replace").rstrip().rstrip("\0")
            for each in compared_lines(sources[student])
        ]
        columns.append((student, [(n in marked, line) for n, line in enumerate(lines, 1)]))
    return _PAGES.get_template("comparison.html").render(pair=pair, columns=columns)


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
    return _PAGES.get_template("overview.html").render(
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
        sorting=_SORTING,
        sorting_hash=_SORTING_HASH,
    )


def _distribution(scores: Sequence[float], max_score: float) -> list[dict[str, Any]]:
    """Bins of a tenth of the points each, without their upper end; full marks are in the last."""
    ends = [tidy((max_score or 1) * at / _BINS) for at in range(_BINS + 1)]
    counts, _ = np.histogram(scores, ends)
    return [
        {
            "label": f"{low:g} to {'below ' if high < ends[-1] else ''}{high:g}",
            "count": count,
            "percent": round(100 * count / max(1, *counts)),
        }
        for count, (low, high) in zip(counts, pairwise(ends), strict=True)
    ]


def _hardest(marks: Sequence[Marks]) -> list[dict[str, Any]]:
    """Each test with the share of its points that were earned, the lowest first."""
    found: dict[tuple[str, str], list[TestMark]] = defaultdict(list)
    for test in chain.from_iterable(each.tests for each in marks):
        found[test.module, test.name].append(test)
    rows = []
    for tests in found.values():
        known = [(test.score, test.max_score) for test in tests if test.score is not None]
        earned = sum(score for score, _ in known) / (sum(most for _, most in known) or 1.0)
        verdicts = Counter(test.verdict for test in tests).most_common()
        row = {"title": tests[0].title, "public": tests[0].public, "percent": round(100 * earned)}
        rows.append(row | {"verdicts": ", ".join(f"{count} {name}" for name, count in verdicts)})
    return sorted(rows, key=lambda row: (row["percent"], row["title"]))
