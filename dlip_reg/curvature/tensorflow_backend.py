"""How TensorFlow differentiates a Keras model's loss.

Products with the Hessian are taken by reverse-over-reverse, chunk by chunk of the examples, so that
memory is bounded by the chunk. Nothing is compiled by XLA: its second derivative of max-pooling is
wrong on the CPU, where it is slower as well.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dlip_reg.curvature.tensorflow_evaluation import evaluation, gradient_of, watch


class Derivatives:
    """Sums over examples of a model's loss and its derivatives, traced once each.

    Weights and vectors are flat NumPy float64 (P,), in the order of `model.trainable_variables`;
    `data` is a tuple (x, y, sample_weight) of tensors (x may be a dict or list of them). Each
    method returns (sum of weighted losses, what to divide it by, sum of the vectors): the divisor
    is the number of losses, or with `weighted_mean` the sum of their weights. `batch_norm` is
    "inference" or "batch"; `dtype` is the one everything is computed in, whatever the model's own
    policy; `eager` runs without tracing. Holds its model weakly.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Callable,
        *,
        weighted_mean: bool,
        batch_norm: str,
        dtype: str,
        eager: bool = False,
    ) -> None:
        self._model = weakref.ref(model)
        self._variables = list(model.trainable_variables)
        self._loss = loss
        self._weighted_mean = weighted_mean
        self._batch_norm = batch_norm
        self._dtype = dtype
        self._eager = eager or model.run_eagerly
        self._traced: dict[tuple, Callable] = {}

    def value(self, data: Any, batch_size: int, weights: np.ndarray) -> tuple:
        """The loss."""
        return self._run(self._chunk_value, (), data, batch_size, weights)

    def gradient(self, data: Any, batch_size: int, weights: np.ndarray) -> tuple:
        """The loss and its gradient."""
        shape = (weights.size,)
        return self._run(self._chunk_gradient, shape, data, batch_size, weights)

    def hessian_product(
        self, data: Any, batch_size: int, weights: np.ndarray, vector: np.ndarray
    ) -> tuple:
        """The loss and its Hessian times `vector`."""
        shape = (weights.size,)
        return self._run(self._chunk_hessian_product, shape, data, batch_size, weights, vector)

    def gauss_newton_product(
        self, data: Any, batch_size: int, weights: np.ndarray, vector: np.ndarray
    ) -> tuple:
        """The loss and J^T H J times `vector`: J of the outputs, H of the loss in the outputs."""
        shape = (weights.size,)
        return self._run(self._chunk_gauss_newton_product, shape, data, batch_size, weights, vector)

    def _run(self, chunk: Callable, shape: tuple, data: Any, batch_size: int, *vectors) -> tuple:
        def add_chunk(data, start, end, totals, *vectors):
            part = tf.nest.map_structure(lambda tensor: tensor[start:end], data)
            terms = chunk(*part, *(tf.cast(vector, self._dtype) for vector in vectors))
            return [a + tf.cast(b, tf.float64) for a, b in zip(totals, terms, strict=True)]

        totals = [tf.zeros(shape, tf.float64) for shape in ((), (), shape)]
        vectors = [tf.constant(vector, tf.float64) for vector in vectors]
        examples = len(tf.nest.flatten(data)[0])
        try:
            if not self._eager:
                add_chunk = self._graph(chunk.__name__, add_chunk, data, totals, vectors)
            for start in range(0, examples, batch_size):
                end = min(start + batch_size, examples)
                totals = add_chunk(data, tf.constant(start), tf.constant(end), totals, *vectors)
        except LookupError as error:
            raise ValueError(
                "A product needs second derivatives, and TensorFlow has none for an operation of "
                f"this model ({error})."
            ) from error
        return tuple(total.numpy() for total in totals)

    def _graph(self, name: str, function: Callable, data: Any, totals: list, vectors: list) -> Any:
        # The number of examples is left open, so that any subset is the same trace.
        specs = tf.nest.map_structure(
            lambda tensor: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype), data
        )
        key = (name, str(specs))
        if key not in self._traced:
            place = tf.TensorSpec((), tf.int32)
            rest = tf.nest.map_structure(
                lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), (totals, *vectors)
            )
            graph = tf.function(function, autograph=False, jit_compile=False)
            self._traced[key] = graph.get_concrete_function(specs, place, place, *rest)
        return self._traced[key]

    def _chunk_value(self, x, y, sample_weight, weights) -> tuple:
        return *self._loss_sum(weights, x, y, sample_weight), tf.zeros(())

    def _chunk_gradient(self, x, y, sample_weight, weights) -> tuple:
        with watch(weights) as tape:
            loss, count = self._loss_sum(weights, x, y, sample_weight)
        return loss, count, gradient_of(tape, loss, weights)

    def _chunk_hessian_product(self, x, y, sample_weight, weights, vector) -> tuple:
        with watch(weights) as outer:
            loss, count, gradient = self._chunk_gradient(x, y, sample_weight, weights)
        return loss, count, gradient_of(outer, gradient, weights, vector)

    def _chunk_gauss_newton_product(self, x, y, sample_weight, weights, vector) -> tuple:
        with watch(weights, persistent=True) as backward:
            outputs = self._outputs(weights, x)
            middle = self._split_point(outputs, y, sample_weight)
        # The product with J is the derivative in u of (J^T u) . vector, which is linear in u.
        u = tf.zeros_like(middle)
        with watch(u) as linear:
            transposed = gradient_of(backward, middle, weights, u)
        tangent = gradient_of(linear, transposed, u, vector)

        point = tf.stop_gradient(middle)
        with watch(point) as outer:
            with watch(point) as inner:
                loss, count = self._sums(_moved(outputs, middle, point), y, sample_weight)
            slope = gradient_of(inner, loss, point)
        curved = gradient_of(outer, slope, point, tangent)
        return loss, count, gradient_of(backward, middle, weights, curved)

    def _split_point(self, outputs, y, sample_weight) -> tf.Tensor:
        """The outputs, or the logits they were made of if the loss goes straight to those."""
        logits = getattr(outputs, "_keras_logits", None)
        if logits is None:
            return outputs
        with watch(outputs) as tape:
            loss, _ = self._sums(_moved(outputs, logits, logits), y, sample_weight)
        return logits if tape.gradient(loss, outputs) is None else outputs

    def _loss_sum(self, weights, x, y, sample_weight) -> tuple[tf.Tensor, tf.Tensor]:
        return self._sums(self._outputs(weights, x), y, sample_weight)

    def _outputs(self, weights, x) -> tf.Tensor:
        model = self._model()
        values = dict(zip(map(id, self._variables), split(weights, self._variables), strict=True))
        with evaluation(model, self._batch_norm, self._dtype, values):
            outputs = model(x, training=False)
        if keras.tree.is_nested(outputs):
            raise ValueError("Curvature needs a model with one output.")
        return outputs

    def _sums(self, outputs, y, sample_weight) -> tuple[tf.Tensor, tf.Tensor]:
        """The weighted sum of the losses, and what to divide it by."""
        losses = self._loss(tf.cast(y, self._dtype), outputs)
        if losses.shape.rank == 0:
            losses = tf.fill([tf.shape(sample_weight)[0]], losses)
        seen = tf.ones_like(losses)
        for mask in (_mask(outputs), _mask(losses)):
            if mask is not None:
                seen *= tf.cast(mask, seen.dtype)
        for _ in range(losses.shape.rank - sample_weight.shape.rank):
            sample_weight = sample_weight[..., None]  # an example may have several losses
        weighted = seen * tf.cast(sample_weight, seen.dtype)
        return (
            tf.reduce_sum(losses * weighted),
            tf.reduce_sum(weighted if self._weighted_mean else seen),
        )


def as_tensors(arrays: Any, dtype: str) -> Any:
    """Arrays as tensors; those of float64 become `dtype`."""

    def convert(array: Any) -> tf.Tensor:
        tensor = tf.convert_to_tensor(array)
        return tf.cast(tensor, dtype) if tensor.dtype == tf.float64 else tensor

    return keras.tree.map_structure(convert, arrays)


def split(weights: tf.Tensor, variables: list) -> list[tf.Tensor]:
    """The flat `weights` cut up into the shapes of `variables`."""
    sizes = [int(np.prod(variable.shape)) for variable in variables]
    pieces = tf.split(weights, sizes)
    return [tf.reshape(p, v.shape) for p, v in zip(pieces, variables, strict=True)]


def penalty(
    variables: list, weights: np.ndarray, vector: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """The weights' regularizers: their sum, and its gradient or, for a `vector`, its product."""
    weights = tf.constant(weights)
    with watch(weights) as outer:
        with watch(weights) as inner:
            value = tf.zeros((), weights.dtype)
            for variable, piece in zip(variables, split(weights, variables), strict=True):
                if variable.regularizer is not None:
                    # Regularizers compute in the dtype of the variable.
                    term = variable.regularizer(tf.cast(piece, variable.dtype))
                    value += tf.cast(term, weights.dtype)
        gradient = gradient_of(inner, value, weights)
    if vector is None:
        return float(value), gradient.numpy()
    return float(value), gradient_of(outer, gradient, weights, tf.constant(vector)).numpy()


def _mask(tensor: tf.Tensor) -> tf.Tensor | None:
    return getattr(tensor, "_keras_mask", None)


def _moved(outputs: tf.Tensor, middle: tf.Tensor, point: tf.Tensor) -> tf.Tensor:
    """`outputs` with `point` in the place of `middle`, which is they themselves or their logits."""
    moved = tf.identity(point if middle is outputs else outputs)
    if middle is not outputs:
        moved._keras_logits = point
    if _mask(outputs) is not None:
        moved._keras_mask = _mask(outputs)
    return moved
