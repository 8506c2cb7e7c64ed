"""What a run is: a frozen specification, and the hash that is its identity."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dlip_reg.regularization import Regularization
from dlip_reg.training.identity import identity_of

# What a run may measure beyond its final validation loss and accuracy,
MEASURES = ("curves", "weights", "test")
# and what looks closely at one property of the net, at a cost: see `probes` and `endings`.
PROBES = (
    "curvature",
    "stability",
    "keskar",
    "landscape",
    "flow",
    "percentiles",
    "shift",
    "colours",
    "companions",
    "recalibrated",
)

# Nats of clean training loss that count as an improvement. The cross-entropy of a net that fits all
# its images falls for ever, by less and less.
IMPROVEMENT = 1e-4

_REGULARIZATION_OPTIONS = {
    "batch_norm",
    "conv_dropout",
    "dense_dropout",
    "conv_kernel_regularizer",
    "dense_kernel_regularizer",
    "max_norm",
}


@dataclass(frozen=True)
class DataSpec:
    """Which data a run sees: a named set, and how many images of each split.

    None is the default of `load_dataset`, which also knows what can be had. With `colour` grey
    images are repeated to three channels. ValueError for a size that no set can have.
    """

    name: str
    n_train: int | None = None
    n_validation: int | None = None
    n_test: int | None = None
    colour: bool = False

    def __post_init__(self) -> None:
        for name in ("n_train", "n_validation", "n_test"):
            if getattr(self, name) is not None:
                _set_whole(self, name, 1)
        if not isinstance(self.colour, bool):
            raise ValueError(f"colour must be True or False, not {self.colour!r}.")


@dataclass(frozen=True)
class Schedule:
    """How a run's learning rate changes from step to step; the default leaves it as it is.

    At step t of T it is learning_rate * `decay` ** (`speed` * t / T): from learning_rate down to
    learning_rate * decay at the end of the run, or with speed 6 after a sixth of it and on down the
    same exponential. Through the first `warmup_epochs` it is multiplied by a share that grows from
    `warmup_from` to 1 by a constant amount per step (gradual warm-up, Goyal et al. 2017, section
    2.2).

    ValueError for a decay outside (0, 1], a speed of 0 or less, and a share outside [0, 1].
    """

    decay: float = 1.0
    speed: float = 1.0
    warmup_epochs: int = 0
    warmup_from: float = 0.0

    def __post_init__(self) -> None:
        _set_number(self, "decay", "a number above 0, at most 1", lambda v: 0 < v <= 1)
        _set_number(self, "speed", "a number above 0", lambda v: 0 < v < math.inf)
        _set_whole(self, "warmup_epochs", 0)
        _set_number(self, "warmup_from", "a share from 0 to 1", lambda v: 0 <= v <= 1)


@dataclass(frozen=True)
class RunSpec:
    """One training run: everything that decides its numbers, and nothing else.

    `builder` are options of the model's builder beside those of `regularization`, such as
    {"hidden": [100, 100], "activation": "sigmoid", "kernel_initializer": {"class_name":
    "RandomNormal", "config": {"stddev": 0.05}}}; a mapping that JSON can hold, kept as JSON text in
    one form. `optimizer` is "momentum" (SGD with momentum 0.9) or a name that
    `keras.optimizers.get` knows, "sgd" being plain; `model` one of `dlip_reg.models`. With
    `patience` the run stops once the clean training loss has not improved by `IMPROVEMENT` for
    that many epochs, `epochs` is the most it takes, and it ends with the weights of the lowest
    loss.

    `measures` are names out of `MEASURES`: "curves" (clean losses at every epoch), "weights" (the
    kernels' and activations' statistics at both ends of training), "test" (the test split, which is
    otherwise not looked at); and out of `PROBES`. They watch the training and leave it as it is, so
    two specifications that differ in `measures` alone end in the same weights.

    ValueError for a value that no run can have; names are looked up when the run begins.
    """

    model: str
    data: DataSpec
    regularization: Regularization = field(default_factory=Regularization)
    builder: str | Mapping[str, Any] = "{}"
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: Schedule = field(default_factory=Schedule)
    batch_size: int = 32
    epochs: int = 10
    patience: int | None = None
    seed: int = 0
    measures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Equal specifications must have equal JSON, and so one identity: what is stored is plain.
        known = MEASURES + PROBES
        if isinstance(self.measures, str) or not set(self.measures) <= set(known):
            raise ValueError(
                f"measures must be a tuple of {', '.join(known)}, not {self.measures!r}."
            )
        object.__setattr__(self, "measures", tuple(m for m in known if m in self.measures))
        object.__setattr__(self, "builder", _plain_options(self.builder))
        for name, least in (("batch_size", 1), ("epochs", 1), ("seed", 0)):
            _set_whole(self, name, least)
        if self.patience is not None:
            _set_whole(self, "patience", 1)
        _set_number(self, "learning_rate", "a number above 0", lambda v: 0 < v < math.inf)

    def builder_options(self) -> dict[str, Any]:
        """Keyword options for the model's builder: the regularization's and the run's own."""
        return {**self.regularization.builder_options(), **json.loads(self.builder)}

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
                "schedule": Schedule(**values["schedule"]),
                "measures": tuple(values["measures"]),
            }
        )

    def identity(self, fingerprint: str) -> str:
        """16 hex digits that name this run on the data with that `fingerprint`."""
        return identity_of(self.to_json(), fingerprint)


def _plain_options(options: str | Mapping[str, Any]) -> str:
    accepted = "a mapping of builder options that JSON can hold"
    try:
        given = json.loads(options) if isinstance(options, str) else dict(options)
        text = json.dumps(given, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"builder must be {accepted}, not {options!r}.") from error
    if not isinstance(given, dict):
        raise ValueError(f"builder must be {accepted}, not {options!r}.")
    if taken := sorted(_REGULARIZATION_OPTIONS & set(given)):
        raise ValueError(f"builder must leave {', '.join(taken)} to regularization, not set it.")
    return text


def _set_number(spec: RunSpec | Schedule, name: str, accepted: str, is_valid: Callable) -> None:
    value = getattr(spec, name)
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not is_valid(number):
        raise ValueError(f"{name} must be {accepted}, not {value!r}.")
    object.__setattr__(spec, name, number)


def _set_whole(spec: DataSpec | RunSpec | Schedule, name: str, least: int) -> None:
    value = getattr(spec, name)
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise ValueError(f"{name} must be a whole number of {least} or more, not {value!r}.")
    object.__setattr__(spec, name, int(value))
