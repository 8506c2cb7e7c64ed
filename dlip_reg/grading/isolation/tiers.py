"""The isolation that this machine offers, tried out rather than guessed.

strong  namespaces and seccomp, and Landlock where there is one
medium  Landlock and seccomp
weak    a fresh process with limits and no isolation: macOS, Windows, and where the others fail
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

from dlip_reg.extras import installed_folders
from dlip_reg.grading.isolation import landlock, namespaces, seccomp
from dlip_reg.grading.isolation.libc import die_with_parent, drop_capabilities

STRONG, MEDIUM, WEAK = TIERS = ("strong", "medium", "weak")
PREFIX = "dlip-grading-"  # of the names of temporary folders
_SYSTEM = (
    *("/usr", "/bin", "/lib", "/lib64", "/lib32"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group"),
    *("/dev/null", "/dev/random", "/dev/urandom"),
    *("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu"),
)
_OWN_ENTRIES = ("/proc/self/cmdline", "/proc/self/maps")


@dataclass(frozen=True)
class Visible:
    """Files and folders that a child may read, and folders of which it may only know the names."""

    readable: tuple[str, ...]
    listable: tuple[str, ...] = ()

    def shows(self, path: Path | str) -> bool:
        """Whether a child may read it."""
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(shown) for shown in self.readable)


def visible_paths(packages: Sequence[Path], masked: Sequence[Path] = ()) -> Visible:
    """What a child may read: the system's and Python's libraries without the folders `masked`, and
    `packages`, which may lie in these, each as it is named and as it is once links are followed.
    Of a home folder no more than libraries, no repository, no other project."""
    python = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    python += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    python += installed_folders()
    hidden = [Path(os.path.realpath(path)) for path in masked if path.exists()]
    readable: set[str] = set()
    listable: set[str] = set()
    for path in (*_SYSTEM, *_both_names(python)):
        _show_around(path, hidden, readable, listable)
    readable |= _both_names(map(str, packages))
    return Visible(tuple(sorted(filter(os.path.exists, readable))), tuple(sorted(listable)))


def _both_names(paths: Iterable[str]) -> set[str]:
    known = set(paths) - {"", "/"}
    return known | set(map(os.path.realpath, known))


def _show_around(path: str, hidden: list[Path], readable: set[str], listable: set[str]) -> None:
    """Add `path`, or where something hidden lies in it, what lies beside that."""
    real = Path(os.path.realpath(path))
    if any(real.is_relative_to(one) for one in hidden):
        return
    if not any(one.is_relative_to(real) for one in hidden):
        readable.add(path)
        return
    listable.add(path)
    with contextlib.suppress(OSError):
        for entry in os.scandir(path):
            target = Path(os.path.realpath(entry.path))
            # A link into what is taken apart here leads to parts that are there by their own name.
            if not (entry.is_symlink() and any(one.is_relative_to(target) for one in hidden)):
                _show_around(entry.path, hidden, readable, listable)


class Isolation:
    """The parts of one tier, strong or medium, in the order in which a server and its jobs put
    them up: `enter`, `fork`, `scratch`, and `confine` in the process that runs student code."""

    def __init__(self, tier: str, visible: Visible) -> None:
        self.tier, self._visible = tier, visible
        self.folder = ""  # where jobs have their scratch space; "" where it is held in memory
        self._tree: int | None = None

    def enter(self, folder: str | None = None) -> None:
        """Isolate this process as far as jobs share that; it must have one thread.

        Args:
            folder: The folder for temporary files; None for the system's.
        """
        if self.tier == STRONG:
            self._tree = namespaces.enter(self._visible.readable)
        else:
            self.folder = tempfile.mkdtemp(prefix=PREFIX, dir=folder)

    def fork(self) -> int:
        """Fork a process that ends when this one does, in the strong tier the first of a tree."""
        parent = os.getpid()
        pid = os.fork() if self._tree is None else namespaces.fork_process_tree(self._tree)
        if not pid:
            die_with_parent(parent if self._tree is None else 0)
        return pid

    def scratch(self, disk_mb: int, files: int) -> str:
        """Make an empty folder to write to; only in memory does the kernel keep its limits."""
        if self.tier == STRONG:
            namespaces.private_scratch(disk_mb, files)
            return namespaces.SCRATCH
        return tempfile.mkdtemp(dir=self.folder)

    def confine(self, scratch: str) -> None:
        """Isolate this process from all but `scratch` for good; it must have one thread."""
        drop_capabilities()
        # Libraries read these, and the rest of /proc/self shows what other processes do, such as
        # which pages they share; held open, since a rule ends with an entry let go.
        for entry in _OWN_ENTRIES:
            os.open(entry, os.O_PATH)
        try:
            readable, writable = (*self._visible.readable, *_OWN_ENTRIES), (scratch, "/dev/null")
            landlock.restrict(readable, writable, self._visible.listable)
        except OSError:
            if self.tier != STRONG:
                raise
        seccomp.restrict()


def best_tier(visible: Visible) -> tuple[str, str]:
    """Return the strongest tier that holds here, and why not a stronger one ("" for strong).

    Each is built in a forked child, which then tries to break out. Needs a process with one thread.
    """
    reasons: list[str] = []
    for tier in (STRONG, MEDIUM):
        reason = trial(tier, visible)
        if not reason:
            return tier, "; ".join(reasons)
        reasons.append(f"{tier}: {reason}")
    return WEAK, "; ".join(reasons)


def trial(tier: str, visible: Visible) -> str:
    """Return "" if `tier` holds, otherwise what failed."""
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, dir=_outside(visible)) as folder,
        tempfile.TemporaryFile(buffering=0) as answer,
    ):
        secret = Path(folder, "secret")
        secret.write_text("secret")
        child = os.fork()
        if not child:
            try:
                reason = _attempt(Isolation(tier, visible), secret)
            except BaseException as error:
                reason = f"{type(error).__name__}: {error}"
            with contextlib.suppress(BaseException):
                answer.write(f"tried {reason}".encode("utf-8", "replace")[:2000])
            os._exit(0)
        os.waitpid(child, 0)
        answer.seek(0)
        tried, _, reason = answer.read().decode().partition(" ")
    return reason if tried else "the child that tried it died"


def _outside(visible: Visible) -> str:
    """A folder for temporary files that children cannot see."""
    folder = os.path.realpath(tempfile.gettempdir())
    if visible.shows(folder):
        raise OSError(errno.EINVAL, f"The folder for temporary files, {folder}, can be read by all")
    return folder


def _attempt(isolation: Isolation, secret: Path) -> str:
    isolation.enter(str(secret.parent))
    _continue_in(isolation.fork())
    scratch = isolation.scratch(1, 16)
    # The first process of a tree is special; the isolation has to hold for the others.
    _continue_in(os.fork())
    isolation.confine(scratch)
    return _escape(secret, scratch)


def _continue_in(child: int) -> None:
    """Return in the child only; its parent exits after it."""
    if child:
        os.waitpid(child, 0)
        os._exit(0)


def _escape(secret: Path, scratch: str) -> str:
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
        return f"the isolated process {what}"
    return ""


def _start_process() -> None:
    if not os.fork():
        os._exit(0)
