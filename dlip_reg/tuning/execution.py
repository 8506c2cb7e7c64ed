"""One execution of a trial: trained in a worker process, with a seed that all trials share."""

import contextlib
import functools
import gc
import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from types import GeneratorType
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from dlip_reg.chunks import count_examples
from dlip_reg.training.endings import preserve_weights
from dlip_reg.training.identity import identity_of
from dlip_reg.training.keras_settings import keras_settings, set_keras
from dlip_reg.training.process import configure_process
from dlip_reg.training.worker import one_at_a_time
from dlip_reg.tuning import OBJECTIVES
from dlip_reg.tuning.fit_arguments import first_batch, given_by, is_dataset, made, validation_arrays
from dlip_reg.tuning.folder import ExecutionRecord
from dlip_reg.tuning.hypermodel import build, has_plain_fit, require_trainable
from dlip_reg.tuning.objective import CleanValidation, parts_of, require_measured
from dlip_reg.tuning.sending import Job
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

    def record(self, fingerprint: str, **left: Any) -> ExecutionRecord:
        """Return the record of this execution in that search, with the fields that it `left`."""
        return ExecutionRecord(
            id=self.identity(fingerprint),
            trial=self.trial,
            number=self.number,
            seed=self.seed,
            fold=self.fold,
            initial_epoch=self.initial_epoch,
            **left,
        )


def execute(spec: ExecutionSpec, job: Job) -> ExecutionRecord:
    """Train `spec` in this worker process; return its record, which repeats bit for bit."""
    with one_at_a_time:
        configure_process()
        parts = job.parts(spec.seed)
        before = keras_settings()
        # So layers and metrics have the same names in all executions: "auc", and not "auc_1", is
        # what an objective or a callback names. keras-tuner, too, clears the session before it
        # builds.
        keras.utils.clear_session(free_memory=False)
        try:
            set_keras(parts.pop("settings"))
            return _train(spec, job.fingerprint, **parts)
        finally:
            set_keras(before)


def _train(
    spec: ExecutionSpec,
    fingerprint: str,
    hypermodel: keras_tuner.HyperModel,
    data: Mapping[str, Any],
    positional: Sequence[str],
    callbacks: list[keras.callbacks.Callback],
    objective: keras_tuner.Objective,
) -> ExecutionRecord:
    hp = spec.hyperparameters.copy()
    clean = [part.name in OBJECTIVES for part in parts_of(objective)]
    is_clean, is_plain = any(clean), has_plain_fit(hypermodel)
    keras.utils.set_random_seed(spec.seed)  # which a function that makes the data may draw from
    keras.config.disable_interactive_logging()  # progress bars of several processes would mix
    arguments = made(data, spec.seed, is_clean or is_plain, spec.fold, spec.folds)
    if is_plain:
        arguments |= given_by(hp)
        arguments.setdefault("verbose", 0)
    if "tuner/epochs" in hp.values:
        arguments["epochs"] = hp.values["tuner/epochs"]
    model = build(hypermodel, hp, spec.seed)
    require_trainable(model, hypermodel)
    inputs = None
    if not model.built:
        with contextlib.suppress(Exception):  # a fit of its own may take what it likes
            inputs = keras.tree.map_structure(_described, first_batch(arguments)[0])
    watched: list[keras.callbacks.Callback] = []
    if is_clean:
        watched.append(CleanValidation(validation_arrays(arguments)))
        if not callbacks and is_plain and all(clean):
            del arguments["validation_data"]  # nobody else needs what Keras measures on it
        if not model.built:  # `CleanValidation` needs its variables
            model(_examples(inputs))
    for callback in callbacks:
        _separate_files(callback, Path(spec.trial) / f"execution_{spec.number}")
    why = "HyperModel.fit is overridden"
    if is_plain and (readers := [type(c).__name__ for c in callbacks if _may_save(c)]):
        why = f"the callback {readers[0]} may save the model or read its layers"
    elif is_plain:
        steps = None  # of an epoch, if nothing has to be done between them
        counted = arguments.keys() & {"steps_per_epoch", "validation_steps"}
        if not callbacks and not counted and not is_dataset(arguments["x"]):
            size = arguments.get("batch_size") or 32
            steps = math.ceil(count_examples(arguments["x"]) / size)
        model, why = shared_model(model, first_batch(arguments), steps)
    if spec.parent is not None:
        put_state(model, spec.parent)
        arguments["initial_epoch"] = spec.parent.epochs
    # The order of examples depends on the seed alone, whatever the builder drew.
    keras.utils.set_random_seed(spec.seed + 1_000_003 * spec.initial_epoch)
    if isinstance(arguments.get("x"), GeneratorType):  # whose first batches were looked at
        arguments["x"] = made(data, spec.seed, is_clean or is_plain, spec.fold, spec.folds)["x"]
    measured: dict[bytes, dict[str, float]] = {}  # what is known of the weights of each epoch
    # Before the callbacks, which may change weights; all of them write into the same logs.
    recorder = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs=None: measured.update({_digest(model): logs or {}})
    )
    # Another fit may take no callbacks, or give its own to this one.
    if not is_plain and getattr(model.fit, "__func__", None) is keras.Model.fit:
        model.fit = _with_callback(model.fit, recorder)
    given = [arguments.pop(name) for name in positional if name in arguments]
    with preserve_weights(model):  # others may hold its layers
        result = hypermodel.fit(
            hp, model, *given, callbacks=[*watched, recorder, *callbacks], **arguments
        )
        reached = measured.get(_digest(model), {})
        if is_plain and not objective.has_value(reached):
            reached = reached | _measured_again(model, watched, arguments)
        found = _measured(spec, model, result, objective, reached)
    if why:
        gc.collect()  # graphs of earlier models; without it memory grows
    asked_more = len(hp.space) > len(spec.hyperparameters.space)
    return spec.record(
        fingerprint,
        not_shared=why,
        hyperparameters=hp.get_config() if asked_more else None,
        inputs=inputs,
        **found,
    )


def _with_callback(fit: Callable[..., Any], callback: keras.callbacks.Callback) -> Any:
    """`model.fit` with a callback that a `HyperModel.fit` of the user's may leave out."""

    @functools.wraps(fit)
    def fit_with_callback(*args: Any, **options: Any) -> Any:
        given = keras.tree.flatten(options.get("callbacks"))
        if callback not in given and len(args) < 6:  # the sixth are callbacks, too
            options["callbacks"] = [callback, *filter(None, given)]
        return fit(*args, **options)

    return fit_with_callback


def _digest(model: keras.Model) -> bytes:
    weights = b"".join(array.tobytes() for array in model.get_weights())
    return hashlib.sha1(weights, usedforsecurity=False).digest()


def _may_save(callback: keras.callbacks.Callback) -> bool:
    """Whether it may need the builder's own model, and not one with variables for strengths."""
    is_known = type(callback).__module__.startswith(("keras.", "callbacks."))
    saves = keras.callbacks.ModelCheckpoint | keras.callbacks.LambdaCallback
    return not is_known or isinstance(callback, saves) or getattr(callback, "write_graph", False)


def _separate_files(callback: keras.callbacks.Callback, folder: Path) -> None:
    """Let a callback write into a folder of this execution's, within the one that it was given."""
    for kind, name in (
        (keras.callbacks.TensorBoard, "log_dir"),
        (keras.callbacks.ModelCheckpoint, "filepath"),
        (keras.callbacks.CSVLogger, "filename"),
    ):
        if isinstance(callback, kind):
            path = getattr(callback, name)
            parent, file = (path, "") if name == "log_dir" else os.path.split(path)
            place = os.path.join(parent, folder)  # noqa: PTH118 - it may be an address, "gs://..."
            if kind is keras.callbacks.CSVLogger:
                Path(place).mkdir(parents=True, exist_ok=True)
            setattr(callback, name, os.path.join(place, file))  # noqa: PTH118


def _measured_again(
    model: keras.Model, watched: Sequence[keras.callbacks.Callback], arguments: Mapping[str, Any]
) -> dict[str, float]:
    """Measure the weights that training left, which are those of no epoch that was measured."""
    found: dict[str, Any] = {}
    for callback in watched:
        callback.set_model(model)
        callback.on_epoch_end(0, found)
    if (validation := arguments.get("validation_data")) is not None:
        x, y, weights = keras.utils.unpack_x_y_sample_weight(validation)
        size = arguments.get("validation_batch_size") or arguments.get("batch_size")
        steps = arguments.get("validation_steps")
        values = model.evaluate(x, y, size, 0, weights, steps, return_dict=True)
        found |= {f"val_{name}": value for name, value in values.items()}
    return found


def _logs(result: Any, objective: keras_tuner.Objective) -> dict[str, list[float]]:
    """Return what `HyperModel.fit` returned as columns: those of a history, or single numbers.

    Raises:
        FatalValueError: It is nothing that keras-tuner takes; so it will be in all trials.
    """
    if isinstance(result, keras.callbacks.History):
        # The value of a metric may be an array of one number.
        columns = {n: np.array(v, float) for n, v in result.history.items()}
        return {n: v.ravel().tolist() for n, v in columns.items() if v.size == len(v)}
    if isinstance(result, Mapping):
        numbers = {name: [float(v)] for name, v in result.items() if _is_number(v)}
        if numbers:
            return numbers
    if isinstance(result, list) and result:  # such as the results of several trainings
        parts = [_logs(part, objective) for part in result]
        names = [name for name in parts[0] if all(part.get(name) for part in parts)]
        return {name: [fmean(part[name][-1] for part in parts)] for name in names}
    if _is_number(result):
        return {objective.name: [float(result)]}
    raise keras_tuner.errors.FatalValueError(
        "HyperModel.fit must return a History, a dict of numbers, a number or a list of these, not "
        f"{result!r}."
    )


def _is_number(value: Any) -> bool:
    return np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biuf"


def _measured(
    spec: ExecutionSpec,
    model: keras.Model,
    result: Any,
    objective: keras_tuner.Objective,
    reached: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what training gave, as fields of the record; `reached` is of the last weights."""
    logs = _logs(result, objective)
    is_history = isinstance(result, keras.callbacks.History)
    epochs = spec.initial_epoch + (len(result.epoch) if is_history else 0)
    reached = {
        **{name: column[-1] for name, column in logs.items() if column},
        **(reached if is_history else {}),
    }
    require_measured(objective, reached)
    score = float(np.ravel(objective.get_value(reached))[0])
    state = {
        f"{group}_{index:04}": variable.numpy()
        for group, variables in _variables(model).items()
        if group == "weights" or "tuner/epochs" in spec.hyperparameters.values
        for index, variable in enumerate(variables)
    }
    # Weights that do not train may be infinite, such as those of a mask.
    finished = math.isfinite(score) and all(
        np.isfinite(variable.numpy()).all() for variable in model.trainable_variables
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
    state = record.state or {}
    held = sum(name.startswith("weights") for name in state)
    if not model.built and record.inputs and len(model.weights) != held:
        model(_examples(record.inputs))
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not optimizer.built:
        optimizer.build(model.trainable_variables)
    for group, variables in _variables(model).items():
        arrays = [state[name] for name in sorted(state) if name.startswith(group)]
        if arrays or group == "weights":
            found, left = ([tuple(part.shape) for part in parts] for parts in (variables, arrays))
            if found != left:
                raise ValueError(
                    f"The hypermodel's model has other variables than training left ({group} of "
                    f"the shapes {found}, not {left}): build must make the same model again, or "
                    "call it on an example if it has no variables at first."
                )
            for variable, array in zip(variables, arrays, strict=True):
                # A file does not tell which type of two bytes it holds, such as bfloat16.
                raw = array.dtype.kind == "V"
                variable.assign(array.view(variable.numpy().dtype) if raw else array)


def _described(array: Any) -> str:
    """The dtype and shape of an example, such as "float32 28 28 1"."""
    return " ".join(map(str, (tf.as_dtype(array.dtype).name, *array.shape[1:])))


def _examples(inputs: Any) -> Any:
    """Symbols of what is `_described`: to be called on them changes no state of a layer."""

    def symbol(text: str) -> keras.KerasTensor:
        dtype, *shape = text.split()
        return keras.KerasTensor((None, *map(int, shape)), dtype)

    return keras.tree.map_structure(symbol, inputs)


def _variables(model: keras.Model) -> dict[str, list[keras.Variable]]:
    """The weights, the states of random number generators, and the optimizer's variables."""
    return {
        "weights": model.weights,
        "seeds": [v for v in model.variables if v.name == "seed_generator_state"],
        "optimizer": getattr(getattr(model, "optimizer", None), "variables", []),
    }
