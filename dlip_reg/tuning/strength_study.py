"""Search L2 strengths separate and tied, retrain the best trials, judge the claim, and report.

The best trial of each search, by mean validation accuracy over the seeds, is retrained with seeds
that no search has used; only these final runs look at the test set. The seeds of a search are not
the seeds of a verdict: the best of many trials is also the luckiest with the seeds that chose it.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlip_reg.datasets import DATASET_NAMES
from dlip_reg.evidence.claims import ClaimResult
from dlip_reg.evidence.paired import Values, minus, percent
from dlip_reg.files import Staged, write_csv, write_json
from dlip_reg.regularization import Regularization
from dlip_reg.studies.progress import Progress, duration
from dlip_reg.studies.regularization import separate_strengths
from dlip_reg.studies.regularization.arms import L2_RANGE
from dlip_reg.studies.result import StudyResult
from dlip_reg.studies.run import DEFAULT_PRESET, StudyPart, StudyRun
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Chosen, Claim, Measurement, Part, Setting, Study
from dlip_reg.studies.workspace import NoResultsError, Resources, UsageError, Workspace, counted
from dlip_reg.training.process import configure_process
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec
from dlip_reg.tuning.folder import CorruptStateError
from dlip_reg.tuning.strength_search import (
    Preset,
    Search,
    best_ratios,
    failure_causes,
    trials_to_draw,
)

if TYPE_CHECKING:
    from dlip_reg.report import Section
    from dlip_reg.tuning.tuner import ParallelTuner

NAME, DEFAULT_MODEL = "lab_tuning", "lenet5"
PRESETS = {
    "quick": Preset(3, trials=8, epochs=10, n_train=500, n_validation=1000, minutes=1),
    "standard": Preset(5, trials=16, epochs=15, n_train=1000, n_validation=2000, minutes=4),
    # Not measured, but estimated.
    "full": Preset(10, trials=36, epochs=20, n_train=5000, n_validation=2000, minutes=180),
}
# Far from the seeds of the searches, which are 0, 1, ...
FINAL_SEEDS_FROM = 1_000_000
TITLE = "L2 strengths, tuned"
LEAD = (
    "Strengths of the L2 penalty for convolution and dense layers: searches over separate and over "
    "tied strengths with the same number of trials, seeds and range. With the same seed, all "
    "trials start from the same weights."
)
EXPERIMENT = (
    "Test accuracy of the best trial of a search over (conv, dense) L2 strengths minus that of the "
    "best trial of a search over one tied strength. Both searches have the same oracle, range, "
    "number of trials and seeds; both best trials are retrained with seeds that no search has used."
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
    folds: int | None = None,
    racing: bool = False,
    retry_failed: bool = False,
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
        folds: Cross-validate each trial on so many folds of the training images (default: validate
            it on other images).
        racing: Whether to stop trials that will not become the best one.
        retry_failed: Whether to rerun trials that failed in an earlier session.
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
    sized = replace(
        whole,
        trials=trials or whole.trials,
        seeds=executions or whole.seeds,
        folds=folds,
        racing=racing,
    )
    if racing and (sized.executions == 1 or "hyperband" in kinds):
        raise UsageError(
            "--racing needs several --executions-per-trial or --folds, and another --tuner than "
            "hyperband."
        )
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
            return study.run_all(retry_failed)
        except CorruptStateError as error:
            raise UsageError(str(error)) from error


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
    baseline: Sequence[float | None] = ()

    def run_all(self, retry_failed: bool) -> StudyResult:
        """Run the searches, then a study of their best trials; write the report and tables."""
        configure_process()  # before anything imports TensorFlow, which else logs on import
        self._open_tuners()
        workspace, preset = self.workspace, self.preset
        with Progress(workers=workspace.workers.count) as progress:
            self._search(progress, retry_failed)
            # Folds are smaller than the training set, and other images.
            baseline = [self.run.at_seed(s) for s in range(0 if preset.folds else preset.seeds)]
            progress.stage("Without a penalty", len(baseline))
            records = workspace.run(baseline, lambda spec, seconds: progress.advance(seconds))
            self.baseline = [_val_accuracy(records.get(spec)) for spec in baseline]
            self._write_tables(workspace.path)
            study = self._study()
            setting = Setting(preset, self.run.model, self.run.data.name)
            arms = {arm.name: arm for arm in study.arms}
            part = StudyPart(study, setting, self.preset_name, study.claims, arms, FINAL_SEEDS_FROM)
            return StudyRun(study, [part], workspace, progress).run()

    def _open_tuners(self) -> None:
        workspace = self.workspace
        for search in self.searches:
            tuner = self.tuners[search] = search.tuner(
                self.preset,
                self.run,
                workspace.workers,
                workspace.path / "searches",
                workspace.data_dir,
            )
            # A search of an earlier session with more trials would not have the same budget.
            if (held := len(tuner.oracle.trials)) > search.trials(self.preset):
                raise UsageError(
                    f"{tuner.project_dir} holds {held} trials already; give --max-trials {held} or "
                    "more, or another --out."
                )

    def _search(self, progress: Progress, retry_failed: bool) -> None:
        from dlip_reg.tuning.results import best_json
        from dlip_reg.tuning.tuner import AllTrialsFailedError

        for search, tuner in self.tuners.items():
            progress.stage(search.label, search.trials(self.preset) * self.preset.executions)
            tuner.on_progress = self._shows_progress(progress, search)
            with contextlib.suppress(AllTrialsFailedError):  # the report says so
                tuner.search(
                    self.run.data,
                    epochs=self.preset.epochs,
                    batch_size=self.preset.batch_size,
                    data_dir=self.workspace.data_dir,
                    retry_failed=retry_failed,
                )
            self.best[search] = best_json(tuner)
        if not any(self.best.values()):
            causes = {cause for t in self.tuners.values() for cause in failure_causes(t)}
            raise NoResultsError(f"Every trial failed: {'; '.join(sorted(causes))}.")

    def _shows_progress(self, progress: Progress, search: Search) -> Callable[[], None]:
        """Return a function that shows the search's trial and its best score so far."""
        tuner, trials, ended = self.tuners[search], search.trials(self.preset), [time.monotonic()]

        def show() -> None:
            ended.append(time.monotonic())
            seconds = ended[-1] - ended[-2]
            text = f"{search.label}: trial {len(tuner.oracle.trials)}/{trials}"
            for best in tuner.oracle.get_best_trials(1):
                epochs = counted(best.best_step, "epoch")
                text += f", best {100 * best.score:.1f} % after {epochs}"
            progress.describe(text)
            # Executions that are found in the folder follow each other within milliseconds.
            progress.advance(seconds if seconds > 0.1 else None)

        return show

    def _study(self) -> Study:
        """The study of the best trials; its claim compares those of the first kind of search."""
        arms = [
            Arm(search.name, functools.partial(self._final_run, search), label=search.label)
            for search in self.searches
        ]
        kind = self.searches[0].kind
        separate, tied = Search(kind, False), Search(kind, True)
        claims: list[Claim] = []
        if separate in self.searches:
            claims.append(
                replace(
                    separate_strengths.CLAIM,
                    experiment=EXPERIMENT,
                    measure=self._measure,
                    needs=(separate.name, tied.name),
                    controls=(),
                    arms=(),
                    draw=None,
                    figures=("response_surface", "strengths"),
                )
            )
        return Study(
            name=NAME,
            title=TITLE,
            lead=LEAD if claims else TIED_LEAD,
            arms=arms,
            claims=claims,
            shown=tuple(arm.name for arm in arms),
            sections=self._sections,
            facts=self._facts,
        )

    def _final_run(self, search: Search, chosen: Chosen) -> RunSpec | None:
        """The run of the search's best trial on the test set; None if no trial has a score."""
        best = self.best[search]
        if best is None:
            return None
        strengths = Regularization.from_json(best["regularization"])
        return replace(self.run, regularization=strengths, measures=("test",))

    def _measure(self, runs: Runs) -> Measurement:
        """Test accuracy of the best separate strengths minus that of the best tied one."""
        separate, tied = self.searches[:2]

        def accuracy(search: Search) -> Values:
            return percent(runs.values(search.name, lambda record: record.measures.test_accuracy))

        ratios = tuple(best_ratios(self.tuners[separate], self.preset.epochs))
        return Measurement(
            minus(accuracy(separate), accuracy(tied)),
            (
                Part("test accuracy of the best tied trial", "%", accuracy(tied)),
                Part("best conv over best dense strength, by search seed", "decades", ratios),
            ),
        )

    def _sections(self, runs: Runs, claims: Sequence[ClaimResult]) -> Sequence[Section]:
        from dlip_reg.report.tuning import tuning_sections

        shown = {
            search.label: {
                "tied": search.tied,
                "trials": trials_to_draw(tuner, self.preset.epochs),
                "best": self.best[search],
                "test": [record.measures.test_accuracy for record in runs.finished(search.name)],
                "errors": failure_causes(tuner),
            }
            for search, tuner in self.tuners.items()
        }
        ranges = dict.fromkeys(("conv_l2", "dense_l2", "l2"), L2_RANGE)
        return tuning_sections(shown, ranges, self.baseline)

    def _write_tables(self, path: Path) -> None:
        """Write trials.csv, executions.csv, best.json and best.py."""
        from dlip_reg.tuning.results import execution_rows, trial_rows

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
                line = best["python"].replace("; model = ", f"; {search.name} = ")
                score = f"{100 * best['score']:.2f} % after {counted(best['epochs'], 'epoch')}"
                lines.append(f"# {search.label}: validation accuracy {score}\n{line}\n")
        with Staged() as staged:
            staged.write(path / "best.py", "\n".join(lines))

    def _facts(self, setting: Setting) -> Mapping[str, str]:
        preset = self.preset
        trials, executions = [], 0
        for search, tuner in self.tuners.items():
            drawn = trials_to_draw(tuner, preset.epochs)
            complete = sum(trial["whole"] for trial in drawn)
            part = f" ({complete} of them through all epochs)" if complete < len(drawn) else ""
            trials.append(f"{search.label} {len(drawn)}{part}")
            executions += sum(len(tuner.executions(t)) for t in tuner.oracle.trials.values())
        low, high = L2_RANGE
        validation = f"{preset.n_validation} images, drawn by seed"
        if preset.folds:
            validation = f"{preset.folds} stratified folds of the training images, drawn by seed"
        races = {
            f"Racing, {search.label}": tuner.racing_summary()
            for search, tuner in self.tuners.items()
            if preset.racing
        }
        return {
            "Trials": f"{'; '.join(trials)}; each with {counted(preset.seeds, 'seed')}",
            "Executions of trials": str(executions),
            **races,
            "Seeds": f"the searches use seeds 0 to {preset.seeds - 1}; the verdict rests on seeds "
            f"{FINAL_SEEDS_FROM} to {FINAL_SEEDS_FROM + preset.seeds - 1}, which no search has "
            "used",
            "Range": f"L2 strengths from {low:g} to {high:g}, on a log scale",
            "Training": f"{preset.n_train} images, {preset.epochs} epochs of Adam at "
            f"{preset.learning_rate:g}, batches of {preset.batch_size}",
            "Validation": validation,
        }


def announcement(name: str, preset: Preset, searches: Sequence[Search]) -> str:
    """Return what will be run, and how long it takes on the reference machine."""
    both = not all(search.tied for search in searches)
    layouts = "separate and tied, {} each" if both else "tied, {}"
    parts = "; ".join(
        f"{search.kind} {layouts.format(counted(search.trials(preset), 'trial'))}"
        for search in searches
        if search.tied
    )
    whole = PRESETS[name]
    trainings = preset.executions * sum(search.trainings(preset) for search in searches)
    folds = f" and {preset.folds} folds" if preset.folds else ""
    most = "at most " if preset.racing else ""
    minutes = whole.minutes * trainings / (whole.seeds * 2 * whole.trials)
    return (
        f"Preset {name}: {parts}; {counted(preset.seeds, 'seed')}{folds} a trial. On two cores "
        f"with the default model and data this is estimated to take {most}{duration(60 * minutes)}."
    )


def _val_accuracy(record: Record | None) -> float | None:
    finished = record is not None and record.status == "finished"
    return record.measures.val_accuracy if finished else None
