"""What a run is: a frozen specification, and the hash that is its identity."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from dlip_reg.regularization import Regularization

# Part of every run's identity. Raise it whenever a change makes the same specification give other
# numbers: records of the two then never mix.
TRAINING_VERSION = 2

# What a run may measure beyond its final validation loss and accuracy.
MEASURES = ("curves", "weights", "test")


@dataclass(frozen=True)
class DataSpec:
    """Which data a run sees: a named set, and how many images of each split.

    None is the default of `load_dataset`, which also knows what can be had. ValueError for a size
    that no set can have.
    """

    name: str
    n_train: int | None = None
    n_validation: int | None = None
    n_test: int | None = None

    def __post_init__(self) -> None:
        for name in ("n_train", "n_validation", "n_test"):
            if getattr(self, name) is not None:
                _set_whole(self, name, 1)


@dataclass(frozen=True)
class RunSpec:
    """One training run: everything that decides its numbers, and nothing else.

    `measures` are names out of `MEASURES`: "curves" (clean losses at every epoch), "weights" (the
    kernels' and activations' statistics at both ends of training), "test" (the test split, which is
    otherwise not looked at). They watch the training and leave it as it is, so two specifications
    that differ in `measures` alone end in the same weights. `optimizer` is a name that
    `keras.optimizers.get` knows, `model` one of `dlip_reg.models`.

    ValueError for a value that no run can have; names are looked up when the run begins.
    """

    model: str
    data: DataSpec
    regularization: Regularization = field(default_factory=Regularization)
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    batch_size: int = 32
    epochs: int = 10
    seed: int = 0
    measures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Equal specifications must have equal JSON, and so one identity: what is stored is plain.
        if isinstance(self.measures, str) or not set(self.measures) <= set(MEASURES):
            raise ValueError(
                f"measures must be a tuple of {', '.join(MEASURES)}, not {self.measures!r}."
            )
        object.__setattr__(self, "measures", tuple(m for m in MEASURES if m in self.measures))
        for name, least in (("batch_size", 1), ("epochs", 1), ("seed", 0)):
            _set_whole(self, name, least)
        rate = self.learning_rate
        if isinstance(rate, bool | str) or not 0 < rate < math.inf:
            raise ValueError(f"learning_rate must be a number above 0, not {rate!r}.")
        object.__setattr__(self, "learning_rate", float(rate))

    def to_json(self) -> dict[str, Any]:
        """A plain nested dict that `json` can write."""
        return {**asdict(self), "measures": list(self.measures)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RunSpec:
        """The specification whose `to_json` gave `values`."""
        return cls(
            **{
                **values,
                "data": DataSpec(**values["data"]),
                "regularization": Regularization.from_json(values["regularization"]),
                "measures": tuple(values["measures"]),
            }
        )

    def identity(self, fingerprint: str) -> str:
        """16 hex digits that name this run on the data with that `fingerprint`."""
        text = json.dumps([TRAINING_VERSION, fingerprint, self.to_json()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _set_whole(spec: DataSpec | RunSpec, name: str, least: int) -> None:
    value = getattr(spec, name)
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise ValueError(f"{name} must be a whole number of {least} or more, not {value!r}.")
    object.__setattr__(spec, name, int(value))
