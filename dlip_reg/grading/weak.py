"""The weak tier: each job in a fresh process with limits and no isolation, on any system.

For a student's own machine, and for staff who trust every submission.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from dlip_reg.grading import processes
from dlip_reg.grading.folders import TEMPORARY, WORK, disk_use, lay_out, remove_tree
from dlip_reg.grading.limits import Limits, Times
from dlip_reg.grading.wire import Channel

_SEND_SECONDS = 20.0
_TICK = 0.05
_OUTPUT_KEPT = 8_000
_MB = 1 << 20


class FreshProcess:
    """One job: a process of its own, watched from a thread."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        limits: Limits,
        environment: Mapping[str, str],
        preload: Sequence[str],
        probes: str,
    ) -> None:
        self._limits, self._reason, self._over = limits, "", False
        self._text, self._written = b"", 0
        self._folder = tempfile.mkdtemp(prefix="dlip-grading-")
        lay_out(files, self._folder)
        temporary = f"{self._folder}/{TEMPORARY}"
        own = {"HOME": self._folder, "TMPDIR": temporary, "TEMP": temporary}
        self._process, self.channel = processes.start(
            "dlip_reg.grading.weak", {**environment, **own}, Path(self._folder, WORK)
        )
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._read, self._watch)
        ]
        for thread in self._threads:
            thread.start()
        setting = {"limits": asdict(self._limits), "preload": list(preload), "probes": probes}
        with contextlib.suppress(OSError):  # who waits for it to be ready will see
            self.channel.send(setting, time.monotonic() + _SEND_SECONDS)

    def _read(self) -> None:
        """Keep the start of what the process prints, count the rest."""
        while data := self._process.stderr.read1(1 << 16):
            self._written += len(data)
            self._text += data[: _OUTPUT_KEPT - len(self._text)]
            if self._written > self._limits.output_mb * _MB:
                self._stop("output")

    def _watch(self) -> None:
        """End the job when it passes a limit."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            before = process.memory_info().rss
            while self._process.poll() is None and not self._over:
                used = (process.memory_info().rss - before) / _MB
                size, files = disk_use(self._folder, self._limits.disk_mb * _MB, self._limits.files)
                if used > self._limits.memory_mb:
                    self._stop("memory")
                elif process.num_threads() > self._limits.threads:
                    self._stop("threads")
                elif size > self._limits.disk_mb * _MB or files > self._limits.files:
                    self._stop("disk")
                time.sleep(_TICK)

    def _stop(self, reason: str) -> None:
        self._reason = self._reason or reason
        _kill(self._process)

    def times(self) -> Times:
        """Zeros: not measured here."""
        return Times()

    def end(self) -> dict[str, Any]:
        """End the process and what it started, and remove its files; gives how it ended."""
        self.channel.close()
        try:
            self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            self._stop("stopped")
            self._process.wait()
        _kill(self._process)
        self._over = True
        for thread in self._threads:
            thread.join(5)
        code = self._process.returncode
        if code < 0 and not self._reason:
            kind, detail = "signal", -code
        else:
            kind, detail = self._reason or "exit", code
        remove_tree(self._folder)
        shutil.rmtree(self._folder, ignore_errors=True)
        output = self._text.decode("utf-8", "replace")
        return {"end": kind, "detail": detail, "output": output}


def _kill(process: subprocess.Popen) -> None:
    """Kill the process, its descendants, and its group."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    if os.name == "posix":
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(OSError):
        process.kill()


def main() -> None:
    """The job's process: import what children share, then answer."""
    from dlip_reg.grading.child import preload, serve

    channel: Channel = processes.connected(sys.argv[1])
    os.dup2(2, 1)
    setting = channel.receive()
    preload(setting["preload"], setting["probes"])
    if os.name == "posix":
        Limits(**setting["limits"]).apply()
    serve(channel, setting["probes"])


if __name__ == "__main__":
    main()
