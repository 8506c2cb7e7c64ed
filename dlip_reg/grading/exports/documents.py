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

    Without a score where it is not known: Gradescope then asks staff for it.
    """
    document: dict[str, Any] = {
        "execution_time": marks.seconds,
        "stdout_visibility": "hidden",
        "output_format": "text",
        "tests": [_gradescope_test(test) for test in marks.tests],
        "extra_data": {"verdict": marks.verdict, "tier": marks.tier},
    }
    if marks.score is None:
        document["output"] = "This submission could not be graded. Staff have been told."
    else:
        document["score"] = marks.score
    return json.dumps(document, indent=1, allow_nan=False)


def _gradescope_test(test: TestMark) -> dict[str, Any]:
    shown = {
        "name": test.title,
        "score": test.score or 0.0,
        "max_score": test.max_score,
        "status": "passed" if test.verdict == "passed" else "failed",
        "visibility": "visible",
        "output_format": "text",
    }
    if test.public and test.message:
        shown["output"] = f"{test.verdict}: {test.message}"
    return shown


def junit(marks: Iterable[Marks]) -> str:
    """One test suite a student, for continuous integration and staff's eyes."""
    root = ElementTree.Element("testsuites")
    for each in marks:
        bad = [test for test in each.tests if test.verdict != "passed"]
        errors = [test for test in bad if test.verdict not in ("failed", "partial")]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=_xml(each.student),
            tests=str(len(each.tests)),
            failures=str(len(bad) - len(errors)),
            errors=str(len(errors)),
            time=f"{each.seconds:g}",
        )
        for test in each.tests:
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


def _xml(text: str) -> str:
    return _NOT_XML.sub("�", text)
