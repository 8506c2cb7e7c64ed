"""The derivatives of a model's loss over one chunk of examples.

Products with the Hessian are taken chunk by chunk, so that memory is bounded by the chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from dlip_reg.clean_loss import ModelLoss, penalty
from dlip_reg.curvature import differentiation
from dlip_reg.curvature.batch_norm import forward
from dlip_reg.curvature.evaluation import evaluation
from dlip_reg.curvature.layout import split


def _logits_of_sigmoid(outputs: tf.Tensor) -> tf.Tensor:
    inside = ops.clip(outputs, 1e-7, 1 - 1e-7)  # where Keras' loss is not flat
    return ops.log(inside) - ops.log1p(-inside)


# What takes a cross-entropy's outputs to logits, but for what is the same for all, and back.
_IDENTITY = (lambda outputs: outputs,) * 2
_SOFTMAX = (lambda outputs: ops.log(ops.maximum(outputs, 1e-30)), ops.softmax)
_LINKS = {
    keras.losses.categorical_crossentropy: _SOFTMAX,
    keras.losses.sparse_categorical_crossentropy: _SOFTMAX,
    keras.losses.binary_crossentropy: (_logits_of_sigmoid, ops.sigmoid),
}


@dataclass(frozen=True, eq=False)
class Derivatives:
    """Sums over a chunk of examples of a model's loss and its derivatives.

    Weights and vectors are flat tensors (P,), in the order of `model.trainable_variables`; a chunk
    is a tuple (x, y, sample_weight) of tensors (each may be a dict or list of them). Each method
    returns (sum of weighted losses, what to divide it by, sum of the vectors), the first two as
    `ModelLoss.sums`. `batch_norm` is "inference" or "batch"; `dtype` is the one everything is
    computed in, whatever the model's own policy. `penalties` adds the weights' regularizers. With a
    `block`, indices of trainable variables, derivatives are in these weights alone, and so are
    their vectors. Holds no model.
    """

    loss: ModelLoss
    batch_norm: str
    dtype: str
    penalties: bool = False
    block: tuple[int, ...] | None = None

    def value(self, model: keras.Model, chunk: Any, weights: tf.Tensor) -> tuple[Any, ...]:
        """The loss alone."""
        function, point = self._function(model, chunk, weights)
        return function(point)

    def gradient(self, model: keras.Model, chunk: Any, weights: tf.Tensor) -> tuple[Any, ...]:
        """The loss and its gradient."""
        return differentiation.gradient(*self._function(model, chunk, weights))

    def slopes(self, model: keras.Model, chunk: Any, weights: tf.Tensor) -> tuple[Any, ...]:
        """The loss and a list of its gradients in each weight, None where it does not depend on it.

        They are for comparisons, and as TensorFlow's own has them.
        """
        pieces = split(weights, model.trainable_variables)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pieces)
            total, count = self._sums(model, chunk, pieces)
        return total, count, tape.gradient(total, pieces)

    def hessian_product(
        self, model: keras.Model, chunk: Any, weights: tf.Tensor, vector: tf.Tensor
    ) -> tuple[Any, ...]:
        """The loss and its Hessian times `vector`."""
        return differentiation.hessian_product(*self._function(model, chunk, weights), vector)

    def gauss_newton_product(
        self, model: keras.Model, chunk: Any, weights: tf.Tensor, vector: tf.Tensor
    ) -> tuple[Any, ...]:
        """The loss and J^T H J times `vector`: J of the logits, H of the loss in the logits.

        Of a loss that is not a cross-entropy they are the outputs. Penalties have their Hessian.
        """
        if self.loss.layer_losses:
            raise ValueError(
                "There is no Gauss-Newton matrix, since losses of layers are not functions of "
                "the outputs."
            )
        x, targets, sample_weight = chunk
        complete, moving = self._moved(model, weights)
        to_logits, activation = self._link

        def logits(moving: tf.Tensor) -> tuple[Any, ...]:
            with self._at(model, complete(moving)):
                outputs = forward(model, x, self.batch_norm)
                if keras.tree.is_nested(outputs):
                    raise ValueError("A Gauss-Newton product needs a model with one output.")
                return to_logits(outputs), outputs

        def loss_of(point: tf.Tensor) -> tuple[Any, ...]:
            with self._at(model, complete(moving)):
                losses = self.loss.of(activation(point), targets, sample_weight, outputs)
                return self.loss.sums(model, losses, self.dtype)

        def penalty_of(moving: tf.Tensor) -> tuple[Any, ...]:
            with self._at(model, complete(moving)):
                return (ops.cast(penalty(model), self.dtype),)

        point, outputs, transposed = differentiation.vjp(logits, moving, persistent=True)
        # The product with J is the derivative in u of (J^T u) . vector, which is linear in u.
        _, product = differentiation.vjp(lambda u: (transposed(u),), ops.zeros_like(point))
        point = ops.stop_gradient(point)
        total, count, curved = differentiation.hessian_product(loss_of, point, product(vector))
        curved = transposed(curved)
        if self.penalties:
            _, own = differentiation.hessian_product(penalty_of, moving, vector)
            curved = curved + count * own
        return total, count, curved

    @property
    def _link(self) -> tuple[Callable[[tf.Tensor], tf.Tensor], Callable[[tf.Tensor], tf.Tensor]]:
        """What takes the outputs to the logits, which the loss is convex in, and back."""
        loss = self.loss.single
        if getattr(loss, "from_logits", False):
            return _IDENTITY
        return _LINKS.get(getattr(loss, "fn", loss), _IDENTITY)

    def _function(
        self, model: keras.Model, chunk: Any, weights: tf.Tensor
    ) -> tuple[differentiation.TensorFunction, tf.Tensor]:
        """The loss as a function of the weights (n,) that derivatives are in, and these weights."""
        complete, moving = self._moved(model, weights)
        return lambda moving: self._sums(model, chunk, complete(moving)), moving

    def _moved(
        self, model: keras.Model, weights: tf.Tensor
    ) -> tuple[Callable[[tf.Tensor], list[tf.Tensor]], tf.Tensor]:
        """What makes tensors of all weights of those (n,) that derivatives are in, and these."""
        variables, block = model.trainable_variables, self.block
        if block is None:
            return lambda moving: split(moving, variables), weights
        pieces = split(weights, variables)
        moved = [pieces[i] for i in block]

        def complete(moving: tf.Tensor) -> list[tf.Tensor]:
            new = dict(zip(block, split(moving, moved), strict=True))
            return [new.get(i, piece) for i, piece in enumerate(pieces)]

        return complete, ops.concatenate([ops.reshape(piece, (-1,)) for piece in moved])

    def _at(self, model: keras.Model, weights: list[tf.Tensor]) -> AbstractContextManager[Any]:
        values = dict(zip(map(id, model.trainable_variables), weights, strict=True))
        return evaluation(model, self.batch_norm, self.dtype, values)

    def _sums(self, model: keras.Model, chunk: Any, weights: list[tf.Tensor]) -> tuple[Any, ...]:
        x, *targets = chunk
        with self._at(model, weights):  # the loss, too, may read them
            losses = self.loss.of(forward(model, x, self.batch_norm), *targets)
            total, count = self.loss.sums(model, losses, self.dtype)
            if self.penalties:
                total = total + count * ops.cast(penalty(model), self.dtype)
        return total, count
