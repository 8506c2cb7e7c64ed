"""Search L2 strengths separate and tied, retrain the best trials, judge the claim, and report.

Both kinds of search have the same range, oracle, number of trials and seeds. The best trial of each
search, by mean validation accuracy over the seeds, is retrained with seeds that no search has used;
only these final runs look at the test set. The seeds of a search are not the seeds of a verdict:
the best of many trials is also the luckiest with the seeds that chose it.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlip_reg.datasets import DATASET_NAMES
from dlip_reg.evidence.claims import ClaimResult
from dlip_reg.evidence.paired import minus
from dlip_reg.files import write_atomically, write_csv, write_json
from dlip_reg.regularization import L2_RANGE, Regularization
from dlip_reg.report.numbers import format_number
from dlip_reg.studies.arm import Arm, Chosen
from dlip_reg.studies.claim import Measured, Part
from dlip_reg.studies.part import StudyPart
from dlip_reg.studies.progress import Progress, counted, duration
from dlip_reg.studies.readings import accuracy
from dlip_reg.studies.regularization import separate_strengths
from dlip_reg.studies.result import StudyResult
from dlip_reg.studies.run import DEFAULT_PRESET, default_out, run_parts
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.setting import Setting
from dlip_reg.studies.strength_search.search import Preset, Search
from dlip_reg.studies.study import Study
from dlip_reg.studies.workspace import (
    NoResultsError,
    Resources,
    UsageError,
    Workspace,
    missing_layers,
)
from dlip_reg.training.process import configure_process
from dlip_reg.training.specification import DataSpec, RunSpec

if TYPE_CHECKING:
    from dlip_reg.report import Section


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
    "number of trials and seeds; both best trials are retrained with seeds that no search has "
    "used, where a diverged run has the accuracy of guessing."
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
    size: int | None = None,
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
        dataset: The name of a data set, or "folder:PATH" for your own images.
        size: The side in pixels to which your own images are resized (default: 28).
        out: The output folder (default: runs/lab_tuning, followed by the preset, model and data set
            that are named).
        data_dir, workers, scheduler, fresh: As in `dlip_reg.studies.run_study`.
        announce: Called with a sentence about what will be run.

    Returns:
        The judged claim, the final runs, and the path of the report.

    Raises:
        UsageError, DataError, OutputDirConflictError, SchedulerError: The arguments have to change.
        NoResultsError, SweepStoppedError: Nothing could be measured.
        CorruptStateError: The folder holds a search that cannot be read.
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
    if folds and folds > sized.n_train:
        raise UsageError(
            f"--folds must be at most the {sized.n_train} training images of preset {preset}, not "
            f"{folds}."
        )
    run = RunSpec(
        model=DEFAULT_MODEL if model is None else model,
        data=DataSpec(
            DATASET_NAMES[0] if dataset is None else dataset,
            sized.n_train,
            sized.n_validation,
            sized.n_test,
            size=size,
        ),
        learning_rate=sized.learning_rate,
        batch_size=sized.batch_size,
        epochs=sized.epochs,
    )
    named = model and run.model
    out = out or default_out(NAME, PRESETS, preset, named, dataset, size, folds)
    resources = Resources(Path(out), data_dir, workers, scheduler, fresh)
    configuration = {"lab": NAME, "preset": preset, "model": run.model}
    with Workspace(resources, run.data.name, configuration, size) as workspace:
        strengths = Regularization(conv_l2=L2_RANGE[0], dense_l2=L2_RANGE[0])
        tried = replace(run, regularization=strengths)  # a model function must accept both
        missing = missing_layers(workspace.kernel_kinds(tried, preset))
        if missing and not tied_only:
            raise UsageError(
                f"{run.model} has {missing}, so there are no separate strengths to search; "
                "give --tied, or another --model."
            )
        workspace.open()
        configure_process()  # before anything imports TensorFlow, which else logs on import
        layouts = [True] if tied_only else [False, True]
        searches = [Search(kind, tied, sized, run) for kind in kinds for tied in layouts]
        for search in searches:
            search.open(workspace.workers, workspace.path / "searches", workspace.data_dir)
        lines = (announcement(preset, sized, searches), f"Output folder: {out}")
        for line in (*workspace.left_out, *lines):
            announce(line)
        return _StrengthStudy(preset, sized, run, searches, workspace).run_all(retry_failed)


def announcement(name: str, preset: Preset, searches: Sequence[Search]) -> str:
    """Return what will be run, what is left of it, and how long that takes on two cores."""
    whole, both = PRESETS[name], not all(search.tied for search in searches)
    parts = "; ".join(
        f"{search.kind} {'separate and ' * both}tied, {counted(search.trials, 'trial')}"
        + " each" * both
        for search in searches
        if search.tied
    )
    folds = f" and {preset.folds} folds" if preset.folds else ""
    total, left = sum(search.trainings for search in searches), sum(map(Search.left, searches))
    minutes = whole.minutes * preset.executions * left / (whole.seeds * 2 * whole.trials)
    resumed = f"; {100 * left / total:.0f} % of the searches is left" * (left < total)
    return (
        f"Preset {name}: {parts}; {counted(preset.seeds, 'seed')}{folds} a trial{resumed}. "
        "On two cores "
        f"with the default model and data this is estimated to take {'at most ' * preset.racing}"
        f"{duration(60 * minutes)}."
    )


@dataclass
class _StrengthStudy:
    """The searches of one session, and what came of them."""

    preset_name: str
    preset: Preset
    run: RunSpec
    searches: Sequence[Search]
    workspace: Workspace
    baseline: Sequence[float] = field(default=(), init=False)

    def run_all(self, retry_failed: bool) -> StudyResult:
        """Run the searches, then a study of their best trials; write the report and tables.

        The notes of the result begin with the best trials.
        """
        workspace, preset = self.workspace, self.preset
        with Progress(workers=workspace.workers.count) as progress:
            for search in self.searches:
                self._search(search, progress, retry_failed)
            if not any(search.best for search in self.searches):
                causes = {cause for search in self.searches for cause in search.failure_causes()}
                raise NoResultsError(f"Every trial failed: {'; '.join(sorted(causes))}.")
            # Folds are smaller than the training set, and other images.
            baseline = [self.run.at_seed(s) for s in range(0 if preset.folds else preset.seeds)]
            progress.stage("Without a penalty", len(baseline))
            records = workspace.run(baseline, lambda spec, seconds: progress.advance(seconds))
            finished = [r for r in map(records.get, baseline) if r and r.status == "finished"]
            accuracies = [record.measures.val_accuracy for record in finished]
            self.baseline = [accuracy for accuracy in accuracies if accuracy is not None]
            self._write_tables(workspace.path)
            arms = {
                search.name: Arm(
                    search.name, functools.partial(self._final_run, search), label=search.label
                )
                for search in self.searches
            }
            study = self._study(list(arms.values()))
            data = self.run.data
            setting = Setting(preset, self.run.model, data.name, data.size)
            part = StudyPart(study, setting, self.preset_name, study.claims, arms, FINAL_SEEDS_FROM)
            part.classes = workspace.classes[part.data.name]
            result = run_parts(study, [part], workspace, progress)
        return replace(result, notes=(*self._best_trials(), *result.notes))

    def _search(self, search: Search, progress: Progress, retry_failed: bool) -> None:
        from dlip_reg.tuning import AllTrialsFailedError
        from dlip_reg.tuning.results import best_json

        tuner, ended = search.tuner, [time.monotonic()]

        def show_progress() -> None:
            ended.append(time.monotonic())
            seconds = ended[-1] - ended[-2]
            text = f"{search.label}: trial {len(tuner.oracle.trials)}/{search.trials}"
            for best in tuner.oracle.get_best_trials(1):
                epochs = counted(best.best_step, "epoch")
                text += f", best {100 * best.score:.1f} % after {epochs}"
            progress.describe(text)
            # Executions that are found in the folder follow each other within milliseconds.
            progress.advance(seconds if seconds > 0.1 else None)

        progress.stage(search.label, search.trials * self.preset.executions)
        tuner.on_progress = show_progress
        with contextlib.suppress(AllTrialsFailedError):  # the report says so
            tuner.search(
                self.run.data,
                epochs=self.preset.epochs,
                batch_size=self.preset.batch_size,
                data_dir=self.workspace.data_dir,
                retry_failed=retry_failed,
                verbose=0,
            )
        search.best = best_json(tuner)

    def _study(self, arms: Sequence[Arm]) -> Study:
        """The study of the best trials; its claim compares those of the first kind of search."""
        claims = []
        if not self.searches[0].tied:
            claim = replace(
                separate_strengths.claim,
                experiment=EXPERIMENT,
                measure=self._measure,
                needs=tuple(search.name for search in self.searches[:2]),
                controls=(),
                arms=(),
                draw=None,
                figures=("response_surface", "strengths"),
            )
            claims.append(claim)
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
        if search.best is None:
            return None
        strengths = Regularization.from_json(search.best["regularization"])
        return replace(self.run, regularization=strengths, measures=("test",))

    def _measure(self, runs: Runs) -> Measured:
        """Test accuracy of the best separate strengths minus that of the best tied one."""
        separate, tied = (accuracy(runs, search.name) for search in self.searches[:2])
        yield minus(separate, tied)
        yield Part("test accuracy of the best tied trial", "%", tied)
        yield Part(
            "best conv over best dense strength, by search seed",
            "decades",
            tuple(self.searches[0].best_ratios()),
        )

    def _sections(self, runs: Runs, claims: Sequence[ClaimResult]) -> Sequence[Section]:
        from dlip_reg.studies.strength_search.sections import tuning_sections

        shown = {
            search.label: {
                "tied": search.tied,
                "trials": search.trials_to_draw(),
                "best": search.best,
                "test": [record.measures.test_accuracy for record in runs.finished(search.name)],
                "errors": search.failure_causes(),
            }
            for search in self.searches
        }
        ranges = dict.fromkeys(("conv_l2", "dense_l2", "l2"), L2_RANGE)
        return tuning_sections(shown, ranges, self.baseline)

    def _best_trials(self) -> Iterator[str]:
        """A sentence for each search with a best trial."""
        for search in self.searches:
            if best := search.best:
                values = best["hyperparameters"].items()
                strengths = (f"{n} {format_number(v)}" for n, v in values if isinstance(v, float))
                score = f"{100 * best['score']:.1f} % after {counted(best['epochs'], 'epoch')}"
                yield f"Best of {search.label}: {', '.join(strengths)}; validation accuracy {score}"

    def _write_tables(self, path: Path) -> None:
        """Write trials.csv, executions.csv, best.json and best.py."""
        from dlip_reg.tuning.results import execution_rows, trial_rows

        for name, rows_of in (("trials", trial_rows), ("executions", execution_rows)):
            rows = [
                {"search": search.name, **row}
                for search in self.searches
                for row in rows_of(search.tuner)
            ]
            write_csv(path / f"{name}.csv", rows)
        write_json(path / "best.json", {s.name: s.best for s in self.searches}, indent=2)
        lines = []
        for search in self.searches:
            if best := search.best:
                line = best["python"].replace("; model = ", f"; {search.name} = ")
                score = f"{100 * best['score']:.2f} % after {counted(best['epochs'], 'epoch')}"
                lines.append(f"# {search.label}: validation accuracy {score}\n{line}\n")
        write_atomically(path / "best.py", "\n".join(lines))

    def _facts(self, setting: Setting) -> Mapping[str, str]:
        preset, trials, executions = self.preset, [], 0
        for search in self.searches:
            drawn = search.trials_to_draw()
            complete = sum(trial["whole"] for trial in drawn)
            part = f" ({complete} of them through all epochs)" if complete < len(drawn) else ""
            trials.append(f"{search.label} {len(drawn)}{part}")
            tuner = search.tuner
            executions += sum(len(tuner.executions(t)) for t in tuner.oracle.trials.values())
        low, high = L2_RANGE
        folds = f" and {preset.folds} folds" if preset.folds else ""
        validation = f"{preset.n_validation} images, drawn by seed"
        if preset.folds:
            validation = f"{preset.folds} stratified folds of the training images, drawn by seed"
        races = {
            f"Racing, {search.label}": search.tuner.racing_summary()
            for search in self.searches
            if preset.racing
        }
        return {
            "Trials": f"{'; '.join(trials)}; each with {counted(preset.seeds, 'seed')}{folds}",
            "Executions of trials": str(executions),
            **races,
            "Seeds": f"{preset.seeds}, from seed 0 on in the searches, and from seed "
            f"{FINAL_SEEDS_FROM:,} on, which no search has used, in the final runs; an interval is "
            "that for the best trials and does not contain what another search would have found",
            "Range": f"L2 strengths from {low:g} to {high:g}, on a log scale",
            "Training": f"{preset.n_train} images, {preset.epochs} epochs of Adam at "
            f"{preset.learning_rate:g}, batches of {preset.batch_size}",
            "Validation": validation,
        }
