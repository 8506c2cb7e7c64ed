"""Search L2 strengths separate and tied, retrain the best trials, judge the claim, and report.

The best trial of each search, by mean validation accuracy over the seeds, is retrained with seeds
that no search has used; only these final runs look at the test set. The seeds of a search are not
the seeds of a verdict: the best of many trials is also the luckiest with the seeds that chose it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlip_reg.datasets import DATASET_NAMES
from dlip_reg.files import Staged, write_csv, write_json
from dlip_reg.regularization import Regularization
from dlip_reg.studies.judging import judge_claim
from dlip_reg.studies.progress import Progress, duration
from dlip_reg.studies.regularization.arms import L2_RANGE
from dlip_reg.studies.result import StudyResult
from dlip_reg.studies.run import DEFAULT_PRESET
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.workspace import NoResultsError, Resources, UsageError, Workspace, counted
from dlip_reg.training.process import configure_process
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec
from dlip_reg.tuning.folder import CorruptStateError
from dlip_reg.tuning.hyperband import rounds
from dlip_reg.tuning.strength_claim import CLAIM, SEPARATE, TIED
from dlip_reg.tuning.strength_search import (
    Preset,
    Search,
    failure_causes,
    trial_records,
    trials_to_draw,
)

if TYPE_CHECKING:
    from dlip_reg.tuning.tuner import ParallelTuner

NAME, DEFAULT_MODEL = "lab_tuning", "lenet5"
PRESETS = {
    "quick": Preset(3, trials=8, epochs=10, n_train=500, n_validation=1000, minutes=1),
    "standard": Preset(5, trials=16, epochs=15, n_train=1000, n_validation=2000, minutes=4),
    "full": Preset(
        10, trials=36, epochs=20, n_train=5000, n_validation=2000, estimated_minutes=180
    ),
}
# Far from the seeds of the searches, which are 0, 1, ...
FINAL_SEEDS_FROM = 1_000_000
TITLE = "L2 strengths, tuned"
LEAD = (
    "Strengths of the L2 penalty for convolution and dense layers: searches over separate and over "
    "tied strengths with the same number of trials, seeds and range. With the same seed, all "
    "trials start from the same weights."
)
TIED_LEAD = (
    "One strength of the L2 penalty for convolution and dense layers together. With the same seed, "
    "all trials start from the same weights."
)


def run_strength_searches(
    preset: str = DEFAULT_PRESET,
    kinds: Sequence[str] = ("random",),
    *,
    tied_only: bool = False,
    trials: int | None = None,
    executions: int | None = None,
    retry_failed: bool = False,
    tensorboard: bool = False,
    model: Any = None,
    dataset: str | None = None,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    fresh: bool = False,
    announce: Callable[[str], None] = print,
) -> StudyResult:
    """Search strengths separate and tied, judge whether separate ones are better, and report.

    Searches and runs found in the output folder are resumed and not repeated.

    Args:
        preset: One of `PRESETS`.
        kinds: Kinds of oracle, of `dlip_reg.tuning.TUNERS`; the claim is measured with the first.
        tied_only: Whether to search tied strengths only; then no claim is judged.
        trials: Trials of each search (default: the preset's).
        executions: Seeds of each trial and of the final runs (default: the preset's).
        retry_failed: Whether to rerun trials that failed in an earlier session.
        tensorboard: Whether to write logs for TensorBoard's HParams plugin.
        model: A builder's name, "package.module:function", or a function that builds a model.
        dataset: The name of a data set, or "folder:PATH".
        out: The output folder (default: runs/lab_tuning).
        data_dir, workers, scheduler, fresh: As in `dlip_reg.studies.run_study`.
        announce: Called with a sentence about what will be run.

    Returns:
        The judged claim, the final runs, and the path of the report.

    Raises:
        UsageError, DataError, OutputDirConflictError, SchedulerError: The arguments have to change.
        NoResultsError, SweepStoppedError: Nothing could be measured.
    """
    if preset not in PRESETS:
        raise UsageError(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}.")
    whole = PRESETS[preset]
    sized = replace(whole, trials=trials or whole.trials, executions=executions or whole.executions)
    layouts = [True] if tied_only else [False, True]
    searches = [Search(kind, tied) for kind in kinds for tied in layouts]
    run = sized.run(model or DEFAULT_MODEL, dataset or DATASET_NAMES[0])
    resources = Resources(Path(out or Path("runs") / NAME), data_dir, workers, scheduler, fresh)
    configuration = {"lab": NAME, "preset": preset, "model": run.model}
    with Workspace(resources, run.data.name, configuration) as workspace:
        if workspace.kernel_kinds(run, preset) != {"conv", "dense"} and not tied_only:
            raise UsageError(
                f"{run.model} has no convolutions, so there are no separate strengths to search; "
                "give --tied, or another --model."
            )
        workspace.open()
        announce(announcement(preset, sized, searches))
        study = _StrengthStudy(preset, sized, run, searches, workspace)
        try:
            study.search(retry_failed)
        except CorruptStateError as error:
            raise UsageError(str(error)) from error
        return study.write(tensorboard)


@dataclass
class _StrengthStudy:
    """The searches of one session, and what came of them."""

    preset_name: str
    preset: Preset
    run: RunSpec
    searches: Sequence[Search]
    workspace: Workspace
    tuners: dict[Search, ParallelTuner] = field(default_factory=dict)
    best: dict[Search, dict[str, Any] | None] = field(default_factory=dict)
    records: Mapping[RunSpec, Record] = field(default_factory=dict)

    def search(self, retry_failed: bool) -> None:
        """Run the searches, then the final runs of their best trials."""
        configure_process()  # before anything imports TensorFlow, which else logs on import
        from dlip_reg.tuning.results import best_json

        preset, workspace = self.preset, self.workspace
        for search in self.searches:
            tuner = self.tuners[search] = search.tuner(
                preset,
                self.run,
                workspace.workers,
                workspace.path / "searches",
                workspace.data_dir,
            )
            # A search of an earlier session with more trials would not have the same budget.
            if (held := len(tuner.oracle.trials)) > search.trials(preset):
                raise UsageError(
                    f"{tuner.project_dir} holds {held} trials already; give --max-trials {held} or "
                    "more, or another --out."
                )
        with Progress(workers=workspace.workers.count) as progress:
            for search, tuner in self.tuners.items():
                tuner.on_progress = _SearchProgress(progress, search, tuner, preset)
                tuner.search(
                    self.run.data,
                    epochs=preset.epochs,
                    batch_size=preset.batch_size,
                    data_dir=workspace.data_dir,
                    retry_failed=retry_failed,
                )
                self.best[search] = best_json(tuner)
            if not any(self.best.values()):
                causes = {cause for t in self.tuners.values() for cause in failure_causes(t)}
                raise NoResultsError(f"Every trial failed: {'; '.join(sorted(causes))}.")
            finals = [spec for search in self.searches for spec in self.final_runs(search)]
            specs = list(dict.fromkeys([*finals, *self.baseline_runs()]))
            progress.stage("Best trials on the test set", len(specs))
            self.records = workspace.run(specs, lambda spec, seconds: progress.advance(seconds))

    def baseline_runs(self) -> list[RunSpec]:
        """The runs without a penalty, with the seeds of the searches."""
        return [self.run.at_seed(seed) for seed in range(self.preset.executions)]

    def final_runs(self, search: Search) -> list[RunSpec]:
        """The runs of the search's best trial on the test set; none if no trial has a score."""
        if self.best[search] is None:
            return []
        strengths = Regularization.from_json(self.best[search]["regularization"])
        final = replace(self.run, regularization=strengths, measures=("test",))
        return [final.at_seed(seed) for seed in self.final_seeds]

    @property
    def final_seeds(self) -> range:
        return range(FINAL_SEEDS_FROM, FINAL_SEEDS_FROM + self.preset.executions)

    def runs(self) -> Runs:
        """The final runs and the trials of the first kind of search, as the claim reads them."""
        records, trials, chosen = {}, {}, {}
        for search in self.searches:
            if search.kind == self.searches[0].kind:
                arm = TIED if search.tied else SEPARATE
                specs = self.final_runs(search)
                records[arm] = {s.seed: self.records[s] for s in specs if s in self.records}
                trials[arm] = trial_records(self.tuners[search], self.run)
                chosen[arm] = specs[0] if specs else None
        return Runs(self.final_seeds, records, trials, chosen, {arm: arm for arm in records})

    def write(self, tensorboard: bool) -> StudyResult:
        """Write tables, claims and the report."""
        from dlip_reg.report import write_report
        from dlip_reg.report.tuning import tuning_sections

        path, workspace = self.workspace.path, self.workspace
        self._write_tables(path)
        if tensorboard:
            from dlip_reg.tuning.hparams import write_hparams

            for search, tuner in self.tuners.items():
                write_hparams(tuner, path / "tensorboard" / search.name)
        runs = self.runs()
        claims = [judge_claim(CLAIM, runs, family=1)] if SEPARATE in runs else []
        workspace.write_records()
        write_json(path / "claims.json", [claim.to_json() for claim in claims], indent=1)
        shown = {search.label: self._shown(search) for search in self.searches}
        baseline = [
            _measured(self.records.get(spec), "val_accuracy") for spec in self.baseline_runs()
        ]
        ranges = dict.fromkeys(("conv_l2", "dense_l2", "l2"), L2_RANGE)
        sections = tuning_sections(shown, ranges, baseline)
        report = write_report(
            path,
            title=TITLE,
            lead=LEAD if claims else TIED_LEAD,
            claims=claims,
            sections=sections,
            facts=self._facts(shown),
            notes=workspace.notes(),
        )
        figures = {item.name: item.figure for section in sections for item in section.figures}
        return StudyResult(tuple(claims), {NAME: runs}, report, figures, tuple(workspace.notes()))

    def _shown(self, search: Search) -> dict[str, Any]:
        tuner = self.tuners[search]
        finals = [self.records.get(spec) for spec in self.final_runs(search)]
        return {
            "tied": search.tied,
            "trials": trials_to_draw(tuner, self.preset.epochs),
            "best": self.best[search],
            "test": [_measured(record, "test_accuracy") for record in finals],
            "errors": failure_causes(tuner),
        }

    def _write_tables(self, path: Path) -> None:
        """Write trials.csv, executions.csv, best.json and best.py."""
        from dlip_reg.tuning.results import execution_rows, python_line, trial_rows

        for name, rows_of in (("trials", trial_rows), ("executions", execution_rows)):
            rows = [
                {"search": search.name, **row}
                for search, tuner in self.tuners.items()
                for row in rows_of(tuner)
            ]
            write_csv(path / f"{name}.csv", rows)
        write_json(path / "best.json", {s.name: best for s, best in self.best.items()}, indent=2)
        lines = []
        for search, best in self.best.items():
            if best:
                strengths = Regularization.from_json(best["regularization"])
                line = python_line(self.tuners[search].hypermodel, strengths, search.name)
                score = f"{100 * best['score']:.2f} % after {counted(best['epochs'], 'epoch')}"
                lines.append(f"# {search.label}: validation accuracy {score}\n{line}\n")
        with Staged() as staged:
            staged.write(path / "best.py", "\n".join(lines))

    def _facts(self, shown: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        preset, workspace = self.preset, self.workspace
        low, high = L2_RANGE
        trials = []
        for label, search in shown.items():
            complete = sum(trial["whole"] for trial in search["trials"])
            number = len(search["trials"])
            part = f" ({complete} of them through all epochs)" if complete < number else ""
            trials.append(f"{label} {number}{part}")
        executions = sum(
            len(t.executions(trial))
            for t in self.tuners.values()
            for trial in t.oracle.trials.values()
        )
        seeds, finals = preset.executions, self.final_seeds
        return {
            "Preset": self.preset_name,
            "Model": self.run.model,
            "Data": f"{self.run.data.name} (SHA-256 {workspace.fingerprint[:12]}…)",
            "Trials": f"{'; '.join(trials)}; each with {counted(seeds, 'seed')}",
            "Seeds": f"the searches use seeds 0 to {seeds - 1}; the verdict rests on seeds "
            f"{finals[0]} to {finals[-1]}, which no search has used",
            "Range": f"L2 strengths from {low:g} to {high:g}, on a log scale",
            "Training": f"{preset.n_train} images, {preset.epochs} epochs of Adam at "
            f"{preset.learning_rate:g}, batches of {preset.batch_size}",
            "Validation": f"{preset.n_validation} images, drawn by seed",
            "Runs": str(workspace.number_of_records() + executions),
            "Software": ", ".join(f"{name} {v}" for name, v in workspace.versions.items()),
        }


class _SearchProgress:
    """Shows which search and trial is running, and the best score so far."""

    def __init__(
        self, progress: Progress, search: Search, tuner: ParallelTuner, preset: Preset
    ) -> None:
        self._progress, self._search, self._tuner = progress, search, tuner
        self._trials = search.trials(preset)
        self._last = time.monotonic()
        progress.stage(search.label, self._trials * preset.executions)

    def __call__(self) -> None:
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        best = self._tuner.oracle.get_best_trials(1)
        text = f"{self._search.label}: trial {len(self._tuner.oracle.trials)}/{self._trials}"
        if best:
            epochs = counted(best[0].best_step, "epoch")
            text += f", best {100 * best[0].score:.1f} % after {epochs}"
        self._progress.describe(text)
        # Executions that are found in the folder follow each other within milliseconds.
        self._progress.advance(seconds if seconds > 0.1 else None)


def announcement(name: str, preset: Preset, searches: Sequence[Search]) -> str:
    """Return what will be run, and how long it takes on the reference machine."""
    both = not all(search.tied for search in searches)
    layouts = "separate and tied, {} each" if both else "tied, {}"
    parts = "; ".join(
        f"{search.kind} {layouts.format(counted(search.trials(preset), 'trial'))}"
        f"{_hyperband_rounds(search, preset)}"
        for search in searches
        if search.tied
    )
    whole = PRESETS[name]
    share = sum(search.trainings(preset) for search in searches) / (2 * whole.trials)
    share *= preset.executions / whole.executions
    minutes = share * (whole.minutes or whole.estimated_minutes)
    estimated = "" if whole.minutes and share == 1 else " (estimated)"
    return (
        f"Preset {name}: {parts}; {counted(preset.executions, 'seed')} a trial. On two cores with "
        f"the default model and data this takes about {duration(60 * minutes)}{estimated}."
    )


def _hyperband_rounds(search: Search, preset: Preset) -> str:
    """How many of Hyperband's trials train to which epoch."""
    if search.kind != "hyperband":
        return ""
    by_epochs: Counter[int] = Counter()
    for part in rounds(preset.epochs):
        by_epochs[part.epochs] += part.trials
    runs = search.trials(preset) // by_epochs.total()
    parts = [f"{runs * by_epochs[epochs]} to epoch {epochs}" for epochs in sorted(by_epochs)]
    return f" in complete brackets ({', '.join(parts)})"


def _measured(record: Record | None, name: str) -> float | None:
    finished = record is not None and record.status == "finished"
    return getattr(record.measures, name) if finished else None
