"""Namespaces: a process tree with its own users, processes, network and file system (Linux 5.12).

`enter` is called once, before anything heavy is imported; what stays visible is read-only. Each
job then has its own process tree (`fork_process_tree`) and scratch space (`private_scratch`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from dlip_reg.grading.isolation.libc import call, die_with_parent

SCRATCH = "/scratch"
_NEW_NS, _NEW_USER, _NEW_PID = 0x20000, 0x10000000, 0x20000000
_NEW_UTS, _NEW_IPC, _NEW_NET = 0x4000000, 0x8000000, 0x40000000
_NO_SUID, _NO_DEV, _BIND, _RECURSIVE, _PRIVATE = 2, 4, 4096, 16384, 1 << 18
_MOUNT_SETATTR = 442  # the number of the system call, the same on all machines
_ATTR_READ_ONLY, _ATTR_NO_SUID, _ATTR_NO_DEV = 1, 2, 4
_AT_RECURSIVE, _AT_FDCWD = 0x8000, -100
_DETACH = 2


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    texts = [text.encode() or None for text in (kind, options)]
    call("mount", os.fsencode(source), os.fsencode(target), texts[0], flags, texts[1])


def _set_attributes(path: str, attributes: int) -> None:
    """Add to the attributes of the mounts at and below `path`."""
    packed = struct.pack("<QQQQ", attributes, 0, 0, 0)
    call("syscall", _MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), _AT_RECURSIVE, packed, 32)


def enter(visible: Iterable[str]) -> int:
    """Return in a new process, in namespaces of its own, that sees nothing but `visible`.

    The calling process waits for the new one and exits with its status. It must have one thread.

    Returns:
        A file descriptor that stands for the new process tree.

    Raises:
        OSError: If the machine does not offer such namespaces.
    """
    user, group = os.geteuid(), os.getegid()
    call("unshare", _NEW_USER | _NEW_NS | _NEW_PID | _NEW_NET | _NEW_IPC | _NEW_UTS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    child = os.fork()
    if child:
        _exit_like(child)
    die_with_parent(0)  # so a parent outside the process tree is numbered
    tree = os.open("/proc/self/ns/pid", os.O_RDONLY)
    _new_root(visible)
    return tree


def _exit_like(child: int) -> None:
    """Hold nothing open, wait for `child`, and exit with its status."""
    os.closerange(0, 1 << 16)
    with contextlib.suppress(OSError):
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _new_root(visible: Iterable[str]) -> None:
    """Make a root that holds only `visible`, read-only, and change to it."""
    _mount("none", "/", "", _RECURSIVE | _PRIVATE)
    # Opened before the new root covers one of them.
    opened = {path: os.open(path, os.O_PATH) for path in _outermost(visible)}
    root = "/tmp"
    _mount("grading", root, "tmpfs", _NO_SUID | _NO_DEV, "size=1m,mode=755")
    for path, descriptor in opened.items():
        _show(path, descriptor, root + path)
        os.close(descriptor)
    Path(root + "/proc/self").mkdir(parents=True)
    # TensorFlow looks up its own program, and aborts where it finds none.
    Path(root + "/proc/self/exe").symlink_to(sys.executable)
    Path(root + "/proc/self/cmdline").write_bytes(os.fsencode(sys.executable) + b"\0")
    Path(root + "/proc/self/maps").touch()  # scikit-learn looks for libraries with threads in it
    Path(root + SCRATCH).mkdir()
    os.chdir(root)
    call("pivot_root", b".", b".")
    call("umount2", b".", _DETACH)
    os.chdir("/")
    _set_attributes("/", _ATTR_READ_ONLY | _ATTR_NO_SUID)
    private_scratch(16, 256)


def _outermost(paths: Iterable[str]) -> list[str]:
    """Those that exist and lie in no other of them, in order."""
    kept: list[str] = []
    for path in filter(os.path.exists, sorted(set(paths))):
        if not any(path.startswith(above + "/") for above in kept):
            kept.append(path)
    return kept


def _show(path: str, descriptor: int, target: str) -> None:
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        Path(target).mkdir(exist_ok=True)
    else:
        Path(target).touch()
    _mount(f"/proc/self/fd/{descriptor}", target, "", _BIND | _RECURSIVE)
    if not path.startswith("/dev/"):
        _set_attributes(target, _ATTR_NO_DEV)


def fork_process_tree(tree: int) -> int:
    """Fork the first process of a tree of its own: when it ends, the kernel ends all others in it.

    `tree` is what `enter` returned. The child sees 0 as its parent's number.
    """
    call("unshare", _NEW_PID)
    pid = os.fork()
    if pid:
        call("setns", tree, _NEW_PID)
    return pid


def private_scratch(disk_mb: int, files: int) -> None:
    """Give this process its own mounts and IPC, and an empty scratch space held in memory."""
    call("unshare", _NEW_NS | _NEW_IPC)
    options = f"size={disk_mb}m,nr_inodes={files},mode=700"
    _mount("scratch", SCRATCH, "tmpfs", _NO_SUID | _NO_DEV, options)
