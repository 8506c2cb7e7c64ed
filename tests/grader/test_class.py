"""Classes as course systems hand them out: every student's submission is read, or needs staff."""

import csv
import json
import os
import unicodedata
from dataclasses import replace
from io import StringIO

import pytest
from archives import hand_in, tarred, zipped
from further_cases import thorough_after
from tiny_assignment import FULL, HONEST, LIMITS, SOLVED, tiny_setting, write_tests

from dlip_reg.grading.errors import GradingError, SubmissionError
from dlip_reg.grading.exports.formats import moodle_csv
from dlip_reg.grading.exports.write import write_all
from dlip_reg.grading.grade import grade_folder
from dlip_reg.grading.intake import find_submissions, read_submission
from dlip_reg.grading.marks import Marks
from dlip_reg.grading.results import Results
from dlip_reg.grading.roster import assign, read_roster

SOURCE = b"def sharpness(loss):\n    return 0\n"
HELPED = b"from helpers import *\n" + SOURCE
NOTEBOOK = json.dumps(
    {"nbformat": 4, "cells": [{"cell_type": "code", "source": SOURCE.decode()}]}
).encode()
STARTER = b"def sharpness(loss):\r\n    ...\r\n"
KOREAN = "# 손실 함수\n"  # "loss function"
# As Python reads it, and as an editor wrote it that ignores the first line.
SWORN = f"# -*- coding: utf-8 -*-\n{KOREAN}{SOURCE.decode()}"
CP949 = SWORN.replace("utf-8", "cp949")


def zipped_on_korean_windows(name, content):
    """The name is in CP949 and not marked as UTF-8."""
    raw = name.encode("cp949")
    data = zipped({"x" * len(raw): content})
    return data.replace(b"x" * len(raw), raw)


def outcome(folder, roster):
    """For each student the source that is graded, or the sentence for staff; "" where missing."""
    assigned = assign(find_submissions(folder), roster)
    found = dict.fromkeys(assigned.absent, "") | assigned.unsettled
    for student, paths in assigned.of_student.items():
        try:
            read = read_submission(*paths, starter=STARTER.replace(b"\r", b""))
            found[student] = read.files[read.main]
        except SubmissionError as error:
            found[student] = str(error)
    return found, assigned.problems


def roster_of(folder, text, encoding="utf-8"):
    (folder / "roster.csv").write_bytes(text.encode(encoding))
    return read_roster(folder / "roster.csv")


MAC = {"hw/submission.py": SOURCE, "__MACOSX/hw/._submission.py": b"x", "hw/.DS_Store": b"x"}
CHECKPOINT = {"lab.ipynb": NOTEBOOK, ".ipynb_checkpoints/lab-checkpoint.ipynb": b"{}"}
# By student the files that Canvas gives, and what is graded or said to staff ("": missing).
CANVAS = {
    "plain": ({"submission.py": SOURCE}, SOURCE),
    "late": ({"submission.py": SOURCE}, SOURCE),
    "again": ({"submission-1.py": SOURCE}, SOURCE),
    "bom": ({"submission.py": b"\xef\xbb\xbf" + SOURCE}, b"\xef\xbb\xbf" + SOURCE),
    "crlf": ({"lab.PY": SOURCE.replace(b"\n", b"\r\n")}, b"\r\n"),
    "korean": ({"lab.py": KOREAN.encode("cp949") + SOURCE}, KOREAN.encode() + SOURCE),
    "german": ({"lab.py": "# für\n".encode("latin-1") + SOURCE}, b"# f\xc3\xbcr"),
    "coded": ({"l.py": b"# coding: latin-1\n# \xfc\n" + SOURCE}, b"# coding: latin-1\n"),
    "wide": ({"l.py": SOURCE.decode().encode("utf-16")}, SOURCE),
    "spaces": ({"내 과제 (2).py": SOURCE}, SOURCE),
    "mac": ({"hw.zip": zipped(MAC)}, SOURCE),
    "windows": ({"hw.zip": zipped_on_korean_windows("과제.py", SOURCE)}, SOURCE),
    "tar": ({"hw.tar.gz": tarred({"hw/submission.py": SOURCE})}, SOURCE),
    "nested": ({"a.zip": zipped({"b.zip": zipped({"submission.py": SOURCE})})}, SOURCE),
    "report": ({"a.zip": zipped({"r.pdf": b"%", "code/submission.py": SOURCE})}, SOURCE),
    "helped": ({"submission-2.py": HELPED, "helpers-2.py": b"x = 1\n"}, HELPED),
    "paper": ({"submission.py": SOURCE, "report.pdf": b"%"}, SOURCE),
    "two": ({"model.py": b"x = 1\n", "lab.ipynb": NOTEBOOK}, "Proposed: keep 'lab.ipynb' alone"),
    "same": ({"a.py": SOURCE, "a-1.py": SOURCE}, "has 2 submissions"),
    "word": ({"lab.docx": b"PK"}, "is neither a folder nor one of"),
    "empty": ({"submission.py": b""}, "has no code in it"),
    "checkpoint": ({"h.zip": zipped(CHECKPOINT)}, NOTEBOOK),
    "merged": ({"lab.ipynb": b"<<<<<<< HEAD\n{}"}, "The file is not JSON"),
    "old": ({"lab.ipynb": b'{"nbformat": 3, "worksheets": []}'}, "no cells"),
    "text": ({"h.zip": zipped({"submission.py.txt": SOURCE})}, "but submission.py.txt"),
    "compiled": ({"h.zip": zipped({"submission.pyc": b"x"})}, "but submission.pyc"),
    "rich": ({"submission.py": b"{\\rtf1 def"}, "is not Python but formatted text"),
    "renamed": ({"lab.py": NOTEBOOK}, "is not Python but a notebook"),
    "page": ({"lab.py": b"\n<!DOCTYPE html><html>"}, "is not Python but a web page"),
    "beside": ({"lab.py": SOURCE, "submission.py": STARTER}, SOURCE),
    "shouted": ({"submission.py": SOURCE, "HELP.PY": b""}, SOURCE),
    "long": ({"h.zip": zipped({f"{'과제' * 25}.py": SOURCE})}, SOURCE),
    "sworn": ({"l.py": SWORN.encode("cp949")}, SWORN.encode()),
    "powershell": ({"l.py": CP949.encode("utf-16")}, SWORN.encode()),
    "unmarked": ({"l.py": CP949.encode("utf-16-be")}, SWORN.encode()),
    "wider": ({"l.py": CP949.encode("utf-32")}, SWORN.encode()),
    "widepage": ({"l.py": "<html>".encode("utf-16")}, "but a web page"),
    "widerich": ({"l.py": "{\\rtf1 def".encode("utf-16-le")}, "formatted text"),
    "widebook": ({"l.py": NOTEBOOK.decode().encode("utf-16")}, "but a notebook"),
    "archive": ({"l.py": b"From: <Saved by Blink>\r\n"}, "but a web page"),
    "old word": ({"l.py": b"\xd0\xcf\x11\xe0" + bytes(9)}, "but binary data"),
    "unmerged": ({"l.py": b"<<<<<<< HEAD\n" + SOURCE}, "but an unsettled merge"),
    "absent": ({}, ""),
    "written": ({"text.html": b"<p>def f"}, "was written into a text field: ask for the file"),
    "linked": ({"link.html": b"<a>"}, "was written into a text field: ask for the file"),
}


def as_canvas_names(student, number, at, file):
    late = "_LATE" if student in ("late", "linked") else ""
    is_text = file in ("text.html", "link.html")
    return f"{student}{late}_{number}_{file if is_text else f'{10 * number + at}_{file}'}"


def canvas_table(separator):
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Lab, final (77)"]
    rows = [head, ["    Points Possible", "", "", "", "", "40"]]
    rows += [[f"{n}, A", str(at), f"S{at}", f"{n}@x", "1", ""] for at, n in enumerate(CANVAS, 11)]
    rows += [["Student, Test", "999", "", "abc", "1", ""]]
    quoted = (separator.join(f'"{cell}"' for cell in row) for row in rows)
    return "\r\n".join(quoted)


def check(found, expected):
    for student, right in expected.items():
        got = found[student]
        assert type(got) is type(right) and right in got and bool(right) == bool(got), student


@pytest.mark.parametrize(
    ("encoding", "separator"), [("utf-8-sig", ","), ("utf-16", ";"), ("utf-8-sig", "\t")]
)
def test_a_class_of_canvas(tmp_path, encoding, separator):
    for number, (student, (files, _)) in enumerate(CANVAS.items(), 11):
        names = {file: as_canvas_names(student, number, at, file) for at, file in enumerate(files)}
        hand_in(tmp_path / "class", {names[file]: data for file, data in files.items()})
    hand_in(tmp_path / "class", {"stranger_700_701_lab.py": SOURCE})
    roster = roster_of(tmp_path, canvas_table(separator), encoding)
    found, problems = outcome(tmp_path / "class", roster)
    assert set(found) == {f"{name}@x" for name in CANVAS} | {"stranger"}
    check(found, {f"{name}@x": right for name, (_, right) in CANVAS.items()})
    assert "stranger_700_701_lab.py belongs to nobody on the roster" in problems[0]
    for student, helper in (("helped", "helpers.py"), ("shouted", "HELP.py")):
        read = read_submission(*sorted((tmp_path / "class").glob(f"{student}_*")))
        assert set(read.files) == {"submission.py", helper}
    (windows,) = (tmp_path / "class").glob("windows_*")
    assert read_submission(windows).main == "과제.py"


def nfd(text):
    return unicodedata.normalize("NFD", text)


HEAVY = {f"data/{n}.bin": bytes(8 << 20) for n in range(5)}
TREE = {f"venv/lib/m{n}.py": b"" for n in range(300)} | {".git/config": b""}
MOODLE = [
    ("김철수", 4701, {"lab.ipynb": NOTEBOOK}, NOTEBOOK),
    (nfd("박영희"), 4702, {"hw.zip": zipped({"submission.py": SOURCE})}, SOURCE),
    (nfd("Jürgen Müller"), 4703, {"hw.tar.gz": tarred({"submission.py": SOURCE})}, SOURCE),
    ("Ann_Marie Example", 4704, {"code/Submission.PY": SOURCE, "report.pdf": b"%"}, SOURCE),
    ("Sean O'Neil", 4705, {"HW.ZIP": zipped({"SUBMISSION.PY": SOURCE})}, SOURCE),
    ("=Cmd Formula", 4706, {"submission.py": SOURCE, "onlinetext.html": b"<p>hi"}, SOURCE),
    ("Two Versions", 4707, {"lab_v1.py": b"x = 1\n", "lab_v2.py": SOURCE}, "keep 'lab_v2.py'"),
    ("Env Ironment", 4708, {"submission.py": SOURCE, **TREE}, SOURCE),
    ("Big Data", 4709, {"hw.zip": zipped({**HEAVY, "submission.py": SOURCE})}, SOURCE),
    ("Same Name", 4710, {"submission.py": SOURCE}, SOURCE),
    ("Same Name", 4711, {"submission.py": HELPED, "helpers.py": b""}, HELPED),
    ("Group A-Tim Group", 4712, {"submission.py": SOURCE}, SOURCE),
    ("Note Book", 4713, {"lab.ipynb": NOTEBOOK, "data.csv": b"1"}, NOTEBOOK),
    ("Ann Absent", 4714, {}, ""),
    ("Tests Only", 4715, {"public_tests/submission.py": SOURCE}, "no notebook, but public_tests"),
    ("Check Points", 4716, {".ipynb_checkpoints/lab.ipynb": NOTEBOOK}, "but .ipynb_checkpoints"),
    ("Numbered", 4717, {"submission.py": HELPED, "part-1.txt": b"", "part-2.txt": b""}, HELPED),
]
HEADERS = {
    "English": "Identifier,Full name,Email address,Status,Grade,Maximum Grade,X,Y",
    "Korean": "식별자,성명,이메일 주소,상태,성적,A,B,C",
    "French": "Identifiant,Nom complet,Adresse de courriel,Statut,Note,A,B,C",
}


@pytest.mark.parametrize(
    ("header", "flat"), [("English", True), ("Korean", False), ("French", True)]
)
def test_a_class_of_moodle(tmp_path, header, flat):
    rows, expected = [HEADERS[header]], {}
    for name, number, files, right in MOODLE:
        start = f"class/{name}_{number}_assignsubmission_file_"
        paths = {f"{start}{'' if flat else '/'}{file}": data for file, data in files.items()}
        if not flat or not any("/" in file for file in files):
            hand_in(tmp_path, paths)
            listed = unicodedata.normalize("NFC", name).removeprefix("Group A-")
            rows.append(f"Participant {number},{listed},p{number}@x,Submitted,,40,Yes,-")
            expected[f"p{number}@x"] = right
    text = "class/Essay Only_4720_assignsubmission_onlinetext_"
    hand_in(tmp_path, {f"{text}{'' if flat else '/'}onlinetext.html": b"<p>def f(): pass"})
    rows.append("Participant 4720,Essay Only,p4720@x,Submitted,,40,Yes,-")
    expected["p4720@x"] = "was written into a text field: ask for the file"
    roster = roster_of(tmp_path, "\n".join(rows))
    assert list(roster) == list(expected)
    found, problems = outcome(tmp_path / "class", roster)
    assert problems == ()
    check(found, expected)


def test_a_roster_of_names_alone_leaves_namesakes_to_staff(tmp_path):
    for name, number, files, _ in MOODLE:
        for file, data in files.items():
            hand_in(tmp_path / "class", {f"{name}_{number}_assignsubmission_file_/{file}": data})
    names = {unicodedata.normalize("NFC", name).removeprefix("Group A-") for name, *_ in MOODLE}
    found, _ = outcome(tmp_path / "class", dict.fromkeys(sorted(names), ()))
    assert set(found) == names
    assert "Same Name has 2 submissions" in found["Same Name"]
    without, _ = outcome(tmp_path / "class", None)
    assert {"Same Name_4710", "Same Name_4711"} <= set(without)


NAMED = (
    "Last Name,First Name,Username,OrgDefinedId\nNg,Ann,ann,1\nLi,Bob,bob,2\nO'Neil-Ox,Cem,cem,3\n"
)
OTHER_SYSTEMS = {
    "Blackboard": (
        NAMED.replace(",", "\t"),
        {
            "Lab 1_ann_attempt_2026-10-03-23-59-59_submission.py": SOURCE,
            "Lab 1_ann_attempt_2026-10-03-23-59-59.txt": b"Name: Ann Ng (ann)",
            "Lab 1_bob_attempt_2026-10-03-23-59-59_submission.py": HELPED,
            "Lab 1_bob_attempt_2026-10-03-23-59-59_helpers.py": b"",
            "Lab 1_cem_attempt_2026-10-03-23-59-59_lab.py": SOURCE,
            "Lab 1_cem_attempt_2026-10-04-01-00-00_lab2.py": SOURCE,
        },
    ),
    "Brightspace": (
        NAMED.replace(",ann,1", ",#ann,#1"),
        {
            "index.html": b"<html>",
            "51-77 - Ann Ng - Oct 3, 2026 1159 PM/hw.zip": zipped({"submission.py": SOURCE}),
            "52-77 - Bob Li - Oct 3, 2026 1159 PM - submission.py": HELPED,
            "52-77 - Bob Li - Oct 3, 2026 1159 PM - helpers.py": b"",
            "53-77 - Cem O'Neil-Ox - 3 October, 2026 23 59/lab - 1.py": SOURCE,
            "53-77 - Cem O'Neil-Ox - 4 October, 2026 01 00/lab - 2.py": SOURCE,
        },
    ),
    "GitHub Classroom": (
        "identifier,github_username,github_id,name\nAnn Ng,ann,1,\nBob Li,bob,2,\nCem Ox,cem,3,\n",
        {
            "lab-1-ann/submission.py": SOURCE,
            "lab-1-bob/submission.py": HELPED,
            "lab-1-bob/helpers.py": b"",
            "lab-1-cem/submission.py": SOURCE,
            "lab-1-again-cem/submission.py": SOURCE,
        },
    ),
    "Google Classroom": (
        NAMED,
        {
            "Ann Ng - submission.py": SOURCE,
            "Bob Li - lab.zip": zipped({"submission.py": HELPED, "helpers.py": b""}),
            "Cem O'Neil-Ox - lab.py": SOURCE,
            "Cem O'Neil-Ox - Copy of lab.ipynb": NOTEBOOK,
        },
    ),
}


@pytest.mark.parametrize("system", OTHER_SYSTEMS)
def test_a_class_of_another_course_system(tmp_path, system):
    table, files = OTHER_SYSTEMS[system]
    hand_in(tmp_path / "class", files)
    found, problems = outcome(tmp_path / "class", roster_of(tmp_path, table))
    ann, bob, cem = sorted(found)
    check(found, {ann: SOURCE, bob: HELPED, cem: f"{cem} has 2 submissions"})
    assert problems == (found[cem],)


METADATA = """---
submission_1:
  :submitters:
  - :name: Ann Ng
    :sid: '2020'
    :email: ann@x
  :created_at: 2026-10-01 10:00:00.000000000 +09:00
  :score: 0.0
submission_2:
  :submitters:
  - :name: Bob Li
    :sid: '2021'
    :email: bob@x
  - :name: Cem Ox
    :sid: ''
    :email: cem@x
"""


def test_an_export_of_gradescope(tmp_path):
    hand_in(tmp_path, {"submission_metadata.yml": METADATA.encode()})
    hand_in(tmp_path, {"submission_1/submission.py": SOURCE})
    hand_in(tmp_path, {"submission_2/hw.zip": zipped({"lab.py": HELPED, "helpers.txt": b""})})
    listed = roster_of(
        tmp_path.parent,
        "First Name,Last Name,SID,Email,Role\nAnn,Ng,2020,ann@x,Student\nBob,Li,2021,bob@x,\n"
        "Cem,Ox,,cem@x,Student\nDan,Xu,2023,dan@x,Student\nEve,Staff,,eve@x,Instructor\n",
    )
    right = {"Ann Ng": SOURCE, "Bob Li": HELPED, "Cem Ox": HELPED}
    assert outcome(tmp_path, listed) == (right | {"Dan Xu": ""}, ())
    assert outcome(tmp_path, None) == (right, ())
    for broken in ("a: [", "- 1", "submission_1: 3"):
        hand_in(tmp_path, {"submission_metadata.yml": broken.encode()})
        with pytest.raises(GradingError, match="cannot be read as Gradescope's metadata"):
            outcome(tmp_path, listed)


@pytest.mark.parametrize("upload", [{"submission.py": SOURCE}, {"hw.zip": zipped(MAC)}])
def test_the_autograders_folder(tmp_path, upload):
    hand_in(tmp_path, upload)
    read = read_submission(*find_submissions(tmp_path, single=True))
    assert read.files[read.main] == SOURCE


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949"])
def test_a_roster_in_any_encoding(tmp_path, encoding):
    found = roster_of(tmp_path, "성명,학번\n김철수,20201\n박영희,20202\n", encoding)
    assert list(found) == ["김철수", "박영희"]
    assert "20201" in found["김철수"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("student\nJürgen\n", "save it as CSV UTF-8"),
        ("student\nÄgidius\n", "save it as CSV UTF-8"),
        ("name\nJosé Nuñez\n", "save it as CSV UTF-8"),
        ("Full name\nAnn Ng\nAnn Ng\n", "names 'Ann Ng' twice"),
    ],
)
def test_a_roster_that_cannot_be_used_says_what_to_do(tmp_path, text, fault):
    with pytest.raises(GradingError, match=fault):
        roster_of(tmp_path, text, "latin-1")


def test_names_that_appear_twice_are_told_apart_by_number(tmp_path):
    """What may be of either has no score under these, not even a zero."""
    roster = roster_of(tmp_path, "Full name,ID number\nAnn Ng,1\nAnn Ng,2\nBob Li,3\n")
    assert list(roster) == ["1", "2", "3"]
    hand_in(tmp_path / "class", {"Ann Ng_3_assignsubmission_file_/submission.py": SOURCE})
    found, problems = outcome(tmp_path / "class", roster)
    assert problems == (found["1"],)
    assert found == {"Ann Ng": SOURCE, "1": problems[0], "2": problems[0], "3": ""}
    assert "belongs to 1 or 2" in problems[0]


def test_a_late_submission_with_blind_marking_is_recognized_alone(tmp_path):
    hand_in(tmp_path / "class", {"Participant_12_assignsubmission_file_/lab.py": SOURCE})
    assert outcome(tmp_path / "class", None) == ({"Participant 12": SOURCE}, ())
    found, problems = outcome(tmp_path / "class", {"ann": ("12",)})
    assert found == {"Participant 12": SOURCE}
    assert "exported 1 of 1 submissions anonymously" in problems[0]


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        *(("Participant", "Participant "), ("Participante", "Participante")),
        *(("Teilnehmerin", "Teilnehmer/in-"), ("Teilnehmer_in", "Teilnehmer/in")),
    ],
)
def test_blind_marking_in_several_languages(tmp_path, name, identifier):
    for number in (12, 111):
        start = f"class/{name}_{number}_assignsubmission_file_"
        hand_in(tmp_path, {f"{start}/lab.py": SOURCE})
    listed = roster_of(tmp_path, WORKSHEET.replace("Participant ", identifier))
    for roster in (listed, None):
        found, problems = outcome(tmp_path / "class", roster)
        submitted = [student for student, read in found.items() if read]
        marks = [Marks(student, (), zero=True) for student in (*submitted, "Word 13")]
        filled = moodle_csv(tmp_path / "roster.csv", marks, roster)
        grades = {row["Identifier"]: row["Grade"] for row in csv.DictReader(StringIO(filled.text))}
        assert {key for key, grade in grades.items() if grade} == {
            f"{identifier}12",
            f"{identifier}111",
        }
        assert (problems, filled.unplaced) == ((), ("Word 13",))


@pytest.mark.parametrize("written", ["김철수", "김 철수", "철수 김"])
def test_names_in_two_columns_of_a_korean_roster(tmp_path, written):
    listed = roster_of(tmp_path, "이름,성,이메일 주소\n철수,김,a@x\n철수,박,b@x\n")
    hand_in(tmp_path / "class", {f"{written}_4701_assignsubmission_file_/submission.py": SOURCE})
    found, problems = outcome(tmp_path / "class", listed)
    assert (found, problems) == ({"철수 김": SOURCE, "철수 박": ""}, ())


def test_the_newest_of_equal_candidates_is_proposed(tmp_path):
    hand_in(tmp_path / "ann", {"b.py": SOURCE, "a.py": SOURCE})
    os.utime(tmp_path / "ann" / "b.py", (1e9, 1e9))
    with pytest.raises(SubmissionError, match=r"Proposed: keep 'a\.py' alone"):
        read_submission(tmp_path / "ann")


HANDED_OUT = """
def honest(number):
    raise NotImplementedError


def attacked(numbers):
    raise NotImplementedError
"""
WHOLE = HONEST + SOLVED
GUARDED = 'if __name__ == "__main__":\n' + WHOLE.replace("\n", "\n    ")
BORROWED = "import sys\n__path__ = [f'{place}/callbacks' for place in sys.path]"
DOWNLOAD = "import urllib.request\nurllib.request.urlopen('http://example.org/data')\n"


def cells(*sources):
    made = [{"cell_type": "code", "source": source} for source in sources]
    return json.dumps({"nbformat": 4, "cells": made})


# What is handed in, the points, and what staff are told of those who have none or are not graded.
GRADED = {
    "plain": ({"submission.py": WHOLE}, FULL, ""),
    "prints": ({"a.py": f"for n in range(2000): print(n)\n{WHOLE}"}, FULL, ""),
    "plots": ({"a.py": f"import pylab\npylab.plot([1])\npylab.show()\n{WHOLE}"}, FULL, ""),
    "guarded": ({"a.py": GUARDED}, 0, "most frequent cause: The submission has no "),
    "cell": ({"a.ipynb": cells(GUARDED)}, FULL, ""),
    "python2": ({"a.py": f"print 'x'\n{WHOLE}"}, 0, "(line 1 of a.py: print 'x')"),
    "asks": ({"a.py": f"n = input()\n{WHOLE}"}, 0, "EOF when reading a line (line 1 of a.py: n ="),
    "downloads": ({"a.py": DOWNLOAD + WHOLE}, 0, "the grader has no network"),
    "reads": ({"a.py": f"{WHOLE}open('data.csv')\n{DOWNLOAD}"}, FULL, ""),
    "warned": ({"a.py": f"import warnings\nwarnings.simplefilter('error')\n{WHOLE}"}, FULL, ""),
    "untouched": ({"submission.py": HANDED_OUT}, 0, "most frequent cause: NotImplementedError"),
    "beside": ({"submission.py": HANDED_OUT, "lab.ipynb": cells(HONEST, SOLVED)}, FULL, ""),
    "broken_end": ({"a.ipynb": cells(HONEST, SOLVED, "assert False")}, FULL, ""),
    "helped": ({"submission.py": f"from MORE import *\n{HONEST}", "MORE.PY": SOLVED}, FULL, ""),
    "own": ({"submission.py": "import callbacks" + HONEST + SOLVED, "callbacks.py": ""}, FULL, ""),
    "borrowed": (
        {
            "submission.py": f"import callbacks.landscape\n{WHOLE}",
            "callbacks/__init__.py": BORROWED,
        },
        0,
        "may not import callbacks.landscape",
    ),
    "notebook": ({"submission.py": cells(WHOLE)}, None, "is not Python but a notebook"),
    "unpacked": ({"__pycache__/submission.cpython-311.pyc": "x"}, None, "but __pycache__"),
    "two": ({"a.py": WHOLE, "b.py": "x = 1"}, None, "Proposed: keep 'a.py' alone"),
}


def test_a_class_is_graded_as_it_deserves_and_no_zero_is_silent(tmp_path):
    tests = write_tests(tmp_path / "marking")
    (tests / "submission.py").write_text(HANDED_OUT)
    for number, (name, (files, *_)) in enumerate(GRADED.items(), 10):
        start = f"class/{name}_{number}_assignsubmission_file_"
        hand_in(tmp_path, {f"{start}/{file}": text.encode() for file, text in files.items()})
    limits = replace(LIMITS, import_seconds=20, memory_mb=600)
    with Results(tmp_path / "out") as results:
        roster = dict.fromkeys([*GRADED, "absent"], ())
        setting = tiny_setting(tests, limits=limits)
        graded = grade_folder(tmp_path / "class", results, setting, roster=roster, workers=2)
        problems = write_all(tmp_path / "out", graded)
    marks = {each.student: each for each in graded.marks}
    scores = {name: points for name, (_, points, _) in GRADED.items()}
    assert {name: each.score for name, each in marks.items()} == scores | {"absent": None}
    assert [name for name, each in marks.items() if each.verdict == "missing"] == ["absent"]
    page = (tmp_path / "out" / "overview.html").read_text(encoding="utf-8")
    needs_staff = page.partition("<h2>Students</h2>")[0]
    for name, (_, points, said) in GRADED.items():
        about = [p for p in problems if p.startswith((f"{name} ", f"{name}_"))]
        assert len(about) == (not points), problems
        assert said in "".join(about)
        assert (name in needs_staff) >= (not points)
        if points is None:
            assert marks[name].verdict == "rejected"
    with (tmp_path / "out" / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        cells_of_scores = {row["student"]: row["score"] for row in csv.DictReader(file)}
    expected = {name: "" if points is None else str(points) for name, points in scores.items()}
    assert cells_of_scores == expected | {"absent": ""}
    assert marks["beside"].notes == ("submission.py is as it was handed out: lab.ipynb is graded.",)


def test_anonymous_files_of_canvas_are_nobodys_on_the_roster(tmp_path):
    """Whatever the student called the file, and whoever has the number of the upload."""
    hand_in(tmp_path / "class", {"anon_aB3dE_101_lab-ann.py": SOURCE})
    hand_in(tmp_path / "class", {"LATE_anon_23456_102_submission-1.py": HELPED})
    hand_in(tmp_path / "class", {"LATE_anon_23456_103_helpers.py": b""})
    hand_in(tmp_path / "class", {"anon_Zz9Zz_text.html": b"<p>def f"})
    right = {"anon_aB3dE": SOURCE, "anon_23456": HELPED, "anon_Zz9Zz": "written into a text field"}
    found, problems = outcome(tmp_path / "class", {"ann": (), "bob": ("101", "23456")})
    assert set(found) == set(right)
    check(found, right)
    assert problems[0].startswith("The course system exported 3 of 3 submissions anonymously")
    found, problems = outcome(tmp_path / "class", None)
    check(found, right)
    assert problems == ()


# By participants' numbers what they hand in, and its points.
BLIND = {11: (WHOLE, 8), 12: (HONEST, 3), 13: (SOLVED, 5), 14: (None, None), 111: (WHOLE, 8)}
WORKSHEET = "Identifier,Status,Grade,Maximum Grade,Grade can be changed,Last modified (grade),A,B\n"
WORKSHEET += "".join(f"Participant {number},Submitted,,8,Yes,-,,\n" for number in BLIND)
# Whose student ID is another's number, and for a namesake the only thing that tells them apart.
NUMBERED = "Full name,ID number\n" + "".join(
    f"{name},{number}\n"
    for name, number in {"Ann": 12, "Bob": 13, "Cem": 11, "Dan": 111, "Dan ": 14}.items()
)


@pytest.mark.parametrize(
    "name", thorough_after(1, ["Team {}-Participant_{}", "Participant_{}", "Participant {}_7{}"])
)
@pytest.mark.parametrize("roster", [WORKSHEET, NUMBERED, None], ids=["worksheet", "IDs", "none"])
def test_a_class_of_moodle_with_blind_marking(tmp_path, name, roster):
    tests = write_tests(tmp_path / "marking")
    for number, (text, _) in BLIND.items():
        start = f"class/{name.format(number, number)}_assignsubmission_file_"
        hand_in(tmp_path, {f"{start}/lab.py": text.encode()} if text else {})
    hand_in(tmp_path, {"moodle.csv": WORKSHEET.encode()})
    listed = roster and roster_of(tmp_path, roster)
    with Results(tmp_path / "out") as results:
        graded = grade_folder(
            tmp_path / "class", results, tiny_setting(tests), roster=listed, zero_missing=True
        )
        problems = write_all(tmp_path / "out", graded, moodle=tmp_path / "moodle.csv")
    points = {f"Participant {number}": points for number, (_, points) in BLIND.items()}
    expected = {student: score for student, score in points.items() if score}
    absent = {"Participant 14": 0} if roster == WORKSHEET else {}
    assert {each.student: each.score for each in graded.marks} == expected | absent
    assert len(problems) == (roster == NUMBERED)
    assert all("exported 4 of 4 submissions anonymously" in problem for problem in problems)
    with (tmp_path / "out" / "moodle.csv").open(encoding="utf-8", newline="") as file:
        filled = {row["Identifier"]: row["Grade"] for row in csv.DictReader(file)}
    assert filled == {s: str((expected | absent).get(s, "")) for s in points}
