"""A seccomp filter: restricts for good which system calls a process may make.

What is refused: new processes and programs, sockets, signals to and looks into other processes,
namespaces and mounts, memory and objects that outlive the process or escape its limits, and every
way into the kernel that no submission needs. Calls that change a file's owner, mode, times or
attributes do nothing and report success: Landlock does not cover them, and `shutil` makes them. So
do file locks, by which two children could talk to each other through a library's file.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Mapping, Sequence

from dlip_reg.grading.isolation.libc import (
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    PR_SET_SECCOMP,
    prctl,
)

ARCHITECTURES = ("x86_64", "aarch64")
_AUDIT = (0xC000003E, 0xC00000B7)  # how a filter sees these
_Numbers = Mapping[str, Sequence[int | None]]


def _table(groups: Mapping[str, str]) -> dict[str, list[int | None]]:
    """Each call's numbers on x86-64 and on aarch64, from "name number number, ..."."""
    entries = [entry.split() for text in groups.values() for entry in text.split(",")]
    return {name: [None if n == "-" else int(n) for n in both] for name, *both in entries}


# "-" where the machine has no such call.
_REFUSED = _table(
    {
        "new processes and programs": "fork 57 -, vfork 58 -, execve 59 221, execveat 322 281",
        "sockets other than the open one": "socket 41 198, socketpair 53 199, bind 49 200,"
        "connect 42 203, listen 50 201",
        # Landlock looks at this from its third version on.
        "any file by its name": "truncate 76 45",
        "other processes": "ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271,"
        "kcmp 312 272, tkill 200 130, setpriority 141 140, ioprio_set 251 30,"
        "migrate_pages 256 238, move_pages 279 239, get_robust_list 274 100,"
        "inotify_init 253 -, inotify_init1 294 26, fanotify_init 300 262",
        "namespaces and mounts": "unshare 272 97, setns 308 268, mount 165 40, umount2 166 39,"
        "pivot_root 155 41, chroot 161 51",
        "memory that no limit counts, objects that outlive the process": "memfd_create 319 279,"
        "shmget 29 194, shmat 30 196, msgget 68 186, semget 64 190,"
        "mq_open 240 180, mlock 149 228, mlock2 325 284, mlockall 151 230",
        "ways into the kernel": "bpf 321 280, perf_event_open 298 241, userfaultfd 323 282,"
        "keyctl 250 219, add_key 248 217, request_key 249 218, init_module 175 105,"
        "finit_module 313 273, delete_module 176 106, kexec_load 246 104,"
        "kexec_file_load 320 294, reboot 169 142, swapon 167 224, swapoff 168 225, acct 163 89,"
        "quotactl 179 60, settimeofday 164 170, clock_settime 227 112, adjtimex 159 171,"
        "clock_adjtime 305 266, sethostname 170 161, setdomainname 171 162, iopl 172 -,"
        "ioperm 173 -, modify_ldt 154 -, personality 135 92, name_to_handle_at 303 264,"
        "open_by_handle_at 304 265, syslog 103 116, vhangup 153 58",
    }
)
_PRETENDED = _table(
    {
        "modes": "chmod 90 -, fchmod 91 52, fchmodat 268 53",
        "owners": "chown 92 -, lchown 94 -, fchown 93 55, fchownat 260 54",
        "times": "utime 132 -, utimes 235 -, futimesat 261 -, utimensat 280 88",
        "attributes": "setxattr 188 5, lsetxattr 189 6, fsetxattr 190 7, removexattr 197 14,"
        "lremovexattr 198 15, fremovexattr 199 16",
        "locks": "flock 73 32",
    }
)
# From this number on all machines number alike, and only these calls are allowed. Others fail as
# on a kernel that does not have them, for which programs are prepared: libc replaces clone3, whose
# flags a filter cannot see, by clone. This also stops x86-64's second numbering (x32).
_NEW_CALLS = 424
_NEW_ALLOWED = {
    "close_range": 436,
    "openat2": 437,
    "faccessat2": 439,
    "epoll_pwait2": 441,
    "futex_waitv": 449,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
}

_LOAD, _EQUAL, _GREATER_EQUAL, _HAS_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_REFUSE, _PRETEND, _UNKNOWN = _ERROR | errno.EPERM, _ERROR, _ERROR | errno.ENOSYS
_FILTER_MODE = 2
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16

_CLONE_THREAD = 0x10000
_OWN = -1  # stands for the number of this process
# numbers, which argument, the test of it, by which values, and what follows where it is met by one
# of them (the rest is looked at by the other rules) or where it is met by none
_BY_ARGUMENT = (
    # Threads are allowed, processes are not.
    ((56, 220), 0, _HAS_BITS, (_CLONE_THREAD,), None, _REFUSE),
    *(  # kill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo: to this process only
        (numbers, 0, _EQUAL, (_OWN,), None, _REFUSE)
        for numbers in ((62, 129), (234, 131), (129, 138), (297, 240))
    ),
    *(  # prlimit64, sched_setaffinity, _setscheduler, _setparam, _setattr: 0 is this process, too
        (numbers, 0, _EQUAL, (_OWN, 0), None, _REFUSE)
        for numbers in ((302, 261), (203, 122), (144, 119), (142, 118), (314, 274))
    ),
    # fcntl: F_SETOWN and F_SETOWN_EX signal others through a file's owner; F_SETLEASE and F_NOTIFY
    # delay or watch everybody's use of a file; F_GETLK and F_OFD_GETLK look at others' locks.
    ((72, 25), 1, _EQUAL, (8, 15, 1024, 1026, 5, 36), _REFUSE, None),
    # F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW
    ((72, 25), 1, _EQUAL, (6, 7, 37, 38), _PRETEND, None),
    # ioctl: FIOSETOWN, SIOCSPGRP; TIOCSTI presses keys for a terminal
    ((16, 29), 1, _EQUAL, (0x8901, 0x8902, 0x5412), _REFUSE, None),
    # prctl: outliving the grader, and PR_SET_DUMPABLE, which hides from the supervisor
    ((157, 167), 0, _EQUAL, (PR_SET_PDEATHSIG, 4), _REFUSE, None),
)


def architecture() -> int:
    """Return the index of this machine in ARCHITECTURES; OSError if it is another."""
    machine = platform.machine()
    if machine not in ARCHITECTURES or struct.calcsize("P") != 8:
        raise OSError(f"The sandbox supports {' and '.join(ARCHITECTURES)}, not {machine}.")
    return ARCHITECTURES.index(machine)


def _statement(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _switch(test: int, values: Sequence[int], met: int | None, unmet: int | None) -> list[bytes]:
    """Return `met` if one of the tests of the loaded value holds, else `unmet`; go on at None."""
    last = len(values) - 1
    if met is None:
        tests = [_statement(test, value, last - at + 1) for at, value in enumerate(values)]
        return [*tests, _statement(_RETURN, unmet)]
    tests = [_statement(test, value, last - at, int(at == last)) for at, value in enumerate(values)]
    return [*tests, _statement(_RETURN, met)]


def _program(machine: int, own: int) -> bytes:
    load_number = _statement(_LOAD, _NUMBER_AT)
    new = _switch(_EQUAL, list(_NEW_ALLOWED.values()), None, _UNKNOWN)
    parts = [
        _statement(_LOAD, _MACHINE_AT),
        *_switch(_EQUAL, [_AUDIT[machine]], None, _KILL),
        load_number,
        _statement(_GREATER_EQUAL, _NEW_CALLS, 0, len(new)),
        *new,
    ]
    for calls, answer in ((_REFUSED, _REFUSE), (_PRETENDED, _PRETEND)):
        for numbers in calls.values():
            if numbers[machine] is not None:
                parts += _switch(_EQUAL, [numbers[machine]], answer, None)
    for numbers, argument, test, values, met, unmet in _BY_ARGUMENT:
        known = [own if value == _OWN else value for value in values]
        # The low half: numbers of processes, commands and flags are 32-bit for the kernel, too.
        load_argument = _statement(_LOAD, _ARGUMENTS_AT + 8 * argument)
        rule = [load_argument, *_switch(test, known, met, unmet), load_number]
        parts += [_statement(_EQUAL, numbers[machine], 0, len(rule)), *rule]
    parts.append(_statement(_RETURN, _ALLOW))
    return b"".join(parts)


def load(program: bytes) -> None:
    """Have the kernel apply `program` to every system call of this process from now on."""
    instructions = ctypes.create_string_buffer(program)
    address = ctypes.addressof(instructions)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, _FILTER_MODE, struct.pack("@HP", len(program) // 8, address))


def restrict() -> None:
    """Apply the filter to this process and every thread it starts; OSError if that fails."""
    load(_program(architecture(), os.getpid()))
