"""One run: a specification and its data in, a record out.

`train` and `trained` import TensorFlow when first used. Specifying runs and reading records needs
neither TensorFlow nor Keras.
"""

from __future__ import annotations

from dlip_reg.lazy import lazy_exports
from dlip_reg.training.records import Record
from dlip_reg.training.specification import MEASURES, PROBES, DataSpec, RunSpec, Schedule, Spec

__getattr__, __dir__, _LAZY = lazy_exports(__name__, {"run": "train", "fitting": "trained"})

__all__ = [
    "MEASURES",
    "PROBES",
    "DataSpec",
    "Record",
    "RunSpec",
    "Schedule",
    "Spec",
    *_LAZY,
]
