"""Measures a submission's hypermodel, learning-rate schedule and diagnosis of sparsity.

`strengths` and `learning_rate` measure what a hypermodel has built, in a child with no submission.
"""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import keras
import keras_tuner
import numpy as np
from keras import layers

from dlip_reg.grading.child import the
from dlip_reg.grading.probes.model import made_again, written


def hypermodel(
    submission: ModuleType,
    values: dict[str, float],
    kernels: list[np.ndarray],
    logits: np.ndarray,
    labels: np.ndarray,
) -> dict[str, Any]:
    """The search space, and the model of one point of it: its configuration, its optimizer's, and
    the value of its loss on `logits` and `labels`.

    The builder handed to the hypermodel makes a conv and a dense layer whose kernels have the
    shapes of `kernels`, each with a regularizer and with dropout.
    """

    def builder(*args: Any, **options: Any) -> keras.Model:
        return _conv_and_dense(kernels, **options)

    hypermodel = the(submission, "SeparateStrengths")(builder)
    hp = keras_tuner.HyperParameters()
    hp.values.update(values)  # a hyperparameter that has a value already keeps it
    model = hypermodel.build(hp)
    objective = getattr(hypermodel, "objective", None)
    return {
        "space": {parameter.name: _described(parameter) for parameter in hp.space},
        "config": written(model),
        "optimizer": json.dumps(keras.optimizers.serialize(model.optimizer), default=float),
        "loss": float(np.mean(keras.losses.get(model.loss)(labels, logits))),
        "objective": [
            str(getattr(objective, "name", objective)),
            str(getattr(objective, "direction", None)),
        ],
    }


def strengths(submission: None, config: str, kernels: list[np.ndarray]) -> dict[str, Any]:
    """The penalties of the model's two layers at the weights `kernels`, and its dropout rates."""
    model = made_again(config)
    penalties = []
    for name, kernel in zip(("conv1", "dense1"), kernels, strict=True):
        layer = model.get_layer(name)
        layer.kernel.assign(kernel)
        penalty = layer.kernel_regularizer
        penalties.append(float(penalty(layer.kernel)) if penalty else 0.0)
    rates = {name: float(model.get_layer(name).rate) for name in ("conv_dropout", "dense_dropout")}
    return {"penalties": penalties, "rates": rates}


def learning_rate(submission: None, optimizer: str) -> float:
    """The learning rate of an optimizer's configuration."""
    return float(keras.optimizers.deserialize(json.loads(optimizer)).learning_rate)


def schedule(submission: ModuleType, cases: list[dict], steps: list[int]) -> list[list[float]]:
    """The rates of each case's schedule at `steps`."""
    schedules = [the(submission, "ScaledWarmup")(**case) for case in cases]
    return [[float(made(step)) for step in steps] for made in schedules]


def schedule_in_use(submission: ModuleType, case: dict, steps: list[int]) -> dict[str, Any]:
    """The rates at `steps` of a schedule that was made anew from its configuration, and as an
    optimizer's learning rate."""
    made = the(submission, "ScaledWarmup")(**case)
    remade = type(made).from_config(made.get_config())
    optimizer = keras.optimizers.SGD(made)
    return {
        "called": [float(made(step)) for step in steps],
        "made anew": [float(remade(step)) for step in steps],
        "in an optimizer": [_rate_at(optimizer, step) for step in steps],
    }


def diagnoses(submission: ModuleType, pairs: list[dict[str, dict]]) -> list[str]:
    """What `which_made_it_sparse` says of each pair of records."""
    return [
        str(the(submission, "which_made_it_sparse")(pair["plain"], pair["regularized"]))
        for pair in pairs
    ]


def _conv_and_dense(
    kernels: list[np.ndarray],
    conv_kernel_regularizer: Any = None,
    dense_kernel_regularizer: Any = None,
    conv_dropout: float = 0.0,
    dense_dropout: float = 0.0,
    **_: Any,
) -> keras.Model:
    conv, dense = kernels
    inputs = layers.Input((4, 4, conv.shape[2]))
    x = layers.Conv2D(
        conv.shape[3], conv.shape[:2], kernel_regularizer=conv_kernel_regularizer, name="conv1"
    )(inputs)
    x = layers.Dropout(conv_dropout, name="conv_dropout")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(dense.shape[1], kernel_regularizer=dense_kernel_regularizer, name="dense1")(x)
    return keras.Model(inputs, layers.Dropout(dense_dropout, name="dense_dropout")(x))


def _described(parameter: Any) -> dict[str, Any]:
    config = parameter.get_config()
    numbers = {name: config.get(name) for name in ("min_value", "max_value", "step")}
    return {
        "kind": type(parameter).__name__,
        "sampling": str(config.get("sampling")),
        **{name: np.nan if n is None else float(n) for name, n in numbers.items()},
    }


def _rate_at(optimizer: keras.Optimizer, step: int) -> float:
    optimizer.iterations.assign(step)
    return float(optimizer.learning_rate)
