"""The record of an execution; the only module that reads or writes its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from dlip_reg.training.codec import from_plain, to_plain
from dlip_reg.training.records import Measures, Numbers

SCHEMA = 1

State = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ExecutionCurve:
    """Columns over epochs, from epoch 1; `loss` is Keras' own of training.

    None stands for a number that is not finite.
    """

    epoch: tuple[int, ...]
    loss: Numbers
    clean_val_loss: Numbers
    clean_val_accuracy: Numbers

    @classmethod
    def joined(cls, first: ExecutionCurve | None, second: ExecutionCurve) -> ExecutionCurve:
        """Return one curve; `second` continues `first`, if there is one."""
        if first is None:
            return second
        return cls(**{name: (*getattr(first, name), *vars(second)[name]) for name in vars(second)})


@dataclass(frozen=True)
class ExecutionRecord:
    """What an execution left.

    Attributes:
        id: What was trained, on which data: `ExecutionSpec.identity`.
        trial, number: Whose execution it is.
        seed: The seed of its run.
        initial_epoch: After how many epochs it started.
        status: "diverged" where a number became NaN or infinite.
        measures: `val_loss` and `val_accuracy` after the last epoch.
        curve: All epochs, those of its parent included.
        spec: What was trained, as plain values for readers.
        state: The arrays that it left, which are stored in a file of their own.
    """

    id: str
    trial: str
    number: int
    seed: int
    status: Literal["finished", "diverged"]
    measures: Measures
    curve: ExecutionCurve
    spec: dict[str, Any]
    initial_epoch: int = 0
    state: State | None = field(default=None, compare=False, repr=False)


def dumps(record: ExecutionRecord) -> str:
    """Return the record without its state as JSON text."""
    return json.dumps({"schema": SCHEMA, **to_plain(replace(record, state=None))}, allow_nan=False)


def loads(text: str | bytes) -> ExecutionRecord | None:
    """Return the record in a JSON text; None where there is none of this schema."""
    try:
        values = json.loads(text)
        if values.pop("schema") != SCHEMA:
            return None
        return from_plain(ExecutionRecord, values)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
