"""The loss that a run trains on, and the plain cross-entropy that its recorders measure."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from dlip_reg.training import model_functions
from dlip_reg.training.keras_configs import restored
from dlip_reg.training.specification import DEFAULT_LOSS, RunSpec


def clean_loss(spec: RunSpec, model: keras.Model, images: np.ndarray) -> keras.losses.Loss:
    """Return the plain sparse cross-entropy of the model's outputs.

    The outputs are logits, unless the loss of the run takes probabilities.

    Raises:
        ValueError: The model ends in a softmax or sigmoid and the loss takes logits, or the
            reverse. Of a model function the outputs for some `images` tell.
    """
    from_logits = getattr(restored(spec.loss), "from_logits", True)
    last = getattr(model, "operations", model.layers)[-1]
    activation = getattr(last, "activation", None)
    if isinstance(last, keras.layers.Softmax):
        activation = keras.activations.softmax
    are_logits = activation is keras.activations.linear
    if model_functions.is_function(spec.model):
        # What ends it may be another model, or no layer; and logits may all be 0 at first.
        outputs = outputs_of(model, images, training=False)
        if outputs.min() < 0 or outputs.max() > 1:
            are_logits = True
        elif np.allclose(outputs.sum(axis=-1), 1, atol=1e-3):
            are_logits, activation = False, keras.activations.softmax
    if from_logits and activation in (keras.activations.softmax, keras.activations.sigmoid):
        raise ValueError(
            f"Leave out the model's {activation.__name__}, or its loss must have from_logits=False."
        )
    if not from_logits and are_logits:
        raise ValueError("The model ends in logits: its loss must have from_logits=True.")
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)


def outputs_of(model: keras.Model, images: np.ndarray, training: bool) -> np.ndarray:
    """Return the outputs of a model with one input and one output, each perhaps in a list."""
    is_functional = getattr(model, "inputs", None)
    given = keras.tree.map_structure(lambda _: images, model.input) if is_functional else images
    outputs: np.ndarray = ops.convert_to_numpy(
        keras.tree.flatten(model(given, training=training))[0]
    )
    return outputs


def train_on(model: keras.Model, spec: RunSpec, classes: int) -> None:
    """Make a compiled model train on the loss of `spec`; what it was compiled with is measured.

    Recorders and curvature read the compiled loss, which stays the plain cross-entropy, so clean
    losses are comparable between runs that train on different losses.
    """
    if spec.loss == DEFAULT_LOSS and not spec.label_smoothing:
        return
    loss, smoothing = restored(spec.loss), spec.label_smoothing
    is_sparse = type(loss).__name__.startswith("Sparse")
    if is_sparse and smoothing:
        loss = keras.losses.CategoricalCrossentropy(
            from_logits=loss.from_logits, reduction=loss.reduction
        )
        is_sparse = False

    def compute_loss(
        x: Any, y: Any, y_pred: Any, sample_weight: Any = None, training: Any = True
    ) -> Any:
        targets = y
        if not is_sparse:
            targets = ops.one_hot(ops.cast(y, "int32"), classes, dtype=y_pred.dtype)
            targets = (1 - smoothing) * targets + smoothing / classes
        value = loss(targets, y_pred, sample_weight=sample_weight)
        return ops.sum([value, *(ops.sum(ops.cast(p, value.dtype)) for p in model.losses)])

    model.compute_loss = compute_loss
