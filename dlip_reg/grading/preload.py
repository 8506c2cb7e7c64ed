"""Importing what children share."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterable


def preload(names: Iterable[str], probes: str) -> None:
    """Import the modules named and every module of probes; RuntimeError if that ran a TensorFlow
    op, for a process forked after one hangs."""
    importlib.import_module("dlip_reg.grading.child")
    for name in names:
        importlib.import_module(name)
    package = importlib.import_module(probes)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{probes}.{module.name}")
    if "tensorflow" in sys.modules:
        from tensorflow.python.eager import context

        if context.context()._initialized:
            raise RuntimeError("Importing ran a TensorFlow op: children forked now would hang.")
