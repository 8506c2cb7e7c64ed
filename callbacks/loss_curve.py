"""The clean loss curve: cross-entropy alone, in inference mode, over whole splits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from callbacks import curve_file
from callbacks.evaluation import as_tensors, check_split, clean_metrics, penalty
from callbacks.scheduled import ScheduledCallback
from dlip_reg.checks import require_whole
from dlip_reg.clean_loss import resolve_loss


class LossCurve(ScheduledCallback):
    """Measures clean loss and accuracy over whole splits, and the weight penalty separately.

        curve = LossCurve((x_train, y_train), (x_val, y_val))
        history = model.fit(x_train, y_train, epochs=2, callbacks=[curve])
        curve.history["clean_loss"], history.history["clean_val_accuracy"]

    Keras' own training loss adds the penalty and averages over moving weights with dropout on,
    and its `val_loss` adds the penalty, too. This recorder evaluates one loss by itself, in
    inference mode, every example with the same weight, over all of each split: once before the
    first step (epoch 0) and at the end of each epoch. It adds to `logs` `clean_loss`,
    `clean_accuracy`, the same as `clean_val_...` and `clean_test_...` for those splits, and
    `penalty`. Accuracy is there only for cross-entropy losses.

    To compare models that are trained on different losses, give all of them one `loss`, such as
    `SparseCategoricalCrossentropy(from_logits=True)` for a fit with label smoothing.

    `history` holds all measurements as columns: `epoch` (epochs completed; None on a row taken
    within an epoch), with `every_n_batches` also `step` (batches trained on), and what goes to
    `logs`. Put the recorder before whatever reads its `logs` (EarlyStopping and ModelCheckpoint
    need a `mode` then: Keras guesses it for its own names only). It changes nothing in the model
    (see `callbacks.evaluation`). Under a MirroredStrategy the batch-norm statistics measured are
    the first replica's, which are also the ones that are saved.

    Args:
        train: The training split (x, y); x may be a dict or list for a model of several inputs.
            Splits are held on TensorFlow's default device during a fit.
        validation: The validation split (x, y), or None.
        test: The test split (x, y), or None.
        loss: The loss to measure: a Keras loss, its name or config, or a function; by default the
            compiled one. The targets are those of this loss: class indices for a sparse one, even
            where the model is compiled with and fitted on one-hot rows.
        batch_size: How many examples go through the model at a time.
        every_n_batches: Also measure after every n-th batch (see `callbacks.scheduled`).
        csv: A file that gets the history, one line a measurement, each in one write: a killed
            process loses at most the line being written. A fit that starts at epoch 0 overwrites
            the file. A fit that starts later (`BackupAndRestore`, `initial_epoch`) continues it:
            lines up to that epoch's stay, those after it, torn ones included, are dropped and
            measured again.

    Raises:
        ValueError: For wrong settings, and at fit for what `clean_metrics` refuses, for an unbuilt
            model, and for a file to continue that has other columns.
    """

    _data = ("train", "validation", "test")
    _transient = ("_tensors",)

    def __init__(
        self,
        train: tuple[Any, Any],
        validation: tuple[Any, Any] | None = None,
        *,
        test: tuple[Any, Any] | None = None,
        loss: Any = None,
        batch_size: int = 512,
        every_n_batches: int | None = None,
        csv: str | Path | None = None,
    ) -> None:
        super().__init__(every_n_batches=every_n_batches)
        for name, split in (("train", train), ("validation", validation), ("test", test)):
            if split is not None or name == "train":
                check_split(name, split)
        self.train, self.validation, self.test = train, validation, test
        self.loss = None if loss is None else resolve_loss(None, loss)
        self.batch_size = require_whole("batch_size", batch_size)
        self.csv = None if csv is None else Path(csv)
        self.history: curve_file.Columns = {}
        self._tensors: dict[str, tuple] | None = None

    def on_fit_start(self, completed: int) -> None:
        self.history = self._history_until(completed)
        super().on_fit_start(completed)
        if self.csv:
            curve_file.write_columns(self.csv, self.history)
        if completed not in self.history.get("epoch", ()):
            self._record(completed, self._measure())

    def at_epoch(self, logs: dict | None) -> None:
        values = self._measure()
        self._record(self._completed, values)
        if logs is not None:
            logs.update(values)

    def at_step(self, logs: dict | None) -> None:
        self._record(None, self._measure())

    def on_train_end(self, logs: dict | None = None) -> None:
        self._tensors = None

    def _measure(self) -> dict[str, float]:
        if self._tensors is None:
            splits = {"": self.train, "val_": self.validation, "test_": self.test}
            self._tensors = {name: as_tensors(*split) for name, split in splits.items() if split}
        values = {
            f"clean_{split}{name}": value
            for split, data in self._tensors.items()
            for name, value in clean_metrics(
                self.model, *data, self.batch_size, loss=self.loss
            ).items()
        }
        return values | {"penalty": penalty(self.model)}

    def _recorded_steps(self) -> Iterable[tuple[int | None, int]]:
        # Without `every_n_batches` there is no column of steps, and none is needed.
        return zip(self.history.get("epoch", ()), self.history.get("step", ()), strict=False)

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
