"""The base of all recorders: copies, the schedule of measurements, and the rows they give."""

from __future__ import annotations

import copy
import functools
import math
import warnings
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from callbacks.data import read_split
from dlip_reg.checks import require_bool, require_whole
from dlip_reg.chunks import count_examples, kept
from dlip_reg.clean_loss import resolve_loss
from dlip_reg.curvature import LossFunction
from dlip_reg.curvature.optimizers import learning_rate


class Recorder(keras.callbacks.Callback):
    """A callback that measures; it can be deep-copied and pickled before, during and after a fit.

    A copy keeps the settings and the results, and leaves the model behind: Keras hands it the next
    one. Subclasses name the attributes that hold the caller's arrays in `_data` (a deep copy
    shares them) and those that any fit can make again in `_transient` (a copy has None there).
    """

    _data: tuple[str, ...] = ()
    _transient: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self._begun = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not getattr(self.model, "built", False):
            raise ValueError(
                f"{type(self).__name__} measures before the first step and needs a built model: "
                "give it an Input, or call it once on a batch."
            )
        self._begun = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Not in on_train_begin: only now has every other callback had its own on_train_begin, so
        # BackupAndRestore has put the weights and the epoch back, wherever it stands in the list.
        if not self._begun:
            self._begun = True
            self.on_fit_start(epoch)

    def on_fit_start(self, completed: int) -> None:
        """Called once a fit before its first step; `completed` epochs lie behind it."""

    def require_begun(self) -> None:
        """ValueError in a custom training loop that leaves out the beginning of a fit."""
        if not self._begun:
            raise ValueError(
                f"{type(self).__name__} measures before the first step: call on_train_begin and "
                "on_epoch_begin, as fit does, before any on_train_batch_end or on_epoch_end."
            )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | dict.fromkeys(("_model", *self._transient))

    def __deepcopy__(self, memo: dict[int, Any]) -> Recorder:
        new = memo[id(self)] = type(self).__new__(type(self))
        for data in (getattr(self, name) for name in self._data):
            memo[id(data)] = data
        new.__dict__.update(copy.deepcopy(self.__getstate__(), memo))
        return new


class ScheduledRecorder(Recorder):
    """A recorder that measures on a schedule and keeps a plain dict of each measurement in `rows`.

    It measures before the first step (epoch 0), at chosen epochs and steps, and at the end of
    training. Steps are batches that were trained on, from 1 on. Under `steps_per_execution` Keras
    reports only every k-th batch end, and a measurement takes place at the first one at or after
    its step. A row begins with "epoch" (epochs completed; None on a row taken within an epoch) and
    "step". An epoch shares the row of its last step, unless another callback has set other weights
    since. Subclasses return the rest from `measure`, and may check their settings in `prepare`.
    The numbers go to the `logs` of the epoch, and of the batch after which they were measured, but
    for names that a metric or another recorder has there, of which one RuntimeWarning tells. An
    error there, or in the measurement before the first step, is raised; a later error gives NaN in
    `logs`, None for the details of the row, and one RuntimeWarning.

    Args:
        every_n_epochs: Measure at the end of every n-th epoch and of the last; None for the last
            alone.
        every_n_batches: Measure after every n-th step; None for no such measurements.
        steps: Single steps after which to measure.

    Raises:
        ValueError: For numbers that are not whole or below 1.
    """

    def __init__(
        self,
        *,
        every_n_epochs: int | None = 1,
        every_n_batches: int | None = None,
        steps: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if every_n_epochs is not None:
            every_n_epochs = require_whole("every_n_epochs", every_n_epochs)
        if every_n_batches is not None:
            every_n_batches = require_whole("every_n_batches", every_n_batches)
        steps = () if steps is None else steps
        if not np.iterable(steps):
            raise ValueError(f"steps must be a list of whole numbers of 1 or more, not {steps!r}.")
        self.every_n_epochs = every_n_epochs
        self.every_n_batches = every_n_batches
        self.steps = tuple(require_whole("Every one of steps", step) for step in steps)
        self._step = self._epoch_start = self._completed = 0
        self._checksum = 0  # of the weights that were measured last
        self.rows: list[dict[str, Any]] = []
        self._names: tuple[list[str], list[str]] = ([], [])
        self._warned: set[str] = set()

    def prepare(self) -> None:
        """Called once a fit before its first step; ValueError for what can't be measured."""

    def measure(self) -> tuple[dict[str, float], dict[str, Any]]:
        """Return the numbers for the row and for `logs`, and the details for the row alone."""
        raise NotImplementedError

    def release(self) -> None:
        """Drop, at the end of a fit, what the next one makes again."""
        for name in self._transient:
            setattr(self, name, None)

    def on_fit_start(self, completed: int) -> None:
        self._completed = completed
        self._step = self._steps_of(completed)
        self.release()
        self.prepare()
        self._warned = set()
        self.rows = [row for row in self.rows if completed and row["step"] <= self._step]
        if not self._is_measured():
            self._record(completed, *self.measure())

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._epoch_start, self._completed = self._step, epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.require_begun()
        before, n = self._step, self.every_n_batches
        # The last execution of several steps may find fewer batches left than its index says.
        trained = int(batch) + 1
        self._step = self._epoch_start + min(trained, self._steps_per_epoch() or trained)
        kept(self.model, "steps by epoch", dict)[self._completed + 1] = self._step
        if (n and self._step // n > before // n) or any(
            before < step <= self._step for step in self.steps
        ):
            self._measure_in_training(None, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.require_begun()
        self._completed = epoch + 1
        stopping = getattr(self.model, "stop_training", False)
        last = stopping or self._completed == (self.params or {}).get("epochs")
        due = self.every_n_epochs and self._completed % self.every_n_epochs == 0
        if last or due or self._is_measured():
            self._measure_in_training(self._completed, logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._begun and not self._is_measured():
            self._measure_in_training(self._completed)
        self._begun = False
        self.release()

    def warn_once(self, kind: str, message: str) -> None:
        """A RuntimeWarning, of which there is one of each kind in a fit."""
        if kind not in self._warned:
            self._warned.add(kind)
            text = f"{type(self).__name__}, after step {self._step}: {message}"
            warnings.warn(text, RuntimeWarning, stacklevel=3)

    @property
    def optimizer(self) -> keras.optimizers.Optimizer | None:
        """The model's; None where it is trained by another model's `train_step`."""
        return getattr(self.model, "optimizer", None)

    def learning_rate(self) -> float:
        """The optimizer's present one; NaN without an optimizer, or for one of several rates."""
        return learning_rate(self.optimizer)

    def _steps_per_epoch(self) -> int | None:
        return (self.params or {}).get("steps")

    def _steps_of(self, completed: int) -> int:
        """How many steps lie behind a fit that begins after this many epochs."""
        known = [row["step"] for row in self.rows if row.get("epoch") == completed]
        if known or not completed:
            return known[0] if known else 0
        # As a recorder of an earlier fit saw it, whose batches may have been of another size.
        if trained := kept(self.model, "steps by epoch", dict).get(completed):
            return trained
        if steps := self._steps_per_epoch():  # as in this fit
            return completed * steps
        # Keras' own count may have one more for each epoch, for reading past the end of the data.
        return int(getattr(self.optimizer, "iterations", 0))

    def _measure_in_training(self, epoch: int | None, logs: dict[str, Any] | None = None) -> None:
        # The last batch of an epoch and its end are one, unless a callback such as SwapEMAWeights
        # has set other weights between them.
        if self._is_measured() and self._checksum == self._weights_checksum():
            self.rows[-1]["epoch"] = epoch
        else:
            self._record(epoch, *self._measured_or_nan())
        if logs is None:
            return
        names = self._names[0]
        # The logs of an epoch may be those of its last batch, with what was put there.
        own = {id(row.get(name)) for row in self.rows[-2:] for name in names}
        if others := {name for name in names if name in logs and id(logs[name]) not in own}:
            self.warn_once(
                "logs",
                f"the logs have {min(others)} already, of a metric or another recorder, and keep "
                "it: the rows of each recorder have its own.",
            )
        logs.update({name: self.rows[-1][name] for name in names if name not in others})

    def _weights_checksum(self) -> int:
        weights = (weight.numpy().tobytes() for weight in self.model.weights)
        return functools.reduce(lambda sum_, weight: zlib.crc32(weight, sum_), weights, 0)

    def _measured_or_nan(self) -> tuple[dict[str, float], dict[str, Any]]:
        try:
            return self.measure()
        except Exception as error:
            self.warn_once("error", f"could not measure and records NaN: {error}")
            numbers, others = self._names
            return dict.fromkeys(numbers, math.nan), dict.fromkeys(others)

    def _record(self, epoch: int | None, values: dict[str, float], details: dict[str, Any]) -> None:
        self._names = list(values), list(details)
        self.rows.append({"epoch": epoch, "step": self._step} | values | details)
        self._checksum = self._weights_checksum()

    def _is_measured(self) -> bool:
        """Whether the weights as they are now were measured last."""
        return bool(self.rows) and self.rows[-1]["step"] == self._step


class SplitRecorder(ScheduledRecorder):
    """A scheduled recorder of the loss on data held fixed, in every form that `fit` takes.

    Before its first number the loss and its gradient are compared with Keras' own on a few
    examples: `DisagreementError`, a ValueError, for a model or loss that cannot be measured.

    Args:
        data: (x, y) or (x, y, sample_weight) of arrays (or dicts or lists of them); or a
            `tf.data.Dataset`, a `PyDataset` or a generator of batches of these, read once. The
            state by which a dataset draws (random generators, counters) is put back.
        loss: The loss to measure, for a model that trains by steps of its own: a Keras loss, its
            name or config, or a function; of several outputs a list or dict of them. By default the
            compiled one, with its `loss_weights`.
        layer_losses: Whether what layers add to the loss from their inputs (`add_loss`,
            `activity_regularizer`) is part of it: of each chunk, which is 256 examples of
            `Sharpness`, the `batch_size` of `LossCurve` and else all data. A term that is a sum
            over the examples weighs more there than in smaller batches: write it as a mean.
        class_weight: {class: weight}, as in `fit`.
        data_batches: How many batches to read of a generator, or at most of a dataset.
        schedule: `every_n_epochs`, `every_n_batches` and `steps` of `ScheduledRecorder`.

    Raises:
        ValueError: For data of another form, without targets or without examples.
    """

    _data: tuple[str, ...] = ("data", "sample_weight")
    _transient: tuple[str, ...] = ("_function",)
    _name = "data"  # in error messages

    def __init__(
        self,
        data: Any,
        *,
        loss: Any = None,
        layer_losses: bool = False,
        class_weight: Mapping[int, float] | None = None,
        data_batches: int | None = None,
        **schedule: Any,
    ) -> None:
        super().__init__(**schedule)
        self._options = data_batches, class_weight
        x, y, self.sample_weight = self.read(self._name, data)
        self.data = x, y
        nested = loss is None or isinstance(loss, list | tuple | dict)
        self.loss = loss if nested else resolve_loss(loss)
        self.layer_losses = require_bool("layer_losses", layer_losses)
        self._function: Any = None  # of what is measured, made by `prepare`

    def read(self, name: str, data: Any) -> tuple[Any, Any, Any]:
        """Return (x, y, weights) as `read_split`, with this recorder's options."""
        return read_split(name, data, *self._options)

    @property
    def examples(self) -> int:
        """The number of examples of the data."""
        return count_examples(self.data)

    def prepare(self) -> None:
        self._function = self.loss_function()
        self._function.verify()

    def loss_function(self, **options: Any) -> LossFunction:
        """The function of all the data, in one batch with its batch statistics by default."""
        given = {"sample_weight": self.sample_weight, **self._loss_options}
        one_batch = {"batch_norm": "batch", "batch_size": self.examples}
        return LossFunction(self.model, *self.data, **given | one_batch | options)

    @property
    def _loss_options(self) -> dict[str, Any]:
        """Which loss is measured, as keyword arguments."""
        return {"loss": self.loss, "layer_losses": self.layer_losses}

    def draw_batches(
        self, function: LossFunction, batch_size: int, batches: int, seed: int
    ) -> list[LossFunction]:
        """The function over at most `batches` disjoint batches of its examples, drawn by `seed`.

        ValueError for fewer examples than one batch.
        """
        count = min(batches, function.examples // batch_size)
        if count < 1:
            raise ValueError(
                f"A batch of {batch_size} examples needs as many, not {function.examples}."
            )
        order = np.random.default_rng(seed).permutation(function.examples)
        chosen = order[: count * batch_size].reshape(count, batch_size)
        return [function.take(part) for part in chosen]
