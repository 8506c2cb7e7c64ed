"""A seccomp filter: restricts for good which system calls a process may make.

What is refused: new processes and programs, sockets, signals to and looks into other processes,
namespaces and mounts, memory and objects that outlive the process or escape its limits, what two
children could talk to each other through (the state of a library's file, and what the kernel counts
for all processes of a user), timers that could wake a stopped process, and every way into the
kernel that no submission needs. Calls that change a file's owner, mode, times or attributes do
nothing and report success: Landlock does not cover them, and `shutil` makes them. So do file locks,
and calls that choose processors.
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
_LOAD, _AND, _EQUAL, _GREATER_EQUAL, _HAS_BITS, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_REFUSE, _PRETEND, _UNKNOWN = _ERROR | errno.EPERM, _ERROR, _ERROR | errno.ENOSYS
_UNSUPPORTED, _AGAIN = _ERROR | errno.EOPNOTSUPP, _ERROR | errno.EAGAIN
_FILTER_MODE = 2
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16

_OWN = -1  # stands for the number of this process
# numbers, which argument, the test of it, by which values (_AND: by which bits, then their values),
# whether the answer is for calls that meet the test by one of them or for all others (the other
# rules look at the rest), and the answer
_BY_ARGUMENT = (
    # clone: CLONE_THREAD and CLONE_FILES. Threads are allowed; processes are not, nor are files
    # that only one thread has open, which the controller would not count.
    ((56, 220), 0, _HAS_BITS, (0x10000,), False, _REFUSE),
    ((56, 220), 0, _HAS_BITS, (0x400,), False, _REFUSE),
    ((436, 436), 2, _HAS_BITS, (2,), True, _REFUSE),  # close_range: CLOSE_RANGE_UNSHARE
    # mmap: MAP_HUGETLB, memory that all take from one pool and no limit counts
    ((9, 222), 3, _HAS_BITS, (0x40000,), True, _REFUSE),
    # mmap: MAP_SHARED with MAP_ANONYMOUS, memory that can be kept without being mapped
    ((9, 222), 3, _AND, (0x23, 0x21), True, _REFUSE),
    # madvise: MADV_MERGEABLE, MADV_COLD, MADV_PAGEOUT, for which others wait
    ((28, 233), 2, _EQUAL, (12, 20, 21), True, _PRETEND),
    # kill, tgkill: to this process only, and no real-time signals. These wait in a queue; setrlimit
    # and prlimit64 with RLIMIT_NPROC or RLIMIT_SIGPENDING find out how many threads and waiting
    # signals all of a user's processes have.
    ((62, 129), 0, _EQUAL, (_OWN,), False, _REFUSE),
    ((62, 129), 1, _GREATER_EQUAL, (32,), True, _REFUSE),
    ((234, 131), 0, _EQUAL, (_OWN,), False, _REFUSE),
    ((234, 131), 2, _GREATER_EQUAL, (32,), True, _REFUSE),
    ((160, 164), 0, _EQUAL, (6, 11), True, _REFUSE),
    ((302, 261), 0, _EQUAL, (_OWN, 0), False, _REFUSE),
    ((302, 261), 1, _EQUAL, (6, 11), True, _REFUSE),
    # clock_gettime, clock_nanosleep: by other processes' processor time
    ((228, 113), 0, _HAS_BITS, (1 << 31,), True, _REFUSE),
    ((230, 115), 0, _HAS_BITS, (1 << 31,), True, _REFUSE),
    # preadv2: RWF_NOWAIT shows whether another has read this part of a library
    ((327, 286), 5, _EQUAL, (0,), False, _UNSUPPORTED),
    # fcntl: F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW
    ((72, 25), 1, _EQUAL, (6, 7, 37, 38), True, _PRETEND),
    # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_GETPIPE_SZ. Others signal
    # through a file's owner, delay, watch or mark everybody's use of a file (leases, notices,
    # hints, locks of others), or take from the room that a user has for pipes.
    ((72, 25), 1, _EQUAL, (0, 1, 2, 3, 4, 1030, 1032), False, _REFUSE),
    # ioctl: TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX. Others set a file's owner or
    # flags, or press keys for a terminal.
    ((16, 29), 1, _EQUAL, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451), False, _UNSUPPORTED),
    # futex: FUTEX_WAIT, _LOCK_PI, _WAIT_BITSET, _WAIT_REQUEUE_PI, _LOCK_PI2 without
    # FUTEX_PRIVATE_FLAG, the last ones also with FUTEX_CLOCK_REALTIME. On a library's page these
    # wait for whatever process wakes them. They fail as if the value had changed in between, and
    # are tried again: pthread_join, which the kernel wakes so, then waits without sleeping.
    ((202, 98), 1, _EQUAL, (0, 6, 9, 11, 13, 256, 265, 267, 269), True, _AGAIN),
    # prctl: outliving the grader, PR_SET_DUMPABLE, which hides from the supervisor, and further
    # filters, which are memory of the kernel's
    ((157, 167), 0, _EQUAL, (libc.PR_SET_PDEATHSIG, 4, libc.PR_SET_SECCOMP), True, _REFUSE),
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
        rule = [_statement(_LOAD, _ARGUMENTS_AT + 8 * argument)]
        if test == _AND:
            rule.append(_statement(_AND, known.pop(0)))
            test = _EQUAL
        rule += [*_switch(test, known, met, answer), load_number]
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
