"""Run a study: tune, then add seeds look by look until each claim is decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dlip_reg.evidence.claims import ClaimResult
from dlip_reg.evidence.rule import LOOKS
from dlip_reg.experiments.executors import leave_import_of_main
from dlip_reg.files import write_json
from dlip_reg.studies.arms import TUNING_SEEDS_FROM, ArmResolver, at_end_of_grid, tuning_seeds
from dlip_reg.studies.judging import is_open, judge_claim
from dlip_reg.studies.progress import Progress, duration
from dlip_reg.studies.replication import default_settings, replications, setting_name
from dlip_reg.studies.result import StudyResult
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Claim, Setting, Study, StudyGroup, expand
from dlip_reg.studies.workspace import Resources, UsageError, Workspace, counted
from dlip_reg.training.model_functions import model_text
from dlip_reg.training.records import Record
from dlip_reg.training.specification import DataSpec, Spec

DEFAULT_PRESET = "standard"


def run_study(
    study: Study | StudyGroup,
    preset: str | None = None,
    *,
    out: str | Path | None = None,
    seeds: int | None = None,
    first_seed: int = 0,
    claims: Sequence[str] | None = None,
    model: Any = None,
    dataset: str | None = None,
    size: int | None = None,
    data_dir: str | Path | None = None,
    replicate: bool | Sequence[tuple[str, str]] = False,
    workers: int | None = None,
    scheduler: str | None = None,
    fresh: bool = False,
    announce: Callable[[str], None] = print,
) -> StudyResult:
    """Run `study` and write its report; what was run before is kept and not run again.

    After 5, 10 and 20 seeds the claims are judged and the report is written; a claim that is
    decided gets no further seeds.

    Args:
        study: A study, or several that run into one report.
        preset: The name of one of its presets (default: "standard", or the only one).
        out: The output folder (default: runs/NAME).
        seeds: At which number of seeds to stop at most: 5, 10 or 20, or fewer than 5 for
            estimates without verdicts (default: the preset's).
        first_seed: The first of the seeds; with one that is 20 or more away no seed is the same.
        claims: Names of the claims to measure (default: all). The error is shared by all of the
            study's claims all the same.
        model: A builder's name, "package.module:function", or a function that builds a model.
        dataset: The name of a data set, or "folder:PATH" for one's own images.
        size: The side in pixels to which one's own images are resized (default: 28).
        data_dir: Where full data sets lie as NAME.npz.
        replicate: Whether to repeat the study on further settings, each a data set and a model,
            and to report where its claims hold; True for those of `replication.default_settings`.
        workers: Local processes of one thread each (default: one per core).
        scheduler: The address of a Dask scheduler to run on instead.
        fresh: Whether to delete the output folder's earlier results.
        announce: Called with each line about what is going to happen.

    Returns:
        The judged claims, the records, the figures and the path of the report.

    Raises:
        UsageError, DataError, OutputDirConflictError, SchedulerError: The arguments have to change.
        NoResultsError, SweepStoppedError: Nothing could be measured.
    """
    leave_import_of_main()
    settings = default_settings(data_dir) if replicate is True else tuple(replicate or ())
    parts = _parts(study, preset, seeds, first_seed, claims, model, dataset, size, settings)
    first = parts[0]
    resources = Resources(
        Path(out or Path("runs") / study.name), data_dir, workers, scheduler, fresh
    )
    configuration = {
        "lab": study.name,
        "preset": first.preset_name,
        "model": ", ".join(dict.fromkeys(part.model_name for part in parts if not part.replicates)),
    }
    data = first.data
    others = [part.data.name for part in parts]
    with Workspace(resources, data.name, configuration, data.size, others) as workspace:
        for part in parts:
            part.classes = workspace.classes[part.data.name]
        _check_arms(parts, workspace)
        workspace.open()
        announce(_announcement(parts, workspace.workers.count))
        minutes = [part.setting.preset.minutes for part in parts]
        known = None if None in minutes or claims or seeds or settings else sum(minutes)
        with Progress(known, first.setting.preset.run_seconds, workspace.workers.count) as progress:
            engine = StudyRun(study, parts, workspace, progress)
            return engine.run()


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

    @property
    def looks(self) -> tuple[int, ...]:
        return self.setting.preset.looks

    @property
    def seeds(self) -> list[int]:
        return [self.first_seed + i for i in range(self.setting.preset.seeds)]

    @property
    def data(self) -> DataSpec:
        return self._first_spec().data

    @property
    def model_name(self) -> str:
        return self.setting.model or getattr(self._first_spec(), "model", "")

    def _first_spec(self) -> Any:
        specs = [*self.resolver.requests(), *(s for s in self.resolver.chosen.values() if s)]
        if not specs:
            raise UsageError(f"{self.study.name} has no arm to run.")
        return specs[0]

    def open_claims(self) -> list[Claim]:
        """The claims that need the next look."""
        results = self.results
        return [c for c in self.claims if c.id not in results or is_open(results[c.id])]

    def arms_at(self, look: int) -> list[str]:
        """Names of the arms that run with the seeds of the look."""
        if not self.claims:
            return list(self.arms)
        names = [name for claim in self.open_claims() for name in claim.needed]
        if look == self.looks[0]:
            names += [name for claim in self.claims for name in claim.shown]
            names += self.study.shown
        return expand(names, list(self.arms))

    def wanted(self, look: int) -> dict[Spec, list[tuple[str, int]]]:
        """Specification -> the (arm, seed) that it is for, of all runs that the look needs."""
        found: dict[Spec, list[tuple[str, int]]] = {}
        for name in self.arms_at(look):
            base, arm = self.resolver.chosen[name], self.arms[name]
            for index, seed in enumerate(self.seeds[:look] if base is not None else ()):
                if seed in self.records.get(name, {}):
                    continue
                spec = base.at_seed(seed)
                if arm.watch and index < arm.watch_seeds:
                    spec = replace(spec, measures=(*spec.measures, *arm.watch))
                found.setdefault(spec, []).append((name, seed))
        return found

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

    def grid_notes(self) -> list[str]:
        """Sentences on tuned arms whose best candidate lies at an end of its grid."""
        notes = []
        for name, trials in self.resolver.trials.items():
            best = self.resolver.best[name]
            if best is None:
                notes.append(f"{self.arms[name].label}: no candidate could be trained.")
                continue
            ends = at_end_of_grid(best, trials)
            if ends:
                notes.append(
                    f"{self.arms[name].label}: best at the end of its grid ({'; '.join(ends)})."
                )
        return notes


class StudyRun:
    """Runs the parts stage by stage, together, so that no worker waits."""

    def __init__(
        self,
        study: Study | StudyGroup,
        parts: Sequence[StudyPart],
        workspace: Workspace,
        progress: Progress,
    ) -> None:
        self._study, self._parts = study, parts
        self._workspace, self._progress = workspace, progress

    def run(self) -> StudyResult:
        """Tune, then look after look; the result of the last one."""
        stage = 0
        while requests := [spec for part in self._parts for spec in part.resolver.requests()]:
            stage += 1
            records = self._records(requests, f"Tuning, stage {stage}")
            for part in self._parts:
                try:
                    part.resolver.advance(records)
                except ValueError as error:  # a specification made of what was chosen
                    raise UsageError(f"{part.study.name}: {error}") from error
        result = None
        for look in self._parts[0].looks:
            # A study without claims has nothing to decide and runs to its end.
            if result and not any(p.open_claims() or not p.claims for p in self._parts):
                break
            self._look(look)
            result = self._write(look)
        return result

    def _look(self, look: int) -> None:
        name = f"Look at {counted(look, 'seed')}"
        wanted = [part.wanted(look) for part in self._parts]
        for timed in (False, True):
            asked = {
                spec: None
                for part, runs in zip(self._parts, wanted, strict=True)
                for spec, users in runs.items()
                if any(part.arms[arm].timed == timed for arm, _ in users)
            }.keys()
            if not asked:
                continue
            records = self._records(list(asked), name + (", timed runs" if timed else ""), timed)
            for part, runs in zip(self._parts, wanted, strict=True):
                for spec in asked & runs.keys():
                    for arm, seed in runs[spec]:
                        # A lost run stays lost until the study is run again: were it tried again at
                        # the next look, it could change what the last one found.
                        part.records.setdefault(arm, {})[seed] = records.get(spec)
        for part in self._parts:
            part.judge(look)

    def _records(
        self, specs: Sequence[Spec], stage: str, timed: bool = False
    ) -> Mapping[Spec, Record]:
        specs = list(dict.fromkeys(specs))
        self._progress.stage(stage, len(specs))
        return self._workspace.run(
            specs, lambda spec, seconds: self._progress.advance(seconds), timed
        )

    def _write(self, look: int) -> StudyResult:
        """records.csv, claims.json and the report, as of this look."""
        from dlip_reg.studies.reporting import write_study_report

        workspace = self._workspace
        workspace.write_records()
        replicated = replications(self._parts)
        report, figures, claims = write_study_report(self._study, self._parts, workspace, look)
        write_json(workspace.path / "claims.json", [claim.to_json() for claim in claims])
        if replicated:
            results = [result.to_json() for result in replicated]
            write_json(workspace.path / "replication.json", results)
        return StudyResult(
            claims=tuple(claims),
            runs={_runs_name(part): part.runs() for part in self._parts},
            report=report,
            figures=figures,
            notes=tuple(workspace.notes()),
            replications=replicated,
        )


def _runs_name(part: StudyPart) -> str:
    name = part.study.name
    return f"{name} ({setting_name(part.setting)})" if part.replicates else name


def _parts(
    study: Study | StudyGroup,
    preset: str | None,
    seeds: int | None,
    first_seed: int,
    claims: Sequence[str] | None,
    model: Any,
    dataset: str | None,
    size: int | None,
    replicate: Sequence[tuple[str, str]] = (),
) -> list[StudyPart]:
    if preset is None:
        preset = DEFAULT_PRESET if DEFAULT_PRESET in study.presets else next(iter(study.presets))
    if preset not in study.presets:
        raise UsageError(f"preset must be one of {', '.join(study.presets)}, not {preset!r}.")
    largest = TUNING_SEEDS_FROM - LOOKS[-1]
    if not 0 <= first_seed <= largest:
        raise UsageError(f"first_seed must be from 0 to {largest}, not {first_seed}.")
    if replicate and not study.claims:
        raise UsageError(f"{study.name} has no claims to replicate.")
    wanted = chosen_claims([claim.id for claim in study.claims], claims)
    parts = []
    for one in study.studies:
        picked = [claim for claim in one.claims if claim.id in wanted]
        if not picked and one.claims:
            continue
        sized = one.presets[preset]
        try:
            sized = sized if seeds is None else replace(sized, seeds=seeds)
            named = one.default_model if model is None else model_text(model)
            main = Setting(sized, named, dataset or one.default_dataset, size)
            others = [Setting(sized, builder, name) for name, builder in replicate if picked]
            settings: dict[tuple[str, str], StudyPart] = {}
            for setting in (main, *others):
                arms = one.arms_for(setting, picked)
                part = StudyPart(one, setting, preset, picked, arms, first_seed, bool(settings))
                settings.setdefault((part.data.name, part.model_name), part)
            parts += settings.values()
        except ValueError as error:
            raise UsageError(str(error)) from error
    return parts


def chosen_claims(known: Sequence[str], ids: Sequence[str] | None) -> list[str]:
    """The claims to measure.

    Raises:
        UsageError: There is no such claim.
    """
    if ids is None:
        return list(known)
    ids = [ids] if isinstance(ids, str) else ids
    unknown = [name for name in ids if name not in known]
    if unknown or not ids:
        takes = f"it takes {', '.join(known)}" if known else "there are no claims to choose from"
        named = ", ".join(map(repr, unknown)) or "empty list"
        raise UsageError(f"--claims knows no {named}; {takes}.")
    return list(ids)


def _check_arms(parts: Sequence[StudyPart], workspace: Workspace) -> None:
    for part in parts:
        resolver = part.resolver
        specs = [*resolver.requests(), *(spec for spec in resolver.chosen.values() if spec)]
        kinds = workspace.check_models(specs, part.preset_name)
        if part.study.check is not None:
            part.study.check(part.setting, list(part.arms.values()), kinds)


def _announcement(parts: Sequence[StudyPart], workers: int) -> str:
    """How much will be run, and how long that takes on the reference machine."""
    tuning = sum(
        arm.tuning.size * part.setting.preset.tuning_seeds
        for part in parts
        for arm in part.arms.values()
        if arm.tuning is not None
    )
    first, most = parts[0].looks[0], parts[0].looks[-1]
    to_first = sum(len(part.arms_at(part.looks[0])) * part.looks[0] for part in parts)
    at_most = to_first + sum(
        len(part.arms_at(part.looks[-1])) * (part.looks[-1] - part.looks[0]) for part in parts
    )
    sentences = [f"Preset {parts[0].preset_name}: "]
    runs = [f"at most {tuning} runs for tuning"] if tuning else []
    runs.append(f"at most {counted(to_first, 'run')} to the first look at {counted(first, 'seed')}")
    if most > first:
        runs.append(f"at most {at_most} at {most} seeds")
    sentences[0] += ", ".join(runs) + "."
    others = dict.fromkeys(setting_name(part.setting) for part in parts if part.replicates)
    minutes = [part.setting.preset.minutes for part in parts]
    if others:
        sentences.append(f"Replicated on {', '.join(others)}.")
    elif None not in minutes:
        sentences.append(
            f"The whole preset takes about {duration(60 * sum(minutes))} on two cores with the "
            "default model and data."
        )
    return " ".join(sentences)
