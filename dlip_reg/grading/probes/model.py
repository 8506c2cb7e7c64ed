"""Measures the network that a submission's `build_model` builds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np

from dlip_reg.grading.child import the

Values = dict[str, np.ndarray]

_REGULARIZERS = {"l1": keras.regularizers.L1, "l2": keras.regularizers.L2}


def penalised(
    submission: ModuleType, shape: list, classes: int, options: dict, seed: int, x: np.ndarray
) -> dict[str, Any]:
    """The logits of `x` and the penalties, at random weights."""
    model = _built(submission, shape, classes, options, x)
    weights = _randomise(model, seed)
    logits = _numbers(model(x, training=False))
    return {"weights": weights, "logits": logits} | _penalties(model, weights)


def normalised(
    submission: ModuleType, shape: list, classes: int, options: dict, seed: int, x: np.ndarray
) -> dict[str, Any]:
    """Outputs of both modes and the moving statistics: at first, after inference, and after each
    of two training passes over the same batch."""
    model = _built(submission, shape, classes, options, x)
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
    submission: ModuleType,
    shape: list,
    classes: int,
    options: dict,
    weights: Values,
    seed: int,
    x: np.ndarray,
) -> dict[str, Any]:
    """Outputs of both modes at the given weights, in training twice, and the penalties."""
    model = _built(submission, shape, classes, options, x)
    _assign(model, weights)
    outputs = {
        "training": [_numbers(model(x, training=True)) for _ in range(2)],
        "inference": _numbers(model(x, training=False)),
    }
    return outputs | _penalties(model, _randomise(model, seed))


def saved(
    submission: ModuleType, shape: list, classes: int, options: dict, seed: int, x: np.ndarray
) -> dict[str, Any]:
    """The model as a `.keras` file, and what it gives in this process."""
    model = _built(submission, shape, classes, options, x)
    _randomise(model, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        file = path.read_bytes()
    return {"file": file} | _results(model, x)


def loaded(submission: None, file: bytes, x: np.ndarray) -> dict[str, Any]:
    """What a `.keras` file gives where none of the code that made it is known."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(file)
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    return _results(model, x)


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
    """Draws all weights anew, of a size that keeps the activations of the order of 1."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, weight.shape)
        else:
            fan_in = np.prod(weight.shape[:-1]) if len(weight.shape) > 1 else 8
            value = rng.normal(size=weight.shape) * np.sqrt(2 / fan_in)
        weight.assign(value)
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
