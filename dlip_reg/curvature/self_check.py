"""Whether a model's Hessian products can be trusted: a quick check against its gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dlip_reg.curvature.derivatives import Derivatives
from dlip_reg.curvature.layer_check import layers_at_fault

# (relative step of the difference, tolerance of the difference) by precision.
_SETTINGS = {"float64": (1e-8, 1e-4), "float32": (2e-3, 0.02)}
_SYMMETRY = 1e-4


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
        place = ", ".join(self.layers) or "no single layer"
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
    step, tolerance = _SETTINGS[dtype]
    derivatives = Derivatives(model, dtype=dtype, few=True, **options)
    examples = len(data[-1])
    rng = np.random.default_rng(0)
    norm = np.linalg.norm
    for _ in range(2):  # a kink may be met once by bad luck
        point, a, b = max(np.std(weights), 0.01) * rng.normal(size=(3, weights.size))
        point = weights + 0.01 * point

        def gradient(h, point=point, a=a):
            return derivatives.gradient(data, examples, point + h * a)[-1]

        product_a = derivatives.hessian_product(data, examples, point, a)[-1]
        product_b = derivatives.hessian_product(data, examples, point, b)[-1]
        high = gradient(step)
        difference = (high - gradient(-step)) / (2 * step)
        if not np.isfinite(difference).all():
            raise ValueError("The loss has no finite gradient at the model's weights.")
        error = norm(product_a - difference)
        # Rounding of the gradients sets a floor below which products cannot be compared.
        rounding = 10 * np.finfo(dtype).eps / step * norm(high)
        allowed = tolerance * norm(difference) + rounding
        asymmetry = abs(b @ product_a - a @ product_b)
        lengths = norm(a) * norm(product_b) + norm(b) * norm(product_a)
        passed = error <= allowed and asymmetry <= _SYMMETRY * lengths
        if passed:
            break
    layers = ()
    if not passed:
        wider = (gradient(2 * step) - gradient(-2 * step)) / (4 * step)
        if dtype == "float64" and norm(wider - difference) > allowed:
            raise _RoundedError(f"A difference over {step} is all rounding.")
        layers = layers_at_fault(model, data[0], options["batch_norm"], dtype, step, tolerance)
        # In float32 a step long enough to be seen over the rounding crosses kinks of ReLU and
        # max-pooling, across which the whole gradient jumps: there the layers decide.
        passed = dtype == "float32" and not layers and asymmetry <= _SYMMETRY * lengths
    tiny = np.finfo(np.float64).tiny
    return CheckReport(
        passed=bool(passed),
        difference_error=float(error / max(norm(difference), tiny)),
        symmetry_error=float(asymmetry / max(lengths, tiny)),
        layers=layers,
        dtype=dtype,
        step=step,
    )
