"""Hostile submissions in the strong tier."""

import time
from contextlib import closing
from dataclasses import replace

import attacks_on_the_machine
import attacks_on_the_marks
import pytest
from tiny_assignment import LIMITS, ask, attack, loaded, submission_of, tiny_sandbox

from dlip_reg.grading.errors import StudentError, StudentMemoryError
from dlip_reg.grading.student import Student

TIER = "strong"
ATTACKS = attacks_on_the_machine.ATTACKS | attacks_on_the_marks.ATTACKS


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_earns_its_honest_part_and_leaves_nothing(attack_range, attack):
    attack_range.is_repelled(ATTACKS[attack])


@pytest.mark.parametrize("attack", attacks_on_the_marks.SELF_HARM)
def test_a_child_that_broke_itself_earns_what_came_before(attack_range, attack):
    attack_range.is_repelled(attacks_on_the_marks.SELF_HARM[attack], honest_part=1)


@pytest.mark.parametrize(
    ("attack", "verdict", "message"),
    [
        ("lease on a library", "error", "Operation not permitted"),
        ("the beginning of a frame in time", "timeout", "The time is up."),
        ("a frame byte by byte", "timeout", "The time is up."),
    ],
)
def test_what_stops_an_attack(attack_range, attack, verdict, message):
    found = attack_range.is_repelled(ATTACKS[attack]).tests[1]
    assert found.verdict == verdict
    assert message in found.message


def test_tables_that_map_memory_are_memory():
    limits = replace(LIMITS, memory_mb=150)
    with tiny_sandbox(limits=limits, tier=TIER) as sandbox, pytest.raises(StudentMemoryError):
        attack(sandbox, ATTACKS["page tables of a library"], seconds=30)


LOCKS = """
import ctypes, fcntl, mmap, os

libc = ctypes.CDLL(None, use_errno=True)
KEPT = os.open(os.__file__, os.O_RDONLY)


def lock():
    fcntl.flock(KEPT, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(KEPT, fcntl.LOCK_SH | fcntl.LOCK_NB)


def look():
    fcntl.fcntl(KEPT, fcntl.F_GETLK, bytes(32))


def look_at_pages():
    libc.mmap.restype = ctypes.c_void_p
    place = libc.mmap(None, ctypes.c_size_t(4096), 1, 2, KEPT, ctypes.c_long(0))
    size, pages = ctypes.c_size_t(4096), ctypes.create_string_buffer(1)
    if libc.mincore(ctypes.c_void_p(place), size, pages):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def look_without_waiting():
    os.preadv(KEPT, [bytearray(1)], 0, os.RWF_NOWAIT)
"""


def test_locks_carry_nothing_from_one_child_to_another():
    with tiny_sandbox(tier=TIER) as sandbox:
        children = [loaded(sandbox, LOCKS) for _ in range(2)]
        for child in children:
            ask(child, "lock")
        for looks in ("look", "look_at_pages", "look_without_waiting"):
            with pytest.raises(StudentError, match="Operation not permitted"):
                ask(children[1], looks)


CLOCK = """
import ctypes, signal, threading, time

times = []


def tick():
    while True:
        times.append(time.monotonic())
        time.sleep(0.01)


def start():
    threading.Thread(target=tick, daemon=True).start()
    # A timer whose signal would let a stopped process go on.
    signal.signal(signal.SIGCONT, lambda *_: None)
    event = (ctypes.c_int * 16)(0, 0, signal.SIGCONT, 0)
    timer = ctypes.c_void_p()
    every = (ctypes.c_long * 4)(0, 20_000_000, 0, 20_000_000)
    libc = ctypes.CDLL(None)
    if libc.timer_create(1, event, ctypes.byref(timer)) == 0:
        libc.timer_settime(timer, 0, every, None)


def sleep():
    time.sleep(0.5)


def largest_gap():
    return max(b - a for a, b in zip(times, times[1:]))
"""


@pytest.mark.parametrize("tier", ["strong", "medium"])
def test_of_the_public_and_the_hidden_child_only_one_runs_at_a_time(tier):
    submission = submission_of(CLOCK)
    with tiny_sandbox(tier=tier) as sandbox, closing(Student(sandbox, submission)) as student:
        for public, names in ((True, ["start"]), (False, ["sleep"]), (True, [])):
            student.begin(public=public, module="a")
            for name in names:
                student.call(name)
        time.sleep(0.1)
        assert student.call("largest_gap") > 0.4
