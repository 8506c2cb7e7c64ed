"""Training that was left in a submission, and whatever else its import spends time on, costs what
it would have defined, and nothing else."""

import json
import sys
import time
from dataclasses import replace

import pytest
from tiny_assignment import (
    FULL,
    HERE,
    HONEST,
    HONEST_PART,
    LIMITS,
    SOLVED,
    ask,
    tiny_setting,
    write_tests,
)

from dlip_reg.grading import interrupts
from dlip_reg.grading.grader import Grader
from dlip_reg.grading.interrupts import Interrupter, StoppedError
from dlip_reg.grading.limits import SandboxSetting
from dlip_reg.grading.marks import Marks
from dlip_reg.grading.sandbox import Sandbox
from dlip_reg.grading.student import Submission

SECONDS = 4
WORKS, SLEEPS = "while True: pass\n", "import time\ntime.sleep(1000)\n"
HALF_AT_WORK = "import time\nwhile True: time.sleep(0.05), sum(range(3_000_000))\n"
TRAIN = "def train():\n    while True: pass\n"
GOES_ON = f"{TRAIN}while True:\n    try: train()\n    except BaseException: pass\n"
SAVES = f"{TRAIN}try: train()\nexcept KeyboardInterrupt: print('trained enough')\n"
FORGES = (
    "import sys\nof_the_grader = sys.modules['dlip_reg.grading.child']\n"
    "of_the_grader._faults.append(of_the_grader.Fault('', '', '40 points'))\n"
)
AWAITS = "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\nawait f()\n"
DISK = "import shutil\nshutil.disk_usage('.')\n"


def cells(*sources):
    made = [{"cell_type": "code", "source": source} for source in sources]
    return {"lab.ipynb": json.dumps({"nbformat": 4, "cells": made})}


def module(text, **others):
    return {"lab.py": text, **{f"{name}.py": source for name, source in others.items()}}


CELL, LINE = "Code cell {} took too long", "Line {} of lab.py took too long"
NO = "The submission has no attacked. "
# What is handed in, its points, how its student is told of what was stopped, and what the test says
# of what is lost.
HANDED_IN = {
    "in the last cell": (cells(HONEST, SOLVED, WORKS), FULL, [CELL.format(3)], ""),
    "in two cells": (
        cells(SLEEPS, HONEST, WORKS, SOLVED), FULL, ["Code cells 1, 3 took too long"], ""
    ),
    "in many cells": (
        cells(HONEST, *[WORKS] * 3, SOLVED), FULL, ["Code cells 2, 3, 4 took too long"], ""
    ),
    "half at work": (
        cells(HONEST, HALF_AT_WORK, SOLVED), FULL, [CELL.format(2)], ""
    ),
    "before a definition": (
        cells(HONEST, WORKS + SOLVED), HONEST_PART, [CELL.format(2)], NO + CELL.format(2)
    ),
    "ended by the student": (cells(HONEST, SAVES + SOLVED), FULL, [], ""),
    "at the end": (module(HONEST + SOLVED + WORKS), FULL, [LINE.format(7)], ""),
    "in the middle": (
        module(HONEST + SLEEPS + SOLVED), HONEST_PART, [LINE.format(5)], NO + LINE.format(5)
    ),
    "in a helper": (
        module(f"{HONEST}import more\n{SOLVED}", more=WORKS),
        HONEST_PART, [LINE.format(4)], NO + LINE.format(4),
    ),
    "hostile": (cells(HONEST, GOES_ON, SOLVED), 0, [], "On import: The time is up"),
    "forged": (cells(FORGES, HONEST, SOLVED), 0, [], "On import: A probe's answer does not have"),
    "awaits": (cells(AWAITS, HONEST, SOLVED), FULL, [], ""),
    "refused": (
        cells(HONEST, DISK + SOLVED), HONEST_PART, ["Code cell 2 raised an exception and did not"],
        "does not say how full its disk is",
    ),
    "raises": (
        module(HONEST + "open('data.csv')\n" + SOLVED), HONEST_PART,
        ["Line 4 of lab.py raised an exception, and the lines after it did not run."],
        NO + "Its import ended with FileNotFoundError",
    ),
    "raises at the end": (
        module(HONEST + SOLVED + "import more\n", more="1 / 0\n"), FULL,
        ["Line 7 of lab.py raised an exception"], "",
    ),
}  # fmt: skip


def submission_of(name):
    texts = HANDED_IN[name][0]
    files = {file: text.encode() for file, text in texts.items()}
    return Submission(name, files, next(iter(files)))


def check(marks):
    _, score, stopped, said = HANDED_IN[marks.student]
    assert marks.score == score, [test.message for test in marks.tests]
    assert len(marks.stopped) == len(stopped), marks.stopped
    for sentence, beginning in zip(marks.stopped, stopped, strict=True):
        assert sentence.startswith(beginning)
        assert ("__main__" in sentence) == (beginning.startswith("Line") and "took" in beginning)
    assert marks.notes == marks.stopped
    (attacked,) = (test.message for test in marks.tests if test.name == "test_attacked")
    assert said in attacked
    assert bool(marks.for_staff) == (score == 0 or bool(stopped and score < FULL))
    assert Marks.from_json(marks.to_json()) == marks


@pytest.mark.thorough
def test_what_takes_too_long_loses_what_it_would_have_defined(tmp_path):
    setting = tiny_setting(
        write_tests(tmp_path / "marking"), limits=replace(LIMITS, import_seconds=SECONDS)
    )
    with Grader(setting, "a seed", workers=2) as grader:
        found = {m.student: m for m in grader.grade_all(list(map(submission_of, HANDED_IN)))}
    for marks in found.values():
        check(marks)
    assert found["forged"].verdict == "rejected"


@pytest.mark.thorough
def test_the_same_on_any_system(tmp_path):
    limits = replace(LIMITS, import_seconds=SECONDS, memory_mb=600)
    setting = tiny_setting(write_tests(tmp_path / "marking"), tier="weak", limits=limits)
    with Grader(setting, "a seed") as grader:
        check(grader.grade(submission_of("in the last cell")))


@pytest.mark.skipif(sys.platform != "linux", reason="isolation needs Linux")
@pytest.mark.thorough
def test_training_with_keras_is_stopped():
    training = (
        "import keras, numpy as np\n"
        "model = keras.Sequential([keras.layers.Dense(100), keras.layers.Dense(1)])\n"
        "model.compile('adam', 'mse')\n"
        "model.fit(np.ones((10_000, 100)), np.ones(10_000), epochs=10_000, verbose=2)\n"
    )
    probes = {"probes": "tiny_probes", "packages": [HERE / "tiny_probes"]}
    with Sandbox(SandboxSetting(**probes)) as sandbox:
        files = cells(training, "import keras\ndef layers(): return len(model.layers)")
        child = sandbox.child({name: text.encode() for name, text in files.items()})
        (said,) = child.load("lab.ipynb", 12)
        assert said.startswith(CELL.format(1))
        assert ask(child, "layers") == 2


def test_marks_of_an_earlier_version_are_read():
    marks = Marks("ann", (), notes=("a note",))
    values = json.loads(marks.to_json())
    del values["stopped"]
    assert Marks.from_json(json.dumps(values)) == marks


@pytest.mark.parametrize(
    ("worked", "counted"),
    [(1.0, 1.0), (0.7, 0.7), (0.2, 0.5), (4.0, 1.0), (0.01, 0.5)],
    ids=["alone", "beside others", "beside many", "threads", "asleep"],
)
def test_time_that_others_had_does_not_count(monkeypatch, worked, counted):
    class Clock:
        monotonic = staticmethod(time.monotonic)
        process_time = staticmethod(lambda: worked * time.monotonic())

    monkeypatch.setattr(interrupts, "time", Clock)
    started = time.monotonic()
    with Interrupter() as interrupter:
        with pytest.raises(StoppedError), interrupter.limit(0.25):
            while True:
                time.sleep(0.01)
        passed = time.monotonic() - started
        assert interrupter.used == pytest.approx(0.25, abs=0.15)
        assert passed * counted == pytest.approx(interrupter.used, abs=0.15)
        with interrupter.limit(0.25):  # the next one has its own
            time.sleep(0.05)
    time.sleep(0.3)  # nothing is interrupted any more
