"""Starting one of this package's own programs, with a channel to it."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from dlip_reg.grading.wire import Channel

_CONNECT_SECONDS = 60.0
_TOKEN_BYTES = 32


class StderrTail:
    """Reads what a program writes to stderr, so that it never waits, and keeps the end of it."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._stream, self._kept = process.stderr, b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(ValueError, OSError), self._stream:
            while data := self._stream.read1(1 << 16):
                self._kept = (self._kept + data)[-4_000:]

    def text(self) -> str:
        """The end of what it wrote, once the program has ended."""
        self._thread.join(5)
        return self._kept.decode("utf-8", "replace")


def last_line(output: str) -> str:
    """The last line of a program's output that says anything; "no output" if there is none."""
    return (output.strip().splitlines() or ["no output"])[-1]


def start(
    module: str, environment: Mapping[str, str], folder: Path | None = None
) -> tuple[subprocess.Popen, Channel]:
    """Run `python -m module` in `folder` with nothing of this process but a channel to it.

    What it writes to stderr can be read from the process; stdin and stdout lead nowhere.
    """
    command = [sys.executable, "-m", module]
    options = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.PIPE,
        "cwd": folder or Path(Path.cwd().anchor),
        "env": dict(environment),
    }
    if os.name != "posix":
        return _start_on_loopback(command, options)
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [*command, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
            **options,
        )
    return process, Channel(ours)


def _start_on_loopback(command: list[str], options: dict) -> tuple[subprocess.Popen, Channel]:
    """The same where a socket cannot be inherited; a token keeps other programs out."""
    token = secrets.token_bytes(_TOKEN_BYTES)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen([*command, f"port {port}"], stdin=subprocess.PIPE, **options)
        with contextlib.suppress(OSError), process.stdin as pipe:
            pipe.write(token)
        listener.settimeout(_CONNECT_SECONDS)
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:  # it ended, or hangs: the first frame will not come
                return process, Channel(socket.socket())
            stream.settimeout(_CONNECT_SECONDS)
            with contextlib.suppress(OSError):
                received = stream.recv(_TOKEN_BYTES, getattr(socket, "MSG_WAITALL", 0))
                if hmac.compare_digest(received, token):
                    return process, Channel(stream)
            stream.close()


def connected(argument: str) -> Channel:
    """The other end of `start`, from the program's one argument."""
    kind, _, port = argument.rpartition(" ")
    if not kind:
        return Channel(socket.socket(fileno=int(argument)))
    token = sys.stdin.buffer.read(_TOKEN_BYTES)
    stream = socket.create_connection(("127.0.0.1", int(port)), _CONNECT_SECONDS)
    stream.sendall(token)
    return Channel(stream)
