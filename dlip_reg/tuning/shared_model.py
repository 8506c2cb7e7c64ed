"""One compiled model for many executions, after a proof that it equals a freshly built one.

Tracing takes longer than several short epochs. So executions of models that differ in strengths,
rates and weights alone share one compiled model in each process (`dlip_reg.training.reuse`).
Before its first use one step of both is compared; after any difference the fresh model is used.
"""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from dlip_reg.errors import cause_of
from dlip_reg.training.reuse import can_be_reused, has_known_code, reusable
from dlip_reg.tuning.fingerprints import fingerprint, no_warning_of_lambdas

# Shared model -> why it is not equal to the fresh one that it was compared with; empty if it is.
_verdicts: weakref.WeakKeyDictionary[keras.Model, str] = weakref.WeakKeyDictionary()
_TOLERANCE = 1e-4  # relative, for float32
_EXCLUDED = "_exclude_from_weight_decay"  # what `exclude_from_weight_decay` sets
_OWN_WEIGHTS = "ScheduleFreeAdamW"  # trains otherwise if it is built before `fit`, in Keras 3.15
_STEP_TOLERANCE = 1e-2  # Adam divides rounding errors by small gradients


def shared_model(
    model: keras.Model, batch: Sequence[Any], steps: int | None
) -> tuple[keras.Model, str]:
    """Return a shared model equal to the compiled `model`, or `model` and why there is none.

    Args:
        model: A freshly built model.
        batch: Examples, targets and sample weights, to compare both with.
        steps: The steps of an epoch, if they may run in one call.
    """
    functional = model
    if type(model) is keras.Sequential and model.built:
        # Of lists of one Keras would warn whenever it is called.
        ends = [part[0] if len(part) == 1 else part for part in (model.inputs, model.outputs)]
        functional = keras.Model(*ends, name=model.name)
    if not can_be_reused(functional):
        return model, (
            "the model is of a class of its own, has no Input, or has layers, functions or weights "
            "that its configuration does not tell"
        )
    try:
        with no_warning_of_lambdas():
            config = model.get_compile_config()
        settings = config["optimizer"]["config"]
        rate = settings.pop("learning_rate")
        settings.pop("name", None)  # Keras may count: adam, adam_1, ...
        key = json.dumps(config, sort_keys=True)
    except Exception as error:  # of many kinds, such as of a lambda's source
        return model, f"what it was compiled with has no configuration ({error})"
    modules = re.findall(r'"module": (\w+|"[^"]*")', key)  # null for a class of a script
    are_known = "__lambda__" not in key and all(name.startswith('"keras.') for name in modules)
    are_known = are_known and has_known_code(model)
    if not isinstance(rate, float) or config["run_eagerly"] or not are_known:
        return model, "it was compiled with a schedule, a function of its own or run_eagerly"
    compiled_with = model._compile_config.config.values()
    if any(map(_lacks_arguments, keras.tree.flatten(list(compiled_with)))):
        return model, "it was compiled with a loss or metric whose configuration does not tell all"
    optimizer = model.optimizer
    if (
        int(optimizer.iterations)
        or hasattr(optimizer, _EXCLUDED)
        or type(optimizer).__name__ == _OWN_WEIGHTS
    ):
        return model, "its optimizer was used before, or excludes or holds weights"
    if steps is not None:
        config["steps_per_execution"] = steps
    # Metrics and losses are built for one form of data: labels in a column are another one.
    shapes = [np.shape(part)[1:] for part in keras.tree.flatten(list(batch))]
    key += f" {steps} {shapes}"
    shared = reusable(functional, lambda clone: clone.compile_from_config(config), key)
    shared.optimizer.learning_rate = rate
    if shared not in _verdicts:
        start = _values(model)
        try:
            _verdicts[shared] = _difference(model, shared, batch)
        except Exception as error:  # such as of weights in half precision
            _verdicts[shared] = f"a model rebuilt from its configuration fails ({cause_of(error)})"
        for target in (model, shared):
            for variable, value in zip(_variables(target), start, strict=True):
                variable.assign(value)
            target.run_eagerly, target.train_function = False, None
            target.reset_metrics()
        shared.stop_training = False
    return (model if _verdicts[shared] else shared), _verdicts[shared]


def _lacks_arguments(part: Any) -> bool:
    """Whether a copy of a loss or metric made of its configuration gets other arguments."""
    if not isinstance(part, keras.losses.Loss | keras.metrics.Metric):
        return False
    copy = type(part).from_config(part.get_config())
    held, left = (fingerprint(getattr(one, "_fn_kwargs", {})) for one in (part, copy))
    return held != left


def _difference(fresh: keras.Model, shared: keras.Model, batch: Sequence[Any]) -> str:
    """What differs between the two in one step; empty if nothing does."""
    measured: list[dict[str, Any]] = []
    steps: list[list[np.ndarray]] = []
    for model in (fresh, shared):
        model.run_eagerly = True
        model.reset_metrics()
        outputs = [np.ravel(o) for o in keras.tree.flatten(model(batch[0], training=False))]
        penalty = float(sum(map(float, model.losses)))
        before = _values(model)
        loss = model.train_on_batch(*batch, return_dict=True)["loss"]
        measured.append({"outputs": np.concatenate(outputs), "penalty": penalty, "loss": loss})
        steps.append([after - start for start, after in zip(before, _values(model), strict=True)])
    for name, value in measured[0].items():
        if not _close(value, measured[1][name], _TOLERANCE):
            return f"a model rebuilt from its configuration differs in its {name}"
    # Some steps are rounding errors alone, such as those of a bias before batch normalization.
    sizes = [float(np.linalg.norm(part)) for part in steps[0] if part.dtype.kind == "f"]
    least = _STEP_TOLERANCE * max(sizes, default=0.0) / 10
    for one, other in zip(*steps, strict=True):
        if not _close(one, other, _STEP_TOLERANCE, least):
            return "a model rebuilt from its configuration differs in its step"
    return ""


def _close(one: Any, other: Any, tolerance: float, least: float = 1e-10) -> bool:
    """Whether two arrays are alike; never if one is not finite, as in a run that diverges."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if one.shape != other.shape:
        return False
    if not np.isfinite(one).all():
        return bool(np.array_equal(one, other, equal_nan=True))
    return bool(np.linalg.norm(one - other) <= tolerance * np.linalg.norm(one) + least)


def _values(model: keras.Model) -> list[np.ndarray]:
    return [variable.numpy() for variable in _variables(model)]


def _variables(model: keras.Model) -> list[keras.Variable]:
    if not model.optimizer.built:  # some make new variables whenever they are built
        model.optimizer.build(model.trainable_variables)
    layers = [variable for layer in model.layers for variable in layer.variables]
    return [*layers, *model.optimizer.variables]
