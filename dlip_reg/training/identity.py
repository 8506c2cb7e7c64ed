"""The identity of a run or another job: a hash of all that decides its record."""

from __future__ import annotations

import hashlib
import json
from typing import Any

# Part of every run's identity. Raise it whenever a change makes the same specification give other
# numbers: records of the two then never mix.
TRAINING_VERSION = 9


def identity_of(values: dict[str, Any], fingerprint: str) -> str:
    """Return 16 hex digits for the job that `values` describe, on data with that `fingerprint`."""
    text = json.dumps([TRAINING_VERSION, fingerprint, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
