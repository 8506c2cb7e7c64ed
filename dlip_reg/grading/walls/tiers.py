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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Visible:
    """Files and folders that a child may read, and folders of which it may only know the names."""

    readable: tuple[str, ...]
    listable: tuple[str, ...] = ()

    def shows(self, path: Path | str) -> bool:
        """Whether a child may read it."""
        real = _real(str(path))
        return any(_lies_in(real, shown) for shown in self.readable)


def visible_paths(packages: Sequence[Path], masked: Sequence[Path] = ()) -> Visible:
    """What a child may read: the system's and Python's libraries without the folders `masked`, and
    `packages`, which may lie in these, each as it is named and as it is once links are followed.
    No home folder, no repository, no other project."""
    python = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    python += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    hidden = [_real(str(path)) for path in masked]
    readable: set[str] = set()
    listable: set[str] = set()
    for path in (*_SYSTEM, *_both_names(python)):
        _show_around(path, hidden, readable, listable)
    readable |= _both_names(map(str, packages))
    return Visible(tuple(sorted(filter(os.path.exists, readable))), tuple(sorted(listable)))


def _both_names(paths: Iterable[str]) -> set[str]:
    return {name for path in paths if path not in ("", "/") for name in (path, _real(path))}


def _show_around(path: str, hidden: list[str], readable: set[str], listable: set[str]) -> None:
    """Add `path`, or where something hidden lies in it, what lies beside that."""
    real = _real(path)
    if any(_lies_in(real, one) for one in hidden):
        return
    if not any(_lies_in(one, real) for one in hidden):
        readable.add(path)
        return
    listable.add(path)
    with contextlib.suppress(OSError):
        for entry in os.scandir(path):
            # A link into what is taken apart here leads to parts that are there by their own name.
            if not (entry.is_symlink() and any(_lies_in(one, _real(entry.path)) for one in hidden)):
                _show_around(entry.path, hidden, readable, listable)


def _real(path: str) -> str:
    return os.path.realpath(path)


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def wall_off(tier: str, visible: Visible, scratch: str) -> None:
    """Put this process behind the tier's walls for good; it must have one thread."""
    drop_capabilities()
    # Its own entry, which TensorFlow reads; held open, for a rule ends with an entry let go.
    os.open(_OWN_ENTRY, os.O_PATH)
    try:
        readable, writable = (*visible.readable, _OWN_ENTRY), (scratch, *_WRITABLE_DEVICES)
        landlock.restrict(readable, writable, visible.listable)
    except OSError:
        if tier != STRONG:
            raise
    seccomp.restrict()


def best_tier(visible: Visible) -> tuple[str, str]:
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


def _tried(tier: str, visible: Visible) -> str:
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


def _outside(visible: Visible) -> str:
    """A folder for temporary files that children cannot see."""
    folder = os.path.realpath(tempfile.gettempdir())
    if visible.shows(folder):
        raise OSError(errno.EINVAL, f"The folder for temporary files, {folder}, can be read by all")
    return folder


def _try(tier: str, visible: Visible, secret: Path, scratch: str) -> str:
    if tier == STRONG:
        first = namespaces.fork_process_tree(namespaces.enter(visible.readable))
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
        "truncates a file": lambda: os.truncate(secret, 0),
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
