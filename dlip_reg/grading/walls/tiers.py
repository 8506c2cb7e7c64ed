"""Which walls this machine offers, tried out rather than guessed.

strong  namespaces and seccomp, and Landlock where there is one
medium  Landlock and seccomp
weak    a fresh process with limits and no wall: macOS, Windows, and where the others fail
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from dlip_reg.grading.walls import landlock, namespaces, seccomp
from dlip_reg.grading.walls.syscalls import drop_capabilities

STRONG, MEDIUM, WEAK = TIERS = ("strong", "medium", "weak")
_SYSTEM = (
    "/usr",
    "/bin",
    "/lib",
    "/lib64",
    "/lib32",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/group",
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
)
_OWN_ENTRY = "/proc/self"
_WRITABLE_DEVICES = ("/dev/null",)


def visible_paths(packages: Sequence[Path]) -> list[str]:
    """What a child may read: the system's and Python's libraries, and `packages`, each as it is
    named and as it is once links are followed. No home folder, no repository, no other project."""
    python = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    python += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found = {*_SYSTEM}
    for path in (*python, *map(str, packages)):
        if path not in ("", "/"):
            found |= {path, os.path.realpath(path)}
    return sorted(path for path in found if os.path.exists(path))  # noqa: PTH110


def wall_off(tier: str, visible: Sequence[str], scratch: str) -> None:
    """Put this process behind the tier's walls for good; it must have one thread."""
    drop_capabilities()
    # Its own entry, which TensorFlow reads; held open, for a rule ends with an entry let go.
    os.open(_OWN_ENTRY, os.O_PATH)
    try:
        landlock.restrict((*visible, _OWN_ENTRY), (scratch, *_WRITABLE_DEVICES))
    except OSError:
        if tier != STRONG:
            raise
    seccomp.restrict()


def best_tier(visible: Sequence[str]) -> tuple[str, str]:
    """The strongest tier that holds here, and why not a stronger one ("" for strong).

    Each is built in a forked child, which then tries to break out. Needs a process with one thread.
    """
    if sys.platform != "linux":
        return WEAK, f"{sys.platform} has neither namespaces nor Landlock"
    reasons = []
    for tier in (STRONG, MEDIUM):
        reason = _tried(tier, visible)
        if not reason:
            return tier, "; ".join(reasons)
        reasons.append(f"{tier}: {reason}")
    return WEAK, "; ".join(reasons)


def _tried(tier: str, visible: Sequence[str]) -> str:
    """ "" if `tier` holds, otherwise what gave way."""
    with tempfile.TemporaryDirectory(prefix="dlip-grading-", dir=_outside(visible)) as secret:
        Path(secret, "secret").write_text("secret")
        scratch = Path(secret, "scratch")
        scratch.mkdir()
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            try:
                reason = _try(tier, visible, Path(secret, "secret"), str(scratch))
            except BaseException as error:
                reason = f"{type(error).__name__}: {error}"
            with contextlib.suppress(BaseException):
                os.write(writer, f"tried {reason}".encode("utf-8", "replace")[:2000])
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            answer = pipe.read().decode()
        os.waitpid(child, 0)
    tried, _, reason = answer.partition(" ")
    return reason if tried else "the child that tried it died"


def _outside(visible: Sequence[str]) -> str:
    """A folder for temporary files that children cannot see."""
    folder = os.path.realpath(tempfile.gettempdir())
    if any(folder == path or folder.startswith(path + "/") for path in visible):
        raise OSError(errno.EINVAL, f"The folder for temporary files, {folder}, can be read by all")
    return folder


def _try(tier: str, visible: Sequence[str], secret: Path, scratch: str) -> str:
    if tier == STRONG:
        first = namespaces.fork_process_tree(namespaces.enter(visible))
        if first:
            os.waitpid(first, 0)
            os._exit(0)
        namespaces.private_scratch(1, 16)
        scratch = namespaces.SCRATCH
        # The first process of a tree is special; the walls have to hold for the others.
        second = os.fork()
        if second:
            os.waitpid(second, 0)
            os._exit(0)
    wall_off(tier, visible, scratch)
    return _hole(secret, scratch)


def _hole(secret: Path, scratch: str) -> str:
    """What this process can do that it must not, or cannot do that it must; "" if nothing."""
    Path(scratch, "file").write_text("written")
    os.listdir(os.path.dirname(os.__file__))  # noqa: PTH120, PTH208
    forbidden: dict[str, Callable[[], object]] = {
        "reads a file": secret.read_text,
        "writes a file": lambda: secret.with_name("new").write_text(""),
        "lists a folder": lambda: list(secret.parent.iterdir()),
        "signals its parent": lambda: os.kill(os.getppid(), 0),
        "signals everybody": lambda: os.kill(-1, signal.SIGCONT),
        "opens a socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "reads its parent's memory": lambda: os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY),
        "starts a process": _start_process,
    }
    for what, act in forbidden.items():
        try:
            act()
        except OSError:
            continue
        return f"the walled process {what}"
    return ""


def _start_process() -> None:
    if not os.fork():
        os._exit(0)
