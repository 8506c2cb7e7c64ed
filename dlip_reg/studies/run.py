"""Run a study: tune, then add seeds look by look until each claim is decided."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlip_reg.checks import require_whole, several
from dlip_reg.datasets.names import check_dataset_name
from dlip_reg.evidence.rule import LOOKS
from dlip_reg.experiments.executors import leave_import_of_main
from dlip_reg.extras import require_extra
from dlip_reg.files import write_json
from dlip_reg.studies.announcement import announcement, idle_arms, minutes_of, runs_text
from dlip_reg.studies.arm_resolver import TUNING_SEEDS_FROM
from dlip_reg.studies.part import StudyPart, looks_of
from dlip_reg.studies.progress import Progress, counted
from dlip_reg.studies.replication import default_settings, replications
from dlip_reg.studies.result import StudyResult
from dlip_reg.studies.setting import Setting
from dlip_reg.studies.study import Study, StudyGroup
from dlip_reg.studies.workspace import Resources, UsageError, Workspace
from dlip_reg.training.model_functions import model_text
from dlip_reg.training.records import Record
from dlip_reg.training.specification import Spec

DEFAULT_PRESET = "standard"
# The seeds of the first report: the fewest with intervals. The first look takes minutes.
PREVIEW = 2


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
    decided gets no further seeds, but its controls may while they are undecided. A report with
    estimates alone is written after the first two seeds.

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
        dataset: The name of a data set, or "folder:PATH" for your own images.
        size: The side in pixels to which your own images are resized (default: 28).
        data_dir: Where full data sets lie as NAME.npz.
        replicate: Whether to repeat the study on further settings, each a data set and a model,
            and to report where its claims hold; True for those of `replication.default_settings`.
        workers: Local processes of one thread each (default: one per core, or fewer where memory
            is scarce).
        scheduler: The address of a Dask scheduler to run on instead.
        fresh: Whether to empty the output folder first, files of your own included.
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
        runs, left = runs_text(parts, functools.cache(workspace.saved))
        idle = "" if claims else idle_arms(parts)
        said = (*workspace.left_out, announcement(parts, runs), idle)
        for line in (*filter(None, said), f"Output folder: {out}"):
            announce(line)
        minutes = None if claims or seeds or settings else minutes_of(parts)
        minutes = minutes and minutes * left
        run_seconds = first.setting.preset.run_seconds
        with Progress(minutes, run_seconds, workspace.workers.count) as progress:
            return run_parts(study, parts, workspace, progress)


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
    looks = looks_of(parts)
    for look in [PREVIEW, *looks] if looks[0] >= LOOKS[0] else looks:
        missing = [(part, *run) for part in parts for run in part.missing(look)]
        is_preview = look < looks[0]
        was_there = all(workspace.saved(spec) for *_, spec in missing)
        for timed, suffix in ((False, ""), (True, ", timed runs")):
            if runs := [run for run in missing if run[1].timed == timed]:
                name = "First estimates" if is_preview else "Look"
                stage_name = f"{name} at {counted(look, 'seed')}{suffix}"
                records = records_of((spec for *_, spec in runs), stage_name, timed)
                for part, arm, seed, spec in runs:
                    # A lost run stays lost until the study is run again: were it tried again at
                    # the next look, it could change what the last one found.
                    part.records.setdefault(arm.name, {})[seed] = records.get(spec)
        if is_preview and was_there:
            continue  # the folder may have a report of more seeds
        for part in parts:
            part.judge(look)
        result = _write(study, parts, workspace, look)
        if is_preview:
            for part in parts:
                part.results.clear()  # nothing was judged
            continue
        # A study without claims has nothing to decide and runs to its end.
        if not any(part.open_claims() or not part.claims for part in parts):
            break
    return result


def _write(
    study: Study | StudyGroup, parts: Sequence[StudyPart], workspace: Workspace, look: int
) -> StudyResult:
    """records.csv, claims.json and the report, as of this look."""
    # Imported here because its figures would slow --help and the start of workers down.
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
        report=report.absolute(),
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
