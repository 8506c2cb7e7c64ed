"""One execution of a trial: trained in a worker process, with a seed that all trials share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dlip_reg.datasets import Dataset
from dlip_reg.training.identity import identity_of
from dlip_reg.training.model_functions import source_hash
from dlip_reg.training.process import configure_process
from dlip_reg.training.records import Measures
from dlip_reg.training.specification import DataSpec, RunSpec
from dlip_reg.tuning.builders import model_name
from dlip_reg.tuning.data import ArrayData, NamedData
from dlip_reg.tuning.execution_record import ExecutionCurve, ExecutionRecord, State

if TYPE_CHECKING:
    import keras

    from dlip_reg.regularization import Regularization

_COLUMNS = ("loss", "clean_val_loss", "clean_val_accuracy")


@dataclass(frozen=True)
class ExecutionSpec:
    """What decides an execution's numbers.

    Args:
        run: What is trained.
        trial: The trial that it belongs to.
        number: Which of the trial's executions it is.
        build: Builds the model in place of `run.model`.
        initial_epoch: After how many epochs it starts; then it resumes from the state of `parent`.
        keeps_optimizer: Whether its state holds the optimizer's, so that another can resume there.
        parent: The execution that ended at `initial_epoch`; the record then holds both curves.
        state: The state that `parent` left.
    """

    run: RunSpec
    trial: str
    number: int
    build: Callable[[Regularization], keras.Model] | None = None
    initial_epoch: int = 0
    keeps_optimizer: bool = False
    parent: ExecutionRecord | None = field(default=None, compare=False, repr=False)
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
            **self._built(),
            "initial_epoch": self.initial_epoch,
            "trial": self.trial,
            "execution": self.number,
        }

    def identity(self, fingerprint: str) -> str:
        """16 hex digits that name what is trained on the data with that `fingerprint`."""
        values = {
            "job": "execution",
            "run": self.run.to_json() | self._built(),
            "initial_epoch": self.initial_epoch,
            "keeps_optimizer": self.keeps_optimizer,
        }
        if self.build is None and (source := source_hash(self.run.model)):
            values["sources"] = [source]
        return identity_of(values, fingerprint)

    def _built(self) -> dict[str, str]:
        return {} if self.build is None else {"model": model_name(self.build)}


def execute(spec: ExecutionSpec, data: NamedData | ArrayData) -> ExecutionRecord:
    """Train `spec` in this worker process; return its record, which repeats bit for bit."""
    from dlip_reg.experiments.worker import one_at_a_time

    with one_at_a_time:
        configure_process()
        return _executed(spec, data.load(spec.seed))


def _executed(spec: ExecutionSpec, dataset: Dataset) -> ExecutionRecord:
    import keras

    from dlip_reg.training.fitting import apply_data_options, compiled, fit
    from dlip_reg.tuning.objective import CleanValidation

    dataset = apply_data_options(spec.run, dataset)
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
    epochs = range(spec.initial_epoch + 1, spec.initial_epoch + len(logs["loss"]) + 1)
    columns = {name: tuple(map(float, logs[name])) for name in _COLUMNS}
    state = _state(model, spec.keeps_optimizer)
    finished = all(np.isfinite(values).all() for values in (*columns.values(), *state.values()))
    columns = {name: tuple(map(_or_none, column)) for name, column in columns.items()}
    curve = ExecutionCurve(tuple(epochs), **columns)
    return ExecutionRecord(
        id=spec.identity(dataset.fingerprint),
        trial=spec.trial,
        number=spec.number,
        seed=spec.seed,
        status="finished" if finished else "diverged",
        measures=Measures(curve.clean_val_loss[-1], curve.clean_val_accuracy[-1]),
        curve=ExecutionCurve.joined(spec.parent and spec.parent.curve, curve),
        spec=spec.to_json(),
        initial_epoch=spec.initial_epoch,
        state=state,
    )


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
