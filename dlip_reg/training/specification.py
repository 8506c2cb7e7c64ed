"""What a run is: a frozen specification, and the hash that identifies it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from dlip_reg.checks import (
    Checked,
    checked,
    number_check,
    optional,
    require_bool,
    require_positive,
    require_rate,
    require_whole,
    several,
)
from dlip_reg.codec import field_types, from_plain, to_plain
from dlip_reg.datasets.names import absolute_name
from dlip_reg.regularization import Regularization
from dlip_reg.training.identity import code_hash, identity_of
from dlip_reg.training.keras_configs import config_text, user_modules
from dlip_reg.training.model_functions import (
    check_options,
    functions_of,
    model_text,
)
from dlip_reg.training.sources import source_hash

# What a run may measure beyond its final validation loss and accuracy:
MEASURES = ("curves", "weights", "test")
# Probes measure one property of the network, at a cost: see `probes` and `endings`.
PROBES = (
    *("curvature", "keskar", "landscape", "flow", "percentiles"),
    *("colours", "batch_noise", "recalibrated", "minimizer"),
)
# What is measured where the run first reaches each of its loss levels: see `levels`.
LEVEL_PROBES = ("level_landscape", "level_independence", "level_activations", "level_gap")

# Nats of clean training loss that count as an improvement. The cross-entropy of a network that fits
# all its images decreases for ever, by less and less.
IMPROVEMENT = 1e-4

# The names that `optimizer` accepts; "momentum" is SGD with momentum 0.9.
OPTIMIZERS = (
    *("momentum", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw"),
    *("ftrl", "lion", "muon", "nadam", "rmsprop", "sgd"),
)
_SHAPE = ("input_shape", "classes")  # of a model, which the data decides
SPARSE_CROSS_ENTROPY = "SparseCategoricalCrossentropy"
DEFAULT_LOSS = config_text(
    "loss", {"class_name": SPARSE_CROSS_ENTROPY, "config": {"from_logits": True}}, "keras.losses"
)


def _measures(name: str, given: Any) -> tuple[str, ...]:
    known = MEASURES + PROBES + LEVEL_PROBES
    if not isinstance(given, Collection) or isinstance(given, str) or not set(given) <= set(known):
        raise ValueError(f"{name} must be a tuple of {', '.join(known)}, not {given!r}.")
    return tuple(measure for measure in known if measure in given)


def _options_text(name: str, options: str | Mapping[str, Any]) -> str:
    try:
        given = dict(json.loads(options) if isinstance(options, str) else options)
        text = json.dumps(given, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be a mapping of builder options that JSON can hold, not {options!r}."
        ) from error
    for names, owner in ((Regularization.OPTIONS, "regularization"), (_SHAPE, "data")):
        if taken := sorted(set(names) & set(given)):
            raise ValueError(f"{name} must leave {', '.join(taken)} to {owner}, not set it.")
    return text


def _optimizer_text(name: str, value: Any) -> str:
    if not isinstance(value, str) or value.lstrip().startswith("{"):
        text = config_text(name, value, "keras.optimizers")
        if '"learning_rate":' in text:  # an inner optimizer's, too
            raise ValueError(
                f"{name} must leave the learning rate to learning_rate and schedule of the run, "
                "and set none of its own."
            )
        return text
    if value.lower() not in OPTIMIZERS:
        raise ValueError(
            f"{name} must be {', '.join(OPTIMIZERS)}, or a Keras optimizer or its "
            f"configuration, not {value!r}."
        )
    return value.lower()


def _in_a_row(layers: Any) -> Iterator[Any]:
    """The layers, with those of a `keras.Sequential` in its place; TypeError for no list."""
    if not isinstance(layers, Sequence) and type(layers).__name__ != "Sequential":
        raise TypeError
    for layer in getattr(layers, "layers", layers):
        yield from _in_a_row(layer) if type(layer).__name__ == "Sequential" else (layer,)


def _augmentation_text(name: str, value: Any) -> str:
    try:
        layers = list(_in_a_row(json.loads(value) if isinstance(value, str) else value))
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be a list of Keras layers or their configurations, not {value!r}."
        ) from None
    texts = [config_text(name, layer, "keras.layers") for layer in layers]
    return json.dumps([json.loads(text) for text in texts], sort_keys=True)


def _levels(name: str, values: Sequence[float]) -> tuple[float, ...]:
    levels = {require_positive(name, value, "losses above 0") for value in several(values)}
    return tuple(sorted(levels, reverse=True))


_above_0 = partial(require_positive, accepted="a number above 0")
_from_0 = partial(require_whole, least=0)
_size = optional(require_whole)


@dataclass(frozen=True)
class Spec:
    """The base of all specifications."""

    kind: ClassVar[str]
    if TYPE_CHECKING:  # a dataclass takes an inherited property for the default of its field

        @property
        def seed(self) -> int: ...
        @property
        def data(self) -> DataSpec: ...

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """The training runs of which the specification is made."""
        raise NotImplementedError

    def at_seed(self, seed: int) -> Self:
        """Return the same specification with another seed."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        changes: dict[str, Any] = {
            name: replace(value, seed=seed)
            for name, value in values.items()
            if isinstance(value, RunSpec)
        }
        return replace(self, **(changes or {"seed": seed}))

    def to_json(self) -> dict[str, Any]:
        """Return a plain nested dict that `json` can write."""
        values = {f.name: to_plain(getattr(self, f.name), defaults=True) for f in fields(self)}
        return {"kind": self.kind, "seed": self.seed, **values}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Spec:
        """Return the specification, of whatever kind, whose `to_json` gave `values`.

        Raises:
            KeyError: The kind is unknown.
            ValueError: The values are not accepted.
        """
        kinds = {spec.kind: spec for spec in (RunSpec, InterpolationSpec, ThroughputSpec)}
        found = kinds[values["kind"]]
        types = field_types(found)
        names = [f.name for f in fields(found)]
        return found(**{name: from_plain(types[name], values[name]) for name in names})

    def identity(self, fingerprint: str) -> str:
        """Return the 16 hex digits that identify this job.

        They depend on this package's code, too, and on the source files of model functions and of
        losses, optimizers and layers that are the user's own.

        Args:
            fingerprint: That of the data set.
        """
        sources = [source_hash(name) for run in self.runs for name in _user_modules(run)]
        return identity_of(self.to_json() | {"code": [code_hash(), *sources]}, fingerprint)


class DerivedSpec(Spec):
    """A specification made of runs; it has the data and the seed of the first of them."""

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """The training runs of which the specification is made."""
        return tuple(value for value in vars(self).values() if isinstance(value, RunSpec))

    @property
    def data(self) -> DataSpec:
        """The data of the runs."""
        return self.runs[0].data

    @property
    def seed(self) -> int:
        """The seed of the runs."""
        return self.runs[0].seed


@dataclass(frozen=True)
class DataSpec(Checked):
    """Which data a run uses: a named set, and how many images of each split.

    Args:
        name: A name that `load_dataset` accepts; the path in it is stored as an absolute one.
        n_train: How many training images; None for the default of `load_dataset`, as for the
            other sizes.
        n_validation: How many validation images.
        n_test: How many test images.
        grey: Whether images are grey ones in three channels, as `dlip_reg.datasets.as_grey` makes
            them.
        random_labels: Whether the training labels are drawn uniformly by the run's seed (Zhang et
            al. 2017, "Understanding deep learning requires rethinking generalization").
        size: For "folder:PATH", the side in pixels to which images are resized.

    Raises:
        ValueError: A value is not accepted.
    """

    name: str = checked(lambda field, name: absolute_name(_require(str, field, name)))
    n_train: int | None = checked(_size, None)
    n_validation: int | None = checked(_size, None)
    n_test: int | None = checked(_size, None)
    grey: bool = checked(require_bool, False)
    random_labels: bool = checked(require_bool, False)
    size: int | None = checked(_size, None)


@dataclass(frozen=True)
class Schedule(Checked):
    """How a run's learning rate changes from step to step; the default keeps it constant.

    At step t of T it is learning_rate * `decay` ** (`speed` * t / T): from learning_rate down to
    learning_rate * decay at the end of the run, or with speed 6 after a sixth of it and on down the
    same exponential. Through the first `warmup_epochs` it is multiplied by a factor that grows from
    `warmup_from` to 1 by a constant amount per step (gradual warm-up, Goyal et al. 2017, section
    2.2).

    Raises:
        ValueError: A decay outside (0, 1], a speed of 0 or less, or a factor outside [0, 1].
    """

    decay: float = checked(number_check("a number above 0, at most 1", lambda v: 0 < v <= 1), 1.0)
    speed: float = checked(_above_0, 1.0)
    warmup_epochs: int = checked(_from_0, 0)
    warmup_from: float = checked(number_check("a factor from 0 to 1", lambda v: 0 <= v <= 1), 0.0)


def _require(kind: type, name: str, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__}, not {value!r}.")
    return value


@dataclass(frozen=True)
class RunSpec(Spec, Checked):
    """One training run: everything that decides its numbers, and nothing else.

    Args:
        model: A name in `dlip_reg.models`; or a function "package.module:function", or the function
            itself, which is stored as that text. It is called as f(input_shape=..., classes=...,
            **options) and returns an uncompiled model with one output per class. The options are
            those of `builder`, and those of the regularization that it accepts. It leaves Keras'
            global settings, such as the dtype policy, as they are.
        data: The data.
        regularization: What the model is regularized by.
        builder: Other options of the model, such as {"hidden": [100, 100], "activation":
            "sigmoid"}: a mapping that JSON can hold, stored as JSON text.
        loss: The loss that is trained on: a Keras loss or its configuration, stored as JSON text.
            A loss whose name does not begin with "Sparse" gets one-hot targets. Clean losses in
            records are always the plain cross-entropy.
        label_smoothing: The s in targets (1 - s) * one-hot + s / classes, at least 0 and below 1.
        optimizer: One of `OPTIMIZERS`, or a Keras optimizer or its configuration. With `use_ema`
            the averaged weights are measured after each epoch.
        learning_rate: That of the optimizer, which sets none of its own.
        schedule: How the learning rate changes.
        augmentation: Keras layers or their configurations, or a `keras.Sequential` of layers,
            applied in this order to the standardised images of training batches only, seeded by
            the run's seed. A layer with a `value_range` needs one of such images, for example
            (-3, 3).
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

    model: str | Any = checked(lambda _, model: model_text(model))
    data: DataSpec = checked(partial(_require, DataSpec))
    regularization: Regularization = checked(partial(_require, Regularization), Regularization())
    builder: str | Any = checked(_options_text, "{}")
    loss: str | Any = checked(partial(config_text, module="keras.losses"), DEFAULT_LOSS)
    label_smoothing: float = checked(require_rate, 0.0)
    optimizer: str | Any = checked(_optimizer_text, "adam")
    learning_rate: float = checked(_above_0, 1e-3)
    schedule: Schedule = checked(partial(_require, Schedule), Schedule())
    augmentation: str | Any = checked(_augmentation_text, "[]")
    batch_size: int = checked(require_whole, 32)
    epochs: int = checked(require_whole, 10)
    patience: int | None = checked(_size, None)
    stop_loss: float | None = checked(optional(_above_0), None)
    seed: int = checked(_from_0, 0)
    measures: tuple[str, ...] = checked(_measures, ())
    loss_levels: tuple[float, ...] = checked(_levels, ())

    def __post_init__(self) -> None:
        # Equal specifications must have equal JSON, and so one identity: what is stored is plain.
        super().__post_init__()
        if "minimizer" in self.measures and self.stop_loss is None:
            raise ValueError("The measure minimizer needs stop_loss, the loss to measure at.")
        on_the_way = self.patience or self.stop_loss or self.loss_levels
        if '"use_ema": true' in self.optimizer and on_the_way:
            raise ValueError(
                "optimizer must have no use_ema in a run with patience, stop_loss or loss_levels."
            )
        if self.label_smoothing and not _accepts_smoothing(json.loads(self.loss)):
            raise ValueError(
                "label_smoothing must be 0 for a loss that has label smoothing of its own or needs "
                f"integer targets, not {self.label_smoothing!r}."
            )
        if not self.loss_levels and (needing := set(self.measures) & set(LEVEL_PROBES)):
            raise ValueError(f"{', '.join(sorted(needing))} must be measured at loss_levels.")
        check_options(self)

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """This run."""
        return (self,)


@dataclass(frozen=True)
class InterpolationSpec(DerivedSpec):
    """Two runs whose trained nets are compared: `first` at a = 0, `second` at a = 1.

    With `surfaces` the loss over a plane about either net is measured, too. ValueError for runs
    whose networks do not have the same weights or see other data.
    """

    kind: ClassVar[str] = "interpolation"

    first: RunSpec
    second: RunSpec
    surfaces: bool = False

    def __post_init__(self) -> None:
        for name in ("model", "builder", "data", "seed"):
            ours, theirs = getattr(self.first, name), getattr(self.second, name)
            if ours != theirs:
                raise ValueError(f"The two runs must have one {name}, not {ours!r} and {theirs!r}.")
        if self.first.regularization.batch_norm != self.second.regularization.batch_norm:
            raise ValueError("The two runs must both have batch normalization, or both have none.")


@dataclass(frozen=True)
class ThroughputSpec(DerivedSpec):
    """How fast the training of `run` is; the run's seed tells repetitions apart.

    Of the run count model, data, batch size and optimizer. The measurement takes `seconds` of
    training or a little more, warm-up not counted.

    Args:
        run: What is trained.
        seconds: For how long.
        threads: How many threads TensorFlow computes with; None for one per core.
        repetition: Tells measurements apart that are otherwise the same.
    """

    kind: ClassVar[str] = "throughput"

    run: RunSpec
    seconds: float = 0.5
    threads: int | None = None
    repetition: int = 0


def _user_modules(run: RunSpec) -> list[str]:
    modules = {name.partition(":")[0] for name in functions_of(run)}
    texts = (run.loss, run.optimizer, run.augmentation)  # an optimizer may be a name
    return sorted(modules.union(*(user_modules(text) for text in texts if text[0] in "{[")))


def _accepts_smoothing(loss: dict[str, Any]) -> bool:
    name, config = loss["class_name"], loss["config"]
    if config.get("label_smoothing") or config.get("ignore_class") is not None:
        return False
    return name == SPARSE_CROSS_ENTROPY or not name.startswith("Sparse")
