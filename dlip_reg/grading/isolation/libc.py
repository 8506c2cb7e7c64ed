"""Functions of the C library that Python does not offer, through ctypes."""

from __future__ import annotations

import ctypes
import functools
import os
import struct

# prctl(2)
PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38

_SIGKILL = 9
_CAPABILITY_VERSION = 0x20080522


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: object) -> int:
    """Call the C library's `function` and return its result; OSError if that is -1."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = getattr(_library(), function)(*wide)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")
    return result


def prctl(option: int, argument: int, pointer: object = 0) -> None:
    """Call prctl(2); OSError if it fails."""
    call("prctl", option, argument, pointer, 0, 0)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the one that forked it, `parent`, ends."""
    prctl(PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def drop_capabilities() -> None:
    """Keep no privilege, neither root's nor a user namespace's."""
    call("capset", struct.pack("<Ii", _CAPABILITY_VERSION, 0), bytes(24))
