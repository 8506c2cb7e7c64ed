"""Records as the flat rows of a table."""

from __future__ import annotations

import json
from typing import Any

from dlip_reg.experiments.sweep import Failure


def record_row(record: dict[str, Any]) -> dict[str, Any]:
    """One row: identity, status, everything the run was told, and its final measures."""
    return {
        "id": record["id"],
        "status": record["status"],
        **_flat(record["spec"]),
        **record.get("measures", {}),
    }


def failure_row(identity: str, failure: Failure) -> dict[str, Any]:
    """The row of a run without a record, with its cause."""
    return {
        "id": identity,
        "status": "failed",
        **_flat(failure.spec.to_json()),
        "cause": failure.cause,
    }


def _flat(spec: dict[str, Any]) -> dict[str, Any]:
    """One column for each thing a specification says; what has parts of its own as JSON."""
    row: dict[str, Any] = {}
    for name, value in spec.items():
        if name == "data":
            row |= {"dataset" if key == "name" else key: part for key, part in value.items()}
        elif name == "regularization":
            row |= value
        elif name == "measures":
            row[name] = "+".join(value)
        else:
            row[name] = json.dumps(value) if isinstance(value, dict | list | tuple) else value
    return row
