"""A seccomp filter: restricts for good which system calls a process may make.

What is refused: new processes and programs, sockets, signals to and looks into other processes,
namespaces and mounts, memory and objects that outlive the process or escape its limits, and every
way into the kernel that no submission needs. Calls that change a file's owner, mode, times or
attributes do nothing and report success: Landlock does not cover them, and `shutil` makes them. So
do file locks, by which two children could talk to each other through a library's file; whether
another has read such a file (mincore, preadv2) is refused, and so are timers that could wake a
stopped process.
"""

from __future__ import annotations

import csv
import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence
from importlib import resources

from dlip_reg.grading.isolation import libc

ARCHITECTURES = ("x86_64", "aarch64")
_AUDIT = (0xC000003E, 0xC00000B7)  # how a filter sees these


def _table(answer: str) -> dict[str, list[int | None]]:
    """The numbers, one for each of ARCHITECTURES, of the calls that get this answer."""
    text = resources.files(__package__).joinpath("system_calls.csv").read_text("utf-8")
    return {
        row["name"]: [int(row[machine]) if row[machine] else None for machine in ARCHITECTURES]
        for row in csv.DictReader(text.splitlines())
        if row["answer"] == answer
    }


_REFUSED, _PRETENDED, _NEW_ALLOWED = map(_table, ("refuse", "pretend", "allow"))
# From this number on all machines number alike, and only these calls are allowed. Others fail as
# on a kernel that does not have them, for which programs are prepared: libc replaces clone3, whose
# flags a filter cannot see, by clone. This also stops x86-64's second numbering (x32).
_NEW_CALLS = 424
_LOAD, _EQUAL, _GREATER_EQUAL, _HAS_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_REFUSE, _PRETEND, _UNKNOWN = _ERROR | errno.EPERM, _ERROR, _ERROR | errno.ENOSYS
_FILTER_MODE = 2
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16

_CLONE_THREAD = 0x10000
_OWN = -1  # stands for the number of this process
# numbers, which argument, the test of it, by which values, whether the answer is for calls that
# meet the test by one of them or for all others (the other rules look at the rest), and the answer
_BY_ARGUMENT = (
    # Threads are allowed, processes are not.
    ((56, 220), 0, _HAS_BITS, (_CLONE_THREAD,), False, _REFUSE),
    *(  # kill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo: to this process only
        (numbers, 0, _EQUAL, (_OWN,), False, _REFUSE)
        for numbers in ((62, 129), (234, 131), (129, 138), (297, 240))
    ),
    *(  # prlimit64, sched_setaffinity, _setscheduler, _setparam, _setattr: 0 is this process, too
        (numbers, 0, _EQUAL, (_OWN, 0), False, _REFUSE)
        for numbers in ((302, 261), (203, 122), (144, 119), (142, 118), (314, 274))
    ),
    # fcntl: F_SETOWN and F_SETOWN_EX signal others through a file's owner; F_SETLEASE and F_NOTIFY
    # delay or watch everybody's use of a file; F_GETLK and F_OFD_GETLK look at others' locks.
    ((72, 25), 1, _EQUAL, (8, 15, 1024, 1026, 5, 36), True, _REFUSE),
    # F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW
    ((72, 25), 1, _EQUAL, (6, 7, 37, 38), True, _PRETEND),
    # ioctl: FIOSETOWN, SIOCSPGRP; TIOCSTI presses keys for a terminal
    ((16, 29), 1, _EQUAL, (0x8901, 0x8902, 0x5412), True, _REFUSE),
    # prctl: outliving the grader, and PR_SET_DUMPABLE, which hides from the supervisor
    ((157, 167), 0, _EQUAL, (libc.PR_SET_PDEATHSIG, 4), True, _REFUSE),
)


def architecture() -> int:
    """Return the index of this machine in ARCHITECTURES; OSError if it is another."""
    machine = platform.machine()
    if machine not in ARCHITECTURES or struct.calcsize("P") != 8:
        raise OSError(f"The sandbox supports {' and '.join(ARCHITECTURES)}, not {machine}.")
    return ARCHITECTURES.index(machine)


def _statement(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _switch(test: int, values: Sequence[int], met: bool, answer: int) -> list[bytes]:
    """Return `answer` if one of the tests of the loaded value holds, or if none does where `met` is
    False; else go on."""
    last = len(values) - 1
    tests = [
        _statement(test, value, last - at + (not met), int(met and at == last))
        for at, value in enumerate(values)
    ]
    return [*tests, _statement(_RETURN, answer)]


def _numbers(calls: dict[str, list[int | None]], machine: int) -> list[int]:
    """The numbers of those calls that the machine has."""
    return [number for both in calls.values() if (number := both[machine]) is not None]


def _program(machine: int, own: int) -> bytes:
    load_number = _statement(_LOAD, _NUMBER_AT)
    new = _switch(_EQUAL, _numbers(_NEW_ALLOWED, machine), False, _UNKNOWN)
    parts = [
        _statement(_LOAD, _MACHINE_AT),
        *_switch(_EQUAL, [_AUDIT[machine]], False, _KILL),
        load_number,
        _statement(_GREATER_EQUAL, _NEW_CALLS, 0, len(new)),
        *new,
        *_switch(_EQUAL, _numbers(_REFUSED, machine), True, _REFUSE),
        *_switch(_EQUAL, _numbers(_PRETENDED, machine), True, _PRETEND),
    ]
    for numbers, argument, test, values, met, answer in _BY_ARGUMENT:
        known = [own if value == _OWN else value for value in values]
        # The low half: numbers of processes, commands and flags are 32-bit for the kernel, too.
        load_argument = _statement(_LOAD, _ARGUMENTS_AT + 8 * argument)
        rule = [load_argument, *_switch(test, known, met, answer), load_number]
        parts += [_statement(_EQUAL, numbers[machine], 0, len(rule)), *rule]
    parts.append(_statement(_RETURN, _ALLOW))
    return b"".join(parts)


def load(program: bytes) -> None:
    """Have the kernel apply `program` to every system call of this process from now on."""
    instructions = ctypes.create_string_buffer(program)
    address = ctypes.addressof(instructions)
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    libc.prctl(libc.PR_SET_SECCOMP, _FILTER_MODE, struct.pack("@HP", len(program) // 8, address))


def restrict() -> None:
    """Apply the filter to this process and every thread it starts; OSError if that fails."""
    load(_program(architecture(), os.getpid()))
