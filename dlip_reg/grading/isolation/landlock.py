"""Landlock: restricts for good which paths a process may read and write (Linux 5.13)."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from dlip_reg.grading.isolation.libc import PR_SET_NO_NEW_PRIVS, call, prctl

# Numbers of system calls, the same on all machines.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION, _PATH_BENEATH = 1, 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_READ = _READ_FILE | _READ_DIR
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # how many there are, by the ABI that brought them
_TCP = 0b11  # bind and connect, ABI 4
_SCOPES = 0b11  # abstract Unix sockets and signals, ABI 6


def abi() -> int:
    """Return the version of Landlock on this machine; OSError if there is none."""
    return call("syscall", _CREATE_RULESET, None, 0, _GET_VERSION)


def restrict(
    readable: Iterable[str], writable: Iterable[str], listable: Iterable[str] = ()
) -> None:
    """Allow reading below `readable`, all but execution below `writable`, and no more than
    listing names below `listable`.

    Where the kernel's version can, TCP and signals to processes outside are refused, too.
    """
    version = abi()
    rights = (1 << _FILE_RIGHTS[max(v for v in _FILE_RIGHTS if v <= version)]) - 1
    fields = [rights, *([_TCP] if version >= 4 else []), *([_SCOPES] if version >= 6 else [])]
    attributes = struct.pack(f"<{len(fields)}Q", *fields)
    ruleset = call("syscall", _CREATE_RULESET, attributes, len(attributes), 0)
    allowed = ((readable, _READ), (listable, _READ_DIR), (writable, rights & ~_EXECUTE & ~_IOCTL))
    try:
        for paths, what in allowed:
            for path in paths:
                _allow(ruleset, path, what)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        call("syscall", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            rights &= _OF_A_FILE
        rule = ctypes.create_string_buffer(struct.pack("<Qi", rights, opened))
        call("syscall", _ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(opened)
