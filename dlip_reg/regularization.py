"""One frozen value that says which regularizers go where.

Everything that trains a model takes a `Regularization`: the labs, the sweeps and the tuner. It is
hashable (so it can name a run), turns to and from JSON (so it can be stored), and turns into the
options every builder of `dlip_reg.models` takes. It needs no Keras until `builder_options`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, ClassVar

from dlip_reg.checks import (
    Checked,
    checked,
    number_check,
    optional,
    require_bool,
    require_positive,
    require_rate,
)

# What the labs and the tuner search: one end hardly matters, and the other ruins a network.
L1_RANGE = (2e-5, 2e-3)
L2_RANGE = (3e-4, 3e-2)
DROPOUT_RANGE = (0.1, 0.7)

_STRENGTHS = ("conv_l1", "conv_l2", "dense_l1", "dense_l2")


# Stored as Python floats: NumPy scalars would change the JSON, and Keras refuses them.
_rate = partial(require_rate, accepted="a dropout rate, 0 <= rate < 1")
_strength = number_check("a finite strength of 0 or more", lambda number: 0 <= number < math.inf)
_norm = optional(partial(require_positive, accepted="None or a norm above 0"))


@dataclass(frozen=True)
class Regularization(Checked):
    """Which regularizers a model carries, convolutions and dense layers apart.

    `conv_dropout` and `dense_dropout` are the shares *dropped*, in [0, 1) (Keras' sense; the p of
    Srivastava et al. 2014 is the share kept). `conv_l1` ... `dense_l2` are strengths l >= 0 in
    Keras' sense: the penalty is l * sum |w| or l * sum w^2, with no half (a weight decay lambda in
    a paper is l = lambda / 2). `max_norm` bounds the norm of every unit's incoming weights
    (Srivastava et al. 2014, section 5.1). Zero, or None for `max_norm`, means "not there".

    Raises ValueError for a value outside these ranges. `OPTIONS` are the names of the builder
    options that a value decides.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = (
        "batch_norm",
        "conv_dropout",
        "dense_dropout",
        "conv_kernel_regularizer",
        "dense_kernel_regularizer",
        "max_norm",
    )

    batch_norm: bool = checked(require_bool, False)
    conv_dropout: float = checked(_rate, 0.0)
    dense_dropout: float = checked(_rate, 0.0)
    conv_l1: float = checked(_strength, 0.0)
    conv_l2: float = checked(_strength, 0.0)
    dense_l1: float = checked(_strength, 0.0)
    dense_l2: float = checked(_strength, 0.0)
    max_norm: float | None = checked(_norm, None)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Regularization:
        """The value whose `to_json` gave `values`; ValueError for a name that is not an option."""
        return cls.from_names(values, "regularization")

    def to_json(self) -> dict[str, Any]:
        """A plain dict of all fields, in their order, that `json` can write."""
        return asdict(self)

    def options_in_use(self) -> set[str]:
        """Return those of `OPTIONS` that have another value than the default."""
        return {_option(f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    def without(self, option: str) -> Regularization:
        """Return the same value but for one of `OPTIONS`, which is at its default."""
        return Regularization(
            **{name: value for name, value in vars(self).items() if _option(name) != option}
        )

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


def _option(name: str) -> str:
    """The builder option that the field of that name decides."""
    return f"{name.split('_')[0]}_kernel_regularizer" if name in _STRENGTHS else name


def _kernel_regularizer(l1: float, l2: float) -> Any:
    from keras import regularizers

    if l1 and l2:
        return regularizers.L1L2(l1=l1, l2=l2)
    if l1:
        return regularizers.L1(l1)
    return regularizers.L2(l2) if l2 else None
