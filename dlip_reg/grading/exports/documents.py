"""Marks as Gradescope's results.json and as JUnit XML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

from dlip_reg.grading.marks import Marks, TestMark

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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
        document["output"] = "This submission could not be graded. Staff have been told."
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


def junit(marks: Iterable[Marks]) -> str:
    """One test suite a student, for continuous integration and staff's eyes. Where no test ran, its
    one case is the submission, and says why."""
    root = ElementTree.Element("testsuites")
    for each in marks:
        tests = each.tests or (_as_test(each),)
        bad = [test for test in tests if test.verdict != "passed"]
        errors = [test for test in bad if test.verdict not in ("failed", "partial")]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=_xml(each.student),
            tests=str(len(tests)),
            failures=str(len(bad) - len(errors)),
            errors=str(len(errors)),
            time=f"{each.seconds:g}",
        )
        for test in tests:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=_xml(test.module),
                name=_xml(test.name),
                time=f"{test.seconds:g}",
            )
            if test in bad:
                kind = "error" if test in errors else "failure"
                node = ElementTree.SubElement(case, kind, type=test.verdict)
                node.set("message", _xml(test.message[:500]))
                node.text = _xml(test.message)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _as_test(marks: Marks) -> TestMark:
    why = " ".join(marks.notes) or "No submission was found."
    return TestMark("submission", "intake", "", True, 0.0, None, marks.verdict, why)


def _xml(text: str) -> str:
    return _NOT_XML.sub("�", text)
