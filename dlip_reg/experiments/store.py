"""Where records live: one file a run, written whole or not at all.

    OUT/folder.json        whose results these are: the configuration of everything in the folder
    OUT/records/ID.json    one run's record
    OUT/timings.csv        seconds and attempts of every run, in the order they ended

Records hold only what repeats bit for bit; what cannot (the seconds a run took) is in timings.csv.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

FOLDER_FILE = "folder.json"
_PART = ".part"  # ends the names of files that are being written


class WrongFolder(ValueError):
    """The output folder holds something else than this configuration's results."""


def write_aside(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` whole or not at all; text as UTF-8, its line ends as they are."""
    aside = path.with_name(f".{path.name}.{os.getpid()}{_PART}")
    try:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(aside, path)  # noqa: PTH105 - the name says it is atomic
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


class RecordStore:
    """Records by the identity of their run, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, identity: str) -> dict[str, Any] | None:
        """The record of that run, or None where there is none to be read (it is then run again)."""
        try:
            record = json.loads(self._path(identity).read_text(encoding="utf-8"))
        except (FileNotFoundError, UnicodeDecodeError, json.JSONDecodeError):
            return None
        return record if isinstance(record, dict) and record.get("id") == identity else None

    def save(self, record: dict[str, Any]) -> None:
        """Keep `record` under its `id`; NaN is refused, for JSON has none (ValueError)."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_aside(self._path(record["id"]), json.dumps(record, allow_nan=False))

    def _path(self, identity: str) -> Path:
        return self._folder / f"{identity}.json"


class RunFolder:
    """A lab's output folder for one configuration.

    `configuration` is a flat dict of what must agree between the runs in a folder. Making the
    object only looks: a folder that holds another configuration's results, or anything that is not
    a lab's output, raises WrongFolder. `open` then makes the folder, or with `fresh` empties it.
    """

    # What the messages call its content, and what they advise.
    content = "lab's output"
    remedy = "choose another --out, or --fresh to throw them away"

    def __init__(self, path: Path, configuration: dict[str, Any], fresh: bool = False) -> None:
        self.path, self._fresh = path, fresh
        self._configuration = json.loads(json.dumps(configuration))
        self.records = self._record_store()
        self._marker = path / FOLDER_FILE
        if path.exists() and not path.is_dir():
            raise WrongFolder(f"{path} is a file; --out takes a folder.")
        if self._marker.exists():
            held = _read_marker(self._marker)
            if held != self._configuration and not fresh:
                told = _difference(held, self._configuration)
                raise WrongFolder(
                    f"{path} holds results of another configuration ({told}); {self.remedy}."
                )
        elif path.is_dir() and any(entry.suffix != _PART for entry in path.iterdir()):
            raise WrongFolder(
                f"{path} holds files that are no {self.content}; choose an empty or a new folder."
            )

    def _record_store(self) -> Any:
        return RecordStore(self.path / "records")

    def open(self) -> None:
        """Make the folder ready to be written to; OSError where that cannot be done."""
        self.path.mkdir(parents=True, exist_ok=True)
        if self._fresh:
            _empty(self.path)
        for killed in self.path.glob(f"**/.*{_PART}"):  # what a killed process left half-written
            killed.unlink(missing_ok=True)
        _check_writable(self.path)
        if not self._marker.exists() or self._fresh:
            write_aside(self._marker, json.dumps(self._configuration, indent=1) + "\n")

    def log_timing(self, identity: str, seconds: float, attempts: int, ended: str) -> None:
        """Add a line to timings.csv: what this run took and how it ended."""
        path = self.path / "timings.csv"
        lines = path.read_text("utf-8") if path.exists() else "id,seconds,attempts,ended\n"
        write_aside(path, f"{lines}{identity},{seconds:.3f},{attempts},{ended}\n")


def _read_marker(marker: Path) -> dict[str, Any]:
    try:
        held = json.loads(marker.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        held = {}
    return held if isinstance(held, dict) else {}


def _difference(held: dict[str, Any], wanted: dict[str, Any]) -> str:
    held, wanted = _flat(held), _flat(wanted)
    names = [n for n in {**held, **wanted} if held.get(n) != wanted.get(n)]
    return ", ".join(f"{n} {held.get(n)!r} where this run has {wanted.get(n)!r}" for n in names)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under names like "space.l2"."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat


def _check_writable(path: Path) -> None:
    # As large as a few records, so that a full disk is found before the first run and not after.
    probe = path / f".space{_PART}"
    try:
        probe.write_bytes(b"\0" * 262_144)
    finally:
        probe.unlink(missing_ok=True)


def _empty(path: Path) -> None:
    # The marker goes last: a folder emptied half-way is still known as a lab's.
    for entry in path.iterdir():
        if entry.name == FOLDER_FILE:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
