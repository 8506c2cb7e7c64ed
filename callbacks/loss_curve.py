"""The clean loss curve: cross-entropy alone, in inference mode, over whole splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from callbacks import curve_file
from callbacks.evaluation import as_tensors, check_split, clean_metrics, penalty
from callbacks.recorder import Recorder
from dlip_reg.curvature.function import require_whole


class LossCurve(Recorder):
    """Measures clean training and validation loss and accuracy, and the weight penalty apart.

    Keras' own training loss adds the penalty and averages over moving weights with dropout on,
    and its `val_loss` adds the penalty, too. This recorder evaluates the compiled loss by itself,
    in inference mode, every example with the same weight, over all of `train` and `validation`:
    once before the first step (epoch 0) and at the end of each epoch. It adds to `logs`
    `clean_loss`, `clean_accuracy`, `clean_val_loss`, `clean_val_accuracy` and `penalty`; accuracy
    only for cross-entropy losses, the `val` ones only with `validation`.

    `train` and `validation` are tuples (x, y) of arrays; x may be a dict or list for a model of
    several inputs. They are held on TensorFlow's default device during a fit. `batch_size` is
    how many examples go through the model at a time. With `every_n_batches` = n it also measures
    at the first batch end at or after every n-th batch (under `steps_per_execution` Keras reports
    only every k-th).

    `history` holds all measurements as columns: `epoch` (epochs completed; None on a row taken
    within an epoch), with `every_n_batches` also `step` (batches trained on), and what goes to
    `logs`. `csv` names a file that gets the same, one line a measurement, each in one write: a
    killed process loses at most the line being written. A fit that starts at epoch 0 overwrites
    the file. A fit that starts later (`BackupAndRestore`, `initial_epoch`) continues it: lines up
    to that epoch's stay, those after it, torn ones included, are dropped and measured again.

    Put it before whatever reads its `logs` (EarlyStopping and ModelCheckpoint need a `mode` then:
    Keras guesses it for its own names only). How it measures, and that it touches nothing, is
    told in `callbacks.evaluation`; under a MirroredStrategy the batch-norm statistics measured
    are the first replica's, which are also the ones that are saved.

    ValueError for wrong settings, and at fit for what `clean_metrics` refuses, for an unbuilt
    model, and for a file to continue that has other columns.
    """

    _data = ("train", "validation")
    _transient = ("_tensors",)

    def __init__(
        self,
        train: tuple[Any, Any],
        validation: tuple[Any, Any] | None = None,
        *,
        batch_size: int = 512,
        every_n_batches: int | None = None,
        csv: str | Path | None = None,
    ) -> None:
        super().__init__()
        check_split("train", train)
        if validation is not None:
            check_split("validation", validation)
        if every_n_batches is not None:
            every_n_batches = require_whole("every_n_batches", every_n_batches)
        self.train = train
        self.validation = validation
        self.batch_size = require_whole("batch_size", batch_size)
        self.every_n_batches = every_n_batches
        self.csv = None if csv is None else Path(csv)
        self.history: curve_file.Columns = {}
        self._tensors: dict[str, tuple] | None = None
        self._step = self._epoch_start = 0

    def on_fit_start(self, completed: int) -> None:
        self.history = self._history_until(completed)
        if self.csv:
            curve_file.write_columns(self.csv, self.history)
        steps = self.history.get("step")
        self._step = steps[-1] if steps else completed * (self._steps_per_epoch() or 0)
        if completed not in self.history.get("epoch", ()):
            self._record(completed, self._measure())

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._epoch_start = self._step

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        values = self._measure()
        self._record(epoch + 1, values)
        if logs is not None:
            logs.update(values)

    def on_train_end(self, logs: dict | None = None) -> None:
        self._tensors = None

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.every_n_batches is None:
            return
        before = self._step
        # The last execution of several steps may find fewer batches left than its index tells.
        self._step = self._epoch_start + min(batch + 1, self._steps_per_epoch() or batch + 1)
        if self._step // self.every_n_batches > before // self.every_n_batches:
            self._record(None, self._measure())

    def _steps_per_epoch(self) -> int | None:
        return (self.params or {}).get("steps")

    def _measure(self) -> dict[str, float]:
        if self._tensors is None:
            splits = {"clean_": self.train, "clean_val_": self.validation}
            self._tensors = {name: as_tensors(*split) for name, split in splits.items() if split}
        values = {
            prefix + name: value
            for prefix, split in self._tensors.items()
            for name, value in clean_metrics(self.model, *split, self.batch_size).items()
        }
        return values | {"penalty": penalty(self.model)}

    def _record(self, epoch: int | None, values: dict[str, float]) -> None:
        row = {"epoch": epoch} | ({"step": self._step} if self.every_n_batches else {}) | values
        if not self.history:
            self.history = {name: [] for name in row}
            if self.csv:
                curve_file.append_line(self.csv, list(row))
        if list(row) != list(self.history):
            raise ValueError(
                f"{self.csv or 'history'} can't be continued: it has the columns "
                f"{', '.join(self.history)}, and this fit measures {', '.join(row)}."
            )
        for name, value in row.items():
            self.history[name].append(value)
        if self.csv:
            curve_file.append_line(self.csv, list(row.values()))

    def _history_until(self, completed: int) -> curve_file.Columns:
        """What is on record of a fit that goes on after `completed` epochs."""
        if completed == 0:
            return {}
        history = self.history
        if self.csv:
            history = curve_file.read_columns(self.csv) if self.csv.exists() else {}
        epochs = history.get("epoch", [])
        later = (i for i, epoch in enumerate(epochs) if epoch is not None and epoch > completed)
        end = next(later, len(epochs))
        if completed in epochs:
            end = epochs.index(completed) + 1
        return {name: column[:end] for name, column in history.items()}
