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
from dlip_reg.grading.folders import TEMPORARY, WORK, lay_out, remove_tree
from dlip_reg.grading.limits import MB, Limits, Times
from dlip_reg.grading.wire import Channel

_SEND_SECONDS = 20.0
_TICK = 0.05


class FreshProcess:
    """One job: a process of its own, whose memory is watched from a thread."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        limits: Limits,
        environment: Mapping[str, str],
        preload: Sequence[str],
        probes: str,
    ) -> None:
        self._limits, self._reason = limits, ""
        self._folder = tempfile.mkdtemp(prefix="dlip-grading-")
        lay_out(files, self._folder)
        temporary = f"{self._folder}/{TEMPORARY}"
        own = {"HOME": self._folder, "TMPDIR": temporary, "TEMP": temporary}
        self._process, self.channel = processes.start(
            "dlip_reg.grading.weak", {**environment, **own}, Path(self._folder, WORK)
        )
        self._stderr = processes.StderrTail(self._process)
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()
        setting = {"limits": asdict(self._limits), "preload": list(preload), "probes": probes}
        with contextlib.suppress(OSError):  # who waits for it to be ready will see
            self.channel.send(setting, time.monotonic() + _SEND_SECONDS)

    def _watch(self) -> None:
        """End the job when it uses too much memory, which not every system limits."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            before = process.memory_info().rss
            while self._process.poll() is None:
                if process.memory_info().rss - before > self._limits.memory_mb * MB:
                    self._stop("memory")
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
        self._watching.join(5)
        code = self._process.returncode
        if code < 0 and not self._reason:
            kind, detail = "signal", -code
        else:
            kind, detail = self._reason or "exit", code
        remove_tree(self._folder)
        shutil.rmtree(self._folder, ignore_errors=True)
        return {"end": kind, "detail": detail, "output": self._stderr.text()}


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
