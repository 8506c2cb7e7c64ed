"""A tiny assignment, so that tests of the grader depend on no other and are fast.

Its three tests are worth 1, 5 and 2 points: an honest part, the part that attacks are in, and the
honest part again, after the attack and in the same child where that still lives.
"""

import textwrap
from pathlib import Path

from dlip_reg.grading.children import Child
from dlip_reg.grading.grader import Setting
from dlip_reg.grading.limits import Limits, SandboxSetting
from dlip_reg.grading.sandbox import Sandbox
from dlip_reg.grading.student import Submission

HERE = Path(__file__).parent
FULL, HONEST_PART = 8, 3
LIMITS = Limits(
    test_seconds=1,
    import_seconds=2,
    total_seconds=60,
    memory_mb=300,
    disk_mb=8,
    files=100,
    output_mb=1,
    threads=64,
)
# What students whose submissions are similar have handed in.
PROGRAM = b"""
def mean(values):
    total = 0
    for value in values:
        total += value
    return total / len(values) if len(values) > 0 else 0.0

def spread(values):
    middle = mean(values)
    return [abs(value - middle) ** 2 for value in values if value is not None]
"""
TESTS = '''
"""Three tests of two functions."""

import pytest
def numbers_from(rng):
    return [int(number) for number in rng.integers(-1000, 1000, 5)]

@pytest.mark.public
@pytest.mark.points(1)
def test_before(student, rng):
    """Negates a number."""
    number = numbers_from(rng)[0]
    got = student.run("ask.call", name="honest", arguments=[number])
    assert type(got) is int and got == -number, f"honest({number}) is {got}"

@pytest.mark.points(5)
def test_attacked(student, rng):
    """Adds squares."""
    numbers = numbers_from(rng)
    expected = sum(number * number for number in numbers)
    got = student.run("ask.call", name="attacked", arguments=[numbers])
    assert type(got) is int and got == expected, f"attacked({numbers}) is {got}"

@pytest.mark.points(2)
def test_after(student, rng):
    """Negates another number."""
    number = numbers_from(rng)[0]
    got = student.run("ask.call", name="honest", arguments=[number])
    assert type(got) is int and got == -number, f"honest({number}) is {got}"
'''
HONEST = """
def honest(number):
    return -number
"""
SOLVED = """
def attacked(numbers):
    return sum(number * number for number in numbers)
"""


def write_tests(folder: Path, tests: str = TESTS) -> Path:
    """A folder of marking tests."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "conftest.py").write_text(
        "from dlip_reg.grading.pytest_plugin import *  # noqa: F403\n"
    )
    (folder / "test_tiny.py").write_text(tests)
    return folder


SANDBOX = {
    "limits": LIMITS,
    "preload": ["numpy"],
    "probes": "tiny_probes",
    "packages": [HERE / "tiny_probes"],
}


def tiny_setting(tests: Path, **options) -> Setting:
    """Grades the tiny assignment; nothing heavy is imported."""
    return Setting(tests, **(SANDBOX | options))


def tiny_sandbox(**options) -> Sandbox:
    """A sandbox as the tiny assignment's."""
    return Sandbox(SandboxSetting(**(SANDBOX | options)))


def loaded(sandbox: Sandbox, source: str) -> Child:
    """A child that has imported this source."""
    child = sandbox.child({"submission.py": source.encode()})
    child.load("submission.py", 10)
    return child


def attack(sandbox: Sandbox, body: str, seconds: float):
    """What a function with this body gives in a child of its own."""
    source = "def attacked(numbers):\n" + textwrap.indent(textwrap.dedent(body), "    ")
    return ask(loaded(sandbox, source), "attacked", [], seconds=seconds)


def ask(child: Child, name: str, *arguments, seconds: float = 5):
    """What the submission's function returns."""
    return child.run("ask.call", {"name": name, "arguments": list(arguments)}, seconds)


def submission_of(source: str, name: str = "student") -> Submission:
    return Submission(name, {"submission.py": source.encode()}, "submission.py")


def honest_submission(name: str = "honest") -> Submission:
    return submission_of(HONEST + SOLVED, name)


def attacking(body: str, top: str = "", name: str = "attacker") -> Submission:
    """One honest part, and `body` (which sees `numbers` and `CANARY`) as the other."""
    function = "def attacked(numbers):\n" + textwrap.indent(textwrap.dedent(body), "    ")
    return submission_of("\n".join((textwrap.dedent(top), HONEST, function)), name)
