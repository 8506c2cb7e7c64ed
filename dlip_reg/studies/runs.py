"""What measurements and figures read: the records of each arm, by seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from dlip_reg.errors import DlipRegError
from dlip_reg.evidence.paired import Values
from dlip_reg.training.records import Curves, Record
from dlip_reg.training.specification import RunSpec, Spec


class NotMeasuredError(DlipRegError, LookupError):
    """A measure reads an arm that is not among its needs, or what its runs did not measure."""


T = TypeVar("T")
Trials = Mapping[RunSpec, Sequence[Record | None]]  # candidate -> records by tuning seed


def known(value: T | None) -> T:
    """A part or a number of a record whose run was asked for it.

    Raises:
        NotMeasuredError: The run was not asked for it, or could not measure it.
    """
    if value is None:
        raise NotMeasuredError(
            "A run has not measured what is read from its record: name it in the `measures` of the "
            "arm's specification."
        )
    return value


def spec_of(record: Record) -> RunSpec:
    """The specification of the training run that the record is of."""
    return record.spec.runs[0]


def steps_per_epoch(record: Record) -> int:
    """Training steps in an epoch of the record's run."""
    run = spec_of(record)
    return max(1, known(run.data.n_train) // run.batch_size)


def curves_of(record: Record) -> Curves:
    """The curves of a record whose run measured them."""
    return known(record.curves)


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
    _hidden: frozenset[str] = frozenset()  # arms that are there and may not be read

    def __contains__(self, arm: str) -> bool:
        return arm in self._records

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __getitem__(self, arm: str) -> tuple[Record | None, ...]:
        if arm not in self._records:
            raise self._unread(arm)
        by_seed = self._records[arm]
        return tuple(by_seed.get(seed) for seed in self.seeds)

    def _unread(self, arm: str) -> NotMeasuredError:
        return NotMeasuredError(
            f"There are no runs of the arm {arm!r} here: what is read has to be named in needs "
            f"({', '.join(self._records) or 'there are none'})."
        )

    def only(self, arms: Iterable[str]) -> Runs:
        """The runs of those arms alone, so that a measure can read no others.

        Args:
            arms: Names of arms; those that there are not are left out.

        Returns:
            The same seeds, with those arms.
        """
        shown = {arm: self._records[arm] for arm in arms if arm in self}
        return replace(self, _records=shown, _hidden=frozenset(self._records) - shown.keys())

    def first(self, number: int) -> Runs:
        """The runs of the first seeds.

        Args:
            number: How many seeds.

        Returns:
            The same arms, with those seeds.
        """
        return replace(self, seeds=self.seeds[:number])

    def where_run(self, *arms: str) -> Runs:
        """The runs up to the last seed with which one of the arms was run, for figures.

        Arms that only figures or decided controls read have fewer seeds than others.

        Args:
            *arms: Names of arms.

        Returns:
            The same arms, with the seeds up to that one.
        """
        numbers = [
            number
            for arm in arms
            for number, seed in enumerate(self.seeds, start=1)
            if seed in self._records[arm]
        ]
        return self.first(max(numbers, default=0))

    def spec(self, arm: str) -> RunSpec:
        """The training run that an arm is.

        Args:
            arm: The arm.

        Returns:
            Its specification; the seed in it does not matter.

        Raises:
            NotMeasuredError: The arm cannot run, because none of its candidates could be trained.
        """
        return known(self.chosen[arm]).runs[0]

    @property
    def guessing(self) -> float:
        """The accuracy of guessing, as of a run that diverged."""
        return 1 / self.classes

    def values(
        self, arm: str, read: Callable[[Record], float | None], failure: float = math.nan
    ) -> Values:
        """One number for each seed of an arm.

        Args:
            arm: The arm.
            read: The number of a finished run's record, or None where it was not measured.
            failure: What a run that diverged is worth. `read` does not see its record.

        Returns:
            The numbers. NaN where there is no record (a lost process is not a result) or `read`
            gives None.
        """

        def value(record: Record | None) -> float | None:
            if record is None:
                return None
            return failure if record.status == "diverged" else read(record)

        records = self[arm]
        with _named(arm):
            return tuple(math.nan if v is None else float(v) for v in map(value, records))

    def finished(self, arm: str) -> list[Record]:
        """The records of the arm's runs that came to their end, for figures.

        Args:
            arm: The arm.

        Returns:
            Their records in the order of the seeds; none for an arm that there is not.
        """
        if arm not in self and arm not in self._hidden:
            return []
        return [r for r in self[arm] if r is not None and r.status == "finished"]

    def place(self, record: Record) -> int:
        """The place of the record's seed among the seeds, as "seed" of a curve in a figure.

        Args:
            record: That of one of these runs.

        Returns:
            A number from 0.
        """
        return list(self.seeds).index(record.spec.seed)

    def each(
        self,
        arms: Iterable[str],
        measure: Callable[..., Any],
        failure: Any = None,
        missing: Any = math.nan,
    ) -> tuple[Any, ...]:
        """`measure` of the records that the arms have with each seed.

        Args:
            arms: The arms that are compared.
            measure: Takes one record of each arm.
            failure: What a seed is worth with which a run diverged; None leaves it to `measure`.
            missing: What a seed is worth with which a run gave no record.

        Returns:
            One value for each seed.
        """

        def of_seed(records: Sequence[Record | None]) -> Any:
            if None in records:
                return missing
            if failure is not None and any(r.status != "finished" for r in records if r):
                return failure
            return measure(*records)

        arms = list(arms)
        records = [self[arm] for arm in arms]
        with _named(*arms):
            return tuple(map(of_seed, zip(*records, strict=True)))

    def count(self, arms: Iterable[str], condition: Callable[[Record], bool]) -> int:
        """Count the records of the arms that satisfy a condition.

        Args:
            arms: Names of arms.
            condition: Of a record.

        Returns:
            The number of records, over all seeds.
        """
        return sum(condition(record) for arm in arms for record in self[arm] if record is not None)

    def grid(self, pattern: str) -> dict[Any, str]:
        """The arms that are named alike but for a number.

        ``runs.grid("rates/bn/*")`` is {0.1: "rates/bn/0.1", 1: "rates/bn/1"}.

        Args:
            pattern: The name, with "*" in the place of the number.

        Returns:
            Number -> arm, in rising order.

        Raises:
            NotMeasuredError: One of the arms is not named in the claim's needs.
        """
        before, after = pattern.split("*")
        named = [
            arm
            for arm in (*self._records, *self._hidden)
            if arm.startswith(before) and arm.endswith(after)
        ]
        numbers = {_number(arm[len(before) : len(arm) - len(after)]): arm for arm in named}
        found = {n: numbers[n] for n in sorted(n for n in numbers if n is not None)}
        if unread := self._hidden.intersection(found.values()):
            raise self._unread(min(unread))
        return found

    def over(
        self, pattern: str, read: Callable[[Record], float | None], failure: float = math.nan
    ) -> dict[Any, Values]:
        """The `values` of each arm of the `grid`.

        Args:
            pattern: As for `grid`.
            read: As for `values`, and so is `failure`.
            failure: What a run that diverged is worth.

        Returns:
            Number -> one value for each seed, in rising order of the numbers.
        """
        return {
            number: self.values(arm, read, failure) for number, arm in self.grid(pattern).items()
        }


@contextmanager
def _named(*arms: str) -> Iterator[None]:
    """Say of which arms the record was in which something was not measured."""
    try:
        yield
    except NotMeasuredError as error:
        raise NotMeasuredError(f"arm {' or '.join(arms)}: {error}") from error


def _number(text: str) -> float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None
