"""The Linux system calls that Python has no function for, through ctypes."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

# prctl(2)
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22

_NUMBERS = {  # where x86-64 and aarch64 differ
    "pivot_root": (155, 41),
    "capset": (126, 91),
    "mount_setattr": (442, 442),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}
ARCHITECTURES = ("x86_64", "aarch64")
_libc = None


def libc() -> ctypes.CDLL:
    global _libc
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
    return _libc


def architecture() -> int:
    """The index of this machine in ARCHITECTURES; OSError where it is another."""
    machine = platform.machine()
    if machine not in ARCHITECTURES or struct.calcsize("P") != 8:
        raise OSError(f"The walls know {' and '.join(ARCHITECTURES)}, not {machine}.")
    return ARCHITECTURES.index(machine)


def checked(result: int, what: str) -> int:
    """`result`, or OSError with errno where it is -1."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(name: str, *arguments: object) -> int:
    """The system call `name` by its number; OSError where it fails."""
    number = _NUMBERS[name][architecture()]
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return checked(libc().syscall(ctypes.c_long(number), *wide), name)


def prctl(option: int, *arguments: object) -> None:
    wide = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    wide += [ctypes.c_ulong(0)] * (4 - len(wide))
    checked(libc().prctl(option, *wide), "prctl")


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the one that forked it, `parent`, ends."""
    prctl(PR_SET_PDEATHSIG, 9)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def drop_capabilities() -> None:
    """Keep no privilege, neither root's nor a user namespace's."""
    header = struct.pack("<Ii", 0x20080522, 0)
    syscall("capset", header, bytes(24))
