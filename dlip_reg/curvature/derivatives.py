"""The derivatives of a model's loss, as sums over chunks of its examples.

Products with the Hessian are taken chunk by chunk, so that memory is bounded by the chunk.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.backend import get_keras_mask

from dlip_reg.clean_loss import example_losses
from dlip_reg.curvature.backends import backend
from dlip_reg.curvature.evaluation import activations, corrected, evaluation


class Derivatives:
    """Sums over examples of a model's loss and its derivatives, traced once each.

    Weights and vectors are flat NumPy float64 (P,), in the order of `model.trainable_variables`;
    `data` is a tuple (x, y, sample_weight) of arrays (x may be a dict or list of them). Each
    method returns (sum of weighted losses, what to divide it by, sum of the vectors): the divisor
    is the number of losses, or with `weighted_mean` the sum of their weights. `activation` is the
    name of the one whose logits the loss is convex in, if there is one; `batch_norm` is
    "inference" or "batch"; `dtype` is the one everything is computed in, whatever the model's own
    policy; `few` is for a handful of calls. Holds its model weakly.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Callable,
        *,
        weighted_mean: bool,
        activation: str | None,
        batch_norm: str,
        dtype: str,
        few: bool = False,
    ) -> None:
        self._model = weakref.ref(model)
        self._variables = list(model.trainable_variables)
        self._constants = list(model.non_trainable_variables)
        self._loss = loss
        self._weighted_mean = weighted_mean
        self._activation = activation
        self._batch_norm = batch_norm
        self._dtype = dtype
        self._few = few or model.run_eagerly
        self._compiled: dict[str, Callable] = {}

    def value(self, data: Any, batch_size: int, weights: np.ndarray) -> tuple:
        """The loss alone."""
        return self._run(self._chunk_value, data, batch_size, weights)

    def gradient(self, data: Any, batch_size: int, weights: np.ndarray) -> tuple:
        """The loss and its gradient."""
        return self._run(self._chunk_gradient, data, batch_size, weights)

    def hessian_product(
        self, data: Any, batch_size: int, weights: np.ndarray, vector: np.ndarray
    ) -> tuple:
        """The loss and its Hessian times `vector`."""
        return self._run(self._chunk_hessian_product, data, batch_size, weights, vector)

    def gauss_newton_product(
        self, data: Any, batch_size: int, weights: np.ndarray, vector: np.ndarray
    ) -> tuple:
        """The loss and J^T H J times `vector`: J of the outputs, H of the loss in the outputs."""
        return self._run(self._chunk_gauss_newton_product, data, batch_size, weights, vector)

    def penalty(self, weights: np.ndarray) -> tuple:
        """The sum of the weights' regularizers, and its gradient."""
        with backend().precision(self._dtype):
            return _numpy(self._penalty_gradient(self._tensor(weights)))

    def penalty_product(self, weights: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """The Hessian of the sum of the weights' regularizers, times `vector`."""
        with backend().precision(self._dtype):
            product, _ = backend().symmetric_product(
                lambda w: self._penalty_gradient(w)[::-1],
                self._tensor(weights),
                self._tensor(vector),
            )
            return _numpy([product])[0]

    def _run(self, chunk: Callable, data: Any, batch_size: int, *vectors: np.ndarray) -> tuple:
        totals = None
        with backend().precision(self._dtype):
            tensors, quick = [self._tensor(vector) for vector in vectors], self._quick(chunk)
            for start in range(0, len(data[-1]), batch_size):
                part = keras.tree.map_structure(
                    lambda array, start=start: array[start : start + batch_size], data
                )
                try:
                    terms = _numpy(quick(as_tensors(part, self._dtype), *tensors))
                except NotImplementedError as error:
                    raise ValueError(
                        "A product needs second derivatives, and Keras' backend has none for an "
                        f"operation of this model ({error})."
                    ) from error
                totals = terms if totals is None else list(map(np.add, totals, terms))
        return tuple(totals)

    def _quick(self, chunk: Callable) -> Callable:
        name = chunk.__name__
        if name not in self._compiled:
            self._compiled[name] = backend().compiled(chunk, self._constants, self._few)
        return self._compiled[name]

    def _tensor(self, vector: np.ndarray) -> Any:
        return ops.convert_to_tensor(vector, self._dtype)

    def _chunk_value(self, chunk, weights) -> tuple:
        outputs, mask = self._outputs(weights, chunk)
        return self._sums(outputs, mask, chunk)

    def _chunk_gradient(self, chunk, weights) -> tuple:
        loss, count, pullback = backend().vjp(lambda w: self._chunk_value(chunk, w), weights)
        return loss, count, pullback(ops.ones_like(loss))

    def _chunk_hessian_product(self, chunk, weights, vector) -> tuple:
        def gradient(w):
            *sums, slope = self._chunk_gradient(chunk, w)
            return slope, sums

        product, sums = backend().symmetric_product(gradient, weights, vector)
        return *sums, product

    def _chunk_gauss_newton_product(self, chunk, weights, vector) -> tuple:
        vjp, finish = backend().vjp, []

        def logits(w):
            with activations(self._activation) as origin:
                outputs, mask = self._outputs(w, chunk)
                point, activation = origin(outputs)
            finish.append(activation)
            return point, mask

        def slope(point):
            loss, count, pullback = vjp(lambda p: self._sums(finish[-1](p), mask, chunk), point)
            return pullback(ops.ones_like(loss)), (loss, count)

        point, mask, transposed = vjp(logits, weights)
        # The product with J is the derivative in u of (J^T u) . vector, which is linear in u.
        _, _, product = vjp(lambda u: (transposed(u), ()), ops.zeros_like(point))
        curved, sums = backend().symmetric_product(slope, ops.stop_gradient(point), product(vector))
        return *sums, transposed(curved)

    def _outputs(self, weights, chunk) -> tuple:
        """The model's outputs and their mask."""
        model = self._model()
        pieces = split(weights, self._variables)
        values = dict(zip(map(id, self._variables), pieces, strict=True))
        with evaluation(model, self._batch_norm, self._dtype, values):
            outputs = model(chunk[0], training=False)
        if keras.tree.is_nested(outputs):
            raise ValueError("Curvature needs a model with one output.")
        return outputs, get_keras_mask(outputs)

    def _sums(self, outputs, mask, chunk) -> tuple:
        """The weighted sum of the losses, and what to divide it by."""
        _, y, sample_weight = chunk
        with corrected():
            targets = ops.cast(y, self._dtype)
            losses, seen = example_losses(self._loss, targets, outputs, mask)
        more = len(losses.shape) - len(sample_weight.shape)
        if more < 0:
            raise ValueError(
                f"sample_weight has {len(sample_weight.shape)} axes, but the losses have only "
                f"{len(losses.shape)}: give one weight for each example, or for each of its losses."
            )
        for _ in range(more):
            sample_weight = sample_weight[..., None]  # an example may have several losses
        weighted = seen * ops.cast(sample_weight, seen.dtype)
        return ops.sum(losses * weighted), ops.sum(weighted if self._weighted_mean else seen)

    def _penalty_gradient(self, weights) -> tuple:
        def penalty(w):
            total = ops.zeros((), self._dtype)
            for variable, piece in zip(self._variables, split(w, self._variables), strict=True):
                if variable.regularizer is not None:
                    # Regularizers compute in the dtype of the variable.
                    term = variable.regularizer(ops.cast(piece, variable.dtype))
                    total = total + ops.cast(term, self._dtype)
            return total, ()

        total, _, pullback = backend().vjp(penalty, weights)
        return total, pullback(ops.ones_like(total))


def as_tensors(arrays: Any, dtype: str) -> Any:
    """Nested arrays as tensors; those of float64 become `dtype`."""

    def convert(array: Any) -> Any:
        double = keras.backend.standardize_dtype(array.dtype) == "float64"
        return ops.convert_to_tensor(array, dtype if double else None)

    return keras.tree.map_structure(convert, arrays)


def split(weights: Any, tensors: list) -> list:
    """The flat `weights` cut up into the shapes of `tensors`."""
    *ends, _ = np.cumsum([int(np.prod(tensor.shape)) for tensor in tensors]).tolist()
    pieces = ops.split(weights, ends) if ends else [weights]
    return [ops.reshape(p, t.shape) for p, t in zip(pieces, tensors, strict=True)]


def _numpy(tensors: Any) -> list[np.ndarray]:
    return [np.asarray(ops.convert_to_numpy(tensor), np.float64) for tensor in tensors]
