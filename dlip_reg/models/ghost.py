"""Ghost batch normalization (Hoffer, Hubara & Soudry 2017, algorithm 1)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from dlip_reg.checks import require_whole
from dlip_reg.models import get_builder


@keras.saving.register_keras_serializable("dlip_reg")
class GhostBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization of each ghost batch, a part of the training batch, by itself.

    In training every `ghost_size` examples, in the batch's order, are normalized by their own mean
    and variance, and the moving statistics move towards the means of these over the parts. In
    inference it is Keras' layer. Channels are the last axis.

    Args:
        ghost_size: Examples in a ghost batch, at least 2; training batches must be multiples of it.
        **options: Those of `keras.layers.BatchNormalization` but `axis` and `synchronized`.

    Raises:
        ValueError: A ghost size that is not whole or below 2; in training, a batch that is no
            multiple of it.
    """

    def __init__(self, ghost_size: int, **options: Any) -> None:
        super().__init__(**options)
        self.ghost_size = require_whole("ghost_size", ghost_size, least=2)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        examples = inputs.shape[0]
        if examples is not None and examples % self.ghost_size:
            raise ValueError(
                f"Batches must be multiples of ghost_size {self.ghost_size}, not {examples}."
            )
        # Half precision is too coarse for a variance.
        dtype = self.variable_dtype
        parts = ops.reshape(inputs, (-1, self.ghost_size, *inputs.shape[1:]))
        parts = ops.cast(parts, dtype)
        mean, variance = ops.moments(parts, list(range(1, len(parts.shape) - 1)), keepdims=True)
        for moving, values in ((self.moving_mean, mean), (self.moving_variance, variance)):
            new = ops.mean(ops.reshape(values, (-1, inputs.shape[-1])), axis=0)
            moving.assign(moving * self.momentum + new * (1 - self.momentum))
        outputs = (parts - mean) * ops.rsqrt(variance + self.epsilon)
        if self.scale:
            outputs = outputs * ops.cast(self.gamma, dtype)
        if self.center:
            outputs = outputs + ops.cast(self.beta, dtype)
        return ops.cast(ops.reshape(outputs, (-1, *inputs.shape[1:])), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The layer's configuration."""
        return super().get_config() | {"ghost_size": self.ghost_size}


def ghost_batch_norm(
    input_shape: tuple[int, ...], classes: int, *, net: str, ghost_size: int, **options: Any
) -> keras.Model:
    """A builder's network with `GhostBatchNormalization` in place of batch normalization.

    A model function: `RunSpec("dlip_reg.models.ghost:ghost_batch_norm", data, builder={"net":
    "lenet5", "ghost_size": 8})`. A model that is saved loads wherever this module is imported.

    Args:
        input_shape: The shape of one example.
        classes: How many classes there are.
        net: The name of a builder in `dlip_reg.models`.
        ghost_size: Examples in a ghost batch.
        **options: Options of that builder.
    """
    options["batch_norm"] = True
    model = get_builder(net)(input_shape=input_shape, classes=classes, **options)

    def ghost(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.layers.BatchNormalization):
            return GhostBatchNormalization(ghost_size, **layer.get_config())
        return type(layer).from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=ghost)
