"""What reports of runs with and without batch normalization read from records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dlip_reg.claims.paired import Record, Records, per_seed
from dlip_reg.report.figures.style import MethodStyle, method_styles, summarize
from dlip_reg.report.numbers import format_number

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


def columns(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, list[Any]]:
    """Rows as one list for each key."""
    return {key: [row[key] for row in rows] for key in keys}


def means_told(
    arms: Mapping[str, Records], read: Callable[[Record], float | None], unit: str = ""
) -> str:
    """The means over seeds of what `read` gives: "0.31 nats without batch norm and 0.24 ..."."""
    means = {arm: summarize(per_seed(arms[arm], read)).mean for arm in ARMS}
    return " and ".join(
        f"{format_number(means[arm])}{unit and ' '}{unit} {label}" for arm, label in ARMS.items()
    )
