"""Records as the flat rows of a table."""

import json
from typing import Any

from dlip_reg.experiments.sweep import Failure
from dlip_reg.training.records import Record


def record_row(record: Record) -> dict[str, Any]:
    """Return one row: identity, status, the whole specification, and the final measures."""
    measures = {name: value for name, value in vars(record.measures).items() if value is not None}
    return {"id": record.id, "status": record.status, **_flat(record.spec.to_json()), **measures}


def failure_row(identity: str, failure: Failure) -> dict[str, Any]:
    """Return the row of a run without a record, with its cause."""
    head = {"id": identity, "status": "failed"}
    return {**head, **_flat(failure.spec.to_json()), "cause": failure.cause}


def _flat(spec: dict[str, Any]) -> dict[str, Any]:
    """Return one column for each field of a specification; a field with parts as JSON."""
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
