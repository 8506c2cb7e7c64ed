"""The controller's side: starts children in the best isolation that there is."""

from __future__ import annotations

import contextlib
import os
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import partial
from pathlib import Path

import dlip_reg
from dlip_reg.extras import installed_folders
from dlip_reg.grading import processes
from dlip_reg.grading.child import READY
from dlip_reg.grading.children import END_SECONDS, Child, ForkedChild, FreshChild
from dlip_reg.grading.errors import SERVER_LOST, GraderError, GradingError
from dlip_reg.grading.isolation.tiers import TIERS, WEAK, visible_paths
from dlip_reg.grading.limits import SandboxSetting
from dlip_reg.grading.wire import Channel, WireError

_PACKAGE = Path(dlip_reg.__file__).resolve().parent
_GRADING = _PACKAGE / "grading"
_START_SECONDS = 600.0


class Sandbox:
    """Runs student code in isolation; a context manager.

    Raises:
        GradingError: At the start, if the machine offers too little, or a secret can be read.
    """

    def __init__(self, setting: SandboxSetting) -> None:
        if setting.tier not in (None, *TIERS):
            raise GradingError(f"There is no tier {setting.tier!r}; there are {', '.join(TIERS)}.")
        self.limits = setting.limits
        self.tier = ""
        self._setting = setting
        self._environment = clean_environment(
            [_PACKAGE.parent, *(path.parent for path in setting.packages)]
        )
        self._server: tuple[subprocess.Popen[bytes], Channel] | None = None
        self._children: list[Child] = []
        self.clean_answers: dict[bytes, bytes] = {}  # of `Student.rebuild`, for all submissions
        self._failure = ""

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the server unless it runs already."""
        if self.tier == WEAK or (self._server is not None and self._server[0].poll() is None):
            return
        if self._failure:
            raise GraderError(self._failure)
        self.close()
        tier, reason = WEAK, f"{sys.platform} has neither namespaces nor Landlock"
        if self._setting.tier != WEAK and sys.platform == "linux":
            tier, reason = self._start_server()
        if tier == WEAK:
            self.close()
            if not (self._setting.allow_weak or self._setting.tier == WEAK):
                raise GradingError(
                    f"This machine offers no sandbox for student code ({reason}); grade on "
                    "another, or allow the weak tier if you trust every submission."
                )
        self.tier = tier

    def _start_server(self) -> tuple[str, str]:
        """Return the server's tier, and why it is not a stronger one."""
        setting = self._setting
        # Of this project a child sees what runs it, not what solves the assignment.
        own = [_PACKAGE / "__init__.py", *_GRADING.glob("*.py"), _GRADING / "isolation"]
        places = [_PACKAGE.parent, *map(Path, installed_folders())]  # there may be another copy
        masked = [place / name for place in places for name in ("dlip_reg", "callbacks")]
        visible = visible_paths([*own, *setting.packages], masked)
        for path in filter(visible.shows, setting.secret):
            raise GradingError(
                f"{path} lies where student code reads its libraries: put it, or the Python "
                "environment, elsewhere."
            )
        with tempfile.TemporaryFile() as output:
            module = "dlip_reg.grading.server"
            self._server = _, channel = processes.start(module, self._environment, output)
            try:
                deadline = time.monotonic() + _START_SECONDS
                paths = [[*map(os.fsencode, paths)] for paths in astuple(visible)]
                order = [setting.tier, list(setting.preload), setting.probes, setting.folders]
                channel.send([*order, paths], deadline)
                tier, reason = channel.receive(deadline)
                return tier, reason
            except OSError:
                self.close(kill=True)
                said = processes.last_line(processes.text_in(output))
                self._failure = f"The fork server did not start: {said}"
                raise GraderError(self._failure) from None

    def child(self, files: Mapping[str, bytes]) -> Child:
        """A fresh child with `files` (path to content) as its working folder, once it can be asked:
        what that takes is not the submission's time."""
        self.start()
        child: Child
        if self._server is None:
            child = FreshChild(files, self._setting, self._environment)
        else:
            try:
                child = ForkedChild(self._server[1], files, self.limits)
            except (OSError, WireError):
                self.close(kill=True)
                raise GraderError(SERVER_LOST) from None
        child.on_loss = partial(self.close, kill=True)
        self._children = [*(other for other in self._children if other.alive), child]
        with contextlib.suppress(OSError, WireError):
            if child.channel.receive(time.monotonic() + _START_SECONDS) == READY:
                return child
        said = processes.last_line(child.end().output)
        raise GraderError(f"The child did not start: {said}")

    def close(self, kill: bool = False) -> None:
        """End the server and every child."""
        if kill and self._server is not None:
            self._server[0].kill()
        children, self._children = self._children, []
        for child in children:
            with contextlib.suppress(GraderError):
                child.end()
        if self._server is None:
            return
        (process, channel), self._server = self._server, None
        channel.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def clean_environment(roots: Sequence[Path]) -> dict[str, str]:
    """What a server or child may know of this process's environment."""
    kept = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
    named = {*map(os.path.abspath, os.environ.get("PYTHONPATH", "").split(os.pathsep))}
    path = [*map(str, roots), *(folder for folder in installed_folders() if folder in named)]
    user_site = {"PYTHONUSERBASE": site.getuserbase()} if site.ENABLE_USER_SITE else {}
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "HOME": "/nonexistent",
        **user_site,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_ENABLE_ONEDNN_OPTS": "0",  # in runs of seconds its preparation costs more than it saves
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
    }
