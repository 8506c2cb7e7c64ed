"""Marks as the results.json of Gradescope and of PrairieLearn."""

from __future__ import annotations

import json
from typing import Any

from dlip_reg.grading.marks import Marks, TestMark, tidy

_NOT_GRADED = "This submission could not be graded. Staff will look at it."


def gradescope(marks: Marks) -> str:
    """results.json for one student: a hidden test shows its name and points only.

    Where the score is not known there is none at all: Gradescope adds up the tests' scores where
    the whole has none, and what a broken test would have given is not zero.
    """
    known = marks.score is not None
    document: dict[str, Any] = {
        "execution_time": marks.seconds,
        "stdout_visibility": "hidden",
        "output_format": "text",
        "tests": [_gradescope_test(test, known) for test in marks.tests],
        "extra_data": {"verdict": marks.verdict, "tier": marks.tier},
    }
    if known:
        document["score"] = marks.score
    else:
        document["output"] = _NOT_GRADED
    return json.dumps(document, indent=1, allow_nan=False)


def _gradescope_test(test: TestMark, with_score: bool) -> dict[str, Any]:
    shown = {
        "name": test.title,
        "max_score": test.max_score,
        "visibility": "visible",
        "output_format": "text",
    }
    if with_score:
        shown["score"] = test.score
    if test.score is not None:
        shown["status"] = "passed" if test.verdict == "passed" else "failed"
    if test.public and test.message:
        shown["output"] = f"{test.verdict}: {test.message}"
    return shown


def prairielearn(marks: Marks) -> str:
    """results.json for one student: a hidden test shows its name and points only.

    Where the score is not known the submission is not gradable, which costs no attempt.
    """
    if marks.score is None:
        return json.dumps({"gradable": False, "message": _NOT_GRADED}, indent=1)
    tests = [
        {
            "name": test.title,
            "points": test.score,
            "max_points": test.max_score,
            "output": f"{test.verdict}: {test.message}" if test.public and test.message else "",
        }
        for test in marks.tests
    ]
    score = tidy(marks.score / marks.max_score) if marks.max_score else 0.0
    return json.dumps({"gradable": True, "score": score, "tests": tests}, indent=1)
