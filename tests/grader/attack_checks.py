"""What must hold after every attack, in every tier."""

import os
import time
from contextlib import contextmanager
from pathlib import Path

import attacks_on_the_machine
import attacks_on_the_marks
import psutil
import pytest
from tiny_assignment import FULL, HONEST_PART, attacking, honest_submission

from dlip_reg.grading.grader import Grader

TRACES_OUTSIDE = ("/dev/shm/dlip_attack",)
SELF_HARM = attacks_on_the_marks.SELF_HARM
ATTACKS = attacks_on_the_marks.ATTACKS | SELF_HARM | attacks_on_the_machine.ATTACKS
STOPPED_BY = {
    "lease on a library": ("error", "Operation not permitted"),
    "files that only a thread has open": ("error", "libc.clone"),
    "shared memory that is kept without being mapped": ("error", "Operation not permitted"),
    "memory of a process without its first thread": ("error", "The main thread ended"),
    "huge pages that only a pipe holds": ("error", "libc.vmsplice"),
    "filters in the kernel": ("error", "libc.prctl"),
    "files that only a call that waits has open": ("failed", "refused 30 of 30"),
    "folders with long names": ("error", ""),
    "a folder that cannot be listed": ("error", ""),
    "output that cannot be read": ("error", "ended itself with status 0"),
    "the beginning of a frame in time": ("timeout", "The time is up: it took too long."),
    "a frame byte by byte": ("timeout", "The time is up: it took too long."),
}


class Range:
    """A grader in one tier, and a place outside its sandbox that attacks try to reach."""

    def __init__(self, grader, tests: Path, place: Path) -> None:
        self.grader, self.tests, self.place = grader, tests, place
        self.temporary = Path(os.environ["TMPDIR"])
        self.canary = place / "canary"
        self.canary.mkdir()
        (self.canary / "kept").write_text("kept")
        self.resting = None

    def is_repelled(self, attack: str) -> None:
        """One of ATTACKS; of those that break their own child, only what came before is paid."""
        found = self.earns(ATTACKS[attack], 1 if attack in SELF_HARM else HONEST_PART)
        verdict, message = STOPPED_BY.get(attack, (found.verdict, ""))
        assert (found.verdict, message in found.message) == (verdict, True), found.message

    def earns(self, body: str, honest_part: float = HONEST_PART):
        """Attack, then check: exactly the honest part is paid, the next honest submission gets
        full marks, and nothing is left. Gives the marks of the test that was attacked."""
        top = f"CANARY = {str(self.canary / 'written')!r}\nTESTS = {str(self.tests)!r}\n"
        before = self._outside()
        marks = self.grader.grade(attacking(body, top))
        verdicts = {test.name: (test.verdict, test.message) for test in marks.tests}
        assert marks.score == honest_part, verdicts
        assert verdicts["test_before"] == ("passed", "")
        after = self.grader.grade(honest_submission())
        assert after.score == FULL, after
        assert self._outside() == before
        end = time.monotonic() + 2  # a process that has closed its files is seen a moment longer
        while self.processes() != self.resting and time.monotonic() < end:
            time.sleep(0.05)
        assert self.processes() == self.resting
        return marks.tests[1]

    def _outside(self) -> dict:
        return {
            "canary": sorted(path.name for path in self.canary.iterdir()),
            "kept": (self.canary / "kept").read_text(),
            "mode": self.canary.stat().st_mode,
            "owner": self.canary.stat().st_uid,
            "old": self.canary.stat().st_mtime > 1e9,
            "jobs": sorted(str(path) for path in self.temporary.glob("*/*")),
            "traces": [path for path in TRACES_OUTSIDE if Path(path).exists()],
        }

    def processes(self) -> list[int]:
        return marked_processes(self.place)


def marked_processes(place: Path) -> list[int]:
    """The processes that look for modules below `place`: its fork servers and all their children,
    wherever they have gone."""
    found = []
    for process in psutil.process_iter():
        try:
            marked = str(place) in process.environ().get("PYTHONPATH", "")
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return sorted(found)


@contextmanager
def open_range(setting, tests: Path, place: Path):
    """A range with a folder for temporary files of its own; nothing is left when it closes."""
    temporary = place / "tmp"
    temporary.mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TMPDIR", str(temporary))
        with Grader(setting, "a seed") as grader:
            range_ = Range(grader, tests, place)
            assert grader.grade(honest_submission()).score == FULL
            time.sleep(1)  # a process that has closed its files is seen a moment longer
            range_.resting = range_.processes()
            assert range_.resting
            yield range_
    assert range_.processes() == []
    assert list(temporary.iterdir()) == []
