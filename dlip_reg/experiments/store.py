"""Where records live: one file a run, written whole or not at all.

    OUT/folder.json        whose results these are: the configuration of everything in the folder
    OUT/records/ID.json    one run's record
    OUT/timings.csv        seconds and attempts of every run, in the order they ended
    OUT/.lock              locked by the process that uses the folder, and removed at its end

Records hold only what repeats bit for bit; what cannot (the seconds a run took) is in timings.csv.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlip_reg.errors import DlipRegError
from dlip_reg.files import PART, acquire, write_atomically, write_json
from dlip_reg.training import records
from dlip_reg.training.records import Record

if TYPE_CHECKING:
    from filelock import FileLock

FOLDER_FILE = "folder.json"
LOCK_FILE = ".lock"


class OutputDirConflictError(DlipRegError, ValueError):
    """The output folder holds something else than this configuration's results, or is in use."""


class RecordStore:
    """Records by the identity of their run, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, identity: str) -> Record | None:
        """Return the record of that run; None if there is none that can be read."""
        try:
            record = records.loads(self._path(identity).read_bytes())
        except FileNotFoundError:
            return None
        return record if record is not None and record.id == identity else None

    def save(self, record: Record) -> None:
        """Write `record` under its `id`."""
        write_atomically(self._path(record.id), records.dumps(record))

    def _path(self, identity: str) -> Path:
        return self._folder / f"{identity}.json"


class RunFolder:
    """The output folder of one configuration, used by one process at a time.

    Making the object changes nothing in the folder, but locks it if it exists. `open` makes the
    folder, or with `fresh` empties it, and `release` unlocks it. The operating system unlocks it
    when the process ends, however it ends.

    Args:
        path: The folder.
        configuration: What must agree between the runs in a folder, as a flat dict.
        fresh: Whether `open` empties a folder of results, of whatever configuration.

    Raises:
        OutputDirConflictError: The folder holds another configuration's results or anything that
            is not such an output, or another run uses it.
    """

    # For messages: what the folder holds, and what to do about a conflict.
    content = "lab's output"
    elsewhere = "choose another --out"
    remedy = f"{elsewhere}, or --fresh to delete them"

    def __init__(self, path: Path, configuration: dict[str, Any], fresh: bool = False) -> None:
        from filelock import FileLock  # an extra

        self.path, self._fresh = path, fresh
        self._configuration = json.loads(json.dumps(configuration))
        self.records: Any = RecordStore(path / "records")
        self._marker = path / FOLDER_FILE
        # Not thread-local: whichever thread closes the workspace releases it.
        self._lock = FileLock(path / LOCK_FILE, timeout=0, thread_local=False)
        weakref.finalize(self, _unlock, self._lock)
        self.check(path, configuration, fresh)
        if path.is_dir():
            with contextlib.suppress(OSError):  # a folder without permission: `open` raises
                self._acquire()

    @classmethod
    def check(cls, path: Path, configuration: dict[str, Any], fresh: bool = False) -> None:
        """Check what the folder holds; arguments and errors as for making the object."""
        marker, configuration = path / FOLDER_FILE, json.loads(json.dumps(configuration))
        if path.exists() and not path.is_dir():
            raise OutputDirConflictError(f"{path} is a file, not a folder; {cls.elsewhere}.")
        held = read_marker(marker) if marker.exists() else None
        # Another program may write a file of this name; {} is a damaged one.
        if held == {} or (held and held.keys() & configuration.keys()):
            if held != configuration and not fresh:
                raise OutputDirConflictError(
                    f"{path} holds results of another configuration "
                    f"({_difference(held, configuration)}); {cls.remedy}."
                )
        elif path.is_dir() and any(
            entry.name != LOCK_FILE and not entry.match(f".*{PART}") for entry in path.iterdir()
        ):
            raise OutputDirConflictError(
                f"{path} holds files that are no {cls.content}; choose an empty or a new folder."
            )

    def open(self) -> None:
        """Lock the folder and make it ready to be written to.

        Raises:
            OutputDirConflictError: Another run uses the folder, or has left other results there.
            OSError: It cannot be made or written to.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._acquire()
        try:
            # Another run may have had the folder, perhaps a new one, until it was locked.
            self.check(self.path, self._configuration, self._fresh)
            if self._fresh:
                _empty(self.path)
            for leftover in self.path.glob(f"**/.*{PART}"):  # of a process killed while writing
                leftover.unlink(missing_ok=True)
            _check_writable(self.path)
            if not self._marker.exists() or self._fresh:
                write_json(self._marker, self._configuration, indent=1)
        except BaseException:
            self.release()
            raise

    def _acquire(self) -> None:
        from filelock import Timeout

        if self._lock.is_locked:
            return
        try:
            acquire(self._lock)
        except Timeout:
            raise OutputDirConflictError(
                f"{self.path} is in use by another run; wait for it, or {self.elsewhere}."
            ) from None

    def release(self) -> None:
        """Unlock the folder for other runs; without effect where it is not locked."""
        _unlock(self._lock)

    def save(self, record: Record) -> None:
        """Save a run's record.

        Raises:
            OutputDirConflictError: The folder was deleted or moved since it was opened.
            OSError: The record cannot be written.
        """
        require_kept(self.path)
        self.records.save(record)

    def log_timing(self, identity: str, seconds: float, attempts: int, ended: str) -> None:
        """Add a line to timings.csv: what this run took and how it ended; errors as `save`."""
        require_kept(self.path)
        path = self.path / "timings.csv"
        lines = (
            path.read_text("utf-8", "replace") if path.exists() else "id,seconds,attempts,ended\n"
        )
        write_atomically(path, f"{lines}{identity},{seconds:.3f},{attempts},{ended}\n")


def require_kept(path: Path) -> None:
    """OutputDirConflictError where the folder is gone: a new one would lack what was saved."""
    if not (path / FOLDER_FILE).exists():
        raise OutputDirConflictError(f"{path} was deleted or moved during the runs; start again.")


def _unlock(lock: FileLock) -> None:
    if lock.is_locked:
        with contextlib.suppress(OSError):  # Windows removes no open file
            Path(lock.lock_file).unlink()
        lock.release()


def read_marker(marker: Path) -> dict[str, Any]:
    try:
        held = json.loads(marker.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        held = {}
    return held if isinstance(held, dict) else {}


def _difference(held: dict[str, Any], wanted: dict[str, Any]) -> str:
    held, wanted = _flat(held), _flat(wanted)
    both = {name: (held.get(name), wanted.get(name)) for name in {**held, **wanted}}
    return ", ".join(
        # Hashes say no more than that.
        f"{name} differs"
        if all(re.fullmatch("[0-9a-f]{8,}", str(value)) for value in values)
        else "{} {!r} where this run has {!r}".format(name, *values)
        for name, values in both.items()
        if values[0] != values[1]
    )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under names like "space.l2"."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat


def _check_writable(path: Path) -> None:
    # As large as a few records, so that a full disk is found before the first run and not after.
    probe = path / f".space{PART}"
    try:
        probe.write_bytes(b"\0" * 262_144)
    finally:
        probe.unlink(missing_ok=True)


def _empty(path: Path) -> None:
    # The marker goes last: a folder emptied half-way is still known as a lab's.
    for entry in path.iterdir():
        if entry.name in (FOLDER_FILE, LOCK_FILE):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
