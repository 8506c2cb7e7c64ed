"""keras-tuner's tuner with parallel trials, paired seeds, and reliable resume."""

from __future__ import annotations

import copy
import functools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from dlip_reg.checks import require_whole
from dlip_reg.experiments.executors import Workers, local_workers
from dlip_reg.experiments.store import FOLDER_FILE, read_marker
from dlip_reg.experiments.sweep import Sweep
from dlip_reg.training.identity import TRAINING_VERSION
from dlip_reg.training.specification import DataSpec, RunSpec
from dlip_reg.tuning import OBJECTIVES, oracles
from dlip_reg.tuning.builders import model_name
from dlip_reg.tuning.data import array_data, named_data, save_arrays
from dlip_reg.tuning.execution import ExecutionRecord, ExecutionSpec, execute, put_state
from dlip_reg.tuning.folder import CorruptStateError, ExecutionStore, SearchFolder, SearchLog
from dlip_reg.tuning.hypermodel import RegularizationHyperModel

_OF_RUN = ("builder", "optimizer", "epochs", "batch_size", "data")
_OF_ORACLE = ("max_epochs", "factor", "num_initial_points", "alpha", "beta")
_ENDED = (TrialStatus.COMPLETED, TrialStatus.FAILED)
_DIVERGED = "the run diverged: its loss, its weights or the objective are no finite numbers"


class ParallelTuner(keras_tuner.engine.base_tuner.BaseTuner):
    """Runs an oracle's trials in parallel, each with the same seeds, and resumes from its folder.

    A trial is `executions_per_trial` trainings: execution n of every trial has seed n, and so the
    same initial weights, order of examples and, for named data, split. Its score is the mean over
    executions of the objective after the last epoch (keras-tuner uses each one's best epoch, which
    is biased upwards). Trials that random search and grid propose, and their results, do not depend
    on the number of workers.

    The folder is `directory`/`project_name` (see `dlip_reg.tuning.folder`). The log in it is read
    when the tuner is made, and the same search resumes there by replaying it with a copy of the
    oracle. It may resume with more `max_trials` and, unless its oracle adapts to scores, another
    number of executions. An oracle without a seed uses that of the folder. A function of a
    `Regularization` is identified by its name and arguments: after a change of its code use another
    folder.

    Args:
        oracle: One of keras-tuner's with a clean objective (see `make_oracle`).
        hypermodel: What is searched.
        executions_per_trial: How many seeds each trial has.
        workers: `local_workers(...)` or `dask_workers(...)`, which the caller closes; by default
            local ones.
        directory, project_name: The folder.
        overwrite: Whether to delete the folder's content when the search starts.
        on_progress: Called whenever an execution has ended or was found in the folder.

    Raises:
        ValueError: Another hypermodel, a builder that other processes cannot import, an objective
            that is not clean, or a bad number.
        OutputDirConflictError: The folder is another search's.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        hypermodel: RegularizationHyperModel,
        *,
        executions_per_trial: int = 1,
        workers: Workers | None = None,
        directory: str | Path = ".",
        project_name: str = "untitled_project",
        overwrite: bool = False,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        # Not the base's __init__, which makes folders, builds models and prints.
        if not isinstance(oracle, keras_tuner.Oracle):
            raise ValueError(f"oracle must be a keras_tuner.Oracle, not {oracle!r}.")
        if not isinstance(hypermodel, RegularizationHyperModel):
            raise ValueError(
                f"hypermodel must be a RegularizationHyperModel, not {type(hypermodel).__name__}."
            )
        if oracle.objective.name not in OBJECTIVES:
            raise ValueError(
                f"The oracle's objective must be {' or '.join(OBJECTIVES)}, not "
                f"{oracle.objective.name!r}, which includes the penalty that is searched or is not "
                "measured."
            )
        self._new_oracle, self.hypermodel = copy.deepcopy(oracle), hypermodel
        self.executions_per_trial = require_whole("executions_per_trial", executions_per_trial)
        self.directory, self.project_name = str(directory), project_name
        self.overwrite, self.on_progress = overwrite, on_progress
        self._workers = workers
        self._model_name = model_name(hypermodel.model)
        self._path = Path(directory) / project_name
        self._executions, self._log = ExecutionStore(self._path), SearchLog(self._path)
        # Of trials under way, what their executions left: a record, or why there is none.
        self._outcomes: dict[str, dict[int, ExecutionRecord | str]] = {}
        self._waiting: deque[ExecutionSpec] = deque()
        # Executions that run, and those that have ended or were found and are not taken yet.
        self._running, self._room = 0, 1
        self._ended: dict[tuple[str, int], ExecutionRecord | str] = {}
        self.reload()

    @property
    def project_dir(self) -> str:
        """The search's folder."""
        return str(self._path)

    def search(
        self,
        x: Any,
        y: Any = None,
        *,
        validation_data: tuple[Any, Any] | None = None,
        epochs: int = 1,
        batch_size: int = 32,
        data_dir: str | None = None,
        retry_failed: bool = False,
    ) -> None:
        """Run the trials that are missing.

        `x` is a `DataSpec`, a named data set that each worker loads by itself (full ones from
        `data_dir`), or an array of images with `y` whole-numbered labels and `validation_data` the
        like. `epochs` counts for all oracles but Hyperband, which has its own. With `retry_failed`
        trials that failed are run again, but for those of their executions that had finished.

        A trial whose model cannot be built or trained, or whose objective is not finite, fails and
        the search continues.

        Raises:
            OutputDirConflictError: The folder is another search's or in use; nothing is written.
            ValueError: Unusable data.
            SweepStoppedError, OSError: As `Sweep.run`.
        """
        expected = self.hypermodel.input_shape, self.hypermodel.classes
        file, arrays = self._path.absolute() / "data.npz", None
        if isinstance(x, DataSpec):
            data = named_data(x, data_dir, *expected)
        else:
            data, arrays = array_data(file, x, y, validation_data, *expected)
        self._base = RunSpec(
            # One that takes its place: each execution brings the caller's own builder along.
            model=self._model_name if isinstance(self.hypermodel.model, str) else "mlp",
            data=data.spec,
            builder=self.hypermodel.builder,
            optimizer=self.hypermodel.optimizer,
            batch_size=batch_size,
            epochs=epochs,
        )
        self._fingerprint = data.fingerprint
        settings = {name: self._base.to_json()[name] for name in _OF_RUN}
        configuration = {**self._configuration(), **settings, "fingerprint": data.fingerprint}
        folder = SearchFolder(self._path, configuration, self.overwrite)
        folder.open()
        try:
            self.overwrite = False
            if arrays is not None:
                save_arrays(file, arrays)
            self._begin(retry_failed)
            self._run(folder, functools.partial(execute, data=data))
        finally:
            folder.release()

    def _run(self, folder: SearchFolder, function: Callable) -> None:
        """Run what `_next` gives in the worker processes."""
        workers = self._workers or local_workers()
        # A slow oracle is asked while all workers are busy.
        self._running, self._room = 0, workers.count + oracles.is_slow(self.oracle)
        sweep = Sweep(folder, self._fingerprint, function, workers)
        try:
            for spec, record in sweep.outcomes(self._next, self._room):
                cause = sweep.failures[spec.identity(self._fingerprint)].cause if not record else ""
                self._running -= 1
                self._ended[spec.trial, spec.number] = record or cause
        except BaseException:
            if self._workers is None:
                workers.close(at_once=True)
            raise
        if self._workers is None:
            workers.close()

    # One step after the other: what is asked for, what came of it, what is logged.

    def _begin(self, retry_failed: bool) -> None:
        """Queue what trials under way still lack, and completed ones whose records are damaged."""
        self._log.write(self.reload(retry_failed))
        self._waiting.clear()
        self._ended.clear()
        for trial in list(self.oracle.trials.values()):
            if trial.status in _ENDED:
                for _ in range(self.executions_per_trial):
                    self.on_progress()
            else:
                self._queue(trial, retry_failed)

    def _next(self) -> ExecutionSpec | None:
        """What to run next; None where nothing can be begun now.

        An execution that was found is taken no sooner than if it had run by now, one after the
        other in their order. So with one worker an adaptive oracle always has as much to go by.
        """
        while True:
            while self._ended and self._running + len(self._ended) >= self._room:
                self._take_first()
            if self._waiting:
                self._running += 1
                return self._waiting.popleft()
            trial = oracles.ask(self.oracle)
            if trial is not None:
                values = dict(trial.hyperparameters.values)
                self._log.append({"ask": trial.trial_id, "values": values})
                self._queue(trial)
            elif self._ended:
                self._take_first()
            else:
                return None

    def _queue(self, trial: Trial, retry: bool = False) -> None:
        """Queue the trial's executions that are not in the folder.

        With `retry` those that diverged are among them.
        """
        self._outcomes[trial.trial_id] = {}
        try:
            specs = [self._spec(trial, number) for number in range(self.executions_per_trial)]
        except CorruptStateError:
            raise
        except ValueError as error:  # a value that no run can have
            self._end(trial, f"{type(error).__name__}: {error}")
            return
        for spec in specs:
            record = self._executions.load(trial.trial_id, spec.number)
            met = record is not None and record.id == spec.identity(self._fingerprint)
            if met and (record.status == "finished" or not retry):
                self._ended[trial.trial_id, spec.number] = record
            else:
                self._waiting.append(spec)

    def _spec(self, trial: Trial, number: int) -> ExecutionSpec:
        values = trial.hyperparameters.values
        run = RunSpec(
            **{
                **vars(self._base),
                "regularization": self.hypermodel.regularization(trial.hyperparameters),
                "learning_rate": self.hypermodel.learning_rate(trial.hyperparameters),
                "epochs": values.get("tuner/epochs", self._base.epochs),
                "seed": number,
            }
        )
        parent = values.get("tuner/trial_id")
        return ExecutionSpec(
            run,
            trial.trial_id,
            number,
            build=None if isinstance(self.hypermodel.model, str) else self.hypermodel.model,
            keeps_optimizer="tuner/epochs" in values,
            parent=None if parent is None else self._executions.load_with_state(parent, number),
        )

    def _take_first(self) -> None:
        """An execution has ended; with the last of its trial that one ends, too."""
        trial_id, number = min(self._ended)
        outcomes = self._outcomes[trial_id]
        outcomes[number] = self._ended.pop((trial_id, number))
        self.on_progress()
        if len(outcomes) < self.executions_per_trial:
            return
        causes = {
            n: outcome if isinstance(outcome, str) else _DIVERGED
            for n, outcome in sorted(outcomes.items())
            if isinstance(outcome, str) or outcome.status != "finished"
        }
        failure = "; ".join(f"seed {n}: {cause}" for n, cause in causes.items())
        self._end(self.oracle.trials[trial_id], failure)

    def _end(self, trial: Trial, failure: str) -> None:
        """Tell the oracle what came of the trial, and log it."""
        outcomes = self._outcomes.pop(trial.trial_id)
        scores, epochs = {}, 0
        if not failure:
            curves = [outcomes[number].curve for number in sorted(outcomes)]
            scores = {name: [getattr(c, name)[-1] for c in curves] for name in OBJECTIVES}
            epochs = curves[0].epoch[-1]
        end = {"scores": scores, "epochs": epochs, "failure": failure}
        oracles.tell(self.oracle, trial.trial_id, **end)
        executions = self.executions_per_trial
        self._log.append({"tell": trial.trial_id, "executions": executions, **end})

    # keras-tuner's own methods.

    def reload(self, retry_failed: bool = False) -> list[dict[str, Any]]:
        """Replay the log in the folder.

        Args:
            retry_failed: Whether trials that failed count as not ended.

        Returns:
            The entries that were replayed. Left out are the ends of trials whose executions are
            damaged or were another number, and everything from the first trial on that the oracle
            does not propose again.

        Raises:
            OutputDirConflictError: The folder is another search's.
        """
        held, entries = {}, []
        if not self.overwrite and (self._path / FOLDER_FILE).exists():
            held, entries = read_marker(self._path / FOLDER_FILE), self._log.read()
        # Until nothing is left out: without a trial's end the oracle may propose something else.
        while (replayed := self._replay(held, entries, retry_failed)) != entries:
            entries = replayed
        return entries

    def _replay(
        self, held: Mapping[str, Any], entries: Sequence[dict[str, Any]], retry_failed: bool
    ) -> list[dict[str, Any]]:
        """Replay entries with a new oracle, in a folder of that configuration; see `reload`."""
        self.oracle = oracle = copy.deepcopy(self._new_oracle)
        oracles.prepare(oracle)
        space = oracle.get_space()
        self.hypermodel.declare_hyperparameters(space)
        oracle.update_space(space)
        if held:
            oracles.adopt_seed(oracle, held.get("oracle_seed"))
            SearchFolder.check(self._path, {**held, **self._configuration()})
        replayed = []
        for entry in entries:
            if "ask" in entry:
                trial = oracles.ask_again(oracle, entry["values"])
                if trial is None or trial.hyperparameters.values != entry["values"]:
                    break
            elif self._holds(entry, retry_failed):
                end = {name: entry[name] for name in ("scores", "epochs", "failure")}
                oracles.tell(oracle, entry["tell"], **end)
            else:
                continue
            replayed.append(entry)
        return replayed

    def _holds(self, end: Mapping[str, Any], retry_failed: bool) -> bool:
        """Whether the end of a trial in the log is still valid."""
        if end["executions"] != self.executions_per_trial:
            return False
        if end["failure"]:
            return not retry_failed
        return len(self.executions(self.oracle.trials[end["tell"]])) == self.executions_per_trial

    def get_best_models(self, num_models: int = 1) -> list[keras.Model]:
        """The trained models of the best trials, each of its own, best first.

        Of a trial's executions it is the one that did best. There are fewer than `num_models` where
        fewer trials came to a score.
        """
        return [self.load_model(trial) for trial in self.oracle.get_best_trials(num_models)]

    def load_model(self, trial: Trial) -> keras.Model:
        """The model of a completed trial, compiled, as its best execution left it."""
        values = trial.metrics.get_history(self.oracle.objective.name)[-1].value
        best = np.argmax(values) if self.oracle.objective.direction == "max" else np.argmin(values)
        model = self.hypermodel.build(trial.hyperparameters.copy())
        put_state(model, self._executions.load_with_state(trial.trial_id, int(best)).state)
        return model

    def results_summary(self, num_trials: int = 10) -> None:
        """Print the best trials, and every failed one with its error."""
        super().results_summary(num_trials)
        for trial in self.failed_trials():
            print(f"\nTrial {trial.trial_id} failed: {trial.message}")

    def failed_trials(self) -> list[Trial]:
        """The trials that came to no score; their `message` says why."""
        trials = self.oracle.trials.values()
        return [trial for trial in trials if trial.status == TrialStatus.FAILED]

    def executions(self, trial: Trial) -> list[ExecutionRecord]:
        """The records of a trial's executions, by seed; those that gave none are left out."""
        found = (
            self._executions.load(trial.trial_id, number)
            for number in range(self.executions_per_trial)
        )
        return [record for record in found if record is not None]

    def _configuration(self) -> dict[str, Any]:
        """What must agree between the sessions in a folder, beside the data and training."""
        oracle, hypermodel = self.oracle, self.hypermodel
        adaptive = {"executions_per_trial": self.executions_per_trial}
        return {
            "search": type(oracle).__name__,
            "objective": oracle.objective.name,
            "oracle_seed": oracle.seed,
            **{n: str(getattr(oracle, n)) for n in _OF_ORACLE if hasattr(oracle, n)},
            "space": hypermodel.space.to_json(),
            # The proposals of an adaptive oracle depend on them.
            **(adaptive if oracles.is_adaptive(oracle) else {}),
            "model": self._model_name,
            "input_shape": hypermodel.input_shape,
            "classes": hypermodel.classes,
            "training": TRAINING_VERSION,
            **{name: version(name) for name in ("tensorflow", "keras", "keras-tuner")},
        }
