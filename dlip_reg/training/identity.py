"""The identity of a run or another job: a hash of all that decides its record."""

from __future__ import annotations

import functools
import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Packages and modules that decide the numbers of a run, beside its data and the libraries.
DECIDING = (
    "callbacks",
    *("dlip_reg.curvature", "dlip_reg.datasets", "dlip_reg.models", "dlip_reg.training"),
    *("dlip_reg.checks", "dlip_reg.chunks", "dlip_reg.clean_loss", "dlip_reg.codec"),
    "dlip_reg.regularization",
)


@functools.cache
def code_hash() -> str:
    """Return 8 hex digits for the code of runs, so that records of other code have other names.

    Every change of a file counts, that of a comment too; the line ends of a system do not.
    """
    digest = hashlib.sha256()
    for module in map(find_spec, DECIDING):
        assert module is not None and module.origin is not None
        folders = module.submodule_search_locations
        files = sorted(Path(folders[0]).rglob("*.py")) if folders else [Path(module.origin)]
        for file in files:
            digest.update(f"{file.name}\0{file.read_text('utf-8')}\0".encode())
    return digest.hexdigest()[:8]


def identity_of(values: dict[str, Any], fingerprint: str) -> str:
    """Return 16 hex digits for the job that `values` describe, on data with that `fingerprint`."""
    text = json.dumps([fingerprint, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
