"""The standard streams, which a service or a program without a console starts without."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def open_standard_streams() -> None:
    """Open those of stdin, stdout and stderr that are closed, as in a service, to nowhere.

    The next files that are opened would take their descriptors, and get what is written to them.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
