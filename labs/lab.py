"""What a lab is to the front door: data and functions, and no arguments or files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from dlip_reg.claims import Claim, judge_claims
from dlip_reg.datasets import DATASET_NAMES
from dlip_reg.experiments import Experiment

if TYPE_CHECKING:
    from session import Session

    from dlip_reg.report import Section


class Preset(Protocol):
    """How much a lab measures, and how long that takes on two cores: a frozen dataclass."""

    @property
    def seeds(self) -> int: ...

    @property
    def duration(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Lab:
    """One lab: what its parser and its report say, its presets and claims, and its parts.

    - `experiments(preset, model, dataset)` are all it has; those that the chosen claims need are
      run (all, if there are no claims).
    - `check(session, experiments)` raises BadInput where these cannot be run as asked.
    - `sections(outcomes, labels, judged)` are the report's; outcomes and labels are by experiment.
    - `facts(preset)` say how the numbers came about, name -> value.
    - `papers` are checks of what a paper printed, for `--paper NAME`: labs with one preset each.
    """

    name: str
    title: str
    lead: str
    description: str = ""
    presets: Mapping[str, Preset]
    claims: Sequence[Claim]
    experiments: Callable[[Any, str, str], Sequence[Experiment]]
    sections: Callable[[Mapping, Mapping[str, str], Sequence[Mapping]], Sequence[Section]]
    facts: Callable[[Any], Mapping[str, str]]
    check: Callable[[Session, Sequence[Experiment]], None] | None = None
    default_model: str = "lenet5"
    default_dataset: str = DATASET_NAMES[0]
    papers: Mapping[str, Lab] = field(default_factory=dict)

    @property
    def labs(self) -> Sequence[Lab]:
        """What it is made of: itself."""
        return (self,)


@dataclass(frozen=True, kw_only=True)
class Labs:
    """Several labs that run into one report; each keeps its own family of claims."""

    name: str
    title: str
    lead: str
    description: str
    labs: Sequence[Lab]

    @property
    def claims(self) -> list[Claim]:
        """The claims of all."""
        return [claim for lab in self.labs for claim in lab.claims]

    @property
    def papers(self) -> dict[str, Lab]:
        """The paper checks of all."""
        return {name: paper for lab in self.labs for name, paper in lab.papers.items()}


@dataclass(frozen=True)
class Plan:
    """What one lab is to do: the chosen claims, and the experiments they need."""

    lab: Lab
    preset: Any
    claims: Sequence[Claim]
    experiments: Sequence[Experiment]

    @classmethod
    def of(
        cls, lab: Lab, preset: Any, claims: Sequence[Claim], model: str | None, dataset: str | None
    ) -> Plan:
        """The plan for these claims; without a model or data set, on the lab's own."""
        every = lab.experiments(preset, model or lab.default_model, dataset or lab.default_dataset)
        needed = {name for claim in claims for name in claim.needs}
        return cls(lab, preset, claims, [e for e in every if e.name in needed or not lab.claims])

    @property
    def jobs(self) -> list[Experiment]:
        """The experiments under names that no other lab has."""
        return [replace(e, name=f"{self.lab.name} {e.name}") for e in self.experiments]

    def judge(self, outcomes: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[Section]]:
        """The judged claims and the report's sections, from the outcomes of the jobs."""
        names = [e.name for e in self.experiments]
        own = {name: outcomes[job.name] for name, job in zip(names, self.jobs, strict=True)}
        labels = {e.name: e.label for e in self.experiments}
        judged = judge_claims(self.claims, own, family_size=len(self.lab.claims))
        return judged, list(self.lab.sections(own, labels, judged))


def figures_named_by(
    lab: Lab, judged: Sequence[Mapping[str, Any]], sections: Sequence[Section]
) -> tuple[list[dict[str, Any]], list[Section]]:
    """The same claims and sections, their figures under names that no other lab has."""

    def named(figure: str) -> str:
        return f"{lab.name.removeprefix('lab_')}_{figure}"

    return (
        [{**claim, "figures": [named(figure) for figure in claim["figures"]]} for claim in judged],
        [
            replace(
                section,
                figures=[replace(item, name=named(item.name)) for item in section.figures],
            )
            for section in sections
        ],
    )
