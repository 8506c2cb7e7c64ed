"""One execution of a trial: trained in a worker process, with a seed that all trials share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from dlip_reg.datasets import Dataset
from dlip_reg.training.codec import to_plain
from dlip_reg.training.identity import identity_of
from dlip_reg.training.model_functions import source_hash
from dlip_reg.training.process import configure_process
from dlip_reg.training.records import Numbers
from dlip_reg.training.specification import RunSpec
from dlip_reg.tuning.builders import model_name
from dlip_reg.tuning.data import SearchData

if TYPE_CHECKING:
    import keras

    from dlip_reg.regularization import Regularization

State = Mapping[str, np.ndarray]

_COLUMNS = ("loss", "clean_val_loss", "clean_val_accuracy")


@dataclass(frozen=True)
class ExecutionCurve:
    """Columns over epochs, from epoch 1; `loss` is Keras' own of training.

    None stands for a number that is not finite.
    """

    epoch: tuple[int, ...] = ()
    loss: Numbers = ()
    clean_val_loss: Numbers = ()
    clean_val_accuracy: Numbers = ()


@dataclass(frozen=True)
class ExecutionRecord:
    """What an execution left.

    Attributes:
        id: What was trained, on which data: `ExecutionSpec.identity`.
        trial, number: Whose execution it is.
        seed: The seed of its run.
        status: "diverged" where a number became NaN or infinite.
        curve: All epochs, those of its parent included.
        initial_epoch: After how many epochs it started.
        state: The arrays that it left, which are stored in a file of their own.
    """

    id: str
    trial: str
    number: int
    seed: int
    status: Literal["finished", "diverged"]
    curve: ExecutionCurve
    initial_epoch: int = 0
    state: State | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class ExecutionSpec:
    """What decides an execution's numbers.

    Args:
        run: What is trained.
        trial: The trial that it belongs to.
        number: Which of the trial's executions it is.
        build: Builds the model in place of `run.model`.
        keeps_optimizer: Whether its state holds the optimizer's, so that another can resume there.
        parent: The execution, with its state, from which this one resumes.
    """

    run: RunSpec
    trial: str
    number: int
    build: Callable[[Regularization], keras.Model] | None = None
    keeps_optimizer: bool = False
    parent: ExecutionRecord | None = None

    @property
    def seed(self) -> int:
        """The run's."""
        return self.run.seed

    @property
    def initial_epoch(self) -> int:
        """After how many epochs it starts."""
        return self.parent.curve.epoch[-1] if self.parent else 0

    def identity(self, fingerprint: str) -> str:
        """Return 16 hex digits that name what is trained on the data with that `fingerprint`."""
        run = self.run.to_json()
        source = source_hash(self.run.model)
        if self.build is not None:
            run, source = run | {"model": model_name(self.build)}, None
        values = {
            "job": "execution",
            "run": run,
            "initial_epoch": self.initial_epoch,
            "keeps_optimizer": self.keeps_optimizer,
        }
        return identity_of(values | ({"sources": [source]} if source else {}), fingerprint)


def execute(spec: ExecutionSpec, data: SearchData) -> ExecutionRecord:
    """Train `spec` in this worker process; return its record, which repeats bit for bit."""
    from dlip_reg.experiments.worker import one_at_a_time

    with one_at_a_time:
        configure_process()
        return train(spec, data.load(spec.seed))


def train(spec: ExecutionSpec, dataset: Dataset) -> ExecutionRecord:
    """Train `spec` on `dataset` and return its record."""
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
    if spec.parent is not None:
        put_state(model, spec.parent.state)
    watch = CleanValidation((dataset.x_validation, dataset.y_validation))
    logs = fit(model, spec.run, dataset, [watch], spec.initial_epoch).history
    columns = {name: [float(value) for value in logs[name]] for name in _COLUMNS}
    state = {
        f"{group}_{index:04}": variable.numpy()
        for group, variables in _variables(model).items()
        if group == "layers" or spec.keeps_optimizer
        for index, variable in enumerate(variables)
    }
    finished = all(np.isfinite(values).all() for values in (*columns.values(), *state.values()))
    columns["epoch"] = [spec.initial_epoch + 1 + index for index in range(len(logs["loss"]))]
    before = spec.parent.curve if spec.parent else ExecutionCurve()
    return ExecutionRecord(
        id=spec.identity(dataset.fingerprint),
        trial=spec.trial,
        number=spec.number,
        seed=spec.seed,
        status="finished" if finished else "diverged",
        curve=ExecutionCurve(
            **{n: (*getattr(before, n), *to_plain(values)) for n, values in columns.items()}
        ),
        initial_epoch=spec.initial_epoch,
        state=state,
    )


def put_state(model: keras.Model, state: State) -> None:
    """Restore what an execution left in a model of the same structure; ValueError for another."""
    for group, variables in _variables(model).items():
        arrays = [state[name] for name in sorted(state) if name.startswith(group)]
        if group == "optimizer" and not arrays:
            continue
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)


def _variables(model: keras.Model) -> dict[str, list]:
    """The layers' variables, dropout's random states among them, and the optimizer's, in order."""
    return {
        "layers": [variable for layer in model.layers for variable in layer.variables],
        "optimizer": model.optimizer.variables,
    }
