"""Folders that others fill: filled, measured and removed without trusting what is in them."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

WORK, TEMPORARY = "work", "tmp"


def lay_out(files: Mapping[str, bytes], scratch: str) -> None:
    """Write a submission's files, and make an empty folder for temporary ones."""
    Path(scratch, WORK).mkdir()
    Path(scratch, TEMPORARY).mkdir()
    for name, data in files.items():
        path = Path(scratch, WORK, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def disk_use(folder: str, most_bytes: int, most_files: int) -> tuple[int, int]:
    """Bytes and entries below `folder`; stops counting once either is passed."""
    size = files = 0
    waiting = [folder]
    while waiting and size <= most_bytes and files <= most_files:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                files += 1
                if size > most_bytes or files > most_files:
                    break
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    size += getattr(found, "st_blocks", 0) * 512
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(entry.path)
    return size, files


def remove_tree(folder: str) -> None:
    """Remove `folder` and all in it, whatever depth and permissions it was given; follows no link.

    What lies in its folders is moved up before these are removed, so no path grows and nothing
    recurses. What the system refuses to move or remove stays.
    """
    refused: set[str] = set()
    while entries := [entry for entry in _entries(folder) if entry.path not in refused]:
        for entry in entries:
            try:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)  # noqa: PTH108
                    continue
                for inner in _entries(entry.path):
                    if inner.is_dir(follow_symlinks=False):
                        os.chmod(inner.path, 0o700)  # noqa: PTH101
                    os.rename(inner.path, f"{folder}/{secrets.token_hex(8)}")  # noqa: PTH104
                os.rmdir(entry.path)  # noqa: PTH106
            except OSError:
                refused.add(entry.path)
    with contextlib.suppress(OSError):
        os.rmdir(folder)  # noqa: PTH106


def _entries(folder: str) -> list[os.DirEntry]:
    with contextlib.suppress(OSError):
        if not os.path.islink(folder):  # noqa: PTH114
            os.chmod(folder, 0o700)  # noqa: PTH101
            with os.scandir(folder) as entries:
                return list(entries)
    return []
