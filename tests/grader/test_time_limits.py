"""A limit in seconds is for the submission's own seconds: not others', and not more for threads."""

import os
import sys
import textwrap
import time

import pytest
from attacks_on_the_machine import MANY_THREADS
from tiny_assignment import HERE, LIMITS

from dlip_reg.grading.errors import StudentTimeoutError
from dlip_reg.grading.limits import PATIENCE, Times
from dlip_reg.grading.sandbox import Sandbox
from dlip_reg.grading.student import Student, Submission


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's count of waiting is Linux's")
def test_threads_that_take_turns_have_no_more_time():
    source = "def turns():\n" + textwrap.indent(MANY_THREADS, "    ")
    options = {"preload": ["numpy"], "probes": "tiny_probes", "packages": [HERE / "tiny_probes"]}
    with Sandbox(LIMITS, **options) as sandbox:
        job = sandbox.job({"submission.py": source.encode()})
        job.load("submission.py", 10)
        with pytest.raises(StudentTimeoutError):
            job.run("ask.call", {"name": "turns", "arguments": []}, 1.0)
    assert 0.5 < job.ended["cpu_seconds"] < 1.5 * os.cpu_count() + 0.5


@pytest.mark.parametrize(
    ("waited", "used", "lacked"),
    [
        (6.0, 4.0, 6.0),  # one thread on a busy machine
        (0.0, 10.0, 0.0),  # one thread alone
        (0.0, 1.0, 0.0),  # asleep
        (200.0, 20.0, 0.0),  # 25 threads on two processors, nobody else there
        (200.0, 5.0, 5.0),  # 25 threads, and others had all but half a processor
    ],
)
def test_what_others_had_is_what_the_process_wanted_and_had_not(waited, used, lacked):
    earlier = Times(waited=100.0, used=50.0)
    now = Times(earlier.waited + waited, earlier.used + used)
    assert now.lacked(earlier, elapsed=10.0, limit=20.0) == pytest.approx(lacked)
    assert now.lacked(earlier, elapsed=10.0, limit=0.5) == min(lacked, PATIENCE * 0.5)


def test_time_that_others_had_counts_for_no_limit():
    class Job:
        """Lacks a processor all the time that a request takes."""

        lacked = 0.0

        def run(self, probe, arguments, seconds):
            started = time.monotonic()
            allowed.append(seconds)
            time.sleep(0.2)
            self.lacked = time.monotonic() - started

    class Machine:
        limits = LIMITS

    allowed = []
    student = Student(Machine(), Submission("s", {}, ""))
    student.begin(public=True)
    end = student._end
    for _ in range(4):
        student._timed(Job(), "ask.call", {})
    assert allowed == pytest.approx([LIMITS.test_seconds] * 4, abs=0.2)
    assert student._end - end >= 0.8
