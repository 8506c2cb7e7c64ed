"""Hostile archives and names graded in one folder with honest submissions; all that is written."""

import csv
import json
import os
import re
import sys
import tarfile
from dataclasses import replace

import pytest
from archives import hand_in, link_in_zip, tarred, zipped
from tiny_assignment import FULL, HONEST, LIMITS, SOLVED, tiny_setting

from dlip_reg.grading.exports.write import write_all
from dlip_reg.grading.grade import grade_folder
from dlip_reg.grading.results import Results

GOOD = (HONEST + SOLVED).encode()
MAIN = ("submission.py", GOOD)
FORMULA = '=HYPERLINK("http:evil","x")'
MARKUP = "<img src=x onerror=alert(1)>"
CONTROL = "a\x1b[31m\nb"
NO_UTF8 = b"j\xf6rg"


def fill(folder):
    """Hostile submissions that hold an honest program, and some that hold none."""
    for name in ("aaa", "zzz", FORMULA, MARKUP, CONTROL):
        (folder / f"{name}.py").write_bytes(GOOD)
    (folder / os.fsdecode(NO_UTF8 + b".py")).write_bytes(GOOD)
    leading_out = [(name, b"") for name in ("../evil", f"{folder.parent}/evil", "a/../../evil")]
    links = [("a", (tarfile.SYMTYPE, "/etc")), ("a/passwd", b"evil"), ("b", (tarfile.LNKTYPE, "a"))]
    bomb = ("bomb", bytes(100 << 20))
    names = ["a\nb.py", "a\x1b[31m.py", "x" * 300, "=1+1.py", "<b>.py"]
    archives = {
        "traversal.zip": zipped([*leading_out, MAIN]),
        "traversal-tar.tar.gz": tarred([*leading_out, MAIN]),
        "link.zip": zipped([(link_in_zip("data"), "/etc/passwd"), MAIN]),
        "links.tgz": tarred([*links, MAIN]),
        "bomb.zip": zipped([MAIN, bomb]),
        "bomb-tar.tar.gz": tarred([MAIN, bomb]),
        "many.zip": zipped([MAIN, *((f"{n}/b/c/d/e/f/x", b"") for n in range(199))]),
        "names.zip": zipped([*((name, b"") for name in names), MAIN]),
        "broken.zip": zipped({"sübmission.py": GOOD}).replace("ü".encode(), b"\xff\xff"),
        "only-a-link.tar.gz": tarred({"submission.py": (tarfile.SYMTYPE, "/etc/hosts")}),
        "text.zip": b"no archive",
    }
    hand_in(folder, archives)
    (folder / "linked").mkdir()
    (folder / "linked" / "submission.py").symlink_to("/etc/hosts")


REJECTED = {"broken", "only-a-link", "linked", "text"}
ODD = {FORMULA, MARKUP, r"a\x1b[31m\nb", r"j\udcf6rg"}
PAID = {"aaa", "zzz", "traversal", "traversal-tar", "link", "links", "bomb", "bomb-tar", "many"}
PAID |= {"names"} | ODD


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
@pytest.mark.thorough
def test_hostile_archives_and_names_cost_nobody_a_mark(tests, tmp_path):
    submissions, out = tmp_path / "submissions", tmp_path / "out"
    submissions.mkdir()
    fill(submissions)
    handed_in = set(submissions.iterdir())
    setting = tiny_setting(tests, limits=replace(LIMITS, files=1000))
    for _ in range(2):
        with Results(out) as results:
            graded = grade_folder(submissions, results, setting, workers=2)
            write_all(out, graded)
        found = {marks.student: marks.score for marks in graded.marks}
        assert found == dict.fromkeys(PAID, FULL) | dict.fromkeys(REJECTED)
        assert {m.verdict for m in graded.marks if m.student in REJECTED} == {"rejected"}
        assert len(graded.problems) == len(REJECTED)
        assert all(problem.isprintable() for problem in graded.problems)
    assert graded.anew == 0

    assert set(submissions.iterdir()) == handed_in
    assert set(tmp_path.iterdir()) == {submissions, out}

    with (out / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + len(PAID | REJECTED)
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    pages = list(out.rglob("*.html"))
    assert len(pages) == 1 + len(PAID | REJECTED)
    for page in pages:
        allowed = {"script"} if page.name == "overview.html" else set()  # its sorting, by its hash
        found = re.findall(r"<(img|script|b)\b", page.read_text(encoding="utf-8"))
        assert set(found) == allowed
    for path in (out / "gradescope").iterdir():
        assert json.loads(path.read_text(encoding="utf-8")).get("score", FULL) == FULL
