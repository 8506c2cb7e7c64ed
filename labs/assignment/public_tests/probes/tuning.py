"""Measures a submission's hypermodel, learning-rate schedule and diagnosis of sparsity."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import keras
import keras_tuner
import numpy as np
from keras import layers

from dlip_reg.grading.child import the
from probes.model import in_float32


@in_float32()
def hypermodel(
    submission: ModuleType,
    values: dict[str, float],
    kernels: list[np.ndarray],
    logits: np.ndarray,
    labels: np.ndarray,
) -> dict[str, Any]:
    """The search space, and the model of one point of it: the penalties of its conv and its dense
    layer at the weights `kernels`, their dropout rates, the learning rate, and the value of its
    loss on `logits` and `labels`."""

    def builder(*args: Any, **options: Any) -> keras.Model:
        return _conv_and_dense(kernels, **options)

    hypermodel = the(submission, "SeparateStrengths")(builder)
    hp = keras_tuner.HyperParameters()
    hp.values.update(values)  # a hyperparameter that has a value already keeps it
    model = hypermodel.build(hp)
    objective = getattr(hypermodel, "objective", None)
    return {
        "space": {parameter.name: _described(parameter) for parameter in hp.space},
        "penalties": [
            _penalty(model.get_layer(name), kernel)
            for name, kernel in zip(("conv1", "dense1"), kernels, strict=True)
        ],
        "rates": {
            name: float(model.get_layer(name).rate) for name in ("conv_dropout", "dense_dropout")
        },
        "learning_rate": float(model.optimizer.learning_rate),
        "loss": float(np.mean(keras.losses.get(model.loss)(labels, logits))),
        "objective": [
            str(getattr(objective, "name", objective)),
            str(getattr(objective, "direction", None)),
        ],
    }


@in_float32()
def schedule(submission: ModuleType, cases: list[dict], steps: list[int]) -> list[list[float]]:
    """The rates of each case's schedule at `steps`."""
    schedules = [the(submission, "ScaledWarmup")(**case) for case in cases]
    return [[float(made(step)) for step in steps] for made in schedules]


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


def _penalty(layer: keras.layers.Layer, kernel: np.ndarray) -> float:
    regularizer = layer.kernel_regularizer
    return (
        float(regularizer(keras.ops.convert_to_tensor(kernel, "float32"))) if regularizer else 0.0
    )


def _described(parameter: Any) -> dict[str, Any]:
    config = parameter.get_config()
    numbers = {name: config.get(name) for name in ("min_value", "max_value", "step")}
    return {
        "kind": type(parameter).__name__,
        "sampling": str(config.get("sampling")),
        **{name: np.nan if n is None else float(n) for name, n in numbers.items()},
    }
