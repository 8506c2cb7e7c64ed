"""Measures the network that a submission's `build_model` builds.

All but `loaded` run beside the submission, so that layers and regularizers of its own are measured
by what they do; `loaded` opens a saved model in a child with no submission.
"""

from __future__ import annotations

import contextlib
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np

from dlip_reg.grading.child import the
from probes.draws import random_weights

Values = dict[str, np.ndarray]
_TEXT = 300


@contextlib.contextmanager
def in_float32() -> Iterator[None]:
    """Have Keras' own types again, whatever precision the submission has set."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


def measured(
    submission: ModuleType,
    shape: list,
    classes: int,
    options: dict,
    seed: int,
    x: np.ndarray,
    weights: Values | None = None,
) -> dict[str, Any]:
    """What a model does, at the given `weights` or at random ones, and its penalties at these.

    The model is called on `x` three times, once in inference and twice in training. `statistics`
    are the moving averages at first and after each call.
    """
    model = _built(submission, shape, classes, options, seed, x)
    drawn = values_of(model)
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
    } | _penalties(model, drawn, x)


def saved(
    submission: ModuleType, shape: list, classes: int, options: dict, seed: int, x: np.ndarray
) -> dict[str, Any]:
    """The model as a `.keras` file, and what it gives in this process, at random weights."""
    model = _built(submission, shape, classes, options, seed, x)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        with _explained("saved"):
            model.save(path)
        return {"file": path.read_bytes(), "weights": values_of(model)} | _results(model, x)


def loaded(submission: None, file: bytes, x: np.ndarray) -> dict[str, Any]:
    """What the model in a `.keras` file gives where its code is not known."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(file)
        with _explained("loaded where your code is not known"):
            model = keras.models.load_model(path, compile=False, safe_mode=True)
    return {"weights": values_of(model)} | _results(model, x)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Say in short what Keras says at length."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        # Keras wraps the cause in a text about each object around it, configuration and all.
        cause = str(error).rpartition("Exception encountered: ")[2]
        raise ValueError(
            f"The model cannot be {what}: that takes Keras' own layers, regularizers and "
            "activations, and no Lambda layer. Keras says: "
            f"{textwrap.shorten(cause, _TEXT, placeholder=' ...')}"
        ) from None


def _built(
    submission: ModuleType, shape: list, classes: int, options: dict, seed: int, x: np.ndarray
) -> keras.Model:
    """The submission's model at random weights; strengths in `options` are made regularizers."""
    options = {
        name: _regularizer(value) if isinstance(value, dict) else value
        for name, value in options.items()
    }
    # Mixed precision has three digits; double precision can be measured as it is.
    has_few_digits = "16" in keras.config.dtype_policy().compute_dtype
    with in_float32() if has_few_digits else contextlib.nullcontext():
        model = the(submission, "build_model")(tuple(shape), classes, **options)
        if not isinstance(model, keras.Model):
            raise TypeError(f"build_model must return a keras.Model, not {type(model).__name__}.")
        if not all(part.built for part in (model, *model.layers)):
            model(x)
    shapes = {name: tuple(weight.shape) for name, weight in _named(model).items()}
    assign(model, random_weights(shapes, seed))
    return model


def _regularizer(strengths: dict[str, float]) -> keras.Regularizer:
    """L1, L2 or L1L2, by the names of the strengths."""
    return getattr(keras.regularizers, "".join(strengths).upper())(**strengths)


def _named(model: keras.Model) -> dict[str, keras.Variable]:
    """All weights, called by their layer and their own name wherever the layer lies in the model;
    by the whole path where two would have one name."""
    weights = [weight for weight in model.weights if "float" in str(weight.dtype)]
    short = ["/".join(weight.path.split("/")[-2:]) for weight in weights]
    count = Counter(short)
    return {
        name if count[name] == 1 else weight.path: weight
        for name, weight in zip(short, weights, strict=True)
    }


def values_of(model: keras.Model) -> Values:
    """All weights by name."""
    return {name: np.array(weight) for name, weight in _named(model).items()}


def assign(model: keras.Model, values: Values) -> None:
    """Set weights by name; ValueError where the model has none of that name and shape, but for a
    bias of zeros, which is as good as none."""
    known = _named(model)
    for name, value in values.items():
        if name not in known and name.endswith("bias") and not np.any(value):
            continue
        if name not in known:
            raise ValueError(f"The model has no {name}; its weights are {', '.join(known)}.")
        if tuple(known[name].shape) != value.shape:
            raise ValueError(
                f"{name} has the shape {tuple(known[name].shape)}, expected {value.shape}."
            )
        known[name].assign(value)


def _moving(model: keras.Model) -> Values:
    return {name: value for name, value in values_of(model).items() if "moving_" in name}


def _penalties(model: keras.Model, weights: Values, x: np.ndarray) -> dict[str, Any]:
    """The penalty of each kernel by itself, every other one set to zero, and of what is left."""
    named = _named(model)
    kernels = {name: weight for name, weight in named.items() if name.endswith("kernel")}
    _set_to_zero(kernels)
    last = _penalty(model)
    model(x, training=False)
    rest = others = _penalty(model)
    is_added_by_calls = rest != last  # as by `add_loss` in a layer's `call`
    if is_added_by_calls:  # without activations, which may be penalised, too
        _set_to_zero(named)
        others = 0.0
    alone = {}
    for name, kernel in kernels.items():
        kernel.assign(weights[name])
        if is_added_by_calls:
            model(np.zeros_like(x), training=False)
        alone[name] = _penalty(model) - others
        kernel.assign(np.zeros(kernel.shape))
    return {"penalties": alone, "rest": rest}


def _set_to_zero(weights: dict[str, keras.Variable]) -> None:
    for weight in weights.values():
        weight.assign(np.zeros(weight.shape))


def _penalty(model: keras.Model) -> float:
    return float(sum(model.losses))


def _results(model: keras.Model, x: np.ndarray) -> dict[str, Any]:
    return {"logits": _numbers(model(x, training=False)), "penalty": _penalty(model)}


def _numbers(outputs: Any) -> np.ndarray:
    values = np.asarray(outputs, np.float64)
    if values.ndim != 2:
        raise ValueError(f"The model's output has the shape {values.shape}, expected (n, classes).")
    return values
