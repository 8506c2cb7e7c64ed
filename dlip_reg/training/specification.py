"""What a run is: a frozen specification, and the hash that identifies it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from importlib import import_module
from typing import Any, ClassVar, get_type_hints

from dlip_reg.checks import require_bool, require_number, require_rate, require_whole
from dlip_reg.datasets.names import absolute_name
from dlip_reg.regularization import Regularization
from dlip_reg.training.codec import from_plain
from dlip_reg.training.identity import identity_of
from dlip_reg.training.keras_configs import config_text
from dlip_reg.training.model_functions import check_options, model_text, source_hash

# What a run may measure beyond its final validation loss and accuracy:
MEASURES = ("curves", "weights", "test")
# Probes measure one property of the network, at a cost: see `probes` and `endings`.
PROBES = (
    "curvature",
    "stability",
    "keskar",
    "landscape",
    "flow",
    "percentiles",
    "colours",
    "batch_noise",
    "recalibrated",
    "minimizer",
)
# What is measured where the run first reaches each of its loss levels: see `levels`.
LEVEL_PROBES = ("level_landscape", "level_independence", "level_activations", "level_gap")

# Nats of clean training loss that count as an improvement. The cross-entropy of a network that fits
# all its images decreases for ever, by less and less.
IMPROVEMENT = 1e-4

# The names that `optimizer` accepts; "momentum" is SGD with momentum 0.9.
OPTIMIZERS = (
    "momentum",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "ftrl",
    "lion",
    "muon",
    "nadam",
    "rmsprop",
    "sgd",
)
SPARSE_CROSS_ENTROPY = "SparseCategoricalCrossentropy"
DEFAULT_LOSS = config_text(
    "loss", {"class_name": SPARSE_CROSS_ENTROPY, "config": {"from_logits": True}}, "keras.losses"
)

# Where the specification of each kind is defined, for records that are read before it was imported.
_MODULE_OF_KIND = {
    "run": "specification",
    "interpolation": "interpolation",
    "throughput": "throughput",
}


class Spec:
    """The base of all specifications: frozen dataclasses with a `kind`, a `seed` and `data`."""

    kind: ClassVar[str]
    _classes: ClassVar[dict[str, type[Spec]]] = {}

    def __init_subclass__(cls) -> None:
        if "kind" in vars(cls):
            Spec._classes[cls.kind] = cls

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """The training runs of which the specification is made."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return a plain nested dict that `json` can write."""
        values = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        return {"kind": self.kind, "seed": self.seed, **values}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Spec:
        """Return the specification, of whatever kind, whose `to_json` gave `values`.

        Raises:
            KeyError: The kind is unknown.
            ValueError: The values are not accepted.
        """
        import_module(f"dlip_reg.training.{_MODULE_OF_KIND[values['kind']]}")
        found = Spec._classes[values["kind"]]
        types = get_type_hints(found)
        names = [f.name for f in fields(found)]
        return found(**{name: from_plain(types[name], values[name]) for name in names})

    def identity(self, fingerprint: str) -> str:
        """Return the 16 hex digits that identify this job.

        They depend on the source files of model functions, too.

        Args:
            fingerprint: That of the data set.
        """
        sources = [source for run in self.runs if (source := source_hash(run.model))]
        values = self.to_json()
        return identity_of(values | {"sources": sources} if sources else values, fingerprint)


class DerivedSpec(Spec):
    """A specification made of runs; it has the data and the seed of the first of them."""

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """The training runs of which the specification is made."""
        return tuple(self._run_fields().values())

    @property
    def data(self) -> DataSpec:
        """The data of the runs."""
        return self.runs[0].data

    @property
    def seed(self) -> int:
        """The seed of the runs."""
        return self.runs[0].seed

    def at_seed(self, seed: int) -> DerivedSpec:
        """Return the same specification with another seed."""
        runs = {name: run.at_seed(seed) for name, run in self._run_fields().items()}
        return replace(self, **runs)

    def _run_fields(self) -> dict[str, RunSpec]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, RunSpec)}


@dataclass(frozen=True)
class DataSpec:
    """Which data a run uses: a named set, and how many images of each split.

    Args:
        name: A name that `load_dataset` accepts; the path in it is stored as an absolute one.
        n_train: How many training images; None for the default of `load_dataset`, as for the
            other sizes.
        n_validation: How many validation images.
        n_test: How many test images.
        colour: Whether grey images are repeated to three channels.
        random_labels: Whether the training labels are drawn uniformly by the run's seed (Zhang et
            al. 2017, "Understanding deep learning requires rethinking generalization").
        size: For "folder:PATH", the side in pixels to which images are resized.

    Raises:
        ValueError: A value is not accepted.
    """

    name: str
    n_train: int | None = None
    n_validation: int | None = None
    n_test: int | None = None
    colour: bool = False
    random_labels: bool = False
    size: int | None = None

    def __post_init__(self) -> None:
        _replace(self, "name", lambda _, name: absolute_name(name))
        for name in ("n_train", "n_validation", "n_test", "size"):
            _replace(self, name, require_whole, optional=True)
        for name in ("colour", "random_labels"):
            _replace(self, name, require_bool)


@dataclass(frozen=True)
class Schedule:
    """How a run's learning rate changes from step to step; the default keeps it constant.

    At step t of T it is learning_rate * `decay` ** (`speed` * t / T): from learning_rate down to
    learning_rate * decay at the end of the run, or with speed 6 after a sixth of it and on down the
    same exponential. Through the first `warmup_epochs` it is multiplied by a factor that grows from
    `warmup_from` to 1 by a constant amount per step (gradual warm-up, Goyal et al. 2017, section
    2.2).

    Raises:
        ValueError: A decay outside (0, 1], a speed of 0 or less, or a factor outside [0, 1].
    """

    decay: float = 1.0
    speed: float = 1.0
    warmup_epochs: int = 0
    warmup_from: float = 0.0

    def __post_init__(self) -> None:
        _replace(self, "decay", _number("a number above 0, at most 1", lambda v: 0 < v <= 1))
        _replace(self, "speed", _number("a number above 0", lambda v: 0 < v < math.inf))
        _replace(self, "warmup_epochs", require_whole, 0)
        _replace(self, "warmup_from", _number("a factor from 0 to 1", lambda v: 0 <= v <= 1))


@dataclass(frozen=True)
class RunSpec(Spec):
    """One training run: everything that decides its numbers, and nothing else.

    Args:
        model: A name in `dlip_reg.models`; or a function "package.module:function", or the function
            itself, which is stored as that text. It is called as f(input_shape=..., classes=...,
            **options) and returns an uncompiled model with one output per class. The options are
            those of `builder`, and those of the regularization that it accepts.
        data: The data.
        regularization: What the model is regularized by.
        builder: Other options of the model, such as {"hidden": [100, 100], "activation":
            "sigmoid"}: a mapping that JSON can hold, stored as JSON text.
        loss: The loss that is trained on: a Keras loss or its configuration, stored as JSON text.
            A loss whose name does not begin with "Sparse" gets one-hot targets. Clean losses in
            records are always the plain cross-entropy.
        label_smoothing: The s in targets (1 - s) * one-hot + s / classes, at least 0 and below 1.
        optimizer: One of `OPTIMIZERS`, or a Keras optimizer or its configuration.
        learning_rate: Replaces the optimizer's own.
        schedule: How the learning rate changes.
        augmentation: Keras layers or their configurations, applied in this order to the
            standardised images of training batches only, seeded by the run's seed.
        batch_size: How many images a step takes.
        epochs: How many epochs, or with `patience` the most.
        patience: Stop once the clean training loss has not improved by `IMPROVEMENT` for that many
            epochs, and end with the weights of the lowest loss.
        stop_loss: Stop after the first epoch whose clean training loss is at most this.
        seed: Decides weights, batches, dropout and augmentation.
        measures: Names from `MEASURES` ("curves": clean losses at every epoch; "weights": the
            statistics of kernels and activations at every epoch; "test": the test split, which is
            otherwise not used), from `PROBES`, and from `LEVEL_PROBES`, which need levels. They do
            not change the training.
        loss_levels: Levels of the clean training loss, in nats: the record says when the run
            reached each, and what `LEVEL_PROBES` measured there. They do not change the training.

    Raises:
        ValueError: A value is not accepted. What only Keras can tell (a class that does not exist)
            is raised when the model is built.
    """

    kind: ClassVar[str] = "run"

    model: str | Any
    data: DataSpec
    regularization: Regularization = field(default_factory=Regularization)
    builder: str | Any = "{}"
    loss: str | Any = DEFAULT_LOSS
    label_smoothing: float = 0.0
    optimizer: str | Any = "adam"
    learning_rate: float = 1e-3
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: str | Any = "[]"
    batch_size: int = 32
    epochs: int = 10
    patience: int | None = None
    stop_loss: float | None = None
    seed: int = 0
    measures: tuple[str, ...] = ()
    loss_levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        # Equal specifications must have equal JSON, and so one identity: what is stored is plain.
        known = MEASURES + PROBES + LEVEL_PROBES
        if isinstance(self.measures, str) or not set(self.measures) <= set(known):
            raise ValueError(
                f"measures must be a tuple of {', '.join(known)}, not {self.measures!r}."
            )
        plain = {
            "measures": tuple(m for m in known if m in self.measures),
            "model": model_text(self.model),
            "builder": _plain_options(self.builder),
            "loss": config_text("loss", self.loss, "keras.losses"),
            "optimizer": _optimizer_text(self.optimizer),
            "augmentation": _augmentation_text(self.augmentation),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        for name, least in (("batch_size", 1), ("epochs", 1), ("seed", 0)):
            _replace(self, name, require_whole, least)
        _replace(self, "patience", require_whole, optional=True)
        above_0 = _number("a number above 0", lambda v: 0 < v < math.inf)
        _replace(self, "stop_loss", above_0, optional=True)
        if "minimizer" in self.measures and self.stop_loss is None:
            raise ValueError("The measure minimizer needs stop_loss, the loss to measure at.")
        _replace(self, "learning_rate", above_0)
        _replace(self, "label_smoothing", require_rate)
        if self.label_smoothing and not _accepts_smoothing(json.loads(self.loss)):
            raise ValueError(
                "label_smoothing must be 0 for a loss that has label smoothing of its own or needs "
                f"integer targets, not {self.label_smoothing!r}."
            )
        _replace(self, "loss_levels", _levels)
        if not self.loss_levels and (needing := set(self.measures) & set(LEVEL_PROBES)):
            raise ValueError(f"{', '.join(sorted(needing))} must be measured at loss_levels.")
        check_options(self)

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """This run."""
        return (self,)

    def at_seed(self, seed: int) -> RunSpec:
        """Return the same specification with another seed."""
        return replace(self, seed=seed)


def _plain(value: Any) -> Any:
    if hasattr(value, "to_json"):
        return value.to_json()
    if is_dataclass(value):
        return asdict(value)
    return list(value) if isinstance(value, tuple) else value


def _plain_options(options: str | Mapping[str, Any]) -> str:
    accepted = "a mapping of builder options that JSON can hold"
    try:
        given = json.loads(options) if isinstance(options, str) else dict(options)
        text = json.dumps(given, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"builder must be {accepted}, not {options!r}.") from error
    if not isinstance(given, dict):
        raise ValueError(f"builder must be {accepted}, not {options!r}.")
    if taken := sorted(set(Regularization.OPTIONS) & set(given)):
        raise ValueError(f"builder must leave {', '.join(taken)} to regularization, not set it.")
    if taken := sorted({"input_shape", "classes"} & set(given)):
        raise ValueError(f"builder must leave {', '.join(taken)} to data, not set it.")
    return text


def _optimizer_text(value: Any) -> str:
    if not isinstance(value, str) or value.lstrip().startswith("{"):
        return config_text("optimizer", value, "keras.optimizers")
    if value.lower() not in OPTIMIZERS:
        raise ValueError(
            f"optimizer must be {', '.join(OPTIMIZERS)}, or a Keras optimizer or its "
            f"configuration, not {value!r}."
        )
    return value.lower()


def _augmentation_text(value: Any) -> str:
    try:
        layers = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        layers = None
    if not isinstance(layers, Sequence) or isinstance(layers, str):
        raise ValueError(
            f"augmentation must be a list of Keras layers or their configurations, not {value!r}."
        )
    texts = [config_text("augmentation", layer, "keras.layers") for layer in layers]
    return json.dumps([json.loads(text) for text in texts], sort_keys=True)


def _accepts_smoothing(loss: dict[str, Any]) -> bool:
    name, own = loss["class_name"], loss["config"].get("label_smoothing")
    return not own and (name == SPARSE_CROSS_ENTROPY or not name.startswith("Sparse"))


def _levels(name: str, values: Sequence[float]) -> tuple[float, ...]:
    above_0 = _number("losses above 0", lambda v: 0 < v < math.inf)
    return tuple(sorted({above_0(name, value) for value in values}, reverse=True))


def _number(accepted: str, is_valid: Callable[[float], bool]) -> Callable[[str, Any], float]:
    return lambda name, value: require_number(name, value, accepted, is_valid)


def _replace(spec: Any, name: str, check: Callable, *args: Any, optional: bool = False) -> None:
    """Store what `check` returns for a field; None stays None where it is `optional`."""
    value = getattr(spec, name)
    if value is not None or not optional:
        object.__setattr__(spec, name, check(name, value, *args))
