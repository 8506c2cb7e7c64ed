"""What a claim reads comes from experiments; several are run together, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dlip_reg.training.specification import DataSpec

Record = dict[str, Any]


class Spec(Protocol):
    """A frozen, hashable value that decides everything in the record of one run.

    `data` and `seed` say what it is run on, `to_json()` gives it as plain values, and
    `identity(fingerprint)` names it on the data with that fingerprint: its record's "id".
    """

    @property
    def data(self) -> DataSpec: ...

    @property
    def seed(self) -> int: ...

    def to_json(self) -> dict[str, Any]: ...

    def identity(self, fingerprint: str) -> str: ...


# Yields the specifications it needs next, is sent their records (those of failed runs are missing),
# and returns its outcome.
Steps = Generator[list[Spec], Mapping[Spec, Record], Any]


@dataclass(frozen=True)
class Experiment:
    """One experiment: what claims call it, what people do, and its runs.

    `steps()` begins it anew; what it yields depends on nothing but the records it is sent. `runs`
    is how many runs all its stages have together, as far as that can be said beforehand. A `timed`
    one measures this machine's speed: its runs have the machine to themselves, one after the other.
    """

    name: str
    label: str
    runs: int
    steps: Callable[[], Steps]
    timed: bool = False


def first_stage(experiments: Iterable[Experiment]) -> list[Spec]:
    """The specifications that `experiments` begin with, each once."""
    return list(dict.fromkeys(spec for e in experiments for spec in next(e.steps(), [])))


def count_runs(experiments: Sequence[Experiment]) -> int:
    """How many runs `experiments` have together; those they share at the beginning count once."""
    begun = sum(len(set(next(e.steps(), []))) for e in experiments)
    return len(first_stage(experiments)) + max(0, sum(e.runs for e in experiments) - begun)


def run_together(
    experiments: Sequence[Experiment],
    run: Callable[[list[Spec]], Mapping[Spec, Record]],
    expect: Callable[[int], None] = lambda total: None,
) -> dict[str, Any]:
    """The outcomes of `experiments` by name, in their order.

    All go on in lock-step: a stage is one call of `run` with what each of them needs next, by seed
    (so that a seed's data is prepared once) and a run that several need once. `expect` is told at
    every stage how many runs there are in all, as far as that is known by then.
    """
    going = {e.name: e.steps() for e in experiments}
    to_come = {e.name: e.runs for e in experiments}
    needs: dict[str, list[Spec]] = {}
    outcomes: dict[str, Any] = {}
    begun: set[Spec] = set()

    def go_on(name: str, records: Mapping[Spec, Record] | None) -> None:
        try:
            needs[name] = list(dict.fromkeys(going[name].send(records)))
            to_come[name] -= len(needs[name])
        except StopIteration as end:
            outcomes[name] = end.value
            del going[name], to_come[name]

    for name in list(going):
        go_on(name, None)
    while going:
        stage = dict.fromkeys(spec for name in going for spec in needs[name])
        begun.update(stage)
        expect(len(begun) + sum(max(0, more) for more in to_come.values()))
        records = run(sorted(stage, key=lambda spec: spec.seed))
        for name in list(going):
            go_on(name, {spec: records[spec] for spec in needs[name] if spec in records})
    expect(len(begun))
    return {e.name: outcomes[e.name] for e in experiments}
