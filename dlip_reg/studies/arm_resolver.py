"""Find out what each arm runs with: its own specification, or the best of its candidates.

Candidates are tried with tuning seeds, which no verdict sees: choosing a strength on the runs that
are then judged favours whatever was chosen, even a regularizer that does nothing.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from reprlib import repr as short
from typing import Any

from dlip_reg.studies.arm import Arm, changed
from dlip_reg.studies.judging import explained
from dlip_reg.studies.runs import Trials, known
from dlip_reg.studies.workspace import UsageError
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec, Spec

# Far from every seed that a verdict may use.
TUNING_SEEDS_FROM = 1_000_000


class ArmResolver:
    """Resolves arms stage by stage, so that several studies can share each stage's runs.

    `requests()` are the runs needed next; `advance(records)` takes them. Afterwards `chosen` maps
    each arm to its specification (None if it cannot run), and of each tuned arm `best` holds the
    best candidate and `trials` what was tried.
    """

    def __init__(self, arms: Mapping[str, Arm], tuning_seeds: Sequence[int]) -> None:
        self._waiting = dict(arms)
        self._seeds = tuple(tuning_seeds)
        self._asked: dict[str, list[RunSpec]] = {}
        self.chosen: dict[str, Spec | None] = {}
        self.best: dict[str, RunSpec | None] = {}
        self.trials: dict[str, dict[RunSpec, tuple[Record | None, ...]]] = {}
        self._settle()

    def requests(self) -> list[Spec]:
        """The runs that the next stage needs; none when all arms are resolved."""
        return [
            trial
            for name, candidates in self._asked.items()
            for candidate in candidates
            for trial in self._trials(self._waiting[name], candidate)
        ]

    def advance(self, records: Mapping[Spec, Record]) -> None:
        """Take the records of `requests()`; those of failed runs are missing."""
        for name, candidates in list(self._asked.items()):
            arm, tried = self._waiting[name], self.trials[name]
            for candidate in candidates:
                tried[candidate] = tuple(map(records.get, self._trials(arm, candidate)))
            tuning = known(arm.tuning)
            with explained(f"arm {name}: its tuning"):
                more = list((tuning.extend and tuning.extend(tried)) or ())
                if odd := [c for c in more if not isinstance(c, RunSpec)]:
                    raise UsageError(
                        f"Arm {name!r}: extend must give a list of specifications, not "
                        f"{short(odd[0])} in it."
                    )
                self._asked[name] = [c for c in dict.fromkeys(more) if c not in tried]
                if not self._asked[name]:
                    self.best[name] = tuning.choose(tried)
            if not self._asked[name]:
                del self._asked[name]
                self._choose(arm, self.best[name])
        self._settle()

    def assume(self) -> None:
        """Settle the arms that `requests()` are for without runs: with one of the candidates.

        To count runs beforehand. Which candidate it is changes little but numbers in them, but arms
        that choose otherwise among the same ones may come to run with different ones.
        """
        choices: dict[tuple[RunSpec, ...], list[Any]] = {}
        for name, candidates in list(self._asked.items()):
            del self._asked[name]
            arm = self._waiting[name]
            others = choices.setdefault(tuple(candidates), [])
            if (choice := known(arm.tuning).choose) not in others:
                others.append(choice)
            place = len(candidates) // 2 + others.index(choice)
            self._choose(arm, candidates[place % len(candidates)])
        self._settle()

    def _trials(self, arm: Arm, candidate: RunSpec) -> list[RunSpec]:
        """The candidate's runs, one for each tuning seed; the first is watched."""
        first, *others = [candidate.at_seed(seed) for seed in self._seeds]
        return [replace(first, measures=(*first.measures, *known(arm.tuning).watch)), *others]

    def _settle(self) -> None:
        """Resolve what needs no runs, and ask for those of the arms that can be tuned now."""
        while ready := [
            arm
            for arm in self._waiting.values()
            if arm.name not in self._asked and self.chosen.keys() >= set(arm.used)
        ]:
            for arm in ready:
                used = {name: spec for name in arm.used if (spec := self.chosen[name])}
                lost = used.keys() < set(arm.used)
                base: Any = self.chosen[arm.spec] if isinstance(arm.spec, str) else arm.spec
                if callable(base) and not lost:
                    with explained(f"arm {arm.name}: its function"):
                        base = base(used)
                    lost = base is None
                if arm.tuning is not None:
                    self.trials[arm.name], self.best[arm.name] = {}, None
                    if lost:
                        self._choose(arm, None)
                    else:
                        self._asked[arm.name] = _candidates(arm, base)
                else:
                    self._choose(arm, None if lost else base)
        if not self._asked and self._waiting:
            raise ValueError(f"Arms use each other in a circle: {', '.join(self._waiting)}.")

    def _choose(self, arm: Arm, spec: Spec | None) -> None:
        """Settle what the arm runs with, but for its changes."""
        del self._waiting[arm.name]
        if not isinstance(spec, Spec | None):
            raise ValueError(f"Arm {arm.name!r} must get a specification, not {short(spec)}.")
        with explained(f"arm {arm.name}: its changes"):
            self.chosen[arm.name] = spec = spec and changed(spec, **arm.changes)
        if isinstance(spec, RunSpec):  # what cannot be watched is refused before the runs
            replace(spec, measures=(*spec.measures, *arm.watch))


def _candidates(arm: Arm, base: Any) -> list[RunSpec]:
    candidates = known(arm.tuning).candidates
    if base is None and any(isinstance(candidate, Mapping) for candidate in candidates):
        raise ValueError(f"Arm {arm.name!r} needs a specification that its candidates change.")
    specs: list[RunSpec] = [
        changed(base, **candidate) if isinstance(candidate, Mapping) else candidate
        for candidate in candidates
    ]
    return [spec.at_seed(0) for spec in dict.fromkeys(specs)]


def tuning_seeds(count: int, first_seed: int) -> range:
    """`count` seeds for tuning: others for another `first_seed`, and none that verdicts use."""
    start = TUNING_SEEDS_FROM + first_seed
    return range(start, start + count)


def at_end_of_grid(best: RunSpec, trials: Trials) -> list[str]:
    """The numbers in which `best` is the largest or the smallest of at least two tried.

    For example ["dense_l2 0.03 is the largest tried"].
    """
    return [
        f"{name} {value:g} is the {'smallest' if value == min(tried) else 'largest'} tried"
        for name, value, tried in _tried(best, trials)
        if value in (min(tried), max(tried))
    ]


def chosen_numbers(best: RunSpec, trials: Trials) -> list[str]:
    """The numbers of `best` of which several were tried, for example ["learning_rate 0.003"]."""
    return [f"{name} {value:.3g}" for name, value, _ in _tried(best, trials)]


def _tried(best: RunSpec, trials: Trials) -> Iterator[tuple[str, float, tuple[float, ...]]]:
    """Name and value of each number of `best` of which at least two were tried, and those; of
    strengths that were tried as one number only the first.
    """
    rows = [_numbers(spec) for spec in trials]
    seen: set[tuple[float, ...]] = set()
    for name, value in _numbers(best).items():
        tried = tuple(row.get(name, math.inf) for row in rows)  # None is no limit
        if len(set(tried)) > 1 and tried not in seen:
            seen.add(tried)
            yield name, value, tried


def _numbers(spec: RunSpec) -> dict[str, float]:
    parts = (spec.data, spec.schedule, spec.regularization, spec)
    fields = {name: value for part in parts for name, value in vars(part).items()}
    return {
        name: float(value)
        for name, value in fields.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
