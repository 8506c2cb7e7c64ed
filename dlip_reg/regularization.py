"""One frozen value that says which regularizers go where.

Everything that trains a model takes a `Regularization`: the labs, the sweeps and the tuner. It is
hashable (so it can name a run), turns to and from JSON (so it can be stored), and turns into the
options every builder of `dlip_reg.models` takes. It needs no Keras until `builder_options`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

_RATES = ("conv_dropout", "dense_dropout")
_STRENGTHS = ("conv_l1", "conv_l2", "dense_l1", "dense_l2")


@dataclass(frozen=True)
class Regularization:
    """Which regularizers a model carries, convolutions and dense layers apart.

    `conv_dropout` and `dense_dropout` are the shares *dropped*, in [0, 1) (Keras' sense; the p of
    Srivastava et al. 2014 is the share kept). `conv_l1` ... `dense_l2` are strengths l >= 0 in
    Keras' sense: the penalty is l * sum |w| or l * sum w^2, with no half (a weight decay lambda in
    a paper is l = lambda / 2). `max_norm` bounds the norm of every unit's incoming weights
    (Srivastava et al. 2014, section 5.1). Zero, or None for `max_norm`, means "not there".

    Raises ValueError for a value outside these ranges.
    """

    batch_norm: bool = False
    conv_dropout: float = 0.0
    dense_dropout: float = 0.0
    conv_l1: float = 0.0
    conv_l2: float = 0.0
    dense_l1: float = 0.0
    dense_l2: float = 0.0
    max_norm: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.batch_norm, bool):
            raise ValueError(f"batch_norm must be True or False, not {self.batch_norm!r}.")
        for name in _RATES:
            self._set_number(name, "a share to drop, 0 <= rate < 1", lambda v: 0 <= v < 1)
        for name in _STRENGTHS:
            self._set_number(name, "a finite strength of 0 or more", lambda v: 0 <= v < math.inf)
        if self.max_norm is not None:
            self._set_number("max_norm", "None or a norm above 0", lambda v: 0 < v < math.inf)

    def _set_number(self, name: str, accepted: str, is_valid) -> None:
        # Stored as a Python float: NumPy scalars would change the JSON, and Keras refuses them.
        value = getattr(self, name)
        try:
            number = math.nan if isinstance(value, (bool, np.bool_, str)) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not is_valid(number):
            raise ValueError(f"{name} must be {accepted}, not {value!r}.")
        object.__setattr__(self, name, number + 0.0)  # -0.0 would be equal and hash otherwise

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Regularization:
        """The value whose `to_json` gave `values`; ValueError for a name that is no option."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(
                f"Unknown regularization {', '.join(unknown)}; known are {', '.join(known)}."
            )
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """A plain dict of all fields, in their order, that `json` can write."""
        return asdict(self)

    def builder_options(self) -> dict[str, Any]:
        """Keyword options for any builder of `dlip_reg.models` (imports Keras)."""
        return {
            "batch_norm": self.batch_norm,
            "conv_dropout": self.conv_dropout,
            "dense_dropout": self.dense_dropout,
            "conv_kernel_regularizer": _kernel_regularizer(self.conv_l1, self.conv_l2),
            "dense_kernel_regularizer": _kernel_regularizer(self.dense_l1, self.dense_l2),
            "max_norm": self.max_norm,
        }


def _kernel_regularizer(l1: float, l2: float):
    from keras import regularizers

    if l1 and l2:
        return regularizers.L1L2(l1=l1, l2=l2)
    if l1:
        return regularizers.L1(l1)
    return regularizers.L2(l2) if l2 else None
