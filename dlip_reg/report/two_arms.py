"""What reports of runs with and without batch normalization read from records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dlip_reg.claims.paired import Record, Records
from dlip_reg.report.figures.style import MethodStyle, method_styles

ARMS = {"plain": "without batch norm", "bn": "with batch norm"}
WELL_SCALED = "without, started at the right scale"
RE_ESTIMATED = "with, statistics re-estimated"


def two_styles() -> dict[str, MethodStyle]:
    """One look for each arm in all figures, and for the arm that stands beside them in some."""
    styles = method_styles([*ARMS.values(), WELL_SCALED])
    return styles | {RE_ESTIMATED: styles[WELL_SCALED]}


def finished(records: Records) -> list[Record]:
    """The records of the seeds whose run came to its end."""
    return [r for r in records.values() if r is not None and r["status"] == "finished"]


def each(records: Records, read: Callable[[Record], Any]) -> Iterator[Any]:
    """`read` of every seed's record that there is."""
    return (read(record) for record in records.values() if record is not None)


def measured(records: Records, name: str) -> list[float | None]:
    """A final measure by seed; None where the run diverged or gave no record."""
    return [
        record["measures"][name] if record is not None and record["status"] == "finished" else None
        for record in records.values()
    ]


def columns(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, list[Any]]:
    """Rows as one list for each key."""
    return {key: [row[key] for row in rows] for key in keys}


def known(values: Sequence[float | None]) -> list[float | None]:
    """The values by seed, None for NaN."""
    return [None if value is None or math.isnan(value) else value for value in values]
