"""The folder of one search.

    PROJECT/folder.json                     which search this is
    PROJECT/log.jsonl                       what the oracle was asked and told, a line for each
    PROJECT/trial_ID/execution_N.json       one execution: its seed, fold, score and curve
    PROJECT/trial_ID/execution_N.npz        its final weights; for Hyperband the optimizer too
    PROJECT/job.pkl                         what the workers need, if it is large
    PROJECT/timings.csv                     seconds and attempts of every execution

Lines are appended to the log, and all other files are written atomically. An execution is saved as
soon as it ends, and its "id" identifies what was trained. A search resumes by replaying the log
with a new oracle: a step that a kill interrupts is repeated, and reuses the executions that were
saved.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlip_reg import files
from dlip_reg.errors import DlipRegError
from dlip_reg.experiments.store import OutputDirConflictError, RunFolder

if TYPE_CHECKING:
    from dlip_reg.tuning.execution import ExecutionRecord

SCHEMA = 3


class CorruptStateError(DlipRegError, ValueError):
    """The weights that an execution left are truncated or altered."""


class SearchFolder(RunFolder):
    """The folder of one search; see `RunFolder`."""

    content = "search"
    elsewhere = "choose another folder for this search"
    remedy = "choose another folder for this search, or delete that one"

    @classmethod
    def check(cls, path: Path, configuration: dict[str, Any], fresh: bool = False) -> None:
        """Check what the folder holds; arguments and errors as for making the object."""
        if path.exists() and not path.is_dir():
            raise OutputDirConflictError(f"{path} is a file; {cls.elsewhere}.")
        if (path / "oracle.json").exists():
            raise OutputDirConflictError(
                f"{path} holds a search of keras-tuner's own tuners; {cls.elsewhere}."
            )
        super().check(path, configuration, fresh)

    def _record_store(self) -> ExecutionStore:
        return ExecutionStore(self.path)


class ExecutionStore:
    """The executions below a search's folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, trial: str, number: int) -> ExecutionRecord | None:
        """Return the record of a trial's execution without its state; None if none is readable."""
        from dlip_reg.tuning.execution import ExecutionRecord  # imports TensorFlow

        path = self._file(trial, number)
        try:
            values = json.loads(path.read_bytes())
            if values.pop("schema") == SCHEMA and path.with_suffix(".npz").exists():
                return ExecutionRecord(**values)
        except (OSError, AttributeError, KeyError, TypeError, ValueError):
            pass
        return None

    def load_with_state(self, trial: str, number: int) -> ExecutionRecord:
        """Return the record of an execution with the arrays that it left.

        Raises:
            CorruptStateError: They cannot be read.
        """
        path = self._file(trial, number).with_suffix(".npz")
        try:
            with np.load(path) as file:
                return replace(self.load(trial, number), state=dict(file))
        except Exception as error:  # of many kinds: zip, pickle, zlib
            raise CorruptStateError(
                f"{path} is damaged; delete it, and the same search repeats that execution and "
                "reuses the others."
            ) from error

    def save(self, record: ExecutionRecord) -> None:
        """Write a record and its state; the record last, because it marks both as complete."""
        content = io.BytesIO()
        np.savez(content, **record.state)
        path = self._file(record.trial, record.number)
        files.write_atomically(path.with_suffix(".npz"), content.getvalue())
        values = {"schema": SCHEMA, **vars(replace(record, state=None))}
        files.write_atomically(path, json.dumps(values, allow_nan=False))

    def _file(self, trial: str, number: int) -> Path:
        return self._path / f"trial_{trial}" / f"execution_{number}.json"


class SearchLog:
    """What the oracle was asked and told, in this order.

    A line is {"ask": trial, "values": {...}} or {"tell": trial, ...}.
    """

    def __init__(self, path: Path) -> None:
        self._path = path / "log.jsonl"

    def read(self) -> list[dict[str, Any]]:
        """Return the lines before the first that is not whole; none without a log."""
        entries: list[dict[str, Any]] = []
        lines = self._path.read_bytes().split(b"\n")[:-1] if self._path.exists() else []
        for line in lines:
            try:
                entries.append(dict(json.loads(line)))
            except (TypeError, ValueError):
                break
        return entries

    def write(self, entries: Sequence[dict[str, Any]]) -> None:
        """Make these the lines of the log."""
        files.write_atomically(self._path, "".join(map(_line, entries)))

    def append(self, entry: dict[str, Any]) -> None:
        """Add a line."""
        with self._path.open("ab", buffering=0) as file:
            file.write(_line(entry).encode())


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, allow_nan=False) + "\n"
