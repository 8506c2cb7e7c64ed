"""The note's fifteen statements on batch normalization, and how each is measured.

Outcomes are those of `dlip_reg.experiments.batch_norm`. Each measurement pairs by seed: the same
initial weights where shapes allow, the same data split and the same order of examples.
"""

from collections.abc import Sequence

from dlip_reg.claims.batch_norm.landscape import INDEPENDENCE_CLAIM, LANDSCAPE_CLAIMS
from dlip_reg.claims.batch_norm.rates import RATE_CLAIMS
from dlip_reg.claims.batch_norm.regularizers import NOISE_CLAIM, REGULARIZER_CLAIMS
from dlip_reg.claims.batch_norm.signals import (
    BOUNDED_CLAIM,
    DEPTH_CLAIMS,
    INPUT_SHIFT_CLAIM,
    SHIFT_CLAIM,
)
from dlip_reg.claims.claim import Claim

CLAIMS: Sequence[Claim] = (
    *LANDSCAPE_CLAIMS,
    *RATE_CLAIMS,
    *REGULARIZER_CLAIMS,
    *DEPTH_CLAIMS,
    SHIFT_CLAIM,
    INDEPENDENCE_CLAIM,
    BOUNDED_CLAIM,
    INPUT_SHIFT_CLAIM,
    NOISE_CLAIM,
)

__all__ = ["CLAIMS"]
