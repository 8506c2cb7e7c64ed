"""Of the candidates tried with several seeds, the one that did best on validation data.

Candidates are keys with the records of their runs, one for each seed. One with a run that diverged
never wins, nor one that misses a run others have (its record is None, or not there): its mean would
be over fewer seeds. None if nothing is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypeVar

from dlip_reg.training.records import Record

Key = TypeVar("Key")
Candidates = Mapping[Key, Iterable[Record | None]]


def most_accurate(candidates: Candidates) -> Key | None:
    """The highest mean validation accuracy, ties going to the lower mean loss."""
    usable: dict[Key, list[Record]] = {}
    for key, runs in candidates.items():
        records = [record for record in runs if record is not None]
        if records and all(record.status == "finished" for record in records):
            usable[key] = records
    most = max(map(len, usable.values()), default=0)

    def mean(key: Key, name: str) -> float:
        return math.fsum(getattr(record.measures, name) for record in usable[key]) / most

    complete = [key for key, records in usable.items() if len(records) == most]
    return max(
        complete, key=lambda key: (mean(key, "val_accuracy"), -mean(key, "val_loss")), default=None
    )
