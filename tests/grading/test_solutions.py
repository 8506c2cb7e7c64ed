"""The reference earns all points; wrong and partial solutions exactly those that they deserve."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from solutions import (
    partial_or_right,
    wrong_choices,
    wrong_measurements,
    wrong_networks,
)
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

from dlip_reg.grading.answers import require
from dlip_reg.grading.errors import RejectedError
from dlip_reg.grading.grader import Grader, Setting
from dlip_reg.grading.intake import read_submission
from dlip_reg.grading.limits import Limits
from dlip_reg.grading.marks import Marks

HERE = Path(__file__).parent
HAND_OUT = HERE.parents[1] / "labs" / "assignment"
HAND_OUT_TEXT = (HAND_OUT / "README.md").read_text(encoding="utf-8")
STARTER = (HAND_OUT / "submission.py").read_text(encoding="utf-8")

WRONG = (
    wrong_networks.REGULARIZERS,
    wrong_networks.NORMALISATION,
    wrong_networks.DROPOUT_AND_FILES,
    wrong_measurements.LOSSES,
    wrong_measurements.CURVES,
    wrong_measurements.SHARPNESS,
    wrong_choices.SEARCH,
    wrong_choices.RATE,
    wrong_choices.DIAGNOSIS,
)
TOGETHER = list(together(WRONG))
ONE_BY_ONE = [alone(solution) for group in WRONG for solution in group]
PAIR = (1.0, 2.0)
OTHERS = [alone(solution) for solution in partial_or_right.PARTIAL]
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


@pytest.mark.parametrize("cheat", CHEATS)
def test_answers_in_the_place_of_the_probes_earn_nothing(cheat, mark):
    marks = mark(CHEATS[cheat])
    assert {test.name: test.score for test in marks.tests} == dict.fromkeys(POINTS, 0)
    assert "grader error" not in {test.verdict for test in marks.tests}


@pytest.mark.parametrize("reports", ["", CLEAN_REPORTS], ids=["honest", "patched"])
@pytest.mark.parametrize("change", CHANGING)
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


@pytest.mark.parametrize("submission", TOGETHER, ids=name)
def test_misunderstandings_cost_what_they_deserve(submission, mark):
    check(submission, mark(submission.text))


@pytest.mark.parametrize("submission", OTHERS, ids=name)
def test_partial_and_unusual_solutions_earn_what_they_deserve(submission, mark):
    check(submission, mark(submission.text))


@pytest.mark.parametrize("submission", STYLES, ids=name)
def test_right_solutions_in_any_style_keep_their_marks(submission, mark):
    check(submission, mark(submission.text, submission.form))


@pytest.mark.slow
@pytest.mark.parametrize("submission", ONE_BY_ONE, ids=name)
def test_each_misunderstanding_costs_what_it_deserves(submission, mark):
    check(submission, mark(submission.text))


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"numbers": np.zeros(3)},
        {"numbers": [0.0], "texts": ["a"], "pair": PAIR},
        {"numbers": np.array(["0"]), "texts": ["a"], "pair": PAIR},
        {"numbers": np.zeros(3), "texts": ["a", 1], "pair": PAIR},
        {"numbers": np.zeros(3), "texts": "a", "pair": PAIR},
        {"numbers": np.zeros(3), "texts": [], "pair": PAIR, "more": 1},
        {"numbers": np.zeros(3), "texts": ["a"], "pair": (1.0,)},
        {"numbers": np.zeros(3), "texts": ["a"], "pair": (1.0, 2.0, 3.0)},
    ],
)
def test_an_answer_of_another_form_is_for_staff_to_look_at(answer):
    form = {"numbers": np.ndarray, "texts": [str], "pair": (float, float)}
    fair = {"numbers": np.zeros(3), "texts": ["a", "b"], "pair": [1.0, 2.0]}
    assert require(fair, form) is fair
    with pytest.raises(RejectedError):
        require(answer, form)
    with pytest.raises(TypeError):  # the author's fault
        require(answer is not None, "a message in the place of a form")


def test_the_solutions_are_many_and_bear_names_of_their_own():
    wrong = [name(submission) for submission in ONE_BY_ONE + OTHERS]
    assert len(wrong) == len(set(wrong)) >= 60
    assert len({part.name for submission in STYLES for part in submission.parts}) >= 80


def test_the_table_of_the_hand_out_adds_up_to_the_points_of_the_tests():
    text = HAND_OUT_TEXT
    rows = re.findall(r"^\| \d \| \[`(\w+)`\].*\| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    public = _public_tests()
    told = {task: tuple(map(int, numbers)) for task, *numbers in rows}
    assert told == {
        task: (
            sum(points for test, points in tests.items() if test in public),
            sum(points for test, points in tests.items() if test not in public),
            sum(tests.values()),
        )
        for task, tests in TASKS.items()
    }
    # Below each task's heading, the rows of its table bear the points one by one.
    sections = re.split(r"^## \d\. ", text, flags=re.MULTILINE)[1:]
    for section, tests in zip(sections, TASKS.values(), strict=True):
        points = list(map(int, re.findall(r"^\| (\d) \|", section, re.MULTILINE)))
        assert f"({sum(tests.values())} points)" in section.partition("\n")[0]
        assert sum(points) == sum(tests.values())
    assert sum(POINTS.values()) == 40
    assert sum(POINTS[test] for test in public) == int(re.search(r"\((\d+) of the 40", text)[1])


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


def test_the_starter_file_has_the_names_and_arguments_of_the_reference():
    assert _interface(STARTER) == {
        key: value for key, value in _interface(REFERENCE).items() if key in _interface(STARTER)
    }
    assert set(_interface(STARTER)) == set(TASKS)


def _public_tests() -> set[str]:
    """What the hand-out's test modules define."""
    modules = (HAND_OUT / "public_tests").glob("test_*.py")
    found = [ast.parse(module.read_text(encoding="utf-8")) for module in modules]
    return {
        node.name
        for tree in found
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def _interface(source: str) -> dict[str, list[str]]:
    """The top-level names of a module with the arguments that they are called with."""
    found = {}
    for node in ast.parse(source).body:
        function = node
        if isinstance(node, ast.ClassDef):
            function = next(n for n in node.body if getattr(n, "name", "") == "__init__")
        if isinstance(function, ast.FunctionDef):
            arguments = function.args
            found[node.name] = [a.arg for a in arguments.args + arguments.kwonlyargs]
    return found
