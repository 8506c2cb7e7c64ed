"""keras-tuner's tuner with parallel trials, paired seeds, and reliable resume."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from dlip_reg.checks import require_whole
from dlip_reg.experiments.executors import Workers, local_workers
from dlip_reg.experiments.store import FOLDER_FILE
from dlip_reg.experiments.sweep import Sweep
from dlip_reg.files import write_json
from dlip_reg.training.specification import DataSpec, RunSpec
from dlip_reg.tuning import OBJECTIVES, oracles
from dlip_reg.tuning.builders import model_name
from dlip_reg.tuning.configuration import EXECUTIONS, configuration
from dlip_reg.tuning.data import ArrayData, NamedData
from dlip_reg.tuning.execution import ExecutionSpec, execute, put_state
from dlip_reg.tuning.execution_record import ExecutionRecord
from dlip_reg.tuning.folder import (
    ANOTHER_FOLDER,
    STATE_FILE,
    CorruptStateError,
    ExecutionStore,
    SearchFolder,
    read_json,
    restart_advice,
    trial_folder,
)
from dlip_reg.tuning.hypermodel import RegularizationHyperModel
from dlip_reg.tuning.prefetch import PrefetchingWorkers

_OF_RUN = ("builder", "optimizer", "epochs", "batch_size", "data")
_ENDED = (TrialStatus.COMPLETED, TrialStatus.FAILED)


class ParallelTuner(keras_tuner.engine.base_tuner.BaseTuner):
    """Runs an oracle's trials in parallel, each with the same seeds, and resumes from its folder.

    A trial is `executions_per_trial` trainings: execution n of every trial has seed n, and so the
    same initial weights, order of examples and, for named data, split. Its score is the mean over
    executions of the objective after the last epoch (keras-tuner uses each one's best epoch, which
    is biased upwards). Trials that random search and grid propose, and their results, do not depend
    on the number of workers.

    The folder is `directory`/`project_name` (see `dlip_reg.tuning.folder`). It is read when the
    tuner is made, and the same search resumes there. It may resume with more `max_trials` and,
    unless its oracle adapts to scores, another number of executions. An oracle without a seed uses
    that of the folder. A function of a `Regularization` is identified by its name and arguments:
    after a change of its code use another folder.

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
        CorruptStateError: The folder cannot be read.
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
        self.oracle, self.hypermodel = oracle, hypermodel
        self.executions_per_trial = require_whole("executions_per_trial", executions_per_trial)
        self.directory, self.project_name = str(directory), project_name
        self.overwrite, self.on_progress = overwrite, on_progress
        self.logger, self.tuner_id = None, "tuner0"
        self._workers = workers
        self._model_name = model_name(hypermodel.model)
        self._path = Path(directory) / project_name
        self._executions = ExecutionStore(self._path)
        # Of trials under way: the records that are there, and of failed executions why.
        self._records: dict[str, dict[int, ExecutionRecord]] = {}
        self._causes: dict[str, dict[int, str]] = {}
        self._waiting: deque[ExecutionSpec] = deque()
        # Executions that run, and those that have ended or were found and are not taken yet.
        self._running, self._room = 0, 1
        self._ended: dict[tuple[str, int], tuple[ExecutionRecord | None, str]] = {}
        oracles.prepare(oracle)
        space = oracle.get_space()
        hypermodel.declare_hyperparameters(space)
        oracle.update_space(space)
        if not overwrite and (self._path / FOLDER_FILE).exists():
            oracles.adopt_seed(oracle, self._held().get("oracle_seed"))
        if not overwrite and (self._path / STATE_FILE).exists():
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
        if isinstance(x, DataSpec):
            data, arrays = NamedData.of(x, data_dir, *expected), None
        else:
            data, arrays = ArrayData.of(self._path.absolute(), x, y, validation_data, *expected)
        base = RunSpec(
            # One that takes its place: each execution brings the caller's own builder along.
            model=self._model_name if isinstance(self.hypermodel.model, str) else "mlp",
            data=data.spec,
            builder=self.hypermodel.builder,
            optimizer=self.hypermodel.optimizer,
            batch_size=batch_size,
            epochs=epochs,
        )
        settings = {name: base.to_json()[name] for name in _OF_RUN}
        configuration = {**self._configuration(), **settings, "fingerprint": data.fingerprint}
        folder = SearchFolder(self._path, configuration, self.overwrite)
        folder.open()
        self.overwrite = False
        if (self._path / STATE_FILE).exists():
            self.reload()  # what an interrupted search of this very object has left undone
        if arrays is not None:
            data.save(arrays)
        self._begin(base, data.fingerprint, retry_failed)
        workers = self._workers or local_workers()
        fed = PrefetchingWorkers(workers) if oracles.is_slow(self.oracle) else workers
        sweep = Sweep(folder, data.fingerprint, functools.partial(execute, data=data), fed)
        self._running, self._room = 0, fed.count

        def on_result(spec: ExecutionSpec, record: ExecutionRecord | None) -> None:
            cause = sweep.failures[spec.identity(data.fingerprint)].cause if record is None else ""
            self._running -= 1
            self._ended[spec.trial, spec.number] = record, cause

        try:
            sweep.run_from(self._next, on_result)
        except BaseException:
            if self._workers is None:
                workers.close(at_once=True)
            raise
        finally:
            folder.release()
        if self._workers is None:
            workers.close()

    # One step after the other: what is asked for, what came of it, what is written.

    def _begin(self, base: RunSpec, fingerprint: str, retry_failed: bool) -> None:
        """Queue what trials under way still lack, and completed ones whose records are damaged."""
        self._base, self._fingerprint = base, fingerprint
        self._waiting.clear()
        self._ended.clear()
        for trial in self.oracle.trials.values():
            lost = (
                trial.status == TrialStatus.COMPLETED
                and len(self.executions(trial)) < self.executions_per_trial
            )
            if lost or (retry_failed and trial.status == TrialStatus.FAILED):
                oracles.take_back(self.oracle, trial)
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
                self._commit(trial)
                self._queue(trial)
            elif self._ended:
                self._take_first()
            else:
                return None

    def _queue(self, trial: Trial, retry: bool = False) -> None:
        """Queue the trial's executions that are not in the folder.

        With `retry` those that diverged are among them.
        """
        self._records[trial.trial_id], self._causes[trial.trial_id] = {}, {}
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
                self._ended[trial.trial_id, spec.number] = record, ""
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
        spec = ExecutionSpec(
            run,
            trial.trial_id,
            number,
            build=None if isinstance(self.hypermodel.model, str) else self.hypermodel.model,
            initial_epoch=values.get("tuner/initial_epoch", 0),
            keeps_optimizer="tuner/epochs" in values,
        )
        if spec.initial_epoch == 0:
            return spec
        parent = values["tuner/trial_id"]
        return ExecutionSpec(
            **vars(spec)
            | {
                "parent": self._executions.load_parent(parent, number),
                "state": self._executions.load_state(parent, number),
            }
        )

    def _take_first(self) -> None:
        """An execution has ended; with the last of its trial that one ends, too."""
        trial_id, number = min(self._ended)
        record, cause = self._ended.pop((trial_id, number))
        if record is None:
            self._causes[trial_id][number] = cause
        else:
            if record.status != "finished":
                self._causes[trial_id][number] = (
                    "the run diverged: its loss, its weights or the objective are no finite numbers"
                )
            self._records[trial_id][number] = record
        self.on_progress()
        records, causes = self._records[trial_id], self._causes[trial_id]
        if len(set(records) | set(causes)) == self.executions_per_trial:
            self._end(
                self.oracle.trials[trial_id],
                "; ".join(f"seed {n}: {causes[n]}" for n in sorted(causes)),
            )

    def _end(self, trial: Trial, failure: str) -> None:
        records = self._records.pop(trial.trial_id)
        del self._causes[trial.trial_id]
        if failure:
            oracles.tell_failure(self.oracle, trial, failure)
        else:
            curves = [records[number].curve for number in sorted(records)]
            scores = {name: [getattr(c, name)[-1] for c in curves] for name in OBJECTIVES}
            oracles.tell(self.oracle, trial, scores, step=curves[0].epoch[-1])
        self._commit(trial)

    def _commit(self, trial: Trial) -> None:
        """Write the trial and then the oracle: the step counts from then on."""
        write_json(self._trial_file(trial.trial_id), trial.get_state())
        state = oracles.get_state(self.oracle)
        write_json(self._path / STATE_FILE, state | {EXECUTIONS: self.executions_per_trial})

    # keras-tuner's own methods.

    def save(self) -> None:
        """Write the state of the oracle and all trials."""
        for trial in self.oracle.trials.values():
            self._commit(trial)

    def reload(self) -> None:
        """Read the state in the folder.

        Raises:
            OutputDirConflictError: It is another search's.
            CorruptStateError: It cannot be read.
        """
        SearchFolder.check(self._path, self._held() | self._configuration())
        remedy = restart_advice(self._path)
        state = read_json(self._path / STATE_FILE, remedy)
        if state.get(EXECUTIONS) != self.executions_per_trial:
            return  # the same trials again: the executions that are there are met again
        trials = [
            Trial.from_state(read_json(self._trial_file(trial_id), remedy))
            for trial_id in state["start_order"]
        ]
        oracles.set_state(self.oracle, state, [self._as_of(state, trial) for trial in trials])

    def _held(self) -> dict[str, Any]:
        """The configuration of the search that the folder holds."""
        return read_json(self._path / FOLDER_FILE, ANOTHER_FOLDER)

    @staticmethod
    def _as_of(state: dict[str, Any], trial: Trial) -> Trial:
        """The trial at the time of the state, where a kill came between the two files."""
        ended = trial.trial_id in state["end_order"]
        return trial if ended else Trial(trial.hyperparameters, trial.trial_id)

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
        put_state(model, self._executions.load_state(trial.trial_id, int(best)))
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

    def _trial_file(self, trial_id: str) -> Path:
        return trial_folder(self._path, trial_id) / "trial.json"

    def _configuration(self) -> dict[str, Any]:
        return configuration(self.oracle, self.hypermodel, self.executions_per_trial)
