"""Run a study: tune, then add seeds look by look until each claim is decided."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dlip_reg.checks import require_whole, several
from dlip_reg.datasets.names import check_dataset_name
from dlip_reg.evidence.claims import ClaimResult
from dlip_reg.evidence.rule import LOOKS
from dlip_reg.experiments.executors import leave_import_of_main
from dlip_reg.extras import require_extra
from dlip_reg.files import write_json
from dlip_reg.studies.arm import Arm, expand
from dlip_reg.studies.arm_resolver import (
    TUNING_SEEDS_FROM,
    ArmResolver,
    at_end_of_grid,
    tuning_seeds,
)
from dlip_reg.studies.claim import Claim
from dlip_reg.studies.judging import arms_of_next_look, is_open, judge_claim
from dlip_reg.studies.progress import Progress, counted, duration
from dlip_reg.studies.replication import (
    default_settings,
    relative_seconds,
    replications,
    setting_name,
)
from dlip_reg.studies.result import StudyResult
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.setting import Setting, total_minutes
from dlip_reg.studies.study import Study, StudyGroup
from dlip_reg.studies.workspace import Resources, UsageError, Workspace
from dlip_reg.training.model_functions import model_text
from dlip_reg.training.records import Record
from dlip_reg.training.specification import DataSpec, RunSpec, Spec

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
    decided gets no further seeds, but its controls may while they are undecided.

    Args:
        study: A study, or several that run into one report.
        preset: The name of one of its presets (default: "standard", or the only one).
        out: The output folder (default: runs/NAME, followed by the preset, model and data set
            that are named).
        seeds: The most seeds to run: 5, 10 or 20, or fewer than 5 for estimates without verdicts
            (default: the preset's).
        first_seed: The first of the seeds; with one that is 20 or more away no seed is the same.
        claims: Names of the claims to measure (default: all). The error is shared by all of the
            study's claims all the same.
        model: A builder's name, "package.module:function", or a function that builds a model.
        dataset: The name of a data set, or "folder:PATH" for one's own images.
        size: The side in pixels to which one's own images are resized (default: 28).
        data_dir: Where full data sets lie as NAME.npz.
        replicate: Whether to repeat the study on further settings, each a data set and a model,
            and to report where its claims hold; True for those of `replication.default_settings`.
        workers: Local processes of one thread each (default: one per core, or fewer where memory
            is scarce).
        scheduler: The address of a Dask scheduler to run on instead.
        fresh: Whether to delete the output folder's earlier results.
        announce: Called with each line about what is going to happen.

    Returns:
        The judged claims, the records, the figures and the path of the report.

    Raises:
        UsageError, DataError, OutputDirConflictError, SchedulerError: The arguments have to change.
        MissingExtraError: The libraries of the labs are not installed.
        NoResultsError, SweepStoppedError: Nothing could be measured.
    """
    leave_import_of_main()
    require_extra("labs", "run_study")
    if not isinstance(study, Study | StudyGroup):
        raise UsageError(f"study must be a Study or a StudyGroup, not {type(study).__name__}.")
    settings = default_settings(data_dir) if replicate is True else several(replicate or ())
    if odd := [one for one in settings if not isinstance(one, tuple | list) or len(one) != 2]:
        raise UsageError(f"replicate takes pairs of a data set and a model, not {odd[0]!r}.")
    parts = _parts(study, preset, seeds, first_seed, claims, model, dataset, size, settings)
    first = parts[0]
    named = model and model_text(model)
    out = out or default_out(study.name, study.presets, preset, named, dataset, size)
    resources = Resources(Path(out), data_dir, workers, scheduler, fresh)
    configuration = {
        "lab": study.name,
        "preset": first.preset_name,
        "model": ", ".join(dict.fromkeys(part.model_name for part in parts if not part.replicates)),
    }
    data, *others = [part.data for part in parts]
    names = [other.name for other in others]
    with Workspace(resources, data.name, configuration, data.size, names) as workspace:
        for part in parts:
            part.classes = workspace.classes[part.data.name]
            kinds = workspace.check_models(part.first_specs(), part.preset_name)
            if part.study.check is not None:
                part.study.check(part.setting, list(part.arms.values()), kinds)
            workspace.check_images(part.expected_data(), part.preset_name)
        workspace.open()
        runs, left = _runs_text(parts, functools.cache(workspace.saved))
        for line in (*workspace.left_out, _announcement(parts, runs), f"Output folder: {out}"):
            announce(line)
        minutes = None if claims or seeds or settings else _minutes(parts)
        minutes = minutes and minutes * left
        run_seconds = first.setting.preset.run_seconds
        with Progress(minutes, run_seconds, workspace.workers.count) as progress:
            return run_parts(study, parts, workspace, progress)


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
    def model_name(self) -> str:
        return self.setting.model or self.first_specs()[0].runs[0].model

    @property
    def name(self) -> str:
        """The study's name, with the setting where it replicates another part."""
        where = f" ({setting_name(self.setting)})" if self.replicates else ""
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
        if look == self.looks[0]:
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

    def grid_notes(self) -> Iterator[str]:
        """Sentences on tuned arms whose best candidate lies at the end of what was tried."""
        where = f"{setting_name(self.setting)}: " if self.replicates else ""
        for name, trials in self.resolver.trials.items():
            best = self.resolver.best[name]
            label = where + self.arms[name].label
            if best is None:
                yield f"{label}: no candidate could be trained."
            elif ends := "; ".join(at_end_of_grid(best, trials)):
                yield (
                    f"{label}: the best candidate lies at the end of what was tried ({ends}), so a "
                    "better one may lie beyond."
                )


def looks_of(parts: Sequence[StudyPart]) -> list[int]:
    """The looks of all parts: their presets may have different numbers of seeds."""
    return sorted({look for part in parts for look in part.looks})


def run_parts(
    study: Study | StudyGroup, parts: Sequence[StudyPart], workspace: Workspace, progress: Progress
) -> StudyResult:
    """Tune, then look after look; the result of the last one.

    The parts are run stage by stage, together, so that no worker waits.
    """

    def records_of(specs: Iterable[Spec], stage: str, timed: bool = False) -> Mapping[Spec, Record]:
        wanted = list(dict.fromkeys(specs))
        progress.stage(stage, len(wanted))
        return workspace.run(wanted, lambda spec, seconds: progress.advance(seconds), timed)

    stage = 0
    while requests := [spec for part in parts for spec in part.resolver.requests()]:
        stage += 1
        records = records_of(requests, f"Tuning, stage {stage}")
        for part in parts:
            try:
                part.resolver.advance(records)
            except ValueError as error:  # a specification made of what was chosen
                raise UsageError(f"{part.study.name}: {error}") from error
    for look in looks_of(parts):
        missing = [(part, *run) for part in parts for run in part.missing(look)]
        for timed, suffix in ((False, ""), (True, ", timed runs")):
            if runs := [run for run in missing if run[1].timed == timed]:
                stage_name = f"Look at {counted(look, 'seed')}{suffix}"
                records = records_of((spec for *_, spec in runs), stage_name, timed)
                for part, arm, seed, spec in runs:
                    # A lost run stays lost until the study is run again: were it tried again at
                    # the next look, it could change what the last one found.
                    part.records.setdefault(arm.name, {})[seed] = records.get(spec)
        for part in parts:
            part.judge(look)
        result = _write(study, parts, workspace, look)
        # A study without claims has nothing to decide and runs to its end.
        if not any(part.open_claims() or not part.claims for part in parts):
            break
    return result


def _write(
    study: Study | StudyGroup, parts: Sequence[StudyPart], workspace: Workspace, look: int
) -> StudyResult:
    """records.csv, claims.json and the report, as of this look."""
    from dlip_reg.studies.reporting import write_study_report

    workspace.write_records()
    replicated = replications(parts)
    report, figures, claims = write_study_report(study, parts, workspace, look)
    write_json(workspace.path / "claims.json", claims)
    matrix = workspace.path / "replication.json"
    if replicated:
        write_json(matrix, replicated)
    else:  # of an earlier run with other claims or seeds, as its page is
        matrix.unlink(missing_ok=True)
    return StudyResult(
        claims=tuple(claims),
        runs={part.name: part.runs() for part in parts},
        report=report,
        figures=figures,
        notes=tuple(workspace.notes()),
        replications=replicated,
    )


def default_preset(presets: Mapping[str, Any]) -> str:
    """The name of the preset that is run if none is named."""
    return DEFAULT_PRESET if DEFAULT_PRESET in presets else next(iter(presets))


def default_out(
    name: str, presets: Mapping[str, Any], preset: str | None, *asked: str | int | None
) -> Path:
    """The output folder where none is named: runs/NAME, and all that was asked for in its name.

    A folder holds the results of one configuration, so the quick preset does not go where the
    default one goes.

    Args:
        name: The study's name.
        presets: Its presets.
        preset: The one to run; the default one does not change the folder.
        *asked: What else the folder is for: a model, a data set and so on; None for a default.
    """
    words = [None if preset == default_preset(presets) else preset, *asked]
    names = [name, *(Path(str(word)).name for word in words if word)]
    return Path("runs") / re.sub(r"[^\w.-]+", "-", "_".join(names))


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
    preset = preset or default_preset(study.presets)
    if preset not in study.presets:
        raise UsageError(f"preset must be one of {', '.join(study.presets)}, not {preset!r}.")
    if replicate and not study.claims:
        raise UsageError(f"{study.name} has no claims to replicate.")
    known = [claim.id for claim in study.claims]
    wanted = known if claims is None else several(claims)
    if claims is not None and not wanted:
        raise UsageError(f"claims must name one or more of {', '.join(known)}.")
    if unknown := [name for name in wanted if name not in known]:
        choice = f"known are {', '.join(known)}" if known else "there are no claims to choose from"
        raise UsageError(f"Unknown claim {', '.join(map(repr, unknown))}; {choice}.")
    parts: list[StudyPart] = []
    for one in study.studies:
        picked = [claim for claim in one.claims if claim.id in wanted]
        if not picked and one.claims:
            continue
        try:
            require_whole("first_seed", first_seed, 0, TUNING_SEEDS_FROM - LOOKS[-1])
            if dataset is not None:
                check_dataset_name(dataset)
            sized = replace(one.presets[preset], **({} if seeds is None else {"seeds": seeds}))
            named = one.default_model if model is None else model_text(model)
            main = Setting(sized, named, dataset or one.default_dataset, size)
            others = [Setting(sized, builder, name) for name, builder in replicate if picked]
            of_study: dict[tuple[str, str], StudyPart] = {}
            for setting in (main, *others):
                arms = one.arms_for(setting, picked)
                part = StudyPart(one, setting, preset, picked, arms, first_seed, bool(of_study))
                of_study.setdefault((part.data.name, part.model_name), part)
            parts += of_study.values()
        except ValueError as error:
            raise UsageError(str(error)) from error
    return parts


def _minutes(parts: Sequence[StudyPart]) -> float | None:
    """What the parts take on the reference machine; None where that is not known."""
    presets = []
    for part in parts:
        preset = part.setting.preset
        if part.replicates and preset.minutes is not None:
            factor = relative_seconds(part.model_name, part.study.default_model)
            preset = replace(preset, minutes=factor and preset.minutes * factor)
        presets.append(preset)
    return total_minutes(presets)


def expected_runs(
    parts: Sequence[StudyPart], saved: Callable[[Spec], Record | None] = lambda spec: None
) -> tuple[int, int, int, int]:
    """How many runs there are for tuning, to the first look, and at the last one; and left in all.

    A run that several arms or studies share counts once; one with a `saved` record is not left.
    What tuning will choose is not known yet, nor how far a grid will be extended, so before tuning
    the numbers are estimates.
    """
    tuning: set[Spec] = set()
    to_first: set[Spec] = set()
    at_most: set[Spec] = set()
    added = 0
    for part in parts:
        assumed = replace(part, records={}, results={})  # with a resolver of its own
        while requests := assumed.resolver.requests():
            tuning.update(requests)
            records = {spec: record for spec in requests if (record := saved(spec)) is not None}
            if len(records) == len(set(requests)):
                assumed.resolver.advance(records)
            else:
                assumed.resolver.assume()
        first, most = (
            {spec for *_, spec in assumed.missing(look)} for look in (part.looks[0], part.looks[-1])
        )
        to_first |= first
        at_most |= first | most
        unknown = [part.arms[name] for name, best in assumed.resolver.best.items() if best is None]
        tunings = [arm.tuning for arm in unknown if arm.tuning is not None]
        more = sum(one.size - len(one.candidates) for one in tunings)
        added += more * part.setting.preset.tuning_seeds
    left = added + sum(saved(spec) is None for spec in tuning | at_most)
    return len(tuning) + added, len(to_first), len(at_most), left


def _runs_text(
    parts: Sequence[StudyPart], saved: Callable[[Spec], Record | None]
) -> tuple[str, float]:
    """How many runs there are, and which share of them is left at most."""
    looks = looks_of(parts)
    first, most = looks[0], looks[-1]
    try:
        tuning, to_first, at_most, left = expected_runs(parts, saved)
    except ValueError:  # an arm that can only be made of what tuning will choose
        return "how many runs there are depends on the tuning", 1.0
    about = "about " * bool(tuning)
    texts = [f"about {counted(tuning, 'run')} for tuning"] if tuning else []
    texts.append(f"{about}{counted(to_first, 'run')} to the first look at {counted(first, 'seed')}")
    if most > first:
        texts.append(f"at most {about}{at_most} at {most} seeds")
    total = tuning + at_most
    text = ", ".join(texts)
    if left < total:
        bound = "at most " * (most > first) + about if left else ""
        text += f"; {bound}{left} of these are left"
    return text, left / total


def _announcement(parts: Sequence[StudyPart], runs: str) -> str:
    """How much will be run, and how long that takes on the reference machine."""
    sentence = f"Preset {parts[0].preset_name}: {runs}."
    others = dict.fromkeys(setting_name(part.setting) for part in parts if part.replicates)
    minutes = _minutes(parts)
    if others:
        sentence += f" Replicated on {', '.join(others)}."
    if minutes is None:
        return sentence
    if others:
        return (
            f"{sentence} All settings together take about {duration(60 * minutes)} on two cores, "
            "and longer where more claims need the last look."
        )
    return (
        f"{sentence} The whole preset takes about {duration(60 * minutes)} on two cores with the "
        "default model and data."
    )
