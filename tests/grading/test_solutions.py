"""The reference earns all points; wrong and partial solutions exactly those that they deserve."""

import ast
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from further_cases import thorough_after
from solutions.cheats import CHANGING, CHEATS, CLEAN_REPORTS, LIES
from solutions.right import combined
from solutions.solution import (
    MASTER,
    POINTS,
    REFERENCE,
    TASKS,
    Submission,
    alone,
    hand_in,
    tasks_alone,
    together,
)
from solutions.wrong import PARTIAL, WRONG

from dlip_reg.grading.answers import fault, number, numbers, require
from dlip_reg.grading.errors import RejectedError
from dlip_reg.grading.grader import Grader, Setting
from dlip_reg.grading.intake import read_submission
from dlip_reg.grading.limits import Limits
from dlip_reg.grading.marks import Marks

HERE = Path(__file__).parent
HAND_OUT = HERE.parents[1] / "labs" / "assignment"
HAND_OUT_TEXT = (HAND_OUT / "README.md").read_text(encoding="utf-8")
STARTER = (HAND_OUT / "submission.py").read_text(encoding="utf-8")

TOGETHER = list(together(WRONG))
ONE_BY_ONE = [alone(solution) for group in WRONG for solution in group]
OTHERS = [alone(solution) for solution in PARTIAL]
STYLES = list(combined())


def name(submission: Submission) -> str:
    return "+".join(part.name for part in submission.parts)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    # Where there is no sandbox (macOS, Windows) the solutions, which are ours, run without; and a
    # machine with much else to do must not turn right answers into late ones.
    limits = Limits(test_seconds=200, import_seconds=200, total_seconds=1000)
    with Grader(Setting(tests=MASTER, limits=limits, allow_weak=True), seed="solutions") as grader:
        yield grader


@pytest.fixture
def mark(grader, tmp_path):
    def marks_of(text: str, form: str = "module") -> Marks:
        return grader.grade(read_submission(hand_in(text, form, tmp_path)))

    return marks_of


def check(submission: Submission, marks: Marks) -> None:
    """Points are lost where they should be and nowhere else, and public messages tell why."""
    lost = {
        test.name: test.max_score - test.score
        for test in marks.tests
        if test.score is None or test.score < test.max_score
    }
    messages = {test.name: test.message for test in marks.tests}
    assert lost == pytest.approx(submission.lost), messages
    assert marks.score == pytest.approx(40 - sum(submission.lost.values()))
    for part in submission.parts:
        said = " ".join(messages[test] for test in part.lost)
        assert part.told in said, part.name


def test_the_reference_earns_all_points(mark):
    marks = mark(REFERENCE)
    assert {test.name: test.score for test in marks.tests} == POINTS
    assert {test.verdict for test in marks.tests} == {"passed"}
    assert (marks.score, marks.max_score, marks.verdict) == (40, 40, "passed")


def test_the_starter_file_earns_nothing(mark):
    marks = mark(STARTER)
    assert {test.name: test.verdict for test in marks.tests} == dict.fromkeys(POINTS, "missing")
    assert (marks.score, marks.max_score) == (0, 40)


@pytest.mark.parametrize("cheat", thorough_after(1, CHEATS))
def test_answers_in_the_place_of_the_probes_earn_nothing(cheat, mark):
    marks = mark(CHEATS[cheat])
    assert {test.name: test.score for test in marks.tests} == dict.fromkeys(POINTS, 0)
    assert "grader error" not in {test.verdict for test in marks.tests}


@pytest.mark.parametrize("reports", ["", CLEAN_REPORTS], ids=["honest", "patched"])
@pytest.mark.parametrize("change", thorough_after(1, CHANGING))
def test_a_change_is_measured_from_outside(change, reports, mark):
    solution = tasks_alone(REFERENCE, "clean_loss", "LossCurves")
    changed = solution.replace("    total = 0.0\n", f"    total = 0.0\n    {CHANGING[change]}\n")
    tests = {test.name: test for test in mark(changed + reports).tests}
    for name in ("test_uneven_batches", "test_training_is_left_unchanged"):
        assert tests[name].score == 0
        assert tests[name].verdict in ("failed", "rejected"), tests[name].message


def test_beside_false_answers_an_honest_part_earns_its_points(mark):
    honest = LIES.replace(", tuning.diagnoses =", " =").replace(", diagnoses\n", "\n")
    earned = {test.name: test.score for test in mark(REFERENCE + honest).tests if test.score}
    assert earned == TASKS["which_made_it_sparse"]


@pytest.mark.parametrize("submission", thorough_after(1, TOGETHER + OTHERS), ids=name)
def test_misunderstandings_cost_what_they_deserve(submission, mark):
    check(submission, mark(submission.text))


@pytest.mark.parametrize("submission", thorough_after(1, STYLES), ids=name)
def test_right_solutions_in_any_style_keep_their_marks(submission, mark):
    check(submission, mark(submission.text, submission.form))


@pytest.mark.slow
@pytest.mark.parametrize("submission", ONE_BY_ONE, ids=name)
def test_each_misunderstanding_costs_what_it_deserves(submission, mark):
    check(submission, mark(submission.text))


FAIR = {"numbers": np.zeros(3), "texts": ["a"], "pair": (1.0, 2.0)}
UNFAIR = [
    *({"numbers": [0.0]}, {"numbers": np.array(["0"])}, {"texts": ["a", 1]}, {"texts": "a"}),
    *({"more": 1}, {"pair": (1.0,)}, {"pair": (1.0, 2.0, 3.0)}),
]


@pytest.mark.parametrize("answer", [None, {"numbers": np.zeros(3)}, *(FAIR | u for u in UNFAIR)])
def test_an_answer_of_another_form_is_for_staff_to_look_at(answer):
    form = {"numbers": np.ndarray, "texts": [str], "pair": (float, float)}
    assert require(FAIR, form) is FAIR
    assert (number(np.float32(2)), numbers([1, 2.5], (2,)).tolist()) == (2, [1, 2.5])
    assert (number(1 << 70), numbers([1 << 70, 0.5], (2,)).tolist()) == (2.0**70, [2.0**70, 0.5])
    assert not fault("30!", number(math.factorial(30)), math.factorial(30), {}, "")
    assert fault("x", 0.123456, 0.12345, {}, "?", 1e-6).startswith("x is 0.123456, expected 0.1234")
    with pytest.raises(RejectedError):
        require(answer, form)
    with pytest.raises(AssertionError, match="expected numbers in the shape"):  # of a function
        numbers(answer, (2,))
    with pytest.raises(AssertionError, match=r"is \[0, 0, 0, 0, 0, 0, \.{3}\], expected"):
        number([0] * 7)
    with pytest.raises(AssertionError, match="expected a number"):  # no float is as large
        number(1 << 2000)
    with pytest.raises(TypeError):  # the author's fault
        require(answer is not None, "a message in the place of a form")


def test_the_solutions_are_many_and_bear_names_of_their_own():
    wrong = [name(submission) for submission in ONE_BY_ONE + OTHERS]
    assert len(wrong) == len(set(wrong)) >= 60
    assert len({part.name for submission in STYLES for part in submission.parts}) >= 80


def test_the_table_of_the_hand_out_adds_up_to_the_points_of_the_tests():
    modules = [path.read_text("utf-8") for path in (HAND_OUT / "public_tests").glob("test_*.py")]
    public = set(re.findall(r"^def (test_\w+)", "".join(modules), re.MULTILINE))
    row = re.compile(r"^\| \d \| \[`(\w+)`\].*\| (\d+) \| (\d+) \| (\d+) \|$", re.MULTILINE)
    told = {task: list(map(int, numbers)) for task, *numbers in row.findall(HAND_OUT_TEXT)}
    # Below each task's heading, the rows of its table bear the points one by one.
    sections = re.split(r"^## \d\. ", HAND_OUT_TEXT, flags=re.MULTILINE)[1:]
    for (task, tests), section in zip(TASKS.items(), sections, strict=True):
        shown = sum(points for test, points in tests.items() if test in public)
        whole = sum(tests.values())
        assert told[task] == [shown, whole - shown, whole]
        assert sum(map(int, re.findall(r"^\| (\d) \|", section, re.MULTILINE))) == whole
        assert f"({whole} points)" in section.partition("\n")[0]
    assert sum(POINTS.values()) == 40
    assert f"({sum(POINTS[test] for test in public)} of the 40" in HAND_OUT_TEXT


# Of the diagnosis: what the hand-out states of near-zero weights, of the RMS (of the plain
# network's) and of zeros among the activations, from and to.
LIMITS = {
    "None": ((0, 0.1), (0.95, 1.05), (0.45, 0.55)),
    "l1": ((0.6, 1), (0, 0.55), (0.5, 1)),
    "l2": ((0, 0.1), (0, 0.55), (0.45, 0.55)),
    "dropout": ((0, 0.1), (0.65, 1.2), (0.75, 1)),
}


@pytest.mark.parametrize("effect", LIMITS)
def test_every_pair_of_records_keeps_to_the_limits_of_the_hand_out(effect, monkeypatch):
    monkeypatch.syspath_prepend(MASTER)
    from test_tuning import EFFECTS, draw_pair

    def near_zero(kernel):
        return np.mean(np.abs(kernel) < 0.05 * np.sqrt(np.mean(kernel**2)))

    rng = np.random.default_rng(0)
    for _ in range(1000):
        pair = draw_pair(rng, *EFFECTS[effect])
        plain, other = pair["plain"], pair["regularized"]
        ratio = np.linalg.norm(other["kernel"]) / np.linalg.norm(plain["kernel"])
        found = near_zero(other["kernel"]), ratio, np.mean(other["activations"] == 0)
        for value, (least, most) in zip(found, LIMITS[effect], strict=True):
            assert least <= value <= most
        assert near_zero(plain["kernel"]) < 0.1
        assert 0.45 <= np.mean(plain["activations"] == 0) <= 0.55
    numbers = {f"{limit:g}" for limits in LIMITS.values() for limit in limits[1]} - {"0"}
    rows = re.findall(r"^\| (?:none|L1|L2|dropout) \|.*", HAND_OUT_TEXT, re.MULTILINE)
    assert numbers <= set(re.findall(r"\d\.\d+", " ".join(rows)))


def test_the_starter_file_has_a_definition_for_each_task():
    found = [n for n in ast.parse(STARTER).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    assert [node.name for node in found] == list(TASKS)
