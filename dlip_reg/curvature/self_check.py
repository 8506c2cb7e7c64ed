"""Whether a model's Hessian products can be trusted: a quick check against its gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dlip_reg.curvature.derivatives import Derivatives
from dlip_reg.curvature.differences import central_difference
from dlip_reg.curvature.layer_check import layers_at_fault

_SYMMETRY = 1e-4
# How many points are tried, for the difference may meet a kink, in float32 most of all.
_POINTS = {"float64": 2, "float32": 4}


class _RoundedError(ArithmeticError):
    """Something in a model computes in less than the precision that was asked for."""


@dataclass(frozen=True)
class CheckReport:
    """What the self-check of a model's Hessian products found.

    `difference_error` is the relative distance of one product from a central difference of
    gradients, `symmetry_error` that of b.Ha from a.Hb; `layers` are those found at fault,
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
        return (
            f"Hessian products are off by {self.difference_error:.1%} (at fault: {place}); central "
            f"differences of gradients are used instead, {limits}."
        )


def check_derivatives(
    model: Any, options: dict[str, Any], data: Any, weights: np.ndarray, dtype: str
) -> CheckReport:
    """Checks a model's `Derivatives` with these `options` on the examples of `data`.

    It runs at weights a little off the given ones: exact ties and zeros, such as those of biases
    at initialisation, are kinks, where a difference has nothing to say.
    """
    try:
        return _check(model, options, data, weights, "float64")
    except _RoundedError:
        dtype = "float32"
    except Exception:
        # A model with a float32 constant somewhere cannot run in float64. Real errors come again.
        if dtype == "float64":
            raise
    return _check(model, options, data, weights, dtype)


def _check(model, options, data, weights, dtype) -> CheckReport:
    derivatives = Derivatives(model, dtype=dtype, few=True, **options)
    examples = len(data[-1])
    rng = np.random.default_rng(0)
    norm, tiny = np.linalg.norm, np.finfo(np.float64).tiny
    for _ in range(_POINTS[dtype]):
        point, a, b = max(np.std(weights), 0.01) * rng.normal(size=(3, weights.size))
        point = weights + 0.01 * point

        def gradient(t, point=point, a=a):
            return derivatives.gradient(data, examples, point + t * a)[-1]

        difference = central_difference(gradient, dtype)
        if not np.isfinite(difference.value).all():
            raise ValueError("The loss has no finite gradient at the model's weights.")
        if difference.decided:
            break
    if not difference.decided and dtype == "float64":
        raise _RoundedError("A difference over so short a step is all rounding.")
    product_a = derivatives.hessian_product(data, examples, point, a)[-1]
    product_b = derivatives.hessian_product(data, examples, point, b)[-1]
    lengths = norm(a) * norm(product_b) + norm(b) * norm(product_a)
    asymmetry = float(abs(b @ product_a - a @ product_b) / max(lengths, tiny))
    agrees, layers = difference.agrees_with(product_a), ()
    if not (agrees and difference.decided):
        layers = layers_at_fault(model, data[0], options["batch_norm"], dtype)
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
