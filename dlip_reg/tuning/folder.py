"""The folder of one search: keras-tuner's own files, and every execution beside its trial.

    PROJECT/folder.json                     which search this is
    PROJECT/oracle.json                     keras-tuner's: the oracle's state
    PROJECT/trial_ID/trial.json             keras-tuner's: values, scores and status of one trial
    PROJECT/trial_ID/execution_N.json       one execution: its seed, score, status and curve
    PROJECT/trial_ID/execution_N.npz        the state it left: weights, and for Hyperband optimizer
    PROJECT/timings.csv                     seconds and attempts of every execution

All are written whole or not at all. An execution is kept as soon as it ends, and its "id" tells
what was trained. The oracle's state is written last of each step: a step that a kill cuts short is
done again, and finds the executions that are there.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from dlip_reg.experiments.store import RunFolder, write_aside

STATE_FILE = "oracle.json"
# What to do about a folder that cannot be gone on with.
ANOTHER_FOLDER = "choose another folder for this search, or delete that one"


class DamagedState(ValueError):
    """A state file of the search is truncated or altered."""


class SearchFolder(RunFolder):
    """The folder of the search with this configuration; WrongFolder if it is another's."""

    content = "search"
    remedy = ANOTHER_FOLDER

    def _record_store(self) -> ExecutionStore:
        return ExecutionStore(self.path)


class ExecutionStore:
    """The executions below a search's folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, trial: str, number: int) -> dict[str, Any] | None:
        """The record of a trial's execution without its state; None where none can be read."""
        try:
            text = self._file(trial, number, "json").read_text(encoding="utf-8")
            record = json.loads(text)
        except (OSError, UnicodeDecodeError, json.JSONDecodeError):
            return None
        has_state = self._file(trial, number, "npz").exists()
        return record if isinstance(record, dict) and "id" in record and has_state else None

    def load_parent(self, trial: str, number: int) -> dict[str, Any]:
        """Like `load`, for a record that another execution goes on from; DamagedState for none."""
        record = self.load(trial, number)
        if record is None:
            path = self._file(trial, number, "json")
            raise DamagedState(f"{path} is damaged; {begin_anew(self._path)}.")
        return record

    def load_state(self, trial: str, number: int) -> dict[str, np.ndarray]:
        """The arrays that the execution has left; DamagedState where they cannot be read."""
        path = self._file(trial, number, "npz")
        try:
            with np.load(path) as file:
                return dict(file)
        except Exception as error:  # of many kinds: zip, pickle, zlib
            raise DamagedState(
                f"{path} is damaged; delete it and {self._path / STATE_FILE}, and the same search "
                "runs that execution again and meets the others."
            ) from error

    def save(self, record: dict[str, Any]) -> None:
        """Keep a record and its state; the record last, for it says that both are there."""
        record = dict(record)
        trial, number = record["spec"]["trial"], record["spec"]["execution"]
        content = io.BytesIO()
        np.savez(content, **record.pop("state"))
        path = self._file(trial, number, "npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_aside(path, content.getvalue())
        write_aside(self._file(trial, number, "json"), json.dumps(record, allow_nan=False))

    def _file(self, trial: str, number: int, kind: str) -> Path:
        return trial_folder(self._path, trial) / f"execution_{number}.{kind}"


def begin_anew(path: Path) -> str:
    """What to do where a file of the search in that folder is damaged."""
    return (
        f"delete {path / STATE_FILE}, and the same search begins its trials anew with every "
        "finished execution that it meets again"
    )


def trial_folder(path: Path, trial: str) -> Path:
    """Where keras-tuner keeps what belongs to a trial."""
    return path / f"trial_{trial}"


def write_json(path: Path, value: Any) -> None:
    """JSON, whole or not at all; its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, json.dumps(value))


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """The object in a state file; DamagedState, saying what to do, where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        value = None
    if not isinstance(value, dict):
        raise DamagedState(f"{path} is damaged; {remedy}.")
    return value
