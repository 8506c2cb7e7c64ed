"""One execution of a trial: trained in a worker process, with a seed that all trials share."""

from __future__ import annotations

import gc
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from dlip_reg.chunks import count_examples
from dlip_reg.experiments.worker import one_at_a_time
from dlip_reg.training.identity import identity_of
from dlip_reg.training.process import configure_process
from dlip_reg.tuning import OBJECTIVES
from dlip_reg.tuning.fit_arguments import first_batch, is_dataset, made, validation_arrays
from dlip_reg.tuning.folder import ExecutionRecord
from dlip_reg.tuning.hypermodel import build, has_plain_fit
from dlip_reg.tuning.objective import CleanValidation
from dlip_reg.tuning.sending import Job, useful_line, with_keras_settings
from dlip_reg.tuning.shared_model import shared_model


@dataclass(frozen=True)
class ExecutionSpec:
    """What decides an execution's numbers, beside what all executions of the search share.

    Args:
        trial: The trial that it belongs to.
        number: Which of the trial's executions it is.
        hyperparameters: The trial's.
        parent: The execution, with its state, from which this one resumes.
        folds: In how many folds the examples are split, if they are.
    """

    trial: str
    number: int
    hyperparameters: keras_tuner.HyperParameters
    parent: ExecutionRecord | None = None
    folds: int | None = None

    @property
    def seed(self) -> int:
        """Its seed: all folds of seed 0 come first."""
        return self.number // (self.folds or 1)

    @property
    def fold(self) -> int | None:
        """The fold that it is validated on."""
        return self.number % self.folds if self.folds else None

    @property
    def initial_epoch(self) -> int:
        """After how many epochs it starts."""
        return self.parent.epochs if self.parent else 0

    def identity(self, fingerprint: str) -> str:
        """Return 16 hex digits that name what is trained in the search with that `fingerprint`."""
        values = {name: repr(value) for name, value in self.hyperparameters.values.items()}
        parent = self.parent.id if self.parent else None
        known = {"values": values, "seed": self.seed, "parent": parent}
        fold = {"fold": self.fold, "folds": self.folds} if self.folds else {}
        return identity_of(known | fold, fingerprint)


def execute(spec: ExecutionSpec, job: Job) -> ExecutionRecord:
    """Train `spec` in this worker process; return its record, which repeats bit for bit."""
    with one_at_a_time:
        configure_process()
        parts = job.parts()
        try:
            with with_keras_settings(parts["settings"]):
                return _train(spec, job.fingerprint, **parts)
        except Exception as error:
            if str(error).startswith("Graph execution error"):
                raise ValueError(useful_line(error)) from None
            raise


def _train(
    spec: ExecutionSpec,
    fingerprint: str,
    hypermodel: keras_tuner.HyperModel,
    data: Mapping[str, Any],
    callbacks: list[keras.callbacks.Callback],
    objective: keras_tuner.Objective,
    settings: Mapping[str, Any],
) -> ExecutionRecord:
    hp = spec.hyperparameters.copy()
    is_clean, is_plain = objective.name in OBJECTIVES, has_plain_fit(hypermodel)
    keras.utils.set_random_seed(spec.seed)
    arguments = made(data, spec.seed, is_clean, spec.fold, spec.folds)
    if is_plain:
        arguments |= {n: v for n, v in hp.values.items() if n in ("epochs", "batch_size")}
        arguments.setdefault("verbose", 0)
    if "tuner/epochs" in hp.values:
        arguments["epochs"] = hp.values["tuner/epochs"]
    keras.utils.set_random_seed(spec.seed)
    model = build(hypermodel, hp)
    shapes = None
    watched: list[keras.callbacks.Callback] = []
    if is_clean:
        watched.append(CleanValidation(validation_arrays(arguments.get("validation_data"))))
        if not callbacks and is_plain:
            del arguments["validation_data"]  # nobody else needs what Keras measures on it
        if not model.built:  # `CleanValidation` needs its variables
            x, *_ = first_batch(arguments)
            shapes = keras.tree.map_structure(lambda a: [None, *a.shape[1:]], x)
            _build(model, shapes)
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.TensorBoard):
            callback.log_dir = str(Path(callback.log_dir) / spec.trial / f"execution_{spec.number}")
    why = "HyperModel.fit is overridden"
    if is_plain:
        steps = None  # of an epoch, if nothing has to be done between them
        if not callbacks and not is_dataset(arguments["x"]):
            size = arguments.get("batch_size") or 32
            steps = math.ceil(count_examples(arguments["x"]) / size)
        model, why = shared_model(model, first_batch(arguments), steps)
    if spec.parent is not None:
        put_state(model, spec.parent)
        arguments["initial_epoch"] = spec.parent.epochs
    # The order of examples depends on the seed alone, whatever the builder drew.
    keras.utils.set_random_seed(spec.seed + 1_000_003 * spec.initial_epoch)
    start = model.get_weights()
    digests: list[bytes] = []
    # Only a callback or a training of the hypermodel's own can bring back earlier weights.
    if callbacks or not is_plain:
        callbacks.append(
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: digests.append(_digest(model))
            )
        )
    given = [arguments.pop(name) for name in ("x", "y") if name in arguments]
    result = hypermodel.fit(hp, model, *given, callbacks=[*watched, *callbacks], **arguments)
    last = _digest(model) if digests else None
    # The last epoch where there is none, as after averaging.
    epoch = max((i for i, digest in enumerate(digests) if digest == last), default=-1)
    record = ExecutionRecord(
        id=spec.identity(fingerprint),
        trial=spec.trial,
        number=spec.number,
        seed=spec.seed,
        fold=spec.fold,
        initial_epoch=spec.initial_epoch,
        not_shared=why,
        hyperparameters=hp.get_config()
        if len(hp.space) > len(spec.hyperparameters.space)
        else None,
        input_shapes=shapes,
        **_measured(spec, model, result, objective, epoch),
    )
    if why:
        if len(start) == len(model.weights):
            model.set_weights(start)  # of layers that the next execution may use, too
        gc.collect()  # graphs of earlier models; without it memory grows
    return record


def _digest(model: keras.Model) -> bytes:
    weights = b"".join(array.tobytes() for array in model.get_weights())
    return hashlib.sha1(weights, usedforsecurity=False).digest()


def _measured(
    spec: ExecutionSpec,
    model: keras.Model,
    result: Any,
    objective: keras_tuner.Objective,
    epoch: int,
) -> dict[str, Any]:
    """Return what training gave, as fields of the record."""
    epochs = spec.initial_epoch
    if isinstance(result, keras.callbacks.History):
        logs = {n: list(map(float, v)) for n, v in result.history.items() if np.ndim(v) == 1}
        epochs += len(result.epoch)
    elif isinstance(result, Mapping):
        logs = {name: [float(value)] for name, value in result.items() if np.ndim(value) == 0}
    else:
        logs = {objective.name: [float(result)]}
    reached = {name: column[min(epoch, len(column) - 1)] for name, column in logs.items()}
    if not objective.has_value(reached):
        raise ValueError(
            f"The objective {objective.name} is not among what training measures: "
            f"{', '.join(logs)}."
        )
    score = float(objective.get_value(reached))
    state = {
        f"{group}_{index:04}": variable.numpy()
        for group, variables in _variables(model).items()
        if group == "weights" or "tuner/epochs" in spec.hyperparameters.values
        for index, variable in enumerate(variables)
    }
    finished = math.isfinite(score) and all(
        np.isfinite(array).all() for array in state.values() if array.dtype.kind == "f"
    )
    before = spec.parent.curve if spec.parent else {}
    return {
        "status": "finished" if finished else "diverged",
        "score": score if finished else None,
        "curve": {
            name: [*before.get(name, []), *(v if math.isfinite(v) else None for v in column)]
            for name, column in logs.items()
        },
        "epochs": epochs,
        "state": state,
    }


def put_state(model: keras.Model, record: ExecutionRecord) -> None:
    """Restore what an execution left in a model of the same structure; ValueError for another."""
    if not model.built and record.input_shapes:
        _build(model, record.input_shapes)
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    for group, variables in _variables(model).items():
        state = record.state or {}
        arrays = [state[name] for name in sorted(state) if name.startswith(group)]
        if arrays or group == "weights":
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)


def _build(model: keras.Model, shapes: Any) -> None:
    """Make the variables of a model for inputs of these shapes, which JSON may have held."""
    model(keras.tree.map_shape_structure(lambda shape: np.zeros((1, *shape[1:])), shapes))


def _variables(model: keras.Model) -> dict[str, list[keras.Variable]]:
    """The weights, the states of random number generators, and the optimizer's variables."""
    return {
        "weights": model.weights,
        "seeds": [v for v in model.variables if v.name == "seed_generator_state"],
        "optimizer": model.optimizer.variables if model.optimizer is not None else [],
    }
