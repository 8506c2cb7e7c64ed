"""One study of a run: its arms and seeds, what was found so far, and what is still to be run."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dlip_reg.evidence.claims import ClaimResult
from dlip_reg.studies.arm import Arm, expand
from dlip_reg.studies.arm_resolver import ArmResolver, at_end_of_grid, chosen_numbers, tuning_seeds
from dlip_reg.studies.claim import Claim
from dlip_reg.studies.judging import arms_of_next_look, is_open, judge_claim
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.setting import Setting
from dlip_reg.studies.study import Study
from dlip_reg.studies.workspace import UsageError
from dlip_reg.training.records import Record
from dlip_reg.training.specification import DataSpec, RunSpec, Spec


@dataclass
class StudyPart:
    """One study of the run, and how far it is."""

    study: Study
    setting: Setting
    preset_name: str
    claims: Sequence[Claim]
    arms: Mapping[str, Arm]
    first_seed: int
    replicates: bool = False
    resolver: ArmResolver = field(init=False)
    records: dict[str, dict[int, Record | None]] = field(default_factory=dict)
    results: dict[str, ClaimResult] = field(default_factory=dict)
    classes: int = 10

    def __post_init__(self) -> None:
        seeds = tuning_seeds(self.setting.preset.tuning_seeds, self.first_seed)
        self.resolver = ArmResolver(self.arms, seeds)
        # The output folder, and the accuracy of guessing, are those of one.
        data = dict.fromkeys((spec.data.name, spec.data.size) for spec in self.first_specs())
        if len(data) > 1:
            listed = " and ".join(f"{name} at {size}" if size else name for name, size in data)
            raise UsageError(
                f"{self.study.name}: all arms must be on one data set with one size of images, not "
                f"on {listed}; replicate repeats a study on other data sets."
            )

    @property
    def looks(self) -> tuple[int, ...]:
        return tuple(self.setting.preset.looks)

    @property
    def seeds(self) -> list[int]:
        return list(range(self.first_seed, self.first_seed + self.setting.preset.seeds))

    @property
    def data(self) -> DataSpec:
        return self.first_specs()[0].data

    @property
    def models(self) -> list[str]:
        """The model of the setting, or those of the arms."""
        specs = () if self.setting.model else self.first_specs()
        return list(dict.fromkeys(spec.runs[0].model for spec in specs)) or [self.setting.model]

    @property
    def model_name(self) -> str:
        return self.models[0]

    @property
    def name(self) -> str:
        """The study's name, with the setting where it replicates another part."""
        where = f" ({self.setting.name})" if self.replicates else ""
        return self.study.name + where

    def first_specs(self) -> list[Spec]:
        """The specifications that are known before any run."""
        specs = [*self.resolver.requests(), *filter(None, self.resolver.chosen.values())]
        if not specs:
            raise UsageError(f"{self.study.name} has no arm to run.")
        return specs

    def expected_data(self) -> dict[DataSpec, str]:
        """The data of the arms, as far as it is known before tuning, and an arm that uses each."""
        assumed = replace(self, records={}, results={})  # with a resolver of its own
        # An arm may be one that can only be made of what tuning will choose.
        with contextlib.suppress(ValueError):
            while assumed.resolver.requests():
                assumed.resolver.assume()
        return {spec.data: name for name, spec in assumed.resolver.chosen.items() if spec}

    def open_claims(self) -> list[Claim]:
        """The claims that need the next look."""
        results = self.results
        return [c for c in self.claims if c.id not in results or is_open(results[c.id])]

    def arms_at(self, look: int) -> list[str]:
        """Names of the arms that run with the seeds of the look."""
        if not self.claims:
            return list(self.arms)
        read = (arms_of_next_look(c, self.results.get(c.id)) for c in self.open_claims())
        names = [name for arms in read for name in arms]
        if look <= self.looks[0]:
            names += [name for claim in self.claims for name in claim.shown]
            names += self.study.shown
        return expand(names, list(self.arms))

    def missing(self, look: int) -> Iterator[tuple[Arm, int, Spec]]:
        """The arm, seed and specification of each run that the look needs beyond earlier ones."""
        for name in self.arms_at(look):
            base, arm = self.resolver.chosen[name], self.arms[name]
            for index, seed in enumerate(self.seeds[:look]):
                if base is not None and seed not in self.records.get(name, {}):
                    spec = base.at_seed(seed)
                    if index < arm.watch_seeds and isinstance(spec, RunSpec):
                        spec = replace(spec, measures=(*spec.measures, *arm.watch))
                    yield arm, seed, spec

    def runs(self, look: int | None = None) -> Runs:
        labels = {name: arm.label for name, arm in self.arms.items()}
        records = {name: self.records.get(name, {}) for name in self.arms}
        resolver = self.resolver
        seeds = self.seeds[: look or len(self.seeds)]
        return Runs(seeds, records, resolver.trials, resolver.chosen, labels, self.classes)

    def judge(self, look: int) -> None:
        """Judge the open claims with the first `look` seeds."""
        runs = self.runs(look)
        for claim in self.open_claims():
            self.results[claim.id] = judge_claim(claim, runs, len(self.study.claims))

    def chosen_notes(self) -> Iterator[str]:
        """What each tuned arm runs with, for example "L2: learning_rate 0.003, dense_l2 0.03"."""
        for name, trials in self.resolver.trials.items():
            if (best := self.resolver.best[name]) and (numbers := chosen_numbers(best, trials)):
                yield f"{self._label(name)}: {', '.join(numbers)}"

    def grid_notes(self) -> Iterator[str]:
        """Sentences on tuned arms whose best candidate lies at the end of what was tried."""
        where = f"{self.setting.name}: " if self.replicates else ""
        for name, trials in self.resolver.trials.items():
            best = self.resolver.best[name]
            label = where + self._label(name)
            if best is None:
                yield f"{label}: no candidate could be trained."
            elif ends := "; ".join(at_end_of_grid(best, trials)):
                yield (
                    f"{label}: the best candidate lies at the end of what was tried ({ends}), so a "
                    "better one may lie beyond."
                )

    def _label(self, name: str) -> str:
        """The label of a tuned arm, with its name where others are labelled alike."""
        labels = [self.arms[tuned].label for tuned in self.resolver.trials]
        label = self.arms[name].label
        return label if labels.count(label) < 2 else f"{label} ({name})"


def looks_of(parts: Sequence[StudyPart]) -> list[int]:
    """The looks of all parts: their presets may have different numbers of seeds."""
    return sorted({look for part in parts for look in part.looks})
