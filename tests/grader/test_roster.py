"""Whose a submission is: by its name alone, or by the roster."""

from pathlib import Path

import pytest

from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.roster import assign, read_roster

BLACKBOARD = "attempt_2026-10-03-23-59-59"


def assigned_to(tmp_path, name, students):
    roster = tmp_path / "roster.csv"
    roster.write_text("\n".join(["student", *students]), encoding="utf-8")
    return assign([Path(name)], read_roster(roster))


@pytest.mark.parametrize(
    ("name", "roster", "student"),
    [
        ("ann.py", ["ann", "bob"], "ann"),
        ("ann_123_lab.zip", ["ann", "bob"], "ann"),
        ("ngann_991_12345_lab.py", ["991", "12345"], "991"),  # Canvas: name, user, file
        ("ngann_LATE_991_12345_lab.py", ["991", "12345"], "991"),
        ("Ann Ng_4711_assignsubmission_file_", ["4711"], "4711"),  # Moodle
        ("Ann Ng_4711_assignsubmission_file_", ["Ann Ng", "Bob Li"], "Ann Ng"),
        ("Ann_Marie Ng_4713_assignsubmission_file_", ["4713", "77"], "4713"),
        ("Mu\u0308ller_1_lab.py", ["M\u00fcller"], "M\u00fcller"),  # as a Mac writes it
        ("Tue - 10-Ann Ng_4711_assignsubmission_file_", ["Ann Ng", "Bob Li"], "Ann Ng"),
        ("ann_ng_7_lab.py", ["ann_ng", "ng"], "ann_ng"),
        ("ann_ng.py", ["ann", "ann_ng"], "ann_ng"),
        # A student ID, which is as good as a name.
        ("20231236 이민호", ["20231236", "20231238"], "20231236"),
        ("20231236 이민호", ["이민호", "정우성"], "이민호"),
        ("정우성(20231238).zip", ["이민호", "정우성"], "정우성"),
        ("이민호_20231236_20231003", ["20231236", "20231238"], "20231236"),
        ("hw1-20231236.py", ["20231236", "hw1"], "20231236"),
        ("20231236 이민호_4711_assignsubmission_file_", ["20231236", "4712"], "20231236"),
        # GitHub Classroom, whose logins may have a - in them.
        ("lab-1-octo-ann", ["ann", "octo-ann"], "octo-ann"),
        ("lab-1-octo-ann", ["octo-ann", "ann"], "octo-ann"),
        # Sakai.
        ("Ng, Ann(ann)", ["ann", "bob"], "ann"),
        ("Ng, Ann(ann)", ["Ann Ng", "Bob Li"], "Ann Ng"),
        # What a student has made look like another's name, in each course system.
        (f"ann_991_12_l_bob_{BLACKBOARD}_l.py", ["991", "bob"], "991"),
        ("ann_991_12_Bob_992_assignsubmission_file_l.py", ["991", "992"], "991"),
        ("Ann_7_assignsubmission_file_Bob_8_assignsubmission_file_l.py", ["7", "8"], "7"),
        (f"L 1_ann_{BLACKBOARD}_l_bob_{BLACKBOARD}_l.py", ["ann", "bob"], "ann"),
        ("1-7 - Ann - Oct 3, 2026 1159 PM - l_991_12_l.py", ["Ann", "991"], "Ann"),
        ("Ann Ng - l-bob.py", ["Ann Ng", "bob"], "Ann Ng"),
        # nbgrader's exchange.
        ("ann+l 1+2026-10-03 23:59:59.123456 UTC+aB1", ["ann", "l 1"], "ann"),
        # Blackboard's user names may have a _ in them, and so may titles.
        (f"L_1_ann_ng_{BLACKBOARD}_l.py", ["ng", "ann_ng"], "ann_ng"),
        (f"L_1_ng_{BLACKBOARD}_l.py", ["ng", "ann_ng"], "ng"),
    ],
)
def test_the_name_leads_to_the_student(tmp_path, name, roster, student):
    assigned = assigned_to(tmp_path, name, roster)
    assert assigned.of_student == {student: (Path(name),)}
    assert assigned.problems == ()


@pytest.mark.parametrize(
    ("name", "roster", "belongs"),
    [
        ("ngann_991_lab_bob.py", ["ann", "bob"], "nobody on the roster"),
        ("ngann_991_12345_77_.py", ["12345", "77"], "nobody on the roster"),
        ("ngann_bob.py", ["ann", "bob"], "nobody on the roster"),
        ("bobby_1_lab.py", ["bob"], "nobody on the roster"),
        ("ann_7_lab.py", ["ann", "7"], "ann or 7"),
        ("ann_ng_lab.py", ["ann", "ann_ng"], "ann or ann_ng"),
        ("20231236 정우성", ["20231236", "정우성"], "20231236 or 정우성"),
        ("20231236_정우성", ["20231236", "정우성"], "20231236 or 정우성"),
        ("20231236 20231238", ["20231236", "20231238"], "20231236 or 20231238"),
        ("이민호 1234", ["1234"], "nobody on the roster"),
        ("Ng, Ann (ann)", ["ann"], "nobody on the roster"),
        ("b\udcff.py", ["ann"], "nobody on the roster"),
        ("Ann Ng - l-bob.py", ["bob"], "nobody on the roster"),
        ("Ann Ng - l_991_2.py", ["991"], "nobody on the roster"),
        ("7-1 - Ann Ng - Oct 3, 2026 1159 PM - l.py", ["7"], "nobody on the roster"),
    ],
)
def test_what_students_choose_leads_to_nobody(tmp_path, name, roster, belongs):
    assigned = assigned_to(tmp_path, name, roster)
    assert not set(assigned.of_student) & set(roster)
    (problem,) = assigned.problems
    assert f" belongs to {belongs}; it is graded as " in problem
    problem.encode()


def test_a_name_and_a_student_id_that_agree_tell_namesakes_apart(tmp_path):
    table = tmp_path / "roster.csv"
    table.write_text("학번,이름\n20231236,이민호\n20231238,이민호\n", encoding="utf-8")
    path = Path("이민호(20231238)")
    assigned = assign([path, Path("grades.csv")], read_roster(table))  # Sakai adds the last
    assert (assigned.of_student, assigned.problems) == ({"20231238": (path,)}, ())


def test_a_student_id_is_no_number_of_the_course_system(tmp_path):
    """Bob's is that which Moodle has given to Ann, whose name the roster spells otherwise."""
    table = tmp_path / "roster.csv"
    table.write_text("Full name,ID number\nAnne Ng,7\nBob Li,12\n")
    path = Path("Ann Ng_12_assignsubmission_file_")
    assigned = assign([path, Path("12_lab.py")], read_roster(table))
    assert assigned.of_student == {"Ann Ng": (path,), "Bob Li": (Path("12_lab.py"),)}
    (problem,) = assigned.problems
    assert f"{path} belongs to nobody on the roster" in problem


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\r\nstudent id;note\r\n20231236;x\r\n",
        "\n,,\nstudent id,,\n20231236,,\n",
        ',student id\n0,="20231236"\n',
        "student id\n#20231236\n",
    ],
)
def test_what_excel_adds_is_no_part_of_a_roster(tmp_path, text):
    (tmp_path / "roster.csv").write_text(text, newline="")
    assert read_roster(tmp_path / "roster.csv") == {"20231236": {"20231236"}}


def test_a_comma_without_quotation_marks_makes_no_other_student(tmp_path):
    (tmp_path / "roster.csv").write_text("student,email\nLi,l@x,\nNg, Ann,a@x\n")
    with pytest.raises(GradingError, match="more cells than columns, 'Ng': put what has a ','"):
        read_roster(tmp_path / "roster.csv")


@pytest.mark.parametrize("name", ["submission.py", "submission (1).ipynb", "Submission-2.zip"])
def test_a_file_called_as_the_hand_out_asks_is_nobodys(name):
    assigned = assign([Path("ann.py"), Path("bob.py"), Path(name)], None)
    assert set(assigned.of_student) == {"ann", "bob", Path(name).stem}
    (problem,) = assigned.problems
    assert problem.startswith(f"{name} does not say whose it is; it is graded as ")
    assert "--single" in problem
    assert assign([Path(name)], None, single=True).problems == ()
