"""Measures the network that a submission's `build_model` builds.

`built` and `saved` run beside the submission and hand the model over as data; the others measure
what was handed over, in a child with no submission.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np

from dlip_reg.grading.child import the
from dlip_reg.grading.probes.draws import random_weights

Values = dict[str, np.ndarray]

_OWN_CODE = (
    "The model is measured where your code is not known, and cannot be made again there: use "
    "Keras' own layers, regularizers and activations, no Lambda layer and no class or function of "
    "your own. Keras says: "
)
_TEXT = 300
_REGULARIZERS = {"l1": keras.regularizers.L1, "l2": keras.regularizers.L2}


def built(submission: ModuleType, shape: list, classes: int, options: dict, x: np.ndarray) -> str:
    """The model's configuration."""
    return written(_built(submission, shape, classes, options, x))


def built_and_penalised(
    submission: ModuleType, shape: list, classes: int, options: dict, x: np.ndarray, seed: int
) -> dict[str, Any]:
    """The model's configuration, and the penalty that it has in this process at random weights."""
    model = _built(submission, shape, classes, options, x)
    _randomise(model, seed)
    return {"config": written(model), "penalty": _results(model, x)["penalty"]}


def penalised(submission: None, config: str, seed: int, x: np.ndarray) -> dict[str, Any]:
    """The logits of `x` and the penalties, at random weights."""
    model = made_again(config)
    weights = _randomise(model, seed)
    return {"weights": weights} | _results(model, x) | _penalties(model, weights)


def normalised(submission: None, config: str, seed: int, x: np.ndarray) -> dict[str, Any]:
    """Outputs of both modes and the moving statistics: at first, after inference, and after each
    of two training passes over the same batch."""
    model = made_again(config)
    weights = _randomise(model, seed)
    inference = _numbers(model(x, training=False))
    statistics = [_moving(weights), _moving(_values(model))]
    training = _numbers(model(x, training=True))
    statistics.append(_moving(_values(model)))
    model(x, training=True)
    statistics.append(_moving(_values(model)))
    return {
        "weights": weights,
        "inference": inference,
        "training": training,
        "statistics": statistics,
    } | _penalties(model, weights)


def dropped(
    submission: None, config: str, seed: int, x: np.ndarray, weights: Values
) -> dict[str, Any]:
    """Outputs of both modes at the given weights, in training twice; weights of `seed`, and the
    penalties at these."""
    model = made_again(config)
    _assign(model, weights)
    outputs = {
        "training": [_numbers(model(x, training=True)) for _ in range(2)],
        "inference": _numbers(model(x, training=False)),
    }
    weights = _randomise(model, seed)
    return {"weights": weights} | outputs | _penalties(model, weights)


def saved(
    submission: ModuleType, shape: list, classes: int, options: dict, seed: int, x: np.ndarray
) -> dict[str, Any]:
    """The model as a `.keras` file, and what it gives in this process, at random weights."""
    model = _built(submission, shape, classes, options, x)
    _randomise(model, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        file = path.read_bytes()
    return {"file": file} | _results(model, x)


def loaded(submission: None, file: bytes, x: np.ndarray) -> dict[str, Any]:
    """The weights in a `.keras` file and what its model gives."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(file)
        with _says_why():
            model = keras.models.load_model(path, compile=False, safe_mode=True)
    return {"weights": _values(model)} | _results(model, x)


def written(model: keras.Model) -> str:
    """The model's configuration as JSON, without how it was compiled."""
    model.compiled = False
    with _says_why():
        return model.to_json()


def made_again(config: str) -> keras.Model:
    """The model of a configuration; ValueError where that takes code of a submission's own."""
    with _says_why():
        return keras.models.model_from_json(config)


@contextlib.contextmanager
def _says_why() -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        # Keras wraps the cause in a text about each object around it, configuration and all.
        cause = str(error).rpartition("Exception encountered: ")[2]
        raise ValueError(_OWN_CODE + cause[:_TEXT]) from None


def _built(submission: ModuleType, shape: list, classes: int, options: dict, x: np.ndarray) -> Any:
    options = {
        name: _regularizer(value) if isinstance(value, dict) else value
        for name, value in options.items()
    }
    model = the(submission, "build_model")(tuple(shape), classes, **options)
    if not isinstance(model, keras.Model):
        raise TypeError(f"build_model must return a keras.Model, not {type(model).__name__}.")
    if not model.built:
        model(x)
    return model


def _regularizer(strengths: dict[str, float]) -> keras.Regularizer:
    if len(strengths) == 2:
        return keras.regularizers.L1L2(**strengths)
    ((name, strength),) = strengths.items()
    return _REGULARIZERS[name](strength)


def _values(model: keras.Model) -> Values:
    return {weight.path: np.array(weight) for weight in model.weights}


def _moving(values: Values) -> Values:
    return {path: value for path, value in values.items() if "moving_" in path}


def _randomise(model: keras.Model, seed: int) -> Values:
    """Draws all weights anew."""
    values = random_weights({weight.path: weight.shape for weight in model.weights}, seed)
    for weight in model.weights:
        weight.assign(values[weight.path])
    return _values(model)


def _assign(model: keras.Model, values: Values) -> None:
    known = {weight.path: weight for weight in model.weights}
    for path, value in values.items():
        if path not in known:
            raise ValueError(f"The model has no {path}; its weights are {', '.join(known)}.")
        if tuple(known[path].shape) != value.shape:
            raise ValueError(
                f"{path} has the shape {tuple(known[path].shape)}, expected {value.shape}."
            )
        known[path].assign(value)


def _penalties(model: keras.Model, weights: Values) -> dict[str, Any]:
    """The penalty of each kernel by itself, every other one set to zero, and of what is left."""
    kernels = [weight for weight in model.weights if weight.name == "kernel"]
    for kernel in kernels:
        kernel.assign(np.zeros(kernel.shape))
    rest = _penalty(model)
    alone = {}
    for kernel in kernels:
        kernel.assign(weights[kernel.path])
        alone[kernel.path] = _penalty(model) - rest
        kernel.assign(np.zeros(kernel.shape))
    return {"penalties": alone, "rest": rest}


def _penalty(model: keras.Model) -> float:
    return float(sum(model.losses))


def _results(model: keras.Model, x: np.ndarray) -> dict[str, Any]:
    return {"logits": _numbers(model(x, training=False)), "penalty": _penalty(model)}


def _numbers(outputs: Any) -> np.ndarray:
    values = np.asarray(outputs, np.float64)
    if values.ndim != 2:
        raise ValueError(f"The model's output has the shape {values.shape}, expected (n, classes).")
    return values
