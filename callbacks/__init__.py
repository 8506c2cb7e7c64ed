"""Keras callbacks that measure a fit without touching it.

Put them in the `callbacks` of any `model.fit`, before whatever reads their `logs` (`CSVLogger`,
`EarlyStopping`): a fit with a recorder ends in the same weights, bit for bit, as one without. Data
are taken in every form that `fit` takes. A model or loss that cannot be measured rightly is refused
before training begins.
"""

from callbacks.activation_percentiles import ActivationPercentiles
from callbacks.gradient_flow import GradientFlow
from callbacks.gradient_noise import GradientNoise
from callbacks.landscape import Landscape
from callbacks.layers import hoyer
from callbacks.loss_curve import LossCurve
from callbacks.loss_levels import LossLevels
from callbacks.sharpness import Sharpness
from callbacks.sparsity import Sparsity

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
