"""Standard streams that are closed, that cannot be written to, or that lack some characters."""

from __future__ import annotations

import codecs
import contextlib
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

_P = ParamSpec("_P")
_REPLACE = "dlip_reg.replace"  # what is done with a character that an encoding lacks


def _replace(error: Any) -> tuple[str, int]:
    unknown = error.object[error.start : error.end]
    return "".join("-" if sign == "\N{MINUS SIGN}" else "?" for sign in unknown), error.end


codecs.register_error(_REPLACE, _replace)


def write_line(text: str) -> None:
    """Print a line; of what the output's encoding lacks, a minus sign becomes a hyphen, and other
    characters question marks."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, _REPLACE).decode(encoding), flush=True)


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


def guard_output(command: Callable[_P, int]) -> Callable[_P, int]:
    """Have a command write to any terminal or pipe (see `write_line`), and stop with exit status 1
    where its output cannot be written: quietly where `| head` has closed it, with a sentence where
    a disk is full. Without a working directory it stops with status 2."""

    @functools.wraps(command)
    def run(*arguments: _P.args, **options: _P.kwargs) -> int:
        open_standard_streams()
        try:
            try:
                for stream in (sys.stdout, sys.stderr):
                    if hasattr(stream, "reconfigure"):  # which writes what was printed before
                        stream.reconfigure(errors=_REPLACE)
                try:
                    Path.cwd()
                except FileNotFoundError:
                    print("The working directory was removed: change to another.", file=sys.stderr)
                    return 2
                return command(*arguments, **options)
            finally:
                sys.stdout.flush()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                with contextlib.suppress(OSError):
                    print(f"The output cannot be written: {error}.", file=sys.stderr)
            # Python flushes both streams at its end, which would fail again.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for stream in (sys.stdout, sys.stderr):
                os.dup2(nowhere, stream.fileno())
            return 1

    return run
