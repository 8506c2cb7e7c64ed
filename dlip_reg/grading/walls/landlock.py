"""Landlock: which paths a process may read and write, from here on and for ever (Linux 5.13)."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from dlip_reg.grading.walls.syscalls import PR_SET_NO_NEW_PRIVS, architecture, prctl, syscall

_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_READ = _READ_FILE | _READ_DIR
_OF_A_FILE = 1 << 0 | 1 << 1 | _READ_FILE | 1 << 14 | 1 << 15
_EXECUTE, _IOCTL = 1 << 0, 1 << 15
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # how many there are, by the ABI that brought them
_TCP = 0b11  # bind and connect, ABI 4
_SCOPES = 0b11  # abstract Unix sockets and signals, ABI 6


def abi() -> int:
    """Landlock's version here; OSError where there is none."""
    architecture()
    return syscall("landlock_create_ruleset", None, 0, 1)


def restrict(
    readable: Iterable[str], writable: Iterable[str], listable: Iterable[str] = ()
) -> None:
    """Allow reading below `readable`, everything but execution below `writable`, names alone below
    `listable`; no TCP, and no signal to a process outside, where the kernel's version knows these.
    """
    version = abi()
    rights = (1 << _FILE_RIGHTS[max(v for v in _FILE_RIGHTS if v <= version)]) - 1
    attributes = struct.pack("<Q", rights)
    if version >= 4:
        attributes += struct.pack("<Q", _TCP)
    if version >= 6:
        attributes += struct.pack("<Q", _SCOPES)
    ruleset = syscall("landlock_create_ruleset", attributes, len(attributes), 0)
    try:
        for path in readable:
            _allow(ruleset, path, _READ)
        for path in listable:
            _allow(ruleset, path, _READ_DIR)
        for path in writable:
            _allow(ruleset, path, rights & ~_EXECUTE & ~_IOCTL)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        syscall("landlock_restrict_self", ruleset, 0)
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
        syscall("landlock_add_rule", ruleset, 1, rule, 0)
    finally:
        os.close(opened)
