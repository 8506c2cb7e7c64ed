"""Whether a model's Hessian products can be trusted: a quick check against its gradients."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from dlip_reg.chunks import as_tensors, in_full_precision, replaced
from dlip_reg.curvature.agreement import DisagreementError
from dlip_reg.curvature.batch_norm import forward
from dlip_reg.curvature.differentiation import NoDerivativeError, gradient, hessian_product
from dlip_reg.curvature.evaluation import evaluation
from dlip_reg.curvature.layout import split

if TYPE_CHECKING:
    from dlip_reg.curvature.loss_function import LossFunction

_SYMMETRY = 1e-4
# How many points are tried, for the difference may meet a kink, in float32 most of all.
_POINTS = {"float64": 2, "float32": 4}
# By precision: the relative tolerance, and the steps from the longest to the shortest.
_SETTINGS = {"float64": (1e-4, (1e-8,)), "float32": (2e-3, (2e-3, 1e-3, 5e-4))}

_NO_HESSIAN = (
    "The model or its loss has gradients that are not its derivatives (stop_gradient, a reversed "
    "or straight-through gradient), so there is no Hessian to be measured."
)


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
        found = f"are off by {max(self.difference_error, self.symmetry_error):.2%}"
        if np.isnan(self.difference_error):
            found = "need second derivatives that TensorFlow does not have"
        return (
            f"Hessian products {found} (at fault: {place}); central "
            f"differences of gradients are used instead, {limits}."
        )


@in_full_precision()
def check_derivatives(function: LossFunction) -> CheckReport:
    """Check a function's Hessian products over its few examples, in float64 where possible.

    It runs at weights a little off the present ones: exact ties and zeros, such as those of biases
    at initialisation, are kinks, where a difference has nothing to say.
    """
    dtype = function.dtype
    try:
        return _check(function, "float64")
    except _RoundedError as error:
        if dtype == "float64":  # which cannot run in float32
            raise DisagreementError(f"Second derivatives cannot be checked: {error}") from error
    except Exception as error:
        # A model with a float32 constant somewhere cannot run in float64. Real errors come again.
        if dtype == "float64" or isinstance(error, DisagreementError):
            raise
    return _check(function, dtype)


def _check(function: LossFunction, dtype: str) -> CheckReport:
    # Of a large model few vectors are held at a time.
    rng = np.random.default_rng(0)
    norm, tiny = np.linalg.norm, np.finfo(np.float64).tiny
    scale = max(np.std(function.parameters()), 0.01)
    slope = functools.partial(function.derivative, "gradient", dtype=dtype)
    for _ in range(_POINTS[dtype]):
        point, a, b = (scale * rng.normal(size=function.size) for _ in range(3))
        point = function.parameters() + 0.01 * point
        difference = _central_difference(slope, point, a, dtype)
        if not np.isfinite(difference.value).all():
            raise ValueError("The loss has no finite gradient at the model's weights.")
        if difference.decided:
            break
    if not difference.decided and dtype == "float64":
        raise _RoundedError("A difference over so short a step is all rounding.")
    decided, step = difference.decided, difference.step
    if dtype == "float64":
        _require_derivative(function, point, a, slope(point))
    agrees, error, asymmetry = False, math.nan, math.nan
    try:
        product = function.derivative("hessian_product", point, a, dtype=dtype)
        agrees = difference.agrees_with(product)
        error = float(norm(product - difference.value) / max(norm(difference.value), tiny))
        if decided and not agrees:
            derivative = functools.partial(_central_difference, slope, point, dtype=dtype)
            _require_symmetry(derivative, a, difference, product, float(np.finfo(dtype).eps))
        crossed, length = b @ product, norm(b) * norm(product)
        del difference, product
        product = function.derivative("hessian_product", point, b, dtype=dtype)
        lengths = norm(a) * norm(product) + length
        asymmetry = float(abs(crossed - a @ product) / max(lengths, tiny))
    except NoDerivativeError:
        pass
    layers: tuple[str, ...] = ()
    if not (agrees and decided):
        layers = _layers_at_fault(function, dtype)
    # Where every step that can be seen over the rounding crosses kinks of ReLU or max-pooling, over
    # which the gradient jumps, the layers decide.
    passed = (agrees if decided else not layers) and asymmetry <= _SYMMETRY
    return CheckReport(passed, error, asymmetry, layers, dtype, step)


def _require_derivative(
    function: LossFunction, point: np.ndarray, direction: np.ndarray, slope: np.ndarray
) -> None:
    """DisagreementError where the gradient `slope` is not the derivative of the loss in float64.

    _RoundedError where it is, but the loss is rounded to less, as by a cast in a user's own. Its
    gradients are constant over a short step then, and their difference would be taken for 0. A
    kink hardly matters, since the loss does not jump there. A cross-entropy of about 0 is the
    logarithm of about 1, of which it has the rounding.
    """

    def over(step: float, precision: str = "float64") -> tuple[float, float]:
        high, low = (
            float(function.derivative("value", point + t * direction, dtype="float64"))
            for t in (step, -step)
        )
        rounding = 10 * np.finfo(precision).eps * max(abs(high), abs(low))
        return (high - low) / (2 * step), (rounding + np.finfo("float64").eps) / step

    def differ(found: float, rounding: float, tolerance: float) -> bool:
        size = float(np.linalg.norm(slope * direction))
        return bool(abs(found - slope @ direction) > tolerance * max(abs(found), size) + rounding)

    found, rounding = over(1e-6)
    if differ(found, rounding, 1e-4):
        # What is the same over another step is not rounding, and so far off is no single kink.
        other, _ = over(math.pi * 1e-6)
        steady = abs(found - other) <= 1e-4 * abs(found) + rounding < 1e-2 * abs(found)
        if (steady and differ(found, rounding, 1e-3)) or differ(*over(1e-4, "float32"), 1e-2):
            raise DisagreementError(_NO_HESSIAN)
        raise _RoundedError("The loss is rounded to less than float64.")


def _require_symmetry(
    derivative: Callable[[np.ndarray], _Difference],
    direction: np.ndarray,
    first: _Difference,
    product: np.ndarray,
    eps: float,
) -> None:
    """DisagreementError where gradients are no loss's, so that their derivative J is not a Hessian.

    A product differentiates backwards and is J' times the direction, where the difference `first`
    is J times it. Along what sets the two apart, J is as asymmetric as they differ, or symmetric
    where the product is wrong. A gradient of about 0 has the rounding `eps` of probabilities of
    about 1.
    """
    apart = product - first.value
    along = apart * (np.linalg.norm(direction) / np.linalg.norm(apart))
    second = derivative(along)
    asymmetry = abs(along @ first.value - direction @ second.value)
    allowed = first.allowed + second.allowed + 10 * eps * (1 / first.step + 1 / second.step)
    rounding = np.linalg.norm(along) * allowed
    if second.decided and asymmetry > 0.1 * (along @ apart) + rounding:
        raise DisagreementError(_NO_HESSIAN)


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


def _central_difference(
    slope: Callable[[np.ndarray], np.ndarray], point: np.ndarray, direction: np.ndarray, dtype: str
) -> _Difference:
    """The first difference that is decided, or else the last, of the gradient along a direction.

    The direction's entries are like the weights'. The steps are halved because a kink (of ReLU,
    max-pooling) counts twice as much in half the step, until it is no longer crossed.
    """
    tolerance, steps = _SETTINGS[dtype]

    def over(step: float) -> tuple[np.ndarray, float]:
        high, low = (slope(point + t * direction) for t in (step, -step))
        rounding = 10 * np.finfo(dtype).eps / step * np.linalg.norm(high)
        return (high - low) / (2 * step), float(rounding)

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


def _layers_at_fault(function: LossFunction, dtype: str) -> tuple[str, ...]:
    """The innermost layers whose own second derivatives disagree with their gradients.

    Each layer is tried alone, on the inputs that the function's examples give it: the Hessian of a
    random combination of its outputs, in its floating inputs and its trainable weights, against a
    central difference of gradients, where that is decided.
    """
    calls: dict[int, tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = {}

    def recorded(layer: keras.Layer) -> Callable[..., Any]:
        call = layer.call

        def recorded_call(*args: Any, **kwargs: Any) -> Any:
            calls.setdefault(id(layer), (call, args, kwargs))
            return call(*args, **kwargs)

        return recorded_call

    model, batch_norm = function.model, function.batch_norm
    layers = model._flatten_layers(include_self=False)
    at_fault: list[keras.Layer] = []
    (x,) = as_tensors(function.inputs, dtype=dtype)
    with evaluation(model, batch_norm, dtype, {}), contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(replaced(layer, "call", recorded(layer)))
        forward(model, x, batch_norm)
    for layer in reversed(layers):  # a layer's own sublayers stand behind it
        inner = layer._flatten_layers(include_self=False)
        if id(layer) not in calls or any(sublayer in at_fault for sublayer in inner):
            continue
        with evaluation(model, batch_norm, dtype, {}) as values:
            if not _call_agrees(*calls[id(layer)], layer.trainable_variables, values):
                at_fault.append(layer)
    return tuple(layer.name for layer in reversed(at_fault))


def _call_agrees(
    call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    variables: list[keras.Variable],
    values: dict[int, Any],
) -> bool:
    """Whether a layer's Hessian is right; `values` hold the tensors that variables stand for."""
    inputs = keras.tree.flatten((args, kwargs))
    moving = [i for i, value in enumerate(inputs) if _is_floating(value)]
    tensors = [*(inputs[i] for i in moving), *(values[id(variable)] for variable in variables)]
    if not tensors:
        return True
    dtype = keras.backend.standardize_dtype(tensors[0].dtype)

    def combination(point: Any) -> tuple[Any, ...]:
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
        return (ops.cast(sum(terms), dtype),)

    def derivative(which: Callable[..., tuple[Any, ...]], *vectors: np.ndarray) -> np.ndarray:
        *_, found = which(combination, *(ops.convert_to_tensor(v, dtype) for v in vectors))
        return np.asarray(found)

    point = np.concatenate([np.ravel(tensor) for tensor in tensors])
    noise = np.random.default_rng(1).normal(size=(2, point.size)) * (np.std(point) or 1.0)
    point, direction = point + 0.01 * noise[0], noise[1]
    try:
        product = derivative(hessian_product, point, direction)
    except NoDerivativeError:
        return False
    difference = _central_difference(
        functools.partial(derivative, gradient), point, direction, dtype
    )
    return not difference.decided or difference.agrees_with(product)


def _is_floating(value: Any) -> bool:
    return ops.is_tensor(value) and keras.backend.is_float_dtype(
        keras.backend.standardize_dtype(value.dtype)
    )
