"""Keras callbacks that measure a fit without touching it.

Put them in the `callbacks` of any `model.fit`, before whatever reads their `logs` (`CSVLogger`,
`EarlyStopping`): a fit with a recorder ends in the same weights, bit for bit, as one without.
"""

from callbacks.loss_curve import LossCurve
from callbacks.sparsity import Sparsity

__all__ = ["LossCurve", "Sparsity"]
