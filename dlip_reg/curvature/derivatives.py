"""The derivatives of a model's loss over one chunk of examples.

Products with the Hessian are taken chunk by chunk, so that memory is bounded by the chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import ops
from keras.src.backend import get_keras_mask

from dlip_reg.clean_loss import ModelLoss
from dlip_reg.curvature.batch_norm import forward
from dlip_reg.curvature.differentiation import symmetric_product, vjp
from dlip_reg.curvature.evaluation import activations, evaluation
from dlip_reg.curvature.layout import split


@dataclass(frozen=True, eq=False)
class Derivatives:
    """Sums over a chunk of examples of a model's loss and its derivatives.

    Weights and vectors are flat tensors (P,), in the order of `model.trainable_variables`; a chunk
    is a tuple (x, y, sample_weight) of tensors (each may be a dict or list of them). Each method
    returns (sum of weighted losses, what to divide it by, sum of the vectors), the first two as
    `ModelLoss.sums`. `activation` is the name of the one whose logits the loss is convex in, if
    there is one; `batch_norm` is "inference" or "batch"; `dtype` is the one everything is computed
    in, whatever the model's own policy. Holds no model.
    """

    loss: ModelLoss
    activation: str | None
    batch_norm: str
    dtype: str

    def value(self, model, chunk, weights) -> tuple:
        """The loss alone."""
        with self._at(model, weights):  # the loss, too, which may read them
            return self._sums(forward(model, chunk[0]), chunk)

    def gradient(self, model, chunk, weights) -> tuple:
        """The loss and its gradient."""
        loss, count, pullback = vjp(lambda w: self.value(model, chunk, w), weights)
        return loss, count, pullback(ops.ones_like(loss))

    def hessian_product(self, model, chunk, weights, vector) -> tuple:
        """The loss and its Hessian times `vector`."""

        def gradient(w):
            *sums, slope = self.gradient(model, chunk, w)
            return slope, sums

        product, sums = symmetric_product(gradient, weights, vector)
        return *sums, product

    def gauss_newton_product(self, model, chunk, weights, vector) -> tuple:
        """The loss and J^T H J times `vector`: J of the outputs, H of the loss in the outputs."""
        finish = []

        def logits(w):
            with self._at(model, w), activations(self.activation) as origin:
                outputs = forward(model, chunk[0])
                if keras.tree.is_nested(outputs):
                    raise ValueError("A Gauss-Newton product needs a model with one output.")
                point, activation = origin(outputs)
            finish.append(activation)
            return point, get_keras_mask(outputs)

        def loss_of(p):
            with self._at(model, weights):
                return self._sums(finish[-1](p), chunk, mask)

        def slope(point):
            loss, count, pullback = vjp(loss_of, point)
            return pullback(ops.ones_like(loss)), (loss, count)

        point, mask, transposed = vjp(logits, weights)
        # The product with J is the derivative in u of (J^T u) . vector, which is linear in u.
        _, _, product = vjp(lambda u: (transposed(u), ()), ops.zeros_like(point))
        curved, sums = symmetric_product(slope, ops.stop_gradient(point), product(vector))
        return *sums, transposed(curved)

    def _at(self, model, weights) -> Any:
        variables = model.trainable_variables
        values = dict(zip(map(id, variables), split(weights, variables), strict=True))
        return evaluation(model, self.batch_norm, self.dtype, values)

    def _sums(self, outputs, chunk, mask=None) -> tuple:
        return self.loss.sums(self.loss.of(outputs, *chunk[1:], mask), self.dtype)


def penalty(model: keras.Model, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The sum of the weights' regularizers, and its gradient."""

    def total(w: tf.Tensor) -> tuple:
        terms = ops.zeros((), w.dtype)
        for variable, piece in zip(
            model.trainable_variables, split(w, model.trainable_variables), strict=True
        ):
            if variable.regularizer is not None:
                # Regularizers compute in the dtype of the variable.
                term = variable.regularizer(ops.cast(piece, variable.dtype))
                terms = terms + ops.cast(term, w.dtype)
        return terms, ()

    value, _, pullback = vjp(total, weights)
    return value, pullback(ops.ones_like(value))


def penalty_product(model: keras.Model, weights: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """The Hessian of the sum of the weights' regularizers, times `vector`."""
    product, _ = symmetric_product(lambda w: penalty(model, w)[::-1], weights, vector)
    return product
