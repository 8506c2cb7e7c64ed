"""Waits for what other processes do."""

import contextlib
import os
import time

import psutil


def wait_for(condition, process=None, seconds=300):
    """Returns when `condition()` holds; fails where `process` ends first, or after so long.

    A busy machine is not a failure: fewer seconds are for what has to happen at once.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def is_alive(pid):
    """Whether the process runs, and is not merely waiting to be reaped."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def alive_in_group(group):
    """The living processes of a process group."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) == group and is_alive(pid):
                found.append(pid)
    return found
