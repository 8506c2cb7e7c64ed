"""Folders that others fill: filled, measured and removed without trusting what is in them."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dlip_reg.grading.errors import GradingError

WORK, TEMPORARY = "work", "tmp"
# Raised where an entry was removed or replaced since it was seen; Windows refuses it before.
_GONE = (FileNotFoundError, NotADirectoryError, *([PermissionError] if os.name == "nt" else []))


def require_outside(out: Path, *folders: Path) -> None:
    """GradingError for an output folder that lies in one of the folders that are read."""
    for folder in folders:
        if out.resolve().is_relative_to(folder.resolve()):
            raise GradingError(f"{out} lies in {folder}: name a folder outside with --out.")


def lay_out(files: Mapping[str, bytes], scratch: str) -> None:
    """Write a submission's files, and make an empty folder for temporary ones."""
    Path(scratch, WORK).mkdir()
    Path(scratch, TEMPORARY).mkdir()
    for name, data in files.items():
        path = Path(scratch, WORK, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def disk_use(folder: str, most_bytes: int, most_files: int) -> tuple[int, int]:
    """Bytes and entries below `folder`; stops counting once either is passed. A folder that cannot
    be looked into, such as by the length of its path or by its mode, counts as too much."""
    size = files = 0
    waiting = [folder]
    while waiting and size <= most_bytes and files <= most_files:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    files += 1
                    if size > most_bytes or files > most_files:
                        break
                    with contextlib.suppress(*_GONE):
                        found = entry.stat(follow_symlinks=False)
                        # Windows tells no blocks.
                        size += 512 * getattr(found, "st_blocks", -(-found.st_size // 512))
                        if stat.S_ISDIR(found.st_mode):
                            waiting.append(entry.path)
        except _GONE:
            continue
        except OSError:
            size = most_bytes + 1
    return size, files


def remove_tree(folder: str) -> None:
    """Remove `folder` and all in it, whatever depth and permissions it was given; follows no link.

    What the system refuses to remove stays.
    """
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if os.name == "posix" and Path(folder).exists():  # Python gives up where folders are deep
        for command in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
            subprocess.run([*command, folder], stderr=subprocess.DEVNULL, check=False)
