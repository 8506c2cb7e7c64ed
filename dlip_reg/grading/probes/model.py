"""Measures the network that a submission's `build_model` builds.

`built` and `saved` run beside the submission and hand the model over as data; the others measure
what was handed over, in a child with no submission.
"""

from __future__ import annotations

import contextlib
import tempfile
import textwrap
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


def built(
    submission: ModuleType, shape: list, classes: int, options: dict, seed: int, x: np.ndarray
) -> dict[str, Any]:
    """The model's configuration, and the penalty that it has in this process at random weights."""
    model = _built(submission, shape, classes, options, seed, x)
    return {"config": written(model), "penalty": _results(model, x)["penalty"]}


def saved(
    submission: ModuleType, shape: list, classes: int, options: dict, seed: int, x: np.ndarray
) -> dict[str, Any]:
    """The model as a `.keras` file, and what it gives in this process, at random weights."""
    model = _built(submission, shape, classes, options, seed, x)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return {"file": path.read_bytes()} | _results(model, x)


def loaded(submission: None, file: bytes, x: np.ndarray) -> dict[str, Any]:
    """The weights in a `.keras` file and what its model gives."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(file)
        with _says_why():
            model = keras.models.load_model(path, compile=False, safe_mode=True)
    return {"weights": values_of(model)} | _results(model, x)


def measured(
    submission: None, config: str, seed: int, x: np.ndarray, weights: Values | None = None
) -> dict[str, Any]:
    """What a model does, at the given `weights` or at random ones, and its penalties at these.

    The model is called on `x` three times, once in inference and twice in training. `statistics`
    are the moving averages at first and after each call.
    """
    model = made_again(config)
    drawn = _randomise(model, seed)
    if weights is not None:
        assign(model, weights)
    outputs, statistics = [], [_moving(model)]
    for training in (False, True, True):
        outputs.append(_numbers(model(x, training=training)))
        statistics.append(_moving(model))
    assign(model, drawn)
    return {
        "weights": drawn,
        "inference": outputs[0],
        "training": outputs[1:],
        "statistics": statistics,
    } | _penalties(model, drawn)


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
        cause = textwrap.shorten(cause, _TEXT, placeholder=" ...")
        raise ValueError(_OWN_CODE + cause) from None


def _built(
    submission: ModuleType, shape: list, classes: int, options: dict, seed: int, x: np.ndarray
) -> keras.Model:
    """The submission's model at random weights; strengths in `options` are made regularizers."""
    options = {
        name: _regularizer(value) if isinstance(value, dict) else value
        for name, value in options.items()
    }
    model = the(submission, "build_model")(tuple(shape), classes, **options)
    if not isinstance(model, keras.Model):
        raise TypeError(f"build_model must return a keras.Model, not {type(model).__name__}.")
    if not model.built:
        model(x)
    _randomise(model, seed)
    return model


def _regularizer(strengths: dict[str, float]) -> keras.Regularizer:
    """L1, L2 or L1L2, by the names of the strengths."""
    return getattr(keras.regularizers, "".join(strengths).upper())(**strengths)


def values_of(model: keras.Model) -> Values:
    """All weights by path."""
    return {weight.path: np.array(weight) for weight in model.weights}


def assign(model: keras.Model, values: Values) -> None:
    """Set weights by path; ValueError where the model has none of that path and shape."""
    known = {weight.path: weight for weight in model.weights}
    for path, value in values.items():
        if path not in known:
            raise ValueError(f"The model has no {path}; its weights are {', '.join(known)}.")
        if tuple(known[path].shape) != value.shape:
            raise ValueError(
                f"{path} has the shape {tuple(known[path].shape)}, expected {value.shape}."
            )
        known[path].assign(value)


def _randomise(model: keras.Model, seed: int) -> Values:
    """Draw all weights anew."""
    assign(model, random_weights({w.path: tuple(w.shape) for w in model.weights}, seed))
    return values_of(model)


def _moving(model: keras.Model) -> Values:
    return {path: value for path, value in values_of(model).items() if "moving_" in path}


def _penalties(model: keras.Model, weights: Values) -> dict[str, Any]:
    """The penalty of the whole model, of each kernel by itself, every other one set to zero, and of
    what is left."""
    kernels = [weight for weight in model.weights if weight.name == "kernel"]
    total = _penalty(model)
    for kernel in kernels:
        kernel.assign(np.zeros(kernel.shape))
    rest = _penalty(model)
    alone = {}
    for kernel in kernels:
        kernel.assign(weights[kernel.path])
        alone[kernel.path] = _penalty(model) - rest
        kernel.assign(np.zeros(kernel.shape))
    return {"penalty": total, "penalties": alone, "rest": rest}


def _penalty(model: keras.Model) -> float:
    return float(sum(model.losses))


def _results(model: keras.Model, x: np.ndarray) -> dict[str, Any]:
    return {"logits": _numbers(model(x, training=False)), "penalty": _penalty(model)}


def _numbers(outputs: Any) -> np.ndarray:
    values = np.asarray(outputs, np.float64)
    if values.ndim != 2:
        raise ValueError(f"The model's output has the shape {values.shape}, expected (n, classes).")
    return values
