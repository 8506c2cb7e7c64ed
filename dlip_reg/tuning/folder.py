"""The folder of one search: keras-tuner's own files, and every execution beside its trial.

    PROJECT/folder.json                     which search this is
    PROJECT/oracle.json                     keras-tuner's: the oracle's state
    PROJECT/trial_ID/trial.json             keras-tuner's: values, scores and status of one trial
    PROJECT/trial_ID/execution_N.json       one execution: its seed, score, status and curve
    PROJECT/trial_ID/execution_N.npz        its final weights; for Hyperband the optimizer too
    PROJECT/timings.csv                     seconds and attempts of every execution

All are written atomically. An execution is saved as soon as it ends, and its "id" identifies what
was trained. The oracle's state is written last in each step: a step that a kill interrupts is
repeated, and reuses the executions that were saved.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from dlip_reg import files
from dlip_reg.errors import DlipRegError
from dlip_reg.experiments.store import RunFolder
from dlip_reg.tuning import execution_record
from dlip_reg.tuning.execution_record import ExecutionRecord

STATE_FILE = "oracle.json"
# What to do about a folder from which a search cannot resume.
ANOTHER_FOLDER = "choose another folder for this search, or delete that one"


class CorruptStateError(DlipRegError, ValueError):
    """A state file of the search is truncated or altered."""


class SearchFolder(RunFolder):
    """The folder of one search; see `RunFolder`."""

    content = "search"
    elsewhere = "choose another folder for this search"
    remedy = ANOTHER_FOLDER

    def _record_store(self) -> ExecutionStore:
        return ExecutionStore(self.path)


class ExecutionStore:
    """The executions below a search's folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, trial: str, number: int) -> ExecutionRecord | None:
        """Return the record of a trial's execution without its state; None if none is readable."""
        try:
            record = execution_record.loads(self._file(trial, number, "json").read_bytes())
        except OSError:
            return None
        return record if self._file(trial, number, "npz").exists() else None

    def load_parent(self, trial: str, number: int) -> ExecutionRecord:
        """Return the record of an execution from which another one resumes.

        Raises:
            CorruptStateError: It cannot be read.
        """
        record = self.load(trial, number)
        if record is None:
            path = self._file(trial, number, "json")
            raise CorruptStateError(f"{path} is damaged; {restart_advice(self._path)}.")
        return record

    def load_state(self, trial: str, number: int) -> dict[str, np.ndarray]:
        """Return the arrays that the execution left.

        Raises:
            CorruptStateError: They cannot be read.
        """
        path = self._file(trial, number, "npz")
        try:
            with np.load(path) as file:
                return dict(file)
        except Exception as error:  # of many kinds: zip, pickle, zlib
            raise CorruptStateError(
                f"{path} is damaged; delete it and {self._path / STATE_FILE}, and the same search "
                "repeats that execution and reuses the others."
            ) from error

    def save(self, record: ExecutionRecord) -> None:
        """Write a record and its state; the record last, because it marks both as complete."""
        content = io.BytesIO()
        np.savez(content, **record.state)
        path = self._file(record.trial, record.number, "npz")
        files.write_atomically(path, content.getvalue())
        files.write_atomically(path.with_suffix(".json"), execution_record.dumps(record))

    def _file(self, trial: str, number: int, kind: str) -> Path:
        return trial_folder(self._path, trial) / f"execution_{number}.{kind}"


def restart_advice(path: Path) -> str:
    """Return what to do about a damaged file of the search in that folder."""
    return (
        f"delete {path / STATE_FILE}, and the same search repeats its trials and reuses every "
        "finished execution"
    )


def trial_folder(path: Path, trial: str) -> Path:
    """Return the folder in which keras-tuner keeps a trial."""
    return path / f"trial_{trial}"


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Return the object in a state file.

    Raises:
        CorruptStateError: There is none; the message ends with `remedy`.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        value = None
    if not isinstance(value, dict):
        raise CorruptStateError(f"{path} is damaged; {remedy}.")
    return value
