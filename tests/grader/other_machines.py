"""This machine as another one would be: for an unprivileged user, or without user namespaces.

Run as `python other_machines.py CONDITION,... PROGRAM ARGUMENT...`, as root for "unprivileged".
"""

import os
import stat
import sys
from pathlib import Path

import dlip_reg
from dlip_reg.grading.isolation import namespaces, seccomp
from dlip_reg.grading.isolation.libc import call

NOBODY = 65534


def without_namespaces():
    """Refuse new namespaces and mounts, as a container's default profile does."""
    machine = seccomp.architecture()
    names = ("unshare", "setns", "mount", "umount2", "pivot_root")
    numbers = [seccomp._REFUSED[name][machine] for name in names]
    numbers.append(namespaces._MOUNT_SETATTR)
    parts = [
        seccomp._statement(seccomp._LOAD, seccomp._NUMBER_AT),
        *seccomp._switch(seccomp._EQUAL, numbers, True, seccomp._REFUSE),
        seccomp._statement(seccomp._RETURN, seccomp._ALLOW),
    ]
    seccomp.load(b"".join(parts))


def first_closed(path):
    """The first folder on the way into `path`, itself included, that only its owner may enter."""
    way = (*reversed(path.parents), path)
    return next((folder for folder in way if not folder.stat().st_mode & stat.S_IXOTH), None)


def open_the_way(paths):
    """Let everybody into these folders, by mounts of this process's own.

    A closed folder on the way is covered by an open one that holds nothing but what is asked for.
    """
    needed = {}  # closed folder -> what has to be seen in it, by an open descriptor
    for path in paths:
        folder = first_closed(path)
        if folder is not None:
            for inside in path.iterdir() if folder == path else [path]:
                needed.setdefault(folder, {})[inside] = os.open(inside, os.O_PATH)
    for folder, insides in needed.items():
        namespaces._mount("none", str(folder), "tmpfs", 0, "mode=755")
        for inside, opened in insides.items():
            if stat.S_ISDIR(os.fstat(opened).st_mode):
                inside.mkdir(parents=True, exist_ok=True)
            else:
                inside.parent.mkdir(parents=True, exist_ok=True)
                inside.touch()
            namespaces._mount(f"/proc/self/fd/{opened}", str(inside), "", 4096 | 16384)
            os.close(opened)


def unprivileged():
    """Become nobody, who may yet read Python, the environment and the project."""
    call("unshare", 0x20000)
    namespaces._mount("none", "/", "", 16384 | 1 << 18)
    project = Path(dlip_reg.__file__).parents[1]
    open_the_way({Path(sys.base_prefix), Path(sys.prefix), project})
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    os.environ["HOME"] = "/nonexistent"


if __name__ == "__main__":
    for condition in sys.argv[1].split(","):
        if condition != "as it is":
            {"unprivileged": unprivileged, "without namespaces": without_namespaces}[condition]()
    os.execv(sys.argv[2], sys.argv[2:])
