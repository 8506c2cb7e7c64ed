"""The folder of one search.

    PROJECT/folder.json                     which search this is
    PROJECT/log.jsonl                       the oracle's requests and scores, a line for each
    PROJECT/executions.jsonl                the executions: seed, fold, score and curve of each
    PROJECT/trial_ID/execution_N.npz        final weights; for Hyperband the optimizer too
    PROJECT/job.pkl                         what the workers need, if it is large
    PROJECT/timings.csv                     seconds and attempts of every execution

Lines are appended to the two logs, and all other files are written atomically. An execution is
saved as soon as it ends, its line last, and its "id" identifies what was trained. A search resumes
by replaying the log with a new oracle: a step that a kill interrupts is repeated, and reuses the
executions that were saved.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dlip_reg import files
from dlip_reg.errors import DlipRegError
from dlip_reg.experiments.store import OutputDirConflictError, RunFolder, require_kept

State = Mapping[str, np.ndarray]


class CorruptStateError(DlipRegError, ValueError):
    """The weights that an execution left are truncated or altered."""


@dataclass(frozen=True)
class ExecutionRecord:
    """What an execution left.

    Attributes:
        id: What was trained: `ExecutionSpec.identity`.
        trial, number: Whose execution it is.
        seed: Its seed.
        fold: The fold that it was validated on; None without folds.
        status: "diverged" where the score or a weight became NaN or infinite.
        score: The objective's value for the weights that the execution left.
        curve: Metric -> its value after each epoch, those of its parent included; None stands for a
            number that is not finite.
        epochs: How many epochs lie behind it.
        initial_epoch: After how many it started.
        not_shared: Why its model was not one that executions share; empty if it was.
        hyperparameters: The configuration of the trial's, where the model or its training asked for
            some that the trial did not have.
        inputs: Dtype and shape of each input of a model that has no variables at first.
        state: The arrays that it left, which are stored in a file of their own.
    """

    id: str
    trial: str
    number: int
    seed: int
    status: Literal["finished", "diverged"]
    score: float | None
    curve: Mapping[str, list[float | None]]
    epochs: int = 0
    initial_epoch: int = 0
    not_shared: str = ""
    hyperparameters: Mapping[str, Any] | None = None
    inputs: Any = None
    fold: int | None = None
    state: State | None = field(default=None, compare=False, repr=False)


class SearchFolder(RunFolder):
    """The folder of one search; see `RunFolder`."""

    content = "search"
    elsewhere = "choose another folder for this search"
    remedy = "choose another folder for this search, or delete that one"

    @classmethod
    def check(cls, path: Path, configuration: dict[str, Any], fresh: bool = False) -> None:
        """Check what the folder holds; arguments and errors as for making the object."""
        if (path / "oracle.json").exists():
            raise OutputDirConflictError(
                f"{path} holds a search of keras-tuner's own tuners; {cls.elsewhere}."
            )
        super().check(path, configuration, fresh)


class Log:
    """A file of JSON objects, one a line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[dict[str, Any]]:
        """Return the lines, an empty dict for each that is not whole; none without a file."""
        lines = self._path.read_bytes().split(b"\n")[:-1] if self._path.exists() else []
        return [_parsed(line) for line in lines]

    def write(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Make these the lines of the log."""
        files.write_atomically(self._path, "".join(map(_line, entries)))

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add a line; OutputDirConflictError where the search's folder is gone."""
        require_kept(self._path.parent)
        with self._path.open("ab") as file:  # buffered: it writes the whole line or raises
            file.write(_line(entry).encode())


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry) + "\n"


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (TypeError, ValueError):
        return {}


class ExecutionStore:
    """The executions in a search's folder, held in memory but for their states.

    Attributes:
        records: (trial, number) -> the record of that execution, without its state.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._log = path, Log(path / "executions.jsonl")
        self.records: dict[tuple[str, int], ExecutionRecord] = {}

    def reread(self) -> None:
        """Forget all records, and read those that are in the folder with their states."""
        self.records.clear()
        for values in self._log.read():
            try:
                record = ExecutionRecord(**values)
            except TypeError:  # a line that is damaged
                continue
            if self._state_file(record.trial, record.number).exists():
                self.records[record.trial, record.number] = record

    def rewrite(self) -> None:
        """Write the file of all records anew, without lines that are damaged."""
        self._log.write(map(_without_state, self.records.values()))

    def load_with_state(self, trial: str, number: int) -> ExecutionRecord:
        """Return the record of an execution with the arrays that it left.

        Raises:
            CorruptStateError: They cannot be read.
        """
        path = self._state_file(trial, number)
        try:
            with np.load(path) as file:
                return replace(self.records[trial, number], state=dict(file))
        except Exception as error:  # of many kinds: zip, pickle, zlib
            raise CorruptStateError(
                f"{path} is damaged; delete it, and the same search repeats that execution and "
                "reuses the others."
            ) from error

    def save(self, record: ExecutionRecord) -> None:
        """Write a record and its state; the record last, because it marks both as complete."""
        content = io.BytesIO()
        # It takes arrays for its own flag, whose name none of them has.
        np.savez(content, **(record.state or {}))  # type: ignore[arg-type]
        files.write_atomically(self._state_file(record.trial, record.number), content.getvalue())
        self._log.append(_without_state(record))
        self.records[record.trial, record.number] = replace(record, state=None)

    def _state_file(self, trial: str, number: int) -> Path:
        return self._path / f"trial_{trial}" / f"execution_{number}.npz"


def _without_state(record: ExecutionRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name != "state"}
