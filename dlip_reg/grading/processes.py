"""Starting one of this package's own programs, with a channel to it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from dlip_reg.grading.wire import Channel

_TEXT = 8_000  # bytes


def start(
    module: str, environment: Mapping[str, str], output: IO[bytes], folder: Path | None = None
) -> tuple[subprocess.Popen[bytes], Channel]:
    """Run `python -m module` in `folder`; it shares a channel with this process and nothing else.

    What it writes to stderr goes to the file `output`; stdin and stdout lead nowhere.
    """
    ours, theirs = socket.socketpair()
    python, environment = sys.executable, dict(environment)
    if sys.platform == "win32":
        # In a virtual environment sys.executable would start Python as another process, which is
        # not the one that the channel is for; multiprocessing does the same.
        python, environment["__PYVENV_LAUNCHER__"] = sys._base_executable, sys.executable
    with theirs:
        process = subprocess.Popen(
            [python, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=output,
            cwd=folder or Path(Path.cwd().anchor),
            env=environment,
            pass_fds=() if sys.platform == "win32" else (theirs.fileno(),),
            # Ctrl-C is for the program that starts this one.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # on Windows
        )
        assert process.stdin is not None
        with contextlib.suppress(OSError), process.stdin as pipe:
            if sys.platform == "win32":
                pipe.write(theirs.share(process.pid))
            else:
                pipe.write(str(theirs.fileno()).encode())
    return process, Channel(ours)


def connected() -> Channel:
    """The other end of `start`, in the program that it started."""
    received = sys.stdin.buffer.read()
    if sys.platform == "win32":
        return Channel(socket.fromshare(received))
    return Channel(socket.socket(fileno=int(received)))


def text_in(output: IO[bytes]) -> str:
    """The beginning of what a program that has ended wrote to the file; "" where it has set a flag
    such as O_DIRECT, with which Python cannot read."""
    with contextlib.suppress(OSError):
        output.seek(0)
        return output.read(_TEXT).decode("utf-8", "replace")
    return ""


def last_line(output: str) -> str:
    """The last line of a program's output that says anything; "no output" if there is none."""
    return (output.strip().splitlines() or ["no output"])[-1]
