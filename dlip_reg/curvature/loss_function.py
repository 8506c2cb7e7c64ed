"""A model's loss over a data set as a function of one flat vector of weights."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.sparse.linalg import LinearOperator

from dlip_reg.checks import require_whole
from dlip_reg.chunks import (
    as_tensors,
    count_examples,
    example_weights,
    kept,
    summed,
    taken,
    traced,
    with_weight,
)
from dlip_reg.clean_loss import ModelLoss
from dlip_reg.curvature.agreement import FEW, Found, flat_gradient, require_agreement
from dlip_reg.curvature.batch_norm import batch_norm_layers
from dlip_reg.curvature.derivatives import Derivatives
from dlip_reg.curvature.layout import blocks_of, layout_of
from dlip_reg.curvature.self_check import CheckReport, check_derivatives

_LARGE = 1_000_000  # weights


class LossFunction:
    """The clean loss of a Keras model over fixed data, as a function of its trainable weights.

    It is a mean over all the examples whatever the `batch_size`: the sum of weight times loss over
    the number of losses (masked ones left out), as `fit` has it; a loss whose reduction is
    "mean_with_sample_weight" divides by the sum of weights instead, and one whose reduction is
    "sum" is a mean here all the same. A loss function that returns one number for a batch is taken
    to be the batch's mean. The `loss_weights` of `compile` multiply with the compiled loss. Dropout
    and all other randomness of training is off.

    Weights, gradients and vectors are NumPy float64 (P,), in the order of
    `model.trainable_variables`; `parameters=None` means the model's present weights. Evaluating
    elsewhere changes nothing in the model: no weight, statistic, seed, metric or optimizer. The
    model computes in its weights' own precision (float64 for a float64 model, else float32; half
    precision policies are lifted), so weights are rounded to that.

    Args:
        model: A built Keras model.
        x: The examples, (n, ...): an array, or a dict or list of them for several inputs. Data are
            not copied: a batch at a time becomes tensors, so memory is that of a batch.
        y: The targets, (n, ...): an array, or a dict or list of them for several outputs.
        loss: Anything that `keras.losses.get` takes, or a list or dict of these for several
            outputs; None for the compiled loss.
        sample_weight: (n,), (n, 1) or one for each of an example's losses; of several outputs a
            list or dict of them. They multiply the losses, as in `fit`.
        class_weight: {class: weight}, which multiply as well.
        penalties: Whether to add the weights' regularizers.
        layer_losses: Whether to add what layers add from their inputs (`add_loss`,
            `activity_regularizer`), of each `batch_size` examples, as it is in training of each
            batch. Gauss-Newton products are not defined with it.
        batch_norm: "inference" for moving statistics, "batch" for those of each `batch_size`
            examples in the data's order: one stated, fixed batching, whose last batch may be
            smaller.
        batch_size: How many examples go through the model at a time. It sets memory and speed only,
            but for batch statistics, losses of layers, and a model or loss that computes across
            the examples of a batch, which all are those of each `batch_size` examples.

    Raises:
        ValueError: For a model that is not built, has no trainable weights, or ones that are
            complex or integers, or a stateful recurrent layer; for a missing or stateful loss; for
            data that are empty or of unequal lengths; by methods, for vectors of another size or
            with values that are not finite, and for products where the loss has no finite second
            derivative, or an operation none at all. `value` and `gradient` return a loss that is
            infinite or NaN as it is.
    """

    def __init__(
        self,
        model: keras.Model,
        x: Any,
        y: Any = None,
        *,
        loss: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        penalties: bool = False,
        layer_losses: bool = False,
        batch_norm: str = "inference",
        batch_size: int = 256,
    ) -> None:
        if not (isinstance(model, keras.Model) and model.built):
            raise ValueError("Curvature needs a built keras.Model: call it once on a batch.")
        if not model.trainable_variables:
            raise ValueError("The model has no trainable weights, so its loss has no curvature.")
        for variable in model.trainable_variables:
            if not keras.backend.is_float_dtype(variable.dtype):
                raise ValueError(
                    "The curvature of a loss is taken in real weights, and the trainable weight "
                    f"{variable.path} is {variable.dtype}: keep the real and imaginary parts of "
                    "complex weights as weights of their own, and integers with trainable=False."
                )
        if batch_norm not in ("inference", "batch"):
            raise ValueError(f'batch_norm must be "inference" or "batch", not {batch_norm!r}.')
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.RNN) and layer.stateful:
                raise ValueError(
                    f"{layer.name} keeps its state from batch to batch, so the loss is not a "
                    "function of the weights alone: build the model with stateful=False."
                )
        self.model = model
        self.loss = ModelLoss(model, loss, layer_losses)
        if penalties:
            self.loss.require_mean("penalties")
        self.penalties = penalties
        self.batch_norm = batch_norm
        self.batch_size = require_whole("batch_size", batch_size)
        self.layout = layout_of(model)
        self._trained = _trained(model)
        self.size = sum(parameter.size for parameter in self.layout)
        if y is None:
            raise ValueError("Curvature needs the targets y as an array beside x.")
        self.examples = count_examples(x, y)
        weights = example_weights(self.examples, y, sample_weight, class_weight)
        self.loss.require_divisible(y, weights)
        self._data = x, y, weights  # arrays, of which one chunk at a time becomes tensors

    @property
    def dtype(self) -> str:
        """The precision that the model computes in."""
        dtypes = {variable.dtype for variable in self.model.trainable_variables}
        return "float64" if "float64" in dtypes else "float32"

    @property
    def method(self) -> str:
        """How Hessian products are taken: "reverse-over-reverse", or "differences" of gradients."""
        return "reverse-over-reverse" if self.self_check().passed else "differences"

    def parameters(self) -> np.ndarray:
        """The model's present trainable weights, (P,)."""
        if _trained(self.model) != self._trained:
            raise ValueError(
                "The model has other trainable weights than it had: after freezing or unfreezing "
                "layers compile it again and begin another fit."
            )
        weights = (variable.numpy().ravel() for variable in self.model.trainable_variables)
        return np.concatenate([np.zeros(0), *weights])

    def value(self, parameters: np.ndarray | None = None) -> float:
        """Return the loss.

        Args:
            parameters: The weights (P,) to evaluate at; None for the present ones.
        """
        return float(self._means("value", self._weights(parameters))[0])

    def gradient(self, parameters: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Return the loss and its gradient (P,).

        Args:
            parameters: The weights (P,) to evaluate at; None for the present ones.
        """
        value, gradient = self._means("gradient", self._weights(parameters))
        return value, gradient

    def hessian_product(
        self, vector: np.ndarray, parameters: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the Hessian times `vector`, (P,), without the Hessian (Pearlmutter 1994).

        The first product of a model runs `self_check`; if that fails, central differences of
        gradients are used instead, after a RuntimeWarning.

        Args:
            vector: (P,).
            parameters: The weights (P,) to evaluate at; None for the present ones.
        """
        weights, vector = self._weights(parameters), self._checked("vector", vector)
        if self.method == "differences":
            return _finite(*self._difference_product(weights, vector))
        return _finite(*self._means("hessian_product", weights, vector))

    def gauss_newton_product(
        self, vector: np.ndarray, parameters: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the generalized Gauss-Newton matrix times `vector`, (P,).

        J^T H J, with J the Jacobian of the model's outputs and H the loss's Hessian in them; for a
        softmax or sigmoid followed by its cross-entropy, one of Keras', in the logits. The
        penalties' share is their Hessian. Schraudolph 2002, section 3.

        Args:
            vector: (P,).
            parameters: The weights (P,) to evaluate at; None for the present ones.

        Raises:
            ValueError: For several outputs, and with `layer_losses`.
        """
        weights, vector = self._weights(parameters), self._checked("vector", vector)
        return _finite(*self._means("gauss_newton_product", weights, vector))

    def blocks(self, by: str | Mapping[str, str | Sequence[str]] = "layer") -> dict[str, list[int]]:
        """Return the indices of each layer's weights in the layout, or of named groups of them.

        Args:
            by: "layer", or {group: pattern or patterns} of names of weights or layers, as
                `blocks_of`.

        Raises:
            ValueError: For a group without a weight.
        """
        return blocks_of(self.layout, by)

    def to_scipy(
        self,
        kind: str = "hessian",
        block: Sequence[int] | None = None,
        preconditioner: np.ndarray | None = None,
        trace: bool = False,
    ) -> LinearOperator:
        """Return a matrix at the present weights as an operator of SciPy.

        `scipy.sparse.linalg.eigsh(function.to_scipy(), k=5)` finds the eigenvalues that are
        largest in absolute value, without the certificate of `top_eigenvalue`.

        Args:
            kind: "hessian" or "gauss_newton".
            block: Indices of trainable weights, such as `blocks()["dense"]`, for their diagonal
                block; None for the whole.
            preconditioner: P (size,), for P^-1/2 A P^-1/2 in place of the matrix A.
            trace: Whether to trace the products of a block by themselves. They are quicker, since
                they are differentiated in the block's weights alone, but tracing takes seconds.

        Raises:
            ValueError: For another kind, and for a preconditioner that is not above 0.
        """
        products = {"hessian": self.hessian_product, "gauss_newton": self.gauss_newton_product}
        if kind not in products:
            raise ValueError(f'kind must be "hessian" or "gauss_newton", not {kind!r}.')
        places: Any = slice(None)
        size, variables = self.size, None
        if block is not None:
            chosen = [self.layout[index] for index in block]
            places = np.concatenate([np.arange(p.offset, p.offset + p.size) for p in chosen])
            size = len(places)
            if trace and self.method != "differences":
                variables = tuple(block)
        weights = self.parameters()
        scale: np.ndarray | None = None
        if preconditioner is not None:
            preconditioner = self._checked("preconditioner", preconditioner)
            if not (preconditioner > 0).all():
                raise ValueError("preconditioner must be above 0.")
            scale = 1 / np.sqrt(preconditioner[places])

        def product(vector: np.ndarray) -> np.ndarray:
            # Nothing is copied without need: a vector of a large model has some 100 MB.
            vector = np.ravel(vector) if scale is None else scale * np.ravel(vector)
            if variables:
                loss, found = self._means(f"{kind}_product", weights, vector, block=variables)
                found = _finite(loss, found)
            elif block is None:
                found = products[kind](vector, weights)
            else:
                whole = np.zeros(self.size)
                whole[places] = vector
                found = products[kind](whole, weights)[places]
            return found if scale is None else scale * found

        return LinearOperator((size, size), matvec=product, rmatvec=product, dtype=np.float64)

    def subset(self, n: int, seed: int) -> LossFunction:
        """Return the same function over fewer examples, drawn without replacement, in their order.

        Args:
            n: The number of examples; ValueError for more than there are.
            seed: Of the draw.
        """
        n = require_whole("The examples of a subset", n, most=self.examples)
        return self.take(np.sort(np.random.default_rng(seed).permutation(self.examples)[:n]))

    def take(self, chosen: np.ndarray) -> LossFunction:
        """Return the same function over the examples at the indices `chosen`, (m,)."""
        part = copy.copy(self)
        part.examples = len(chosen)
        part._data = taken(self._data, chosen)
        return part

    def self_check(self) -> CheckReport:
        """Whether Hessian products are right for this model, checked once on a few examples.

        One product against a central difference of gradients, and the symmetry b.Ha = a.Hb, both
        in float64 where the model allows it.
        """

        def check() -> CheckReport:
            self._weights(None)  # a ValueError if some are not finite
            # TensorFlow keeps the memory that this takes in float64, much for a large model.
            # Normalised over two examples, what a layer sees hardly depends on what is before it.
            most = 2 if self.size >= _LARGE and self.batch_norm == "inference" else 8
            chosen = with_weight(self._data[2], self.examples)
            drawn = np.random.default_rng(0).permutation(len(chosen))[:most]
            few = self.take(chosen[np.sort(drawn)])
            few.batch_size, few.penalties = few.examples, False  # one chunk
            report = check_derivatives(few)
            if not report.passed:
                warnings.warn(report.summary(), RuntimeWarning, stacklevel=4)
            return report

        return kept(self.model, ("check", *self._key()), check)

    def verify(self, kind: str = "gradient") -> None:
        """Compare the loss and its gradient with Keras' own, once for a compiled model.

        It is done on a few examples at the present weights.

        Args:
            kind: "gradient" or "hessian_product": what is traced for it is compared, too.

        Raises:
            DisagreementError: As `require_agreement`.
        """
        few = self.take(with_weight(self._data[2], FEW))
        few.batch_size, few.penalties = few.examples, False
        weights = self.parameters()

        def few_tensors() -> tuple[Any, ...]:
            return as_tensors(*few._data, dtype=self.dtype)

        def own() -> Iterator[Found]:
            derivatives = Derivatives(self.loss, self.batch_norm, self.dtype)
            point, variables = tf.constant(weights, self.dtype), self.model.trainable_variables
            total, count, slopes = derivatives.slopes(self.model, few_tensors(), point)
            divisor = float(count) or np.inf
            gradient = flat_gradient(slopes, variables) / divisor
            yield float(total) / divisor, gradient, [slope is not None for slope in slopes]
            if kind == "gradient" or self.method == "differences":
                yield *few._means("gradient", weights), None
            else:
                yield few._means(kind, weights, np.ones_like(weights))[0], None, None

        def check() -> None:
            settings = {"batch_norm": self.batch_norm, "dtype": self.dtype}
            require_agreement(self.model, self.loss, few_tensors(), own, **settings)

        if np.isfinite(weights).all():  # or else there is nothing to compare
            kept(self.model, ("verified", kind, *self._key()), check)

    @property
    def inputs(self) -> Any:
        """The examples x."""
        return self._data[0]

    def derivative(self, kind: str, *vectors: np.ndarray, dtype: str) -> np.ndarray:
        """A "gradient" at `vectors[0]` or a "hessian_product", computed in `dtype` and untraced."""
        return self._means(kind, *vectors, dtype=dtype, eager=True)[-1]

    def _means(
        self,
        kind: str,
        *vectors: np.ndarray,
        dtype: str | None = None,
        eager: bool = False,
        block: tuple[int, ...] | None = None,
    ) -> tuple[Any, ...]:
        """The mean loss, and after it what else the method `kind` of `Derivatives` returns."""
        dtype = dtype or self.dtype
        derivatives = Derivatives(self.loss, self.batch_norm, dtype, self.penalties, block)
        function = traced(
            self.model,
            (kind, dtype, self.penalties and self._strengths(), block, *self._key()),
            getattr(derivatives, kind),
            eager=eager,
        )
        tensors = [tf.constant(vector, dtype) for vector in vectors]
        total, count, *sums = summed(function, self._data, self.batch_size, *tensors, dtype=dtype)
        divisor = count or np.inf  # the mean of no losses is 0, as in Keras
        for vector in sums:
            vector /= divisor  # in place, since a large model's takes memory
        return float(total / divisor), *sums

    def _difference_product(
        self, weights: np.ndarray, vector: np.ndarray
    ) -> tuple[float, np.ndarray]:
        length = np.linalg.norm(vector)
        if length == 0:
            return 0.0, np.zeros_like(vector)
        report = self.self_check()
        step = report.step * (np.linalg.norm(weights) or 1.0) / length
        above, high = self._means("gradient", weights + step * vector, dtype=report.dtype)
        below, low = self._means("gradient", weights - step * vector, dtype=report.dtype)
        return (above + below) / 2, (high - low) / (2 * step)

    def _strengths(self) -> tuple[tuple[int, str], ...]:
        """The regularizers as they are now: their numbers are constants of the traced function."""
        held = [weight.regularizer for weight in self.model.trainable_variables]
        return tuple((id(one), repr(getattr(one, "__dict__", ""))) for one in held)

    def _key(self) -> tuple[Hashable, ...]:
        # What is traced holds for these weights, trained or frozen as they now are.
        return (
            self.loss.key,
            self.batch_norm if batch_norm_layers(self.model) else "none",
            self.dtype,
            tuple(id(variable) for variable in self.model.trainable_variables),
            tuple(layer.trainable for layer in self.model._flatten_layers()),
        )

    def _weights(self, parameters: np.ndarray | None) -> np.ndarray:
        return self._checked("parameters", self.parameters() if parameters is None else parameters)

    def _checked(self, name: str, vector: np.ndarray) -> np.ndarray:
        vector = np.asarray(vector, np.float64)
        if vector.shape != (self.size,):
            raise ValueError(f"{name} must have shape ({self.size},), not {vector.shape}.")
        if not np.isfinite(vector).all():
            raise ValueError(f"{name} must be finite, but some are NaN or infinite.")
        return vector


def _finite(loss: float, product: np.ndarray) -> np.ndarray:
    if not np.isfinite(product).all():
        raise ValueError(f"The loss, {loss} here, has no finite second derivative.")
    return product


def _trained(model: keras.Model) -> list[int]:
    """The trainable weights by their places among all, which a copy of the model has, too."""
    trained = set(map(id, model.trainable_variables))
    return [place for place, weight in enumerate(model.weights) if id(weight) in trained]
