"""The derivatives of a model's loss over one chunk of examples.

Products with the Hessian are taken chunk by chunk, so that memory is bounded by the chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf
from keras import ops
from keras.src.backend import get_keras_mask

from dlip_reg.clean_loss import example_losses
from dlip_reg.curvature.differentiation import corrected, symmetric_product, vjp
from dlip_reg.curvature.evaluation import activations, evaluation
from dlip_reg.curvature.layout import split


@dataclass(frozen=True, eq=False)
class Derivatives:
    """Sums over a chunk of examples of a model's loss and its derivatives.

    Weights and vectors are flat tensors (P,), in the order of `model.trainable_variables`; a chunk
    is a tuple (x, y, sample_weight) of tensors (x may be a dict or list of them). Each method
    returns (sum of weighted losses, what to divide it by, sum of the vectors): the divisor is the
    number of losses, or with `weighted_mean` the sum of their weights. `loss` is what
    `without_reduction` returns; `activation` the name of the one whose logits the loss is convex
    in, if there is one; `batch_norm` is "inference" or "batch"; `dtype` is the one everything is
    computed in, whatever the model's own policy. Holds no model.
    """

    loss: Callable
    activation: str | None
    weighted_mean: bool
    batch_norm: str
    dtype: str

    def value(self, model, chunk, weights) -> tuple:
        """The loss alone."""
        outputs, mask = self._outputs(model, weights, chunk)
        return self._sums(outputs, mask, chunk)

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
            with activations(self.activation) as origin:
                outputs, mask = self._outputs(model, w, chunk)
                point, activation = origin(outputs)
            finish.append(activation)
            return point, mask

        def slope(point):
            loss, count, pullback = vjp(lambda p: self._sums(finish[-1](p), mask, chunk), point)
            return pullback(ops.ones_like(loss)), (loss, count)

        point, mask, transposed = vjp(logits, weights)
        # The product with J is the derivative in u of (J^T u) . vector, which is linear in u.
        _, _, product = vjp(lambda u: (transposed(u), ()), ops.zeros_like(point))
        curved, sums = symmetric_product(slope, ops.stop_gradient(point), product(vector))
        return *sums, transposed(curved)

    def _outputs(self, model, weights, chunk) -> tuple:
        """The model's outputs and their mask."""
        variables = model.trainable_variables
        values = dict(zip(map(id, variables), split(weights, variables), strict=True))
        with evaluation(model, self.batch_norm, self.dtype, values):
            outputs = model(chunk[0], training=False)
        if keras.tree.is_nested(outputs):
            raise ValueError("Curvature needs a model with one output.")
        return outputs, get_keras_mask(outputs)

    def _sums(self, outputs, mask, chunk) -> tuple:
        """The weighted sum of the losses, and what to divide it by."""
        _, y, sample_weight = chunk
        with corrected():
            targets = ops.cast(y, self.dtype)
            losses, seen = example_losses(self.loss, targets, outputs, mask)
        more = len(losses.shape) - len(sample_weight.shape)
        if more < 0:
            raise ValueError(
                f"sample_weight has {len(sample_weight.shape)} axes, but the losses have only "
                f"{len(losses.shape)}: give one weight for each example, or for each of its losses."
            )
        for _ in range(more):
            sample_weight = sample_weight[..., None]  # an example may have several losses
        weighted = seen * ops.cast(sample_weight, seen.dtype)
        return ops.sum(losses * weighted), ops.sum(weighted if self.weighted_mean else seen)


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
