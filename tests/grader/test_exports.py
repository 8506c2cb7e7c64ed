"""What is handed out: every format as its readers define it, and nothing in it that was hidden."""

import base64
import codecs
import csv
import functools
import hashlib
import html
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_assignment import PROGRAM

from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.exports import pages
from dlip_reg.grading.exports.formats import (
    canvas_csv,
    grades_csv,
    gradescope,
    moodle_csv,
    prairielearn,
)
from dlip_reg.grading.exports.pages import comparison, feedback, overview
from dlip_reg.grading.exports.similarity import Similar, fingerprints, shared_lines, similar
from dlip_reg.grading.exports.write import write_all
from dlip_reg.grading.grade import Graded
from dlip_reg.grading.marks import Marks, TestMark
from dlip_reg.grading.names import BETWEEN_SOURCES
from dlip_reg.grading.roster import read_roster

SECRET = "INPUTS [1, 2, 3]"
NASTY = "<script>alert(1)</script>&\"'\x00\x1b[31m\ud800".encode("utf-8", "replace").decode()


def test_mark(verdict="passed", score=2.0, public=True, message="", most=2.0):
    title = f"{'Public' if public else 'Hidden'} test that {verdict}"
    return TestMark(f"test_{verdict}", "test_a", title, public, most, score, verdict, message)


test_mark.__test__ = False
ANN = Marks("ann", (test_mark(), test_mark(public=False)), tier="strong", seconds=1.5)
BOB_TESTS = (
    test_mark("failed", 0.0, True, f"wrong {NASTY}"),
    test_mark("partial", 0.5, False, SECRET),
)
BOB = Marks("bob", BOB_TESTS, tier="strong")
CEM = Marks("cem", (test_mark(), test_mark("grader error", None, False, SECRET)), tier="strong")
DAN = Marks("dan", ())
FORMULAS = (" \uff20SUM(1)\n+2", 'b,c;" =1+1')
EVE = Marks("=HYPERLINK(1)", (), notes=FORMULAS, verdict_without_tests="rejected")
ALL = [ANN, BOB, CEM, DAN, EVE]


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


VERDICTS = {"passed,failed": "partial", "timeout,timeout": "timeout", "failed,error": "failed"}
VERDICTS |= {"passed,rejected": "rejected", "rejected,grader error": "grader error"}
VERDICTS["missing,missing"] = "failed"  # "missing" is who handed in nothing


@pytest.mark.parametrize("verdicts", VERDICTS)
def test_the_verdict_on_the_whole(verdicts):
    scores = {"passed": 2.0, "grader error": None}
    tests = tuple(test_mark(verdict, scores.get(verdict, 0.0)) for verdict in verdicts.split(","))
    assert Marks("ann", tests).verdict == VERDICTS[verdicts]


def test_marks_come_back_from_their_file():
    assert [Marks.from_json(marks.to_json()) for marks in ALL] == ALL
    assert Marks("ann", (test_mark(score=0.1), test_mark(score=0.2))).score == 0.3


def test_grades_csv_has_a_row_a_student_and_no_formula():
    rows = rows_of(grades_csv(ALL, 4).removeprefix("\ufeff"))
    assert [row["student"] for row in rows] == ["ann", "bob", "cem", "dan", "'=HYPERLINK(1)"]
    assert [row["score"] for row in rows] == ["4", "0.5", "", "", ""]
    found = ["passed", "partial", "grader error", "missing", "rejected"]
    assert [row["verdict"] for row in rows] == found
    assert {row["max_score"] for row in rows} == {"4"}
    counts = [(row["tests_passed"], row["tests"]) for row in rows]
    assert counts == [("2", "2"), ("0", "2"), ("1", "2"), ("0", "0"), ("0", "0")]
    assert rows[4]["notes"] == """'\uff20SUM(1) +2; b,c;'" =1+1"""
    assert not any(value[:1] in ("=", "+", "-", "@") for row in rows for value in row.values())


def test_grades_csv_is_shown_by_excel_as_written():
    """Excel reads UTF-8 where a byte order mark says so; plain ASCII needs none."""
    ann = Marks("ann", (test_mark("passed", 1.0),))
    assert grades_csv([ann], 1).startswith("student,")
    table = grades_csv([ann, replace(ann, student="이민호")], 1).encode()
    assert table.startswith(codecs.BOM_UTF8 + b"student,")
    assert [row["student"] for row in rows_of(table.decode("utf-8-sig"))] == ["ann", "이민호"]


# What Gradescope's specification names, of the whole and of a test.
GRADESCOPE = "score output output_format visibility stdout_visibility extra_data"
GRADESCOPE_TEST = "score max_score status name number output output_format tags visibility"


@pytest.mark.parametrize("marks", ALL, ids=lambda marks: marks.student)
def test_gradescope_knows_every_field_and_has_nothing_to_add_up_where_a_score_is_not_known(marks):
    """Its specification: the score is "required if not on each test case", and else their sum."""
    document = json.loads(gradescope(marks))
    assert set(document) <= {*GRADESCOPE.split(), "tests", "leaderboard"}
    assert document.get("score") == marks.score
    assert document["stdout_visibility"] == "hidden"
    for shown, test in zip(document["tests"], marks.tests, strict=True):
        assert set(shown) <= {*GRADESCOPE_TEST.split(), "extra_data"}
        assert (shown["output_format"], shown["max_score"]) == ("text", test.max_score)
        assert shown.get("score") == (None if marks.score is None else test.score)
        assert shown.get("status", "") in ("passed", "failed") or marks.score is None


def test_prairielearn_has_shares_of_the_points_or_is_not_gradable():
    documents = {marks.student: json.loads(prairielearn(marks)) for marks in ALL}
    assert [document["gradable"] for document in documents.values()] == [True, True, *[False] * 3]
    assert (documents["ann"]["score"], documents["bob"]["score"]) == (1, 0.125)
    shown = documents["bob"]["tests"]
    assert [(test["points"], test["max_points"]) for test in shown] == [(0, 2), (0.5, 2)]


@pytest.mark.parametrize("marks", [BOB, CEM], ids=lambda marks: marks.student)
def test_students_see_names_and_points_of_hidden_tests_only(marks):
    assert SECRET not in prairielearn(marks)
    for text in (gradescope(marks), feedback(marks, 4)):
        assert SECRET not in text
        assert f"Hidden test that {marks.tests[1].verdict}" in text
    hidden = json.loads(gradescope(marks))["tests"][1]
    assert "output" not in hidden


def test_markup_of_students_stays_text():
    named = Marks(NASTY, BOB.tests, notes=(NASTY,))
    pages = [feedback(named, 4), overview([named], 4, {}, [NASTY], {NASTY: "x"})]
    for page, scripts in zip(pages, (0, 1), strict=True):  # the overview's sorting
        assert page.count("<script") == scripts
        assert "<script>alert(1)</script>" in html.unescape(page)
        assert "default-src 'none'" in page


CANVAS = (
    "\ufeffStudent,ID,SIS User ID,SIS Login ID,Section,Old (1),Lab (77),Final Score\n"
    '"Ng, Ann",1,S1,ann,A,5,1,9\n"Li, Bob",2,bob,b@x,A,,,\n"Ox, Cem",3,,cem,B,,,\n'
)


@pytest.fixture
def canvas(tmp_path):
    (tmp_path / "canvas.csv").write_text(CANVAS, encoding="utf-8")
    return tmp_path / "canvas.csv"


@pytest.mark.parametrize("assignment", ["Lab (77)", "Lab", "77"])
def test_canvas_import(canvas, assignment):
    filled = canvas_csv(canvas, ALL, assignment)
    assert filled.text.splitlines()[0] == "Student,ID,SIS User ID,SIS Login ID,Section,Lab (77)"
    scores = {row["Student"]: row["Lab (77)"] for row in rows_of(filled.text)}
    assert scores == {"Ng, Ann": "4", "Li, Bob": "0.5"}
    assert (filled.unplaced, filled.max_score) == ((), None)  # a grade is not a maximum


def test_canvas_has_no_score_for_who_has_the_id_of_anothers_login(canvas):
    canvas.write_text(CANVAS.replace("bob,b@x", "1,b@x"), encoding="utf-8")
    assert canvas_csv(canvas, [Marks("1", ANN.tests)], "Lab").unplaced == ("1",)


WITHOUT_SIS_IDS = 'Student,ID,SIS Login ID|Points Possible,,|"Ng, Ann",1,ann|"Student, Test",9,x'
TWO_NAMES = "LastName,FirstName,ID,SIS Login ID|Points Possible,,,|Ng,Ann,1,ann|Student,Test,9,x"


@pytest.mark.parametrize("people", [WITHOUT_SIS_IDS, TWO_NAMES])
def test_canvas_gets_back_the_columns_that_it_gave(canvas, people):
    rest = ["Section,Lab (77)", ",40.00", "A,", "A,"]
    rows = [f"{row},{cells}" for row, cells in zip(people.split("|"), rest, strict=True)]
    canvas.write_text("\n".join(rows))
    filled = canvas_csv(canvas, [ANN])
    assert filled.text.splitlines() == [rows[0], f"{rows[2]}4"]
    assert filled.max_score == 40
    assert list(read_roster(canvas)) == ["ann"]


@pytest.mark.parametrize(("points", "fits"), [("4.00", True), ("4,0", True), ("100", False)])
def test_a_table_for_other_points_needs_staff(canvas, points, fits):
    """What the tests give out of 4 would be imported as points out of 100."""
    canvas.write_text(
        f'Student,ID,SIS Login ID,Section,Lab (77)\nPoints Possible,,,,"{points}"\n,1,ann,A,\n'
    )
    moodle = canvas.with_name("moodle.csv")
    moodle.write_text(f'{MOODLE[0]}\nParticipant 1,Ann,ann,Submitted,,"{points}",Yes,-,-,\n')
    graded = Graded((ANN,), 1, {}, (), 4.0)
    problems = write_all(canvas.parent / "out", graded, canvas=canvas, moodle=moodle)
    said = ["" if fits else f"{kind}.csv is for 100 points" for kind in ("canvas", "moodle")]
    assert [problem[: len(said[0])] for problem in problems] == ([] if fits else said)


@pytest.mark.parametrize(("assignment", "said"), [(None, "2 "), ("Lb", "no .* called 'Lb'")])
def test_canvas_has_no_column_guessed(canvas, assignment, said):
    """To import another assignment's column is to overwrite its grades."""
    with pytest.raises(GradingError, match=rf"has {said}.*one of 'Old \(1\)', 'Lab \(77\)'"):
        canvas_csv(canvas, ALL, assignment)
    canvas.write_text(CANVAS.replace("Old (1)", "Old"), encoding="utf-8")
    if assignment is None:
        assert "Lab (77)" in canvas_csv(canvas, ALL).text


MOODLE = [
    "Identifier,Full name,Email address,Status,Grade,Maximum Grade,Grade can be changed,"
    "Last modified (submission),Last modified (grade),Feedback comments",
    "Bezeichner,Name,E-Mail-Adresse,Status,Bewertung,Bestwertung,Bewertung kann geändert werden,"
    "Zuletzt geändert (Abgabe),Zuletzt geändert (Bewertung),Feedback",
]


def fill_moodle(folder, header, body, marks):
    """The worksheet's rows before and after, and who has none."""
    worksheet = folder / "moodle.csv"
    worksheet.write_text(f"{header}\n{body}", encoding="utf-8")
    filled = moodle_csv(worksheet, marks)
    texts = (worksheet.read_text("utf-8"), filled.text)
    return *(list(csv.reader(io.StringIO(text))) for text in texts), filled.unplaced


@pytest.mark.parametrize("header", MOODLE)
def test_moodle_worksheet_is_filled_in_and_otherwise_kept(tmp_path, header):
    body = 'Participant 11,"Ng, Ann",ann,Submitted,,4.00,Yes,"Mon, 1",-,\n'
    body += 'Participant 12,"Li, Bob",x@y,Submitted,,4.00,Yes,"Mon, 1",-,"kept, too"\n'
    before, after, unplaced = fill_moodle(tmp_path, header, body, [ANN, Marks("12", BOB.tests)])
    assert [row[4] for row in after[1:]] == ["4", "0.5"]
    for old, new in zip(before, after, strict=True):
        assert old[:4] + old[5:] == new[:4] + new[5:]
    assert unplaced == ()


@pytest.mark.parametrize("header", MOODLE)
@pytest.mark.parametrize("name", ["Submitted for grading", "4.00", "Yes", "ok", "Li"])
def test_moodle_grades_only_whom_the_row_is_about(tmp_path, header, name):
    """Neither a submission called like another cell nor a name that two rows bear fills a row."""
    row = "Submitted for grading,,4.00,Yes,,,ok\n"
    body = f"Participant 11,Li,a@b,{row}Participant 12,Li,c@d,{row}"
    _, after, unplaced = fill_moodle(tmp_path, header, body, [Marks(name, ANN.tests)])
    assert [row[4] for row in after[1:]] == ["", ""]
    assert unplaced == (name,)


def test_moodle_grades_go_where_the_roster_says_and_never_by_another_number(tmp_path):
    """Two namesakes are told apart by student IDs, which are others' numbers in the worksheet."""
    people = dict(zip("1234", ("Ann Ng", "Ann Ng", "Bob Li", "Cem Ox"), strict=True))
    header = "Identifier,Full name,Status,Grade,Maximum Grade,Grade can be changed,A,B"
    rows = [f"Participant {n},{name},Submitted,,4,Yes,-," for n, name in people.items()]
    (tmp_path / "roster.csv").write_text(
        "Full name,ID number\nAnn Ng,3\nAnn Ng,4\nBob Li,1\nCem Ox,2"
    )
    (tmp_path / "worksheet.csv").write_text("\n".join([header, *rows]))
    marks = [Marks(number, ANN.tests) for number in people]
    filled = moodle_csv(tmp_path / "worksheet.csv", marks, read_roster(tmp_path / "roster.csv"))
    assert [row["Grade"] for row in rows_of(filled.text)] == ["", "", "4", "4"]
    assert filled.unplaced == ("3", "4")
    own = moodle_csv(tmp_path / "worksheet.csv", marks, read_roster(tmp_path / "worksheet.csv"))
    assert own.unplaced == tuple(people)  # they are "Participant 1" to 4 in that roster
    marks = [Marks(f"Participant {number}", ANN.tests) for number in people]
    own = moodle_csv(tmp_path / "worksheet.csv", marks, read_roster(tmp_path / "worksheet.csv"))
    assert [row["Grade"] for row in rows_of(own.text)] == ["4"] * 4


def test_moodle_grades_never_go_where_something_else_stands(tmp_path):
    """A column more, such as the student's number, moves the grade from the fifth place."""
    row = "Participant 11,Ann,2020,ann,Submitted,,40,Yes,-,\n"
    _, after, _ = fill_moodle(
        tmp_path, "식별자,성명,학번,이메일 주소,상태,성적,A,B,C,D", row, [ANN]
    )
    assert after[1][4:6] == ["Submitted", "4"]
    with pytest.raises(GradingError, match="the fifth, 'État', holds something else"):
        fill_moodle(tmp_path, "Identifiant,Nom,Numéro,Courriel,État,Note,A,B,C,D", row, [ANN])


@pytest.mark.parametrize(
    ("make", "text", "expected"),
    [
        (canvas_csv, "Student,ID\nann,1\n", "has no column 'SIS Login ID'"),
        (canvas_csv, "Student,ID,SIS Login ID,Section\n", "has no assignment column, whose header"),
        (moodle_csv, "a,b\n1,2\n", "is not a grading worksheet of Moodle"),
    ],
)
def test_wrong_tables_are_one_sentence(tmp_path, make, text, expected):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(GradingError, match=f"^[^\n]*{expected}[^\n]*$"):
        make(tmp_path / "table.csv", ALL)


NEW_NAMES = [
    (b"mean", b"average"),
    (b"values", b"xs"),
    (b"total", b"acc"),
    (b"spread", b"variance"),
]
NEW_LAYOUT = [
    (b" ** 2", b"**2"),
    (b"0.0", b"1.0"),
    (b"\n\n", b"\n"),
    (b"\ndef a", b"# my own\ndef a"),
]
RENAMED = functools.reduce(lambda text, pair: text.replace(*pair), NEW_NAMES + NEW_LAYOUT, PROGRAM)
OTHER = Path(__file__).read_bytes()


def test_renaming_does_not_hide_a_copy():
    assert fingerprints(PROGRAM) == fingerprints(RENAMED)
    found = similar({"ann": PROGRAM, "bob": RENAMED, "cem": OTHER})
    assert [(pair.first, pair.second, pair.share) for pair in found] == [("ann", "bob", 1.0)]
    half = PROGRAM[: PROGRAM.index(b"\n", len(PROGRAM) // 2)]
    found = similar({"ann": PROGRAM, "bob": RENAMED + OTHER, "cem": half + b"\nx = 1\n"})
    assert found[0] == Similar("ann", "bob", 1.0)
    assert found[0].share > found[-1].share


def test_what_all_were_given_is_not_similar():
    assert similar({"ann": PROGRAM, "bob": RENAMED}, starter=PROGRAM) == []
    assert similar({f"student{n}": PROGRAM for n in range(10)}) == []
    assert len(similar({f"student{n}": PROGRAM if n < 5 else b"" for n in range(20)})) == 10


def test_a_pair_is_shown_side_by_side_with_what_both_have():
    one, other = PROGRAM + b"\nx = <b>\n", OTHER + RENAMED
    marked = shared_lines(one, other, b"")
    assert marked == set(range(2, 11)) - {7}  # all but the line between the functions and the last
    assert shared_lines(one, other, PROGRAM) == set()
    page = comparison(Similar("ann", "bob", 0.7), {"ann": one, "bob": other}, b"")
    first, second = page.split("<section>")[1:]
    assert first.count("<mark>") == len(marked)
    assert second.count("<mark>") == len(shared_lines(other, one, b""))
    assert "<mark>def average(xs):</mark>" in second
    assert "x = &lt;b&gt;" in first


def test_a_fault_in_one_file_hides_no_other():
    files = [b"# coding: cp949\nx = 1", b'x = """', "# café".encode(), PROGRAM]
    source = BETWEEN_SOURCES.join(files)
    assert similar({"ann": PROGRAM, "bob": source}) == [Similar("ann", "bob", 1.0)]
    lines = source.splitlines()
    shared = {lines[number - 1] for number in shared_lines(source, PROGRAM, b"")}
    assert shared and shared <= set(PROGRAM.splitlines())


QUOTES = b"'" + 100_000 * b"\\'"  # minutes by Python 3.11's tokenizer
SHORT_LINES = 1_250 * (199 * b'\\"' + b"\n")  # as long as lines may be
MANY_LINES = PROGRAM + 9_000_000 * b"\n"
ODD = [b"", b"\xff\xfe", b"def (", b"'''", b"(" * 10_000, b"\0", QUOTES, SHORT_LINES, MANY_LINES]


@pytest.mark.parametrize("source", ODD, ids=lambda source: ascii(source[:6]))
@pytest.mark.timeout(20)
def test_similarity_reads_anything(source):
    sources = {"ann": source, "bob": source}
    pairs = similar(sources)
    assert len(pairs) <= 1
    assert all(len(comparison(pair, sources, b"")) < 10_000_000 for pair in pairs)


def test_all_files_are_written(tmp_path):
    graded = Graded(tuple(ALL), 5, {"ann": PROGRAM, "bob": RENAMED}, ("a problem",), 4.0)
    (tmp_path / "lab.csv").write_text(f"{MOODLE[0]}\nParticipant 1,ann,,,,,,,,\n", encoding="utf-8")
    problems = write_all(tmp_path, graded, moodle=tmp_path / "lab.csv")
    assert problems == ("a problem", "moodle.csv has no row, or more than one, for bob.")
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert {"grades.csv", "overview.html", "feedback/ann.html"} <= names
    assert len(list((tmp_path / "feedback").iterdir())) == len(ALL)
    page = (tmp_path / "overview.html").read_text(encoding="utf-8")
    assert "a problem" in page
    assert "100 %, side by side" in page
    assert 'href="similar/ann--bob.html"' in page
    assert (tmp_path / "similar" / "ann--bob.html").is_file()
    # Who is not among the students any more has no page, and no table is from another run.
    without = replace(
        graded, marks=tuple(each for each in ALL if each.student != "bob"), sources={}
    )
    said = "moodle.csv is of an earlier run: do not import it; give --moodle again."
    assert write_all(tmp_path, without) == ("a problem", said)
    assert [path.name for path in tmp_path.rglob("bob.*")] == []
    assert not list((tmp_path / "similar").iterdir())
    assert len(list((tmp_path / "feedback").iterdir())) == len(ALL) - 1


def test_a_students_page_is_grouped_by_task_and_says_a_cause_once():
    tests = [
        TestMark(f"test_{n}", "m", f"Title {n}", n < 4, 2, 0.0 if n < 3 else 1.5, "failed", cause)
        for n, cause in enumerate(["no such layer", "no such layer", "other", "", SECRET])
    ]
    tasks = ["10. The loss", "2. The network", "2. The network", "10. The loss", "10. The loss"]
    tests = [replace(test, task=task) for test, task in zip(tests, tasks, strict=True)]
    tests.insert(0, replace(tests[2], public=False, title="Hidden"))
    page = feedback(Marks("ann", tuple(tests)), 10)
    network, loss = page.partition("2. The network")[2].split("10. The loss")
    assert "0 of 6 points" in network
    assert "3 of 6 points" in loss
    assert network.count("<pre>other</pre>") == 1
    assert page.count("no such layer") == 1
    assert "no such layer" in network
    assert "The same as for: Title 1" in loss
    assert SECRET not in page
    linked = feedback(Marks("ann", tuple(tests)), 10, "https://course/hand-out")
    assert linked.count('href="https://course/hand-out#task-2"') == 2
    assert linked.count('href="https://course/hand-out#task-10"') == 1


@pytest.mark.parametrize("verdict", ["error", "timeout", "memory", "missing"])
def test_a_students_page_says_one_thing_to_try(verdict):
    page = feedback(Marks("ann", (test_mark(verdict, 0.0),)), 2)
    explained = page.partition(f">{verdict}</span>: ")[2].partition("</td>")[0]
    assert re.fullmatch(r"[^;]+; [^;]+", explained)


def test_the_overview_lists_all_students_and_may_run_only_its_sorting():
    everybody = [*ALL, replace(ANN, student="fay")]
    links = {marks.student: f"feedback/{marks.student}" for marks in everybody}
    page = overview(everybody, 4, {}, [], links)
    assert "Mean 2.83, median 4.00 of 4 points." in page
    table = page.partition('<table class="sortable">')[2].partition("</table>")[0]
    assert table.count("<tr>") == len(everybody) + 1
    assert 'href="feedback/ann"' in table
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


def test_the_hardest_tests_come_first_by_their_known_points():
    easy = test_mark()
    hard = replace(easy, module="test_b", title="Hard", score=0.5)
    marks = [Marks("ann", (easy, hard)), Marks("bob", (replace(easy, score=None), hard))]
    found = [(row["title"], row["percent"]) for row in pages._hardest(marks)]
    assert found == [("Hard", 25), (easy.title, 100)]


def test_no_two_bins_share_a_score():
    found = pages._distribution([0.0, 3.9, 4.0, 36.0, 40.0], 40)
    labels = [bin["label"] for bin in found]
    assert (*labels[:2], labels[-1]) == ("0 to below 4", "4 to below 8", "36 to 40")
    assert [bin["count"] for bin in found] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    found = pages._distribution([0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8], 4)
    assert [bin["count"] for bin in found] == [1] * 8 + [0] * 2
