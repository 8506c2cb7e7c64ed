"""What measurements and figures read: the records of each arm, by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dlip_reg.evidence.paired import Values, per_seed
from dlip_reg.training.records import Record
from dlip_reg.training.specification import Spec

Trials = Mapping[Spec, Sequence[Record | None]]  # candidate -> records by tuning seed


@dataclass(eq=False)
class Runs:
    """The records of a study's arms.

    `runs["none"]` is a tuple with the record of each seed in `seeds`, in their order; None where
    the run gave no record or has not been run. Arms are shared by claims, so an arm may have been
    run with more seeds than a claim reads: `first(n)` is what the look at n seeds sees.

    Args:
        seeds: The seeds of the verdicts.
        _records: Arm -> seed -> record, None for a lost run.
        trials: Tuned arm -> candidate -> records by tuning seed.
        chosen: Arm -> the specification it runs with, or None if it cannot run.
        labels: Arm -> what figures call it.
        classes: How many classes the data set has.
    """

    seeds: Sequence[int]
    _records: Mapping[str, Mapping[int, Record | None]]
    trials: Mapping[str, Trials]
    chosen: Mapping[str, Spec | None]
    labels: Mapping[str, str]
    classes: int = 10

    def __contains__(self, arm: str) -> bool:
        return arm in self._records

    def __iter__(self):
        return iter(self._records)

    def __getitem__(self, arm: str) -> tuple[Record | None, ...]:
        by_seed = self._records[arm]
        return tuple(by_seed.get(seed) for seed in self.seeds)

    def first(self, number: int) -> Runs:
        """The runs of the first `number` seeds."""
        return replace(self, seeds=self.seeds[:number])

    @property
    def guessing(self) -> float:
        """The accuracy of guessing, as of a run that diverged."""
        return 1 / self.classes

    def values(
        self, arm: str, read: Callable[[Record], float | None], failure: float = float("nan")
    ) -> Values:
        """`read` of the arm's record with each seed; `failure` where the run diverged."""
        return per_seed(self[arm], read, failure)

    def finished(self, arm: str) -> list[Record]:
        """The records of the arm's runs that came to their end, for figures."""
        if arm not in self:
            return []
        return [r for r in self[arm] if r is not None and r.status == "finished"]

    def by_seed(self, arm: str) -> dict[int, Record | None]:
        """Seed -> record."""
        return dict(zip(self.seeds, self[arm], strict=True))

    def tree(self, prefix: str) -> Any:
        """The arms whose names begin with `prefix` and "/", nested by the rest of the name.

        Parts of the name that are numbers become numbers: the arms "rates/bn/0.1", ... give
        {"bn": {0.1: {seed: record}}}.
        """
        tree: dict[Any, Any] = {}
        for name in self._records:
            if not name.startswith(prefix + "/"):
                continue
            *branches, leaf = (_number(part) for part in name[len(prefix) + 1 :].split("/"))
            place = tree
            for branch in branches:
                place = place.setdefault(branch, {})
            place[leaf] = self.by_seed(name)
        return tree


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
