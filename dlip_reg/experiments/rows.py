"""Records as the flat rows of a table."""

from __future__ import annotations

from typing import Any

from dlip_reg.experiments.sweep import Failure


def record_row(record: dict[str, Any]) -> dict[str, Any]:
    """One row: identity, status, everything the run was told, and its final measures."""
    return {
        "id": record["id"],
        "status": record["status"],
        **_flat(record["spec"]),
        **record["measures"],
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
    spec = dict(spec)
    data, regularization = dict(spec.pop("data")), spec.pop("regularization")
    return {
        "model": spec.pop("model"),
        "dataset": data.pop("name"),
        **data,
        **regularization,
        **spec,
        "measures": "+".join(spec["measures"]),
    }
