"""One run: a specification and its data in, a record out.

`train` needs TensorFlow and imports it when first asked for, so that a script which only plans runs
or reads records stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlip_reg.training.specification import TRAINING_VERSION, DataSpec, RunSpec

if TYPE_CHECKING:
    from dlip_reg.training.run import train

__all__ = ["TRAINING_VERSION", "DataSpec", "RunSpec", "train"]


def __getattr__(name: str):
    if name == "train":
        from dlip_reg.training.run import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
