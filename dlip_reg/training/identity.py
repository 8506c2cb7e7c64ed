"""The name of a job that is no single training run, made like that of a run."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from dlip_reg.training.specification import TRAINING_VERSION


def identity_of(values: dict[str, Any], fingerprint: str) -> str:
    """16 hex digits that name the job `values` tell of, on the data with that `fingerprint`."""
    text = json.dumps([TRAINING_VERSION, fingerprint, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
