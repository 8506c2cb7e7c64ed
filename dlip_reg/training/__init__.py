"""One run: a specification and its data in, a record out.

`train` and `trained` import TensorFlow when first used. Specifying runs and reading records needs
neither TensorFlow nor Keras.
"""

from __future__ import annotations

from importlib import import_module

from dlip_reg.training.identity import TRAINING_VERSION
from dlip_reg.training.records import Record
from dlip_reg.training.specification import MEASURES, PROBES, DataSpec, RunSpec, Schedule, Spec

_MODULE_OF = {"train": "run", "trained": "fitting"}

__all__ = [
    "MEASURES",
    "PROBES",
    "TRAINING_VERSION",
    "DataSpec",
    "Record",
    "RunSpec",
    "Schedule",
    "Spec",
    *_MODULE_OF,
]


def __getattr__(name: str):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
