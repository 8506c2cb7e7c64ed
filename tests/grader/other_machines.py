"""This machine as another one would be: for an unprivileged user, or without user namespaces.

Run as `python other_machines.py CONDITION,... PROGRAM ARGUMENT...`, as root for "unprivileged".
"""

import ctypes
import errno
import os
import stat
import struct
import sys
from pathlib import Path

from dlip_reg.grading.walls import namespaces, seccomp
from dlip_reg.grading.walls.syscalls import architecture, prctl

NOBODY = 65534


def without_namespaces():
    """Refuse new namespaces and mounts, as a container's default profile does."""
    machine = architecture()
    refuse = seccomp._statement(seccomp._RETURN, seccomp._ERROR | errno.EPERM)
    parts = [seccomp._statement(seccomp._LOAD, seccomp._NUMBER_AT)]
    for name in ("unshare", "setns", "mount", "umount2", "pivot_root", "mount_setattr"):
        number = seccomp._REFUSED[name][machine]
        parts += [seccomp._statement(seccomp._EQUAL, number, 0, 1), refuse]
    parts.append(seccomp._statement(seccomp._RETURN, seccomp._ALLOW))
    program = ctypes.create_string_buffer(b"".join(parts))
    header = struct.pack("@HP", (len(program) - 1) // 8, ctypes.addressof(program))
    prctl(38, 1)
    prctl(22, 2, ctypes.create_string_buffer(header))


def closed_folder_above(path):
    """The first folder on the way to `path` that only its owner may enter, or None."""
    for folder in reversed(Path(path).parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def unprivileged():
    """Become nobody, after opening the way to Python where a closed folder is in it: in mounts of
    this process's own."""
    namespaces._unshare(0x20000)
    namespaces._mount("none", "/", None, 16384 | 1 << 18)
    for path in (sys.base_prefix, sys.prefix):
        folder = closed_folder_above(path)
        if folder is not None:
            opened = os.open(path, os.O_PATH)
            namespaces._mount("none", str(folder), "tmpfs", 0, "mode=755")
            Path(path).mkdir(parents=True)
            namespaces._mount(f"/proc/self/fd/{opened}", path, None, 4096 | 16384)
            os.close(opened)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    os.environ["HOME"] = "/nonexistent"


if __name__ == "__main__":
    for condition in sys.argv[1].split(","):
        if condition != "as it is":
            {"unprivileged": unprivileged, "without namespaces": without_namespaces}[condition]()
    os.execv(sys.argv[2], sys.argv[2:])
