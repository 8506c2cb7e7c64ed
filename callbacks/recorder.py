"""What the recorders of this package share: where a fit begins, and how they are copied."""

from __future__ import annotations

import copy
from typing import Any

import keras


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

    def on_train_begin(self, logs: dict | None = None) -> None:
        if not self.model.built:
            raise ValueError(
                f"{type(self).__name__} measures before the first step and needs a built model: "
                "give it an Input, or call it once on a batch."
            )
        self._begun = False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        # Not in on_train_begin: only now has every other callback had its own on_train_begin, so
        # BackupAndRestore has put the weights and the epoch back, wherever it stands in the list.
        if not self._begun:
            self._begun = True
            self.on_fit_start(epoch)

    def on_fit_start(self, completed: int) -> None:
        """Called once a fit before its first step; `completed` epochs lie behind it."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | dict.fromkeys(("_model", *self._transient))

    def __deepcopy__(self, memo: dict[int, Any]) -> Recorder:
        new = memo[id(self)] = type(self).__new__(type(self))
        for data in (getattr(self, name) for name in self._data):
            memo[id(data)] = data
        new.__dict__.update(copy.deepcopy(self.__getstate__(), memo))
        return new
