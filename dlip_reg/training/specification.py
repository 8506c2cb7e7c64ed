"""What a run is: a frozen specification, and the hash that is its identity."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from dlip_reg.regularization import Regularization

# Part of every run's identity. Raise it whenever a change makes the same specification give other
# numbers: records of the two then never mix.
TRAINING_VERSION = 1

# What a run may measure beyond its final validation loss and accuracy.
MEASURES = ("curves", "weights", "test")


@dataclass(frozen=True)
class DataSpec:
    """Which data a run sees: a named set and how many images of each split (None: all)."""

    name: str
    n_train: int | None = None
    n_validation: int | None = None
    n_test: int | None = None


@dataclass(frozen=True)
class RunSpec:
    """One training run: everything that decides its numbers, and nothing else.

    `measures` are names out of `MEASURES`: "curves" (clean losses at every epoch), "weights" (the
    kernels' and activations' statistics at both ends of training), "test" (the test split, which is
    otherwise not looked at). They watch the training and leave it as it is, so two specifications
    that differ in `measures` alone end in the same weights.
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
        unknown = sorted(set(self.measures) - set(MEASURES))
        if unknown:
            raise ValueError(f"Unknown measures {unknown}; known are {', '.join(MEASURES)}.")
        for name in ("batch_size", "epochs"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of 1 or more, not {value!r}.")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, not {self.learning_rate!r}.")

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
