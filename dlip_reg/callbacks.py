"""The callbacks under the package's own name: `from dlip_reg.callbacks import Sharpness`."""

from callbacks import (
    ActivationPercentiles,
    GradientFlow,
    GradientNoise,
    Landscape,
    LossCurve,
    LossLevels,
    Sharpness,
    Sparsity,
    hoyer,
)

__all__ = [
    "ActivationPercentiles",
    "GradientFlow",
    "GradientNoise",
    "Landscape",
    "LossCurve",
    "LossLevels",
    "Sharpness",
    "Sparsity",
    "hoyer",
]
