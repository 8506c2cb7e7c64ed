"""What a study is: arms that are trained, claims that read them, and presets that size it.

A `Study` is plain data. `dlip_reg.studies.run_study` runs it, `dlip_reg.cli.main` makes a command
line of it, and the package's own labs use nothing else. Some names are exported that are defined
elsewhere: the labs import them from here, and the hash of a protocol covers these imports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlip_reg import report
from dlip_reg.checks import require_text
from dlip_reg.evidence.claims import ClaimResult
from dlip_reg.studies.arm import (
    Arm as Arm,
    Arms as Arms,
    Chosen as Chosen,
    expand,
    models_of,
    on_setting,
    require_arms,
    times as times,
    varied as varied,
)
from dlip_reg.studies.checks import (
    require_different,
    require_function,
    require_several,
    require_texts,
)
from dlip_reg.studies.claim import (
    NEGATIVE as NEGATIVE,
    POSITIVE as POSITIVE,
    Claim as Claim,
    Control as Control,
    Measured as Measured,
    Part as Part,
    claimed as claimed,
    controlled as controlled,
    drawn_by as drawn_by,
    negative as negative,
    positive as positive,
)
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.setting import (
    Preset,
    Setting as Setting,
    total_minutes,
)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question: arms, claims about them, and presets.

    Args:
        name: Names the output folder.
        title: The report's title.
        lead: The report's first paragraph.
        description: One line for ``--help``.
        arms: The arms, or a function of the `Setting` to them. With plain arms, ``--model`` and
            ``--dataset`` replace those of their specifications.
        claims: What is judged; the error of 5 % is shared by all of them.
        presets: Name -> how much is measured.
        shown: Arms that no claim reads but the figures show; run with the seeds of the first look.
        check: Called with the setting, the arms and the kinds of kernels ("conv", "dense") that the
            model has; raises `UsageError` where the arms cannot run with them.
        sections: A function of the runs and the judged claims to the report's sections.
        styled_first: Labels of arms that take the first colours in all figures.
        facts: A function of the `Setting` to the report's Methods, name -> value.
        papers: Checks of what a paper printed, by name: studies with one preset each.
        default_model: The model of the `Setting` when none is named; "" leaves those of the arms.
        default_dataset: The same for the data set.

    Raises:
        ValueError: No name, two claims of one name, a single claim or arm in place of several, or
            presets without names.
    """

    name: str
    title: str = ""
    lead: str = ""
    description: str = ""
    arms: Sequence[Arm] | Callable[[Setting], Iterable[Arm]] = ()
    claims: Sequence[Claim] = ()
    presets: Mapping[str, Any] = field(
        default_factory=lambda: {"quick": Preset(seeds=3), "standard": Preset()}
    )
    shown: tuple[str, ...] = ()
    check: Callable[[Setting, Sequence[Arm], set[str]], None] | None = None
    sections: Callable[[Runs, Sequence[ClaimResult]], Sequence[report.Section]] = (
        lambda runs, claims: ()
    )
    styled_first: Sequence[str] = ()
    facts: Callable[[Setting], Mapping[str, str]] = lambda setting: {}
    papers: Mapping[str, Study] = field(default_factory=dict)
    default_model: str = ""
    default_dataset: str = ""

    def __post_init__(self) -> None:
        require_text("name", self.name)
        require_several("claims", self.claims, Claim, "claims")
        require_arms(self.arms)
        require_texts(self, "title", "lead", "description", "default_model", "default_dataset")
        require_several("shown", self.shown, str, "names of arms")
        require_several("styled_first", self.styled_first, str, "labels")
        require_function("sections", self.sections, "the study's runs", "the judged claims")
        require_function("facts", self.facts, "the setting")
        if self.check is not None:
            require_function("check", self.check, "the setting", "the arms", "the kinds of kernels")
        presets = self.presets.items() if isinstance(self.presets, Mapping) else ()
        if not presets or not all(
            isinstance(key, str) and isinstance(of, Preset) for key, of in presets
        ):
            raise ValueError(f"presets must be a dict of names to presets, not {self.presets!r}.")
        require_different("claims", [claim.id for claim in self.claims])

    @property
    def studies(self) -> tuple[Study, ...]:
        """What it is made of: itself (compare `StudyGroup`)."""
        return (self,)

    def arms_for(self, setting: Setting, claims: Sequence[Claim]) -> dict[str, Arm]:
        """The arms that `claims` need, with those they use and those that are shown.

        Args:
            setting: The preset, model and data set.
            claims: Some of the study's claims.

        Returns:
            Name -> arm; all arms of a study without claims.

        Raises:
            ValueError: Two arms of one name, a name that no arm has, or a setting with a model
                where plain arms have several.
        """
        every: dict[str, Arm] = {}
        # By identity: claims may share a function that makes arms.
        sources = {id(arms): arms for arms in (self.arms, *(c.arms for c in self.claims))}
        shared = () if callable(self.arms) else self.arms
        for arms in sources.values():
            models = [] if callable(arms) else models_of((*shared, *arms))
            if setting.model and len(models) > 1:
                raise ValueError(
                    f"The arms compare models ({', '.join(models)}), so {setting.model} cannot "
                    "take the place of all: name no model, and do not replicate."
                )
            made = arms(setting) if callable(arms) else on_setting(setting, arms)
            made = tuple(made) if isinstance(made, Iterable) else made
            require_several("What a function of the setting gives", made, Arm, "arms")
            for arm in made:
                if every.setdefault(arm.name, arm) != arm:
                    raise ValueError(f"Two different arms are named {arm.name!r}.")
        if not self.claims:
            return every
        needed: set[str] = set()
        names = [name for claim in claims for name in (*claim.needed, *claim.shown)]
        names += self.shown
        while names := [name for name in expand(names, list(every)) if name not in needed]:
            if unknown := [name for name in names if name not in every]:
                there_are = f"there are {', '.join(every)}" if every else "there are no arms"
                raise ValueError(f"No arm is named {unknown[0]!r}; {there_are}.")
            needed.update(names)
            names = [used for name in names for used in every[name].used]
        return {name: arm for name, arm in every.items() if name in needed}


@dataclass(frozen=True, kw_only=True)
class StudyGroup:
    """Several studies that run into one report; each keeps its own error of 5 %.

    Raises:
        ValueError: No study, two studies or claims of one name, or presets of different names.
    """

    name: str
    title: str
    lead: str
    description: str
    studies: Sequence[Study]

    def __post_init__(self) -> None:
        require_several("studies", self.studies, Study, "studies")
        if not self.studies:
            raise ValueError("studies must have a study to run, but are empty.")
        if len({tuple(study.presets) for study in self.studies}) > 1:
            raise ValueError("studies must have presets of the same names, in the same order.")
        require_different("studies", [study.name for study in self.studies])
        require_different("claims", [claim.id for claim in self.claims])

    @property
    def claims(self) -> list[Claim]:
        """The claims of all."""
        return [claim for study in self.studies for claim in study.claims]

    @property
    def presets(self) -> Mapping[str, Preset]:
        """For ``--help``: of each name, the seeds of the first study and the minutes of all."""
        found = {}
        for name, first in self.studies[0].presets.items():
            minutes = total_minutes(study.presets[name] for study in self.studies)
            found[name] = Preset(seeds=first.seeds, minutes=minutes)
        return found

    @property
    def papers(self) -> dict[str, Study]:
        """The paper checks of all."""
        return {name: paper for study in self.studies for name, paper in study.papers.items()}
