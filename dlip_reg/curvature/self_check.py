"""Whether a model's Hessian products can be trusted: a quick check against its gradients."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from dlip_reg.chunks import as_tensors
from dlip_reg.curvature.batch_norm import forward
from dlip_reg.curvature.differentiation import NoDerivativeError, symmetric_product, vjp
from dlip_reg.curvature.evaluation import evaluation
from dlip_reg.curvature.layout import split
from dlip_reg.curvature.replaced import replaced

_SYMMETRY = 1e-4
# How many points are tried, for the difference may meet a kink, in float32 most of all.
_POINTS = {"float64": 2, "float32": 4}
# By precision: the relative tolerance, and the steps from the longest to the shortest.
_SETTINGS = {"float64": (1e-4, (1e-8,)), "float32": (2e-3, (2e-3, 1e-3, 5e-4))}


class _RoundedError(ArithmeticError):
    """Something in a model computes in less than the precision that was asked for."""


@dataclass(frozen=True)
class CheckReport:
    """What the self-check of a model's Hessian products found.

    `difference_error` is the relative distance of one product from a central difference of
    gradients (NaN for a product that TensorFlow has no derivatives for), `symmetry_error` that of
    b.Ha from a.Hb; `layers` are those found at fault,
    innermost first, `dtype` the precision of the check, `step` its relative step.
    """

    passed: bool
    difference_error: float
    symmetry_error: float
    layers: tuple[str, ...]
    dtype: str
    step: float

    def summary(self) -> str:
        """The finding in one sentence."""
        if self.passed:
            return "Hessian products agree with differences of gradients."
        place = ", ".join(self.layers) or "the loss, or what the model does between its layers"
        limits = (
            "in float64"
            if self.dtype == "float64"
            else "in float32, good to a few per cent and not to be trusted near kinks (ReLU)"
        )
        found = f"are off by {self.difference_error:.1%}"
        if np.isnan(self.difference_error):
            found = "need second derivatives that TensorFlow does not have"
        return (
            f"Hessian products {found} (at fault: {place}); central "
            f"differences of gradients are used instead, {limits}."
        )


def check_derivatives(
    model: keras.Model,
    x: Any,
    batch_norm: str,
    derivative: Callable[..., np.ndarray],
    weights: np.ndarray,
    dtype: str,
) -> CheckReport:
    """Check a model's Hessian products on a few examples `x`, in float64 where that is possible.

    It runs at weights a little off the given ones: exact ties and zeros, such as those of biases
    at initialisation, are kinks, where a difference has nothing to say.

    Args:
        model: The model.
        x: The examples.
        batch_norm: "inference" or "batch".
        derivative: `derivative(kind, *vectors, dtype=dtype)` is the loss's "gradient" at the
            weights `vectors[0]` or its "hessian_product" there with `vectors[1]`, over `x`.
        weights: The present weights (P,).
        dtype: The model's own precision.
    """

    def in_precision(dtype: str) -> CheckReport:
        return _check(
            functools.partial(derivative, dtype=dtype),
            weights,
            dtype,
            functools.partial(_layers_at_fault, model, x, batch_norm, dtype),
        )

    try:
        return in_precision("float64")
    except _RoundedError:
        dtype = "float32"
    except Exception:
        # A model with a float32 constant somewhere cannot run in float64. Real errors come again.
        if dtype == "float64":
            raise
    return in_precision(dtype)


def _check(
    derivative: Callable, weights: np.ndarray, dtype: str, find_layers: Callable
) -> CheckReport:
    rng = np.random.default_rng(0)
    norm, tiny = np.linalg.norm, np.finfo(np.float64).tiny
    scale = max(np.std(weights), 0.01)
    for _ in range(_POINTS[dtype]):
        point, a, b = (scale * rng.normal(size=weights.size) for _ in range(3))
        point = weights + 0.01 * point

        def gradient(t, point=point, a=a):
            return derivative("gradient", point + t * a)

        difference = _central_difference(gradient, dtype)
        if not np.isfinite(difference.value).all():
            raise ValueError("The loss has no finite gradient at the model's weights.")
        if difference.decided:
            break
    if not difference.decided and dtype == "float64":
        raise _RoundedError("A difference over so short a step is all rounding.")
    try:
        product_a = derivative("hessian_product", point, a)
        product_b = derivative("hessian_product", point, b)
    except NoDerivativeError:
        product_a = product_b = np.full_like(point, np.nan)
    lengths = norm(a) * norm(product_b) + norm(b) * norm(product_a)
    asymmetry = float(abs(b @ product_a - a @ product_b) / max(lengths, tiny))
    agrees, layers = difference.agrees_with(product_a), ()
    if not (agrees and difference.decided):
        layers = find_layers()
    # Where every step that can be seen over the rounding crosses kinks of ReLU or max-pooling, over
    # which the gradient jumps, the layers decide.
    passed = (agrees if difference.decided else not layers) and asymmetry <= _SYMMETRY
    error = float(norm(product_a - difference.value) / max(norm(difference.value), tiny))
    return CheckReport(
        passed=passed,
        difference_error=error,
        symmetry_error=asymmetry,
        layers=layers,
        dtype=dtype,
        step=difference.step,
    )


@dataclass(frozen=True, eq=False)
class _Difference:
    """The derivative (P,) of a gradient along a direction, by a `step` of it to either side.

    `decided` says that the difference over twice the step is the same within `allowed`: an error of
    higher order or from a kink would differ between the two. Rounding is part of `allowed`.
    """

    value: np.ndarray
    step: float
    allowed: float
    decided: bool

    def agrees_with(self, product: np.ndarray) -> bool:
        """Whether the product is the difference, within what that may itself be off."""
        return bool(np.linalg.norm(product - self.value) <= 2 * self.allowed)


def _central_difference(gradient: Callable[[float], np.ndarray], dtype: str) -> _Difference:
    """The first difference that is decided, or else the last, of `gradient(t)` at t = 0.

    The gradient is taken t times the direction away, whose entries are like the weights'. The steps
    are halved because a kink (of ReLU, max-pooling) counts twice as much in half the step, until
    it is no longer crossed.
    """
    tolerance, steps = _SETTINGS[dtype]

    def over(step: float) -> tuple[np.ndarray, float]:
        high, low = gradient(step), gradient(-step)
        rounding = 10 * np.finfo(dtype).eps / step * np.linalg.norm(high)
        return (high - low) / (2 * step), rounding

    wider, _ = over(2 * steps[0])
    for step in steps:
        value, rounding = over(step)
        allowed = float(tolerance * np.linalg.norm(value) + rounding)
        difference = _Difference(
            value, step, allowed, bool(np.linalg.norm(value - wider) <= allowed)
        )
        if difference.decided:
            break
        wider = value
    return difference


def _layers_at_fault(model: keras.Model, x: Any, batch_norm: str, dtype: str) -> tuple[str, ...]:
    """The innermost layers whose own second derivatives disagree with their gradients.

    Each layer is tried alone, on the inputs that it gets when the model sees `x`: the Hessian of a
    random combination of its outputs, in its floating inputs and its trainable weights, against a
    central difference of gradients, where that is decided.
    """
    calls: dict[int, tuple] = {}

    def recorded(layer: keras.Layer) -> Callable:
        call = layer.call

        def recorded_call(*args, **kwargs):
            calls.setdefault(id(layer), (call, args, kwargs))
            return call(*args, **kwargs)

        return recorded_call

    layers = model._flatten_layers(include_self=False)
    at_fault: list[keras.Layer] = []
    (x,) = as_tensors(x, dtype=dtype)
    with evaluation(model, batch_norm, dtype, {}), contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(replaced(layer, "call", recorded(layer)))
        forward(model, x)
    for layer in reversed(layers):  # a layer's own sublayers stand behind it
        inner = layer._flatten_layers(include_self=False)
        if id(layer) not in calls or any(sublayer in at_fault for sublayer in inner):
            continue
        with evaluation(model, batch_norm, dtype, {}) as values:
            if not _layer_agrees(layer, *calls[id(layer)], values):
                at_fault.append(layer)
    return tuple(layer.name for layer in reversed(at_fault))


def _layer_agrees(
    layer: keras.Layer, call: Callable, args: tuple, kwargs: dict, values: dict
) -> bool:
    inputs = keras.tree.flatten((args, kwargs))
    moving = [i for i, value in enumerate(inputs) if _is_floating(value)]
    variables = layer.trainable_variables
    tensors = [*(inputs[i] for i in moving), *(values[id(variable)] for variable in variables)]
    if not tensors:
        return True
    dtype = keras.backend.standardize_dtype(tensors[0].dtype)

    def combination(point: Any) -> tuple:
        pieces = split(point, tensors)
        given = dict(zip(moving, pieces, strict=False))
        values.update(zip(map(id, variables), pieces[len(moving) :], strict=True))
        new_args, new_kwargs = keras.tree.pack_sequence_as(
            (args, kwargs), [given.get(i, value) for i, value in enumerate(inputs)]
        )
        rng = np.random.default_rng(0)
        terms = [
            ops.sum(output * ops.convert_to_tensor(rng.normal(size=output.shape), output.dtype))
            for output in keras.tree.flatten(call(*new_args, **new_kwargs))
            if _is_floating(output)
        ]
        return ops.cast(sum(terms), dtype), ()

    def gradient(point: Any) -> tuple:
        total, _, pullback = vjp(combination, point)
        return pullback(ops.ones_like(total)), ()

    def slope(point: np.ndarray) -> np.ndarray:
        return ops.convert_to_numpy(gradient(ops.convert_to_tensor(point, dtype))[0])

    point = np.concatenate([ops.convert_to_numpy(tensor).ravel() for tensor in tensors])
    noise = np.random.default_rng(1).normal(size=(2, point.size)) * (np.std(point) or 1.0)
    point, direction = point + 0.01 * noise[0], noise[1]
    try:
        product, _ = symmetric_product(
            gradient, ops.convert_to_tensor(point, dtype), ops.convert_to_tensor(direction, dtype)
        )
    except NoDerivativeError:
        return False
    difference = _central_difference(lambda t: slope(point + t * direction), dtype)
    return not difference.decided or difference.agrees_with(ops.convert_to_numpy(product))


def _is_floating(value: Any) -> bool:
    return ops.is_tensor(value) and keras.backend.is_float_dtype(
        keras.backend.standardize_dtype(value.dtype)
    )
