"""keras-tuner's tuner with parallel trials, paired seeds, and reliable resume."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import logging
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from dlip_reg.checks import require_bool, require_whole
from dlip_reg.errors import DlipRegError, cause_of
from dlip_reg.experiments.executors import Workers, is_death, leave_import_of_main, local_workers
from dlip_reg.experiments.store import FOLDER_FILE, read_marker
from dlip_reg.experiments.sweep import Sweep
from dlip_reg.extras import data_frame, installed_version
from dlip_reg.streams import write_line
from dlip_reg.training.identity import code_hash
from dlip_reg.training.keras_settings import keras_settings
from dlip_reg.training.layer_names import with_free_names
from dlip_reg.training.process import configure_process, onednn_setting
from dlip_reg.training.specification import DataSpec
from dlip_reg.tuning import oracles, racing
from dlip_reg.tuning.checks import check_search
from dlip_reg.tuning.execution import execute, put_state
from dlip_reg.tuning.fingerprints import fingerprint
from dlip_reg.tuning.fit_arguments import NAMES, named_data, require_divisible
from dlip_reg.tuning.folder import ExecutionRecord, SearchFolder
from dlip_reg.tuning.hypermodel import RegularizationHyperModel, build, on_a_copy
from dlip_reg.tuning.module_globals import functions_in
from dlip_reg.tuning.objective import check_objective
from dlip_reg.tuning.sending import Job
from dlip_reg.tuning.trials import TrialQueue

_OF_ORACLE = ("max_epochs", "factor", "num_initial_points", "alpha", "beta", "tune_new_entries")
_MOST_BUILDS = 8  # to find hyperparameters, with the values of each Choice
_LONGEST_LOOP = 64  # larger numbers are sizes, and the largest of all make a huge model
_SCORING_VERSION = 5  # raised when the same search comes to score otherwise
# Methods of keras-tuner's tuners, which run trials one after the other.
_NOT_CALLED = (
    *("run_trial", "save_model", "pre_create_trial"),
    *("on_trial_begin", "on_trial_end", "on_search_begin", "on_search_end"),
)
_LONGEST_NAME = 255  # bytes of a folder's name, on most file systems
_DIVERGED = "the run diverged: its loss, its weights or the objective are not finite"
# The first would give an execution the weights of another one, the second one holds threads.
_NOT_COPIED = {"BackupAndRestore", "OrbaxCheckpoint"}
_logger = logging.getLogger(__name__)


class AllTrialsFailedError(DlipRegError, RuntimeError):
    """No trial of a search came to a score."""


class WorkerStartError(DlipRegError, RuntimeError):
    """Worker processes cannot start."""


class ParallelTuner(keras_tuner.engine.base_tuner.BaseTuner):
    """Runs an oracle's trials in parallel, each with the same seeds, and resumes from its folder.

    A trial is `executions_per_trial` trainings, one with each seed n = 0, 1, ...: Keras' seed is n
    when the hypermodel builds and again when training begins. So all trials have the same initial
    weights if their builders draw alike, and the same order of examples. With `folds` there are so
    many trainings with each seed: the seed splits the examples into folds, stratified where the
    labels are classes, and each fold is the validation data of one training. The hypermodel's own
    model is trained, with the weights that it has; executions share one compiled model if that is
    proven to be equal. A trial's score is the mean over executions of the objective's value for the
    weights that training left (keras-tuner uses each one's best epoch, which is biased upwards).
    Trials that random search and `make_oracle`'s grid propose, and their results, do not depend on
    the number of workers, but for what `racing` stops.

    The folder is `directory`/`project_name` (see `dlip_reg.tuning.folder`). The log in it is read
    when the tuner is made, and the same search resumes there by replaying it with a copy of the
    oracle. It may resume with more `max_trials` and, unless its oracle adapts to scores, another
    number of executions. An oracle without a seed uses that of the folder, and so does one with a
    seed up to 10000 where the folder's is, too, which keras-tuner may have drawn. Another search is
    one with other data, settings of Keras, or code of the hypermodel.

    Args:
        oracle: One of keras-tuner's (see `make_oracle`). The objectives `clean_val_loss` and
            `clean_val_accuracy` are measured without penalties; any other is taken from the logs of
            training.
        hypermodel: A `keras_tuner.HyperModel`, or a function of `HyperParameters` that returns a
            compiled model. Lambdas and functions of a notebook are accepted. It is built a few
            times to find what it asks for in a loop or under a condition. Trials that began before
            a hyperparameter was found, such as one that only `fit` asks for, have the default.
        executions_per_trial: How many seeds each trial has.
        folds: In how many folds the examples are split, if `search` gets no validation data.
        racing: Whether executions that will not change which trial is the best are left out, as
            judged by the scores so far (see `dlip_reg.tuning.racing`). An oracle that does not
            adapt to scores is first asked for all trials, and each gets one execution; then the
            most promising trial is continued until the best is known. The score of a trial that is
            stopped is its expected mean over all executions. Which trials are stopped depends on
            the order in which executions end, so with several workers it may differ from run to
            run.
        workers: How many local processes (default: one per core, or fewer where memory is scarce),
            or `local_workers(...)` or `dask_workers(...)` of `dlip_reg.experiments`, which the
            caller closes. Processes train on the CPU, with one thread each, but for
            `local_workers(count, gpus=True)`.
        directory, project_name: The folder (default: "untitled_project" here).
        overwrite: Whether to delete the folder's content when the search starts.
        on_progress: Called whenever an execution has ended or was found in the folder.

    Raises:
        ValueError: A hypermodel that cannot be built, or a bad argument.
        OutputDirConflictError: The folder is another search's.
        MainGuardError: The script that makes the tuner has no main guard.
    """

    tuner_id = "tuner0"

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        hypermodel: keras_tuner.HyperModel | Callable[[keras_tuner.HyperParameters], keras.Model],
        *,
        executions_per_trial: int = 1,
        folds: int | None = None,
        racing: bool = False,
        workers: Workers | int | None = None,
        directory: str | Path | None = None,
        project_name: str | None = None,
        overwrite: bool = False,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        # Not the base's __init__, which makes folders, builds models and prints.
        leave_import_of_main()
        for name in _NOT_CALLED:
            if getattr(type(self), name) is not getattr(ParallelTuner, name):
                raise ValueError(f"{name} is not called here: override HyperModel.fit instead.")
        if not isinstance(oracle, keras_tuner.Oracle):
            raise ValueError(f"oracle must be a keras_tuner.Oracle, not {oracle!r}.")
        if not isinstance(hypermodel, keras_tuner.HyperModel):
            if not callable(hypermodel):
                raise ValueError(
                    "hypermodel must be a keras_tuner.HyperModel or a function of its "
                    f"HyperParameters, not {hypermodel!r}."
                )
            built, hypermodel = hypermodel, keras_tuner.HyperModel()
            hypermodel.build = built
        if workers is not None and not isinstance(workers, Workers):
            require_whole("workers", workers)
        check_objective(oracle.objective, isinstance(hypermodel, RegularizationHyperModel))
        self.hypermodel, self._code = hypermodel, fingerprint(hypermodel)
        # Apart from it, since a call of its own may set attributes of a hypermodel.
        self._functions = functions_in([hypermodel])
        self._functions_code = fingerprint(self._functions)
        self.executions_per_trial = require_whole("executions_per_trial", executions_per_trial)
        self.folds = None if folds is None else require_whole("folds", folds, least=2)
        self._planned = self.executions_per_trial * (self.folds or 1)  # executions of each trial
        self.racing = require_bool("racing", racing)
        if racing and (
            self._planned == 1 or isinstance(oracle, keras_tuner.oracles.HyperbandOracle)
        ):
            raise ValueError(
                "racing=True compares the executions of a trial one by one, so it needs several "
                "executions_per_trial or folds, and another oracle than Hyperband."
            )
        self.directory = str(directory or ".")
        self.project_name = project_name or "untitled_project"
        self.overwrite, self.on_progress = overwrite, on_progress
        # Wherever the program goes from here.
        self._workers, self._path = workers, Path(self.directory, self.project_name).absolute()
        if any(len(os.fsencode(name)) > _LONGEST_NAME for name in self._path.parts):
            raise ValueError(
                f"directory and project_name may have names of at most {_LONGEST_NAME} bytes, so "
                f"{self._path} is too long."
            )
        self._loaded: weakref.WeakSet[keras.Model] = weakref.WeakSet()
        self._trials = TrialQueue(
            *(oracle, self._path, self._planned, self.folds, racing),
            lambda: self.on_progress(),  # which a program may set later
        )
        self._declare_space()
        self.reload()

    def _declare_space(self) -> None:
        """Tell the oracle the whole space, which takes a build for each conditional part of it."""
        hypermodel, hp = self.hypermodel, self.oracle.get_space()
        if isinstance(hypermodel, RegularizationHyperModel):  # which declares all of it
            hypermodel.declare_hyperparameters(hp)
            self.oracle.update_space(hp)
            return
        try:
            self._on_a_copy(self._explore)
        except (Exception, SystemExit) as error:
            raise ValueError(f"The hypermodel cannot be built ({cause_of(error)}).") from error
        finally:
            self.hypermodel = hypermodel
        names = [hp.name for hp in self.oracle.get_space().space]
        if shared := {name for name in names if names.count(name) > 1}:
            raise ValueError(
                f"The name {min(shared)} stands for several hyperparameters under different "
                "conditions, whose values keras-tuner drops: give each a name of its own."
            )

    def _on_a_copy(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """`on_a_copy`; what a build itself changes, such as a cache, does not count as a change."""
        try:
            return on_a_copy(function, self.hypermodel, *arguments, **options)
        finally:
            self._functions_code = fingerprint(self._functions)

    def _explore(self, hypermodel: keras_tuner.HyperModel) -> None:
        """Build until all hyperparameters are known."""
        self.hypermodel = hypermodel  # which the base builds
        with_free_names(self._populate_initial_space)
        for _ in range(_MOST_BUILDS):
            known = len(self.oracle.get_space().space)
            self._build_with_other_values()
            if len(self.oracle.get_space().space) == known:
                break

    def _build_with_other_values(self) -> None:
        """Find what the hypermodel asks for in loops and under conditions of Python."""
        types = keras_tuner.engine.hyperparameters
        listed = types.Boolean | types.Choice
        sizes = [
            len(hp.values) if isinstance(hp, listed) else 1 for hp in self.oracle.get_space().space
        ]
        builds = min(max(sizes, default=0), _MOST_BUILDS)
        for number in range(builds):
            tried = self.oracle.get_space()
            for hp in filter(tried.is_active, tried.space):
                tried.values[hp.name] = hp.default
                if isinstance(hp, listed):
                    tried.values[hp.name] = hp.prob_to_value((number + 0.5) / builds)
                elif isinstance(hp, types.Int) and hp.max_value <= _LONGEST_LOOP:
                    tried.values[hp.name] = hp.max_value
            # Other values may be impossible together.
            with contextlib.suppress(Exception, SystemExit):
                build(self.hypermodel, tried)
            self.oracle.update_space(tried)

    @property
    def oracle(self) -> keras_tuner.Oracle:
        """The oracle, as the search has left it."""
        return self._trials.oracle

    @property
    def project_dir(self) -> str:
        """The search's folder."""
        return str(self._path)

    def search(
        self,
        x: Any = None,
        y: Any = None,
        /,
        *,
        data_dir: str | None = None,
        retry_failed: bool = False,
        callbacks: Any = None,
        **arguments: Any,
    ) -> None:
        """Run the trials that are missing.

        Args:
            x: What `fit` accepts; a function that makes it (or a tuple of `x` and `y`, or a dict of
                arguments of `fit`) in each worker, and may take a `seed`; or a `DataSpec`, a named
                data set that each worker loads by itself, with a split of its own for each seed. A
                `tf.data.Dataset` that shuffles needs a seed, or trials see different orders.
            y: The targets. An overridden `HyperModel.fit` gets both by position or by name, as they
                are given here.
            data_dir: The folder of full data sets.
            retry_failed: Whether trials that failed are run again, but for those of their
                executions that had finished.
            callbacks: One or a list, copied to each execution. `TensorBoard`, `ModelCheckpoint` and
                `CSVLogger` write into a subfolder for each.
            **arguments: Other arguments of `fit`. Instead of `epochs` and `batch_size` the
                hyperparameters of that name are used where the hypermodel has them, and
                `tuner/epochs` with Hyperband. With `verbose=0` no line is printed when a trial
                ends; trainings print nothing in any case, because they run side by side.

        A trial whose model cannot be built or trained, or whose objective is not finite, fails and
        the search continues, unless the hypermodel raises a `keras_tuner.errors.FatalError` or
        training does not measure the objective.
        The oracle's `max_retries_per_trial` and `max_consecutive_failed_trials` are not used.

        Raises:
            OutputDirConflictError: The folder is another search's or in use, and nothing is
                written; or it was deleted or moved during the search.
            ValueError: The data do not fit the model, or cannot be sent to other processes; or the
                hypermodel is not what it was when the tuner was made.
            AllTrialsFailedError: No trial came to a score.
            WorkerStartError: Worker processes cannot start.
            SweepStoppedError, OSError: As `Sweep.run`.
        """
        leave_import_of_main()
        self._require_unchanged()
        self._trials.prints = bool(arguments.get("verbose", True))
        for name, value in (("x", x), ("y", y)):
            if value is not None and name in arguments:
                raise ValueError(f"search got {name} by position and by name: give it once.")
        copied = [callback for callback in keras.tree.flatten(callbacks) if callback is not None]
        if wrong := [c for c in copied if not isinstance(c, keras.callbacks.Callback)]:
            raise ValueError(f"callbacks must be objects of Keras' Callback, not {wrong[0]!r}.")
        kinds = {kind.__name__ for callback in copied for kind in type(callback).__mro__}
        if refused := kinds & _NOT_COPIED:
            raise ValueError(
                f"{min(refused)} cannot be copied to each execution: leave it out, since the "
                "search resumes from its own folder, or use ModelCheckpoint."
            )
        data = {"x": x, "y": y, **arguments}
        if isinstance(data["x"], DataSpec):
            data["x"], content = named_data(data["x"], data_dir)
            if "sample_weight" in arguments:
                content += f", {fingerprint(arguments['sample_weight'])}"
        else:
            if self.folds:
                require_divisible(data)
            content = fingerprint([data.get(name) for name in NAMES])
        settings = keras_settings()
        known = self._configuration() | {
            "settings": settings,
            "fit": {
                name: value if isinstance(value, int | float | str) else fingerprint(value)
                for name, value in arguments.items()
                if name not in NAMES and name != "verbose"
            },
            "callbacks": fingerprint(copied),
            "data": content,
        }
        folder = SearchFolder(self._path, known, self.overwrite)
        folder.records = self._trials.executions
        try:
            job = Job.pack(
                fingerprint(known),
                {
                    "hypermodel": self.hypermodel,
                    "data": data,
                    "positional": [*itertools.takewhile(lambda n: n not in arguments, ("x", "y"))],
                    "callbacks": copied,
                    "objective": self.oracle.objective,
                    "settings": settings,
                },
            )
            if self.overwrite or not (self._path / FOLDER_FILE).exists():  # else it was checked
                self._on_a_copy(
                    *(check_search, self._trials.new_oracle.get_space(), self.oracle.objective),
                    *(data, self.folds, bool(copied)),
                    others=copied,
                )
            folder.open()
            self.overwrite = False
            # Another session may have run since the tuner was made.
            if self._trials.has_changed() or retry_failed:
                self.reload(retry_failed)
            self._trials.begin(retry_failed)
            self._run(folder, job.stored(self._path / "job.pkl"))
        finally:
            folder.release()
        if self.racing:
            _logger.info(self.racing_summary())
        failed = self.failed_trials()
        if failed and len(failed) == len(self.oracle.trials):
            raise AllTrialsFailedError(f"Every trial failed: {failed[0].message.rstrip('.')}.")

    def _run(self, folder: SearchFolder, job: Job) -> None:
        """Run what the trials lack in the worker processes."""
        given = self._workers
        pool: contextlib.AbstractContextManager[Workers] = (
            contextlib.nullcontext(given) if isinstance(given, Workers) else local_workers(given)
        )
        with pool as workers:
            if not self._trials.has_next():
                return
            _start(workers)
            run = functools.partial(execute, job=job)
            # It is typed for runs; executions have what it reads of these and of their records.
            sweep: Any = Sweep(folder, job.fingerprint, run, workers)  # type: ignore[arg-type]
            # A slow oracle is asked while all workers are busy.
            room = workers.count + oracles.is_slow(self.oracle)
            saved = functools.partial(self._trials.saved, job.fingerprint)
            reasons, fatal = {""}, list[Exception]()
            # After a fatal error nothing is begun, and what is in flight ends and is kept.
            for spec, record in sweep.outcomes(
                lambda: None if fatal else self._trials.next(), room, saved
            ):
                why = record.not_shared if record else ""
                if why not in reasons:
                    reasons.add(why)
                    _logger.info(
                        "Executions trace models of their own, which takes longer: %s.", why
                    )
                if record is None:
                    cause = sweep.failures[spec.identity(job.fingerprint)].cause
                    kind, _, line = cause.partition(": ")
                    error = getattr(keras_tuner.errors, kind, Exception)
                    if issubclass(error, keras_tuner.errors.FatalError):
                        fatal.append(error(line))
                        continue
                else:
                    cause = _DIVERGED if record.status == "diverged" else ""
                self._trials.take(spec, cause)
            if fatal:
                raise fatal[0]

    # keras-tuner's own methods.

    def reload(self, retry_failed: bool = False) -> None:
        """Replay the log in the folder with a new copy of the oracle.

        Left out are the ends of trials whose executions are damaged or were another number, and
        everything from the first trial on that the oracle does not propose again.

        Args:
            retry_failed: Whether trials that failed count as not ended.

        Raises:
            OutputDirConflictError: The folder is another search's.
        """
        marker = self._path / FOLDER_FILE
        held = read_marker(marker) if marker.exists() and not self.overwrite else {}
        self._trials.renew(held.get("oracle_seed"))
        SearchFolder.check(self._path, held | self._configuration(), self.overwrite)
        if held:
            self._trials.replay(retry_failed)

    def _require_unchanged(self) -> None:
        """ValueError if functions of the hypermodel, or globals that they read, have changed."""
        if fingerprint(self._functions) != self._functions_code:
            raise ValueError(
                "The build function, or a function or global that it uses, has changed since the "
                "tuner was made: make another ParallelTuner, with another project_name."
            )

    def save(self) -> None:
        """Do nothing: whatever ends is saved at once."""

    def load_model(self, trial: Trial) -> keras.Model:
        """The model of a completed trial, compiled, as its best execution left it.

        Raises:
            ValueError: The hypermodel is not what it was when the tuner was made.
        """
        self._require_unchanged()
        scores = oracles.scores_of(self.oracle, trial)
        best = np.argmax(scores) if self.oracle.objective.direction == "max" else np.argmin(scores)
        record = self._trials.executions.load_with_state(trial.trial_id, int(best))
        # With the seed of the execution, since the hypermodel may draw numbers other than weights.
        model = self._on_a_copy(build, trial.hyperparameters.copy(), record.seed)
        # A module of the hypermodel's, of which there is no copy, may hold layers, too.
        others = {id(v) for other in self._loaded for v in other.weights}
        shared = [(v, v.numpy()) for v in model.weights if id(v) in others]
        put_state(model, record)
        if any(not np.array_equal(v.numpy(), before) for v, before in shared):
            _logger.warning(
                "The model of trial %s has layers in common with one that was loaded before, which "
                "has lost its weights; use one after the other, or let build make all layers.",
                trial.trial_id,
            )
        self._loaded.add(model)
        return model

    def results_summary(self, num_trials: int = 10) -> None:
        """Print the best trials, and every failed one with its error."""
        super().results_summary(num_trials)
        for trial in self.failed_trials():
            write_line(f"\nTrial {trial.trial_id} failed: {trial.message}")
        if self.racing:
            write_line(f"\n{self.racing_summary()}")

    def racing_summary(self) -> str:
        """What racing saved so far, and how often it errs, in one sentence."""
        trials = [t for t in self.oracle.trials.values() if t.status == TrialStatus.COMPLETED]
        lengths = [len(oracles.scores_of(self.oracle, trial)) for trial in trials]
        stopped = sum(length < self._planned for length in lengths)
        planned = self._planned * len(trials)
        return (
            f"Racing stopped {stopped} of {len(trials)} trials early, which saved "
            f"{planned - sum(lengths)} of {planned} executions; the trial that would have become "
            f"the best is stopped in about {100 * racing.ERROR:g} % of searches."
        )

    def failed_trials(self) -> list[Trial]:
        """The trials that came to no score; their `message` says why."""
        trials = self.oracle.trials.values()
        return [trial for trial in trials if trial.status == TrialStatus.FAILED]

    def executions(self, trial: Trial) -> list[ExecutionRecord]:
        """The records of a trial's executions, by seed and fold; those that gave none are left out.

        Each has the execution's score and its curve, metric -> the value after each epoch.
        """
        records = self._trials.executions.records
        names = [(trial.trial_id, number) for number in range(self._planned)]
        return [records[name] for name in names if name in records]

    def to_dataframe(self) -> Any:
        """A pandas DataFrame with a row for each execution: its score, last values and trial.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        from dlip_reg.tuning.results import execution_rows

        return data_frame(execution_rows(self), "read the records by executions(trial)")

    def _configuration(self) -> dict[str, Any]:
        """What must agree between the sessions in a folder, beside the data and training."""
        oracle = self.oracle
        is_own = isinstance(self.hypermodel, RegularizationHyperModel)  # of this package's networks
        adaptive = {"executions_per_trial": self.executions_per_trial, "racing": self.racing}
        return {
            "search": type(oracle).__name__,
            "oracle_seed": oracle.seed,
            "objective": str(oracle.objective),
            **{n: str(getattr(oracle, n)) for n in _OF_ORACLE if hasattr(oracle, n)},
            # The proposals of an adaptive oracle depend on them.
            **(adaptive if oracles.is_adaptive(oracle) else {}),
            "folds": self.folds,
            "model": _name_of(self.hypermodel),
            "hypermodel": self._code,
            "space": {  # as text an infinite number, which JSON does not have
                hp.name: json.loads(json.dumps(hp.get_config()), parse_constant=str)
                for hp in self._trials.new_oracle.get_space().space
            },
            "training": _SCORING_VERSION,
            **({"code": code_hash()} if is_own else {}),
            **{name: installed_version(name) for name in ("tensorflow", "keras", "keras-tuner")},
            **onednn_setting(),
        }


def _name_of(hypermodel: keras_tuner.HyperModel) -> str:
    """What a person knows the hypermodel by."""
    is_function = type(hypermodel) is keras_tuner.HyperModel
    named = hypermodel.build if is_function else getattr(hypermodel, "model", hypermodel)
    named = getattr(named, "func", named)  # of a partial
    return named if isinstance(named, str) else getattr(named, "__qualname__", type(named).__name__)


def _start(workers: Workers) -> None:
    """Wait for a worker process: one that cannot start is not one that died of its work."""
    started = [workers.submit(configure_process) for _ in range(workers.count)]
    if (error := started[0].exception()) is not None:
        how = f": {cause_of(error)}"
        if is_death(error):  # `replace` raises for a script without a main guard
            how = f" ({workers.replace()}); what they wrote to stderr says why."
        raise WorkerStartError(f"Worker processes cannot start{how}")
