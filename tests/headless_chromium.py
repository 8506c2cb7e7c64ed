"""Opens a page from disk in headless Chromium and says what happened, over the DevTools protocol.

The protocol goes over a pipe (`--remote-debugging-pipe`: messages on file descriptors 3 and 4, each
ended by a zero byte), so that no port is opened and no client library is needed.
"""

import atexit
import contextlib
import functools
import json
import math
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
    # No name resolves: what a page asks for is seen, and still nothing leaves the machine.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
_IMAGES = """
Promise.all([...document.images].map(image => image.decode().catch(() => null))).then(() => ({
  images: Object.fromEntries(
    [...document.images].map(image => [image.getAttribute("src"), image.naturalWidth])),
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  text: document.body.innerText,
}))
"""


@dataclass(frozen=True)
class OpenedPage:
    """What a browser made of a page."""

    images: dict[str, int]  # src -> natural width in pixels, 0 for one that did not load
    errors: list[str]  # console messages of any kind and uncaught exceptions
    requests: list[str]  # every URL asked for
    overflow: int  # pixels by which the page is wider than its window
    text: str  # what a reader sees
    result: object = None  # what the script gave

    def assert_whole_and_offline(self) -> None:
        """Every image loaded, nothing on the console, and nothing asked for but files."""
        assert self.images
        assert [src for src, width in self.images.items() if not width] == []
        assert self.errors == []
        assert self.requests
        assert [url for url in self.requests if not url.startswith(("file:", "data:"))] == []


def open_page(
    path: Path, *, width: int = 1000, height: int = 900, dark: bool = False,
    printed: bool = False, scripting: bool = True, script: str = "",
) -> OpenedPage:  # fmt: skip
    """Open the file `path` in a window `width` pixels wide; skips the test without Chromium.

    `script` is an expression that is evaluated, and a promise awaited, once the page has loaded;
    `printed` shows the page as it is printed; without `scripting` its own scripts do not run.
    """
    browser = _browser()
    try:
        with browser.tab():
            return _open(browser, path, (width, height), dark, printed, scripting, script)
    except (OSError, RuntimeError):  # it has ended, or no longer answers
        _browser.cache_clear()
        browser.close()
        raise


def _open(browser, path, size, dark, printed, scripting, script):
    for domain in ("Network", "Log", "Runtime", "Page"):
        browser.call(f"{domain}.enable")
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=size[0], height=size[1], deviceScaleFactor=1, mobile=size[0] < 600,
    )  # fmt: skip
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    media = "print" if printed else ""
    browser.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
    browser.call("Emulation.setScriptExecutionDisabled", value=not scripting)
    browser.call("Page.navigate", url=path.resolve().as_uri())
    browser.wait_for("Page.loadEventFired")
    result = _evaluate(browser, script) if script else None
    seen = _evaluate(browser, _IMAGES)
    errors, requests = [], []
    for event in browser.events:
        if event["method"] in (
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Log.entryAdded",
        ):
            errors.append(json.dumps(event["params"]))
        elif event["method"] == "Network.requestWillBeSent":
            requests.append(event["params"]["request"]["url"])
    return OpenedPage(errors=errors, requests=requests, result=result, **seen)


@functools.cache
def _browser():
    """The browser of this process; it is started once, as that takes longer than to open a page."""
    program = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if program is None or os.name != "posix":
        pytest.skip("needs Chromium on a POSIX system")
    browser = _Browser(program)
    atexit.register(browser.close)
    return browser


def _evaluate(browser, expression):
    answer = browser.call(
        "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
    )
    assert "exceptionDetails" not in answer, answer["exceptionDetails"]
    return answer["result"].get("value")


class _Browser:
    """A Chromium process and its DevTools pipe."""

    def __init__(self, program):
        self.events, self.session = [], None
        self._deadline = math.inf
        self._buffer, self._calls = b"", 0
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        # The shell moves our pipes from standard input and output to where Chromium wants them.
        self._process = subprocess.Popen(
            ["sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null', "sh",
             program, *_OPTIONS, f"--user-data-dir={self._profile.name}", "about:blank"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True, bufsize=0, env={**os.environ, "TMPDIR": self._profile.name},
        )  # fmt: skip

    @contextlib.contextmanager
    def tab(self, timeout=60.0):
        """Send commands to a new tab, which shares nothing with others, until the block ends."""
        self._deadline = time.monotonic() + timeout
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = self.call("Target.attachToTarget", flatten=True, **target)
        self.events, self.session = [], attached["sessionId"]
        try:
            yield
        finally:
            self.session = None
        self.call("Target.disposeBrowserContext", browserContextId=context)

    def call(self, method, **params):
        """Send a command and return its result; events that come meanwhile are kept."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._calls:
                assert "error" not in answer, answer
                return answer["result"]

    def wait_for(self, event):
        while all(seen["method"] != event for seen in self.events):
            self._read()

    def close(self):
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._profile.cleanup()

    def _read(self):
        while b"\0" not in self._buffer:
            left = self._deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise TimeoutError("Chromium did not answer in time.")
            chunk = self._process.stdout.read(1 << 16)
            if not chunk:
                raise RuntimeError("Chromium ended before it answered.")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(message)
        if "method" in message and message.get("sessionId") == self.session:
            self.events.append(message)
        return message
