"""Measures a submission's hypermodel, learning-rate schedule and diagnosis of sparsity."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import keras
import keras_tuner
import numpy as np
from keras import layers

from dlip_reg.grading.child import the


def hypermodel(
    submission: ModuleType,
    values: dict[str, float],
    kernels: list[np.ndarray],
    logits: np.ndarray,
    labels: np.ndarray,
) -> dict[str, Any]:
    """The search space, and what the model of one point of it is like.

    The builder handed to the hypermodel makes a conv and a dense layer at the weights `kernels`
    and notes its options; `loss` is the compiled one's value on `logits` and `labels`.
    """
    seen: list[dict] = []

    def builder(
        *args: Any,
        conv_kernel_regularizer: Any = None,
        dense_kernel_regularizer: Any = None,
        **options: Any,
    ) -> keras.Model:
        seen.append(options)
        regularizers = (conv_kernel_regularizer, dense_kernel_regularizer)
        return _conv_and_dense(kernels, regularizers)

    hypermodel = the(submission, "SeparateStrengths")(builder)
    hp = keras_tuner.HyperParameters()
    hp.values.update(values)  # a hyperparameter that has a value already keeps it
    model = hypermodel.build(hp)
    penalties = [
        float(layer.kernel_regularizer(layer.kernel)) if layer.kernel_regularizer else 0.0
        for layer in (model.get_layer("conv1"), model.get_layer("dense1"))
    ]
    objective = getattr(hypermodel, "objective", None)
    return {
        "space": {parameter.name: _described(parameter) for parameter in hp.space},
        "penalties": penalties,
        "rates": {
            name: float(value)
            for name, value in (seen[-1] if seen else {}).items()
            if isinstance(value, int | float)
        },
        "learning_rate": float(model.optimizer.learning_rate),
        "loss": float(np.mean(keras.losses.get(model.loss)(labels, logits))),
        "objective": [
            str(getattr(objective, "name", objective)),
            str(getattr(objective, "direction", None)),
        ],
    }


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


def _conv_and_dense(kernels: list[np.ndarray], regularizers: tuple) -> keras.Model:
    conv, dense = kernels
    inputs = layers.Input((4, 4, conv.shape[2]))
    x = layers.Conv2D(
        conv.shape[3], conv.shape[:2], kernel_regularizer=regularizers[0], name="conv1"
    )(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(dense.shape[1], kernel_regularizer=regularizers[1], name="dense1")(x)
    model = keras.Model(inputs, x)
    model.get_layer("conv1").kernel.assign(conv)
    model.get_layer("dense1").kernel.assign(dense)
    return model


def _described(parameter: Any) -> dict[str, Any]:
    config = parameter.get_config()
    names = ("min_value", "max_value", "step", "sampling")
    return {"kind": type(parameter).__name__} | {name: config.get(name) for name in names}


def _rate_at(optimizer: keras.Optimizer, step: int) -> float:
    optimizer.iterations.assign(step)
    return float(optimizer.learning_rate)
