"""Curvature and sharpness of a model's loss: second derivatives, spectra, slices.

    from dlip_reg.curvature import LossFunction, top_eigenvalue

    function = LossFunction(model, x, y)  # the mean loss, as a function of one flat vector
    top = top_eigenvalue(function.hessian_product, function.size)
    print(top.value, top.bound)

Eigenvalues, sharpness, slices and noise work on plain vectors and functions of them (`Function`);
`LossFunction` takes a Keras model, and `preconditioner` and its like a Keras optimizer. Keras must
run on TensorFlow. Importing this package does not import it.
"""

from __future__ import annotations

from dlip_reg.lazy import lazy_exports

_NAMES = {
    "loss_function": "LossFunction",
    "layout": "Parameter",
    "agreement": "DisagreementError",
    "self_check": "CheckReport",
    "function": "Function",
    "lanczos": "Eigenpair Eigenpairs top_eigenvalue top_eigenvalues",
    "spectrum": "SpectralDensity TraceEstimate estimate_trace spectral_density",
    "keskar": "KeskarSharpness Search keskar_sharpness",
    "sharpness": "adaptive_sharpness sam_sharpness",
    "stability": "BatchSharpness CriticalSharpness batch_sharpness critical_sharpness",
    "optimizers": "preconditioner stability_threshold update_direction",
    "noise": "GradientNoise gradient_noise_scale",
    "batch_norm": "Reestimated recalibrate_batch_norm",
    "slices": "along_line filter_normalised interpolation plane random_direction",
    "landscape": "GradientLandscape gradient_landscape",
}
__getattr__, __dir__, _LAZY = lazy_exports(__name__, _NAMES)

__all__ = [*_LAZY]
