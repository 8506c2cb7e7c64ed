"""Folders that others have filled: measured and removed without trusting what is in them."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat


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

    Folders are moved up before they are emptied, so no path grows and nothing recurses.
    """
    if not os.path.isdir(folder) or os.path.islink(folder):  # noqa: PTH112, PTH114
        return
    number = 0
    # A second pass finds what a first one moved up.
    while True:
        moved = False
        for entry in _entries(folder):
            with contextlib.suppress(OSError):
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)  # noqa: PTH108
                    continue
                os.chmod(entry.path, 0o700)  # noqa: PTH101
                for inner in _entries(entry.path):
                    if inner.is_dir(follow_symlinks=False):
                        os.chmod(inner.path, 0o700)  # noqa: PTH101
                        number += 1
                        os.rename(inner.path, os.path.join(folder, f".{number}"))  # noqa: PTH104, PTH118
                        moved = True
                    else:
                        os.unlink(inner.path)  # noqa: PTH108
                os.rmdir(entry.path)  # noqa: PTH106
        if not moved:
            break
    shutil.rmtree(folder, ignore_errors=True)


def _entries(folder: str) -> list[os.DirEntry]:
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o700)  # noqa: PTH101
        with os.scandir(folder) as entries:
            return list(entries)
    return []
