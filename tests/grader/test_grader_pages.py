"""What `grade` writes, opened in a browser as staff and students do, on a desk and on a phone."""

from itertools import pairwise

import pytest
from further_cases import thorough_after
from headless_chromium import open_page
from tiny_assignment import PROGRAM

from dlip_reg.grading.exports.write import write_all
from dlip_reg.grading.grade import Graded
from dlip_reg.grading.marks import Marks, TestMark

PHONE, DESK = 400, 1280
TITLES = ["Penalties have the right value.", "Dropout is on in training and off in inference."]
LONG = "unbroken" * 40  # as students may call their files and write into their exceptions
STOPPED = "Code cell 12 took too long (does it train a model?) and was stopped."


PENALTY = "dense1's penalty is 0.013, expected 0.026: is it applied as l2 * sum w^2, with no half?"


def marks_of(student, *scores, said=PENALTY, **options):
    """A submission with these points, 4 of each test."""
    tests = [
        TestMark(
            name=f"test_{at}",
            module="test_model",
            title=TITLES[at % 2],
            public=at < 2,
            max_score=4,
            score=score,
            verdict={4: "passed", None: "grader error", 0: "missing"}.get(score, "failed"),
            message="" if score == 4 else said,
            task="2. The network" if at < 2 else "10. The search",
        )
        for at, score in enumerate(scores)
    ]
    return Marks(student, tuple(tests), tier="strong", **options)


SCORES = [4, 4, 3.25, 3.5, 0, 2, 1, 0.75, 4, 2.5]
CLASS = [marks_of(f"student{n}@school.example", 4, score, 0) for n, score in enumerate(SCORES)]
CLASS += [
    marks_of("남궁민수", 4, None, 4, notes=("Left out 'data.bin': it is larger than 10 MB.",)),
    marks_of("cut short", 4, 0, 0, stopped=(STOPPED,), notes=(STOPPED,)),
    marks_of("zero", 0, 0, 0),
    marks_of(LONG, 1, 1, 1, said=LONG, notes=(LONG,)),
    Marks("absent", ()),
    Marks("two files", (), notes=("Proposed: a.py",), verdict_without_tests="rejected"),
]
ROWS = """
[...document.querySelector("table.sortable").tBodies[0].rows].map(
  row => [row.cells[0].textContent, Number(row.cells[1].dataset.value)])
"""
PLACES = """
[...document.querySelectorAll("%s")].map(each => each.getBoundingClientRect()).map(
  place => [place.left, place.top, place.right, place.bottom])
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grades")
    wide = PROGRAM.replace(b"total", b"sum_of_all_the_values_that_were_given_so_far")
    sources = {CLASS[0].student: PROGRAM, CLASS[1].student: wide}
    problems = [LONG, *(marks.for_staff for marks in CLASS if marks.for_staff)]
    write_all(folder, Graded(tuple(CLASS), len(CLASS), sources, tuple(problems), 12.0))
    return folder


def opened(path, width, script=""):
    page = open_page(path, width=width, script=script)
    assert (page.overflow, page.errors) == (0, []), path
    assert all(url.startswith("file:") for url in page.requests)
    return page


@pytest.mark.parametrize("width", thorough_after(1, [PHONE, 320, DESK]))
def test_every_page_fits_and_reports_no_error(written, width):
    pages = sorted(written.rglob("*.html"))
    assert len(pages) == len(CLASS) + 2  # the overview and one pair
    texts = {page.name: opened(page, width).text for page in pages}
    assert STOPPED in texts["overview.html"].partition("Students\n")[0]
    (cut_short,) = (text for name, text in texts.items() if name.startswith("cut_short"))
    assert STOPPED in cut_short
    assert cut_short.index("2. The network") < cut_short.index("10. The search")


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_a_click_on_a_header_sorts_the_students(written, width):
    def order(*clicks):
        click = "".join(f"headers[{column}].click();" for column in clicks)
        start = 'const headers = document.querySelectorAll("table.sortable th");'
        script = f"(() => {{ {start} {click} return ({ROWS}); }})()"
        return opened(written / "overview.html", width, script).result

    scores = sorted(-1 if each.score is None else each.score for each in CLASS)
    assert [score for _, score in order(1)] == scores
    assert [score for _, score in order(1, 1)] == scores[::-1]
    names = [name for name, _ in order(1, 0)]
    assert names[:3] == ["absent", "cut short", "student0@school.example"]
    assert sorted(names) == sorted(each.student for each in CLASS)


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_similar_submissions_stand_side_by_side_where_there_is_room(written, width):
    (page,) = (written / "similar").iterdir()
    first, second = opened(page, width, PLACES % "section").result
    if width == DESK:
        assert first[1] == second[1]
        assert first[2] <= second[0]
    else:
        assert first[0] == second[0]
        assert first[3] <= second[1]


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_bars_of_the_distribution_do_not_touch(written, width):
    bars = opened(written / "overview.html", width, PLACES % ".bar").result
    assert len(bars) == 10
    assert max(right - left for left, _, right, _ in bars) > width / 4
    assert all(upper[3] < lower[1] for upper, lower in pairwise(bars))
