"""One execution of a trial: trained in a worker process, from a seed that all trials share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dlip_reg.datasets import Dataset
from dlip_reg.training.identity import identity_of
from dlip_reg.training.process import configure_process
from dlip_reg.training.specification import DataSpec, RunSpec
from dlip_reg.tuning.data import ArrayData, NamedData

if TYPE_CHECKING:
    import keras

    from dlip_reg.regularization import Regularization

State = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ExecutionSpec:
    """What decides an execution's numbers: its run, its own builder, and where it begins.

    An execution that begins after `initial_epoch` epochs goes on from `state`, which its
    `parent`, the execution that ended there, has left; its record then holds the whole curve.
    `trial` and `number` say whose execution it is. With `keeps_optimizer` the state it leaves
    holds the optimizer's, so that another can go on from there.
    """

    run: RunSpec
    trial: str
    number: int
    build: Callable[[Regularization], keras.Model] | None = None
    initial_epoch: int = 0
    keeps_optimizer: bool = False
    parent: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    state: State | None = field(default=None, compare=False, repr=False)

    @property
    def data(self) -> DataSpec:
        """The run's."""
        return self.run.data

    @property
    def seed(self) -> int:
        """The run's."""
        return self.run.seed

    def to_json(self) -> dict[str, Any]:
        """A plain nested dict that `json` can write."""
        return {
            **self.run.to_json(),
            "initial_epoch": self.initial_epoch,
            "trial": self.trial,
            "execution": self.number,
        }

    def identity(self, fingerprint: str) -> str:
        """16 hex digits that name what is trained on the data with that `fingerprint`."""
        values = {
            "job": "execution",
            "run": self.run.to_json(),
            "initial_epoch": self.initial_epoch,
            "keeps_optimizer": self.keeps_optimizer,
        }
        return identity_of(values, fingerprint)


def execute(spec: ExecutionSpec, data: NamedData | ArrayData) -> dict[str, Any]:
    """Train `spec` in this worker process; its record, which repeats bit for bit.

    `status` is "finished", or "diverged" where a number became NaN or infinite. `measures` are
    `val_loss` and `val_accuracy` after the last epoch; `curve` has a column for `epoch` (from 1)
    and each metric: `clean_val_loss`, `clean_val_accuracy` and `loss`, Keras' own of training.
    `state` holds arrays (see `_state`), which JSON cannot.
    """
    from dlip_reg.experiments.worker import one_at_a_time

    with one_at_a_time:
        configure_process()
        return _executed(spec, data.load(spec.seed))


def _executed(spec: ExecutionSpec, dataset: Dataset) -> dict[str, Any]:
    import keras

    from dlip_reg.training.fitting import compiled, fit, seen_by
    from dlip_reg.tuning.objective import CleanValidation

    dataset = seen_by(spec.run, dataset)
    build = None
    if spec.build is not None:
        from dlip_reg.tuning.hypermodel import functional

        # Layers without a kernel draw their weights from Keras' global seed.
        keras.utils.set_random_seed(spec.seed)
        build = functools.partial(functional, spec.build)
    model = compiled(spec.run, dataset, build)
    if spec.state is not None:
        put_state(model, spec.state)
    watch = CleanValidation((dataset.x_validation, dataset.y_validation))
    logs = fit(model, spec.run, dataset, [watch], spec.initial_epoch).history
    curve = {
        "epoch": list(range(spec.initial_epoch + 1, spec.initial_epoch + len(logs["loss"]) + 1))
    }
    curve |= {name: [float(value) for value in column] for name, column in logs.items()}
    state = _state(model, spec.keeps_optimizer)
    finished = all(np.isfinite(column).all() for column in (*curve.values(), *state.values()))
    if spec.parent is not None:
        curve = {name: [*spec.parent["curve"][name], *column] for name, column in curve.items()}
    curve = {name: [_or_none(value) for value in column] for name, column in curve.items()}
    return {
        "id": spec.identity(dataset.fingerprint),
        "spec": spec.to_json(),
        "status": "finished" if finished else "diverged",
        "measures": {
            f"val_{name}": curve[f"clean_val_{name}"][-1] for name in ("loss", "accuracy")
        },
        "curve": curve,
        "state": state,
    }


def _state(model: keras.Model, with_optimizer: bool) -> dict[str, np.ndarray]:
    """The layers' variables, dropout's random states among them, and the optimizer's, in order."""
    groups = {"layers": _layer_variables(model)}
    if with_optimizer:
        groups["optimizer"] = model.optimizer.variables
    return {
        f"{group}_{index:04}": variable.numpy()
        for group, variables in groups.items()
        for index, variable in enumerate(variables)
    }


def put_state(model: keras.Model, state: State) -> None:
    """Give a model of the same structure what an execution has left; ValueError for another."""
    groups = {"layers": _layer_variables(model), "optimizer": model.optimizer.variables}
    for group, variables in groups.items():
        arrays = [state[name] for name in sorted(state) if name.startswith(group)]
        if group == "optimizer" and not arrays:
            continue
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)


def _layer_variables(model: keras.Model) -> list:
    return [variable for layer in model.layers for variable in layer.variables]


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
