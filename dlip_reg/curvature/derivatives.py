"""The derivatives of a model's loss over one chunk of examples.

Products with the Hessian are taken chunk by chunk, so that memory is bounded by the chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from dlip_reg.clean_loss import ModelLoss, penalty
from dlip_reg.curvature.batch_norm import forward
from dlip_reg.curvature.differentiation import symmetric_product, vjp
from dlip_reg.curvature.evaluation import evaluation
from dlip_reg.curvature.layout import split


def _logits_of_sigmoid(outputs: Any) -> Any:
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

    def value(self, model, chunk, weights) -> tuple:
        """The loss alone."""
        return self._value(model, chunk, split(weights, model.trainable_variables))

    def gradient(self, model, chunk, weights) -> tuple:
        """The loss and its gradient."""
        return self._gradient(model, chunk, *self._moved(model, weights))

    def hessian_product(self, model, chunk, weights, vector) -> tuple:
        """The loss and its Hessian times `vector`."""
        point, complete = self._moved(model, weights)

        def gradient(point):
            *sums, slope = self._gradient(model, chunk, point, complete)
            return slope, sums

        product, sums = symmetric_product(gradient, point, vector)
        return *sums, product

    def gauss_newton_product(self, model, chunk, weights, vector) -> tuple:
        """The loss and J^T H J times `vector`: J of the logits, H of the loss in the logits.

        Of a loss that is not a cross-entropy they are the outputs. Penalties have their Hessian.
        """
        moving, complete = self._moved(model, weights)
        to_logits, activation = self._link

        def logits(moving):
            with self._at(model, complete(moving)):
                outputs = forward(model, chunk[0])
                if keras.tree.is_nested(outputs):
                    raise ValueError("A Gauss-Newton product needs a model with one output.")
                return to_logits(outputs), outputs

        def loss_of(point):
            with self._at(model, complete(moving)):
                return self._sums(activation(point), chunk, outputs)

        def slope(point):
            loss, count, pullback = vjp(loss_of, point)
            return pullback(ops.ones_like(loss)), (loss, count)

        def penalty_of(moving):
            with self._at(model, complete(moving)):
                return ops.cast(penalty(model), self.dtype), ()

        def penalty_slope(moving):
            total, _, pullback = vjp(penalty_of, moving)
            return pullback(ops.ones_like(total)), ()

        point, outputs, transposed = vjp(logits, moving)
        # The product with J is the derivative in u of (J^T u) . vector, which is linear in u.
        _, _, product = vjp(lambda u: (transposed(u), ()), ops.zeros_like(point))
        curved, (loss, count) = symmetric_product(slope, ops.stop_gradient(point), product(vector))
        curved = transposed(curved)
        if self.penalties:
            curved = curved + count * symmetric_product(penalty_slope, moving, vector)[0]
        return loss, count, curved

    @property
    def _link(self) -> tuple[Callable, Callable]:
        """What takes the outputs to the logits, which the loss is convex in, and back."""
        loss = self.loss.single
        if getattr(loss, "from_logits", False):
            return _IDENTITY
        return _LINKS.get(getattr(loss, "fn", loss), _IDENTITY)

    def _value(self, model, chunk, pieces) -> tuple:
        with self._at(model, pieces):  # the loss, too, which may read them
            total, count = self._sums(forward(model, chunk[0]), chunk)
            if self.penalties:
                total = total + count * ops.cast(penalty(model), self.dtype)
        return total, count

    def _gradient(self, model, chunk, point, complete) -> tuple:
        loss, count, pullback = vjp(lambda point: self._value(model, chunk, complete(point)), point)
        return loss, count, pullback(ops.ones_like(loss))

    def _moved(self, model, weights) -> tuple:
        """The weights (n,) that derivatives are in, and what makes tensors of all of these."""
        variables = model.trainable_variables
        if self.block is None:
            return weights, lambda point: split(point, variables)
        pieces = split(weights, variables)
        moved = [pieces[i] for i in self.block]

        def with_block(point):
            new = dict(zip(self.block, split(point, moved), strict=True))
            return [new.get(i, piece) for i, piece in enumerate(pieces)]

        return ops.concatenate([ops.reshape(piece, (-1,)) for piece in moved]), with_block

    def _at(self, model, pieces) -> Any:
        values = dict(zip(map(id, model.trainable_variables), pieces, strict=True))
        return evaluation(model, self.batch_norm, self.dtype, values)

    def _sums(self, outputs, chunk, masked=None) -> tuple:
        return self.loss.sums(self.loss.of(outputs, *chunk[1:], masked), self.dtype)
