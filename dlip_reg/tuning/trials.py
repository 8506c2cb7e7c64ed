"""The trials of a search, one step after the other: asked for, trained, logged and ended."""

from __future__ import annotations

import copy
import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from dlip_reg.streams import write_line
from dlip_reg.tuning import oracles, racing
from dlip_reg.tuning.execution import ExecutionSpec
from dlip_reg.tuning.folder import ExecutionRecord, ExecutionStore, Log

# Of the log's lines: a trial that the oracle proposed, and the end of one.
_ASKED, _ENDED = {"ask", "values"}, {"tell", "executions", "scores", "epochs", "failure"}


class TrialQueue:
    """Asks an oracle for trials, says what to train next, and ends each trial with its scores.

    The log in the folder holds each trial and its scores: replayed, it brings another copy of the
    oracle to the same state.

    Args:
        oracle: The oracle; copies of it are used.
        path: The folder of the search.
        planned: How many executions a trial has.
        folds: In how many folds the examples are split, if they are.
        is_race: Whether executions that do not change which trial is the best are left out.
        on_progress: Called for each execution that has ended or will not be needed.

    Attributes:
        oracle: The copy that is in use.
        new_oracle: The one that it is a copy of, before the first trial.
        executions: The executions in the folder.
        prints: Whether to print a line when a trial ends.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        path: Path,
        planned: int,
        folds: int | None,
        is_race: bool,
        on_progress: Callable[[], None],
    ) -> None:
        self.oracle = self.new_oracle = copy.deepcopy(oracle)
        self.executions, self._log = ExecutionStore(path), Log(path / "log.jsonl")
        self._planned, self._folds, self._is_race = planned, folds, is_race
        self._on_progress = on_progress
        self.prints = False
        # Trial under way -> execution -> its seed and why it failed; empty if it did not, and None
        # while it is queued or runs.
        self._outcomes: dict[str, dict[int, str | None]] = {}
        self._waiting: deque[ExecutionSpec] = deque()
        self._retry = False
        # The entries of the log that the oracle has been through; None when it has gone on.
        self._replayed: list[dict[str, Any]] | None = None

    def renew(self, held_seed: Any = None) -> None:
        """Begin anew with a copy of the oracle; one without a seed uses that of the folder."""
        self.new_oracle.max_trials = self.oracle.max_trials  # which a program may raise
        self.oracle = copy.deepcopy(self.new_oracle)
        oracles.prepare(self.oracle, held_seed)
        self._replayed = []

    def replay(self, retry_failed: bool = False) -> None:
        """Replay the log in the folder with a new copy of the oracle.

        Left out are the ends of trials whose executions are damaged or were another number, and
        everything from the first trial on that the oracle does not propose again.

        Args:
            retry_failed: Whether trials that failed count as not ended.
        """
        entries = [*itertools.takewhile(_is_whole, self._log.read())]
        self.executions.reread()
        # Until nothing is left out: without a trial's end the oracle may propose something else.
        while (replayed := self._replay(entries, retry_failed)) != entries:
            entries = replayed
        self._replayed = entries

    def _replay(
        self, entries: Sequence[dict[str, Any]], retry_failed: bool
    ) -> list[dict[str, Any]]:
        """Replay entries with a new oracle; return those that were not left out."""
        self.renew(self.oracle.seed)
        replayed = []
        for entry in entries:
            if "ask" in entry:
                trial = oracles.ask(self.oracle, entry["values"])
                if trial is None or trial.hyperparameters.values != entry["values"]:
                    break
            elif self._holds(entry, retry_failed):
                end = {n: v for n, v in entry.items() if n not in ("tell", "executions")}
                oracles.tell(self.oracle, entry["tell"], **end)
            else:
                continue
            replayed.append(entry)
        return replayed

    def _holds(self, end: Mapping[str, Any], retry_failed: bool) -> bool:
        """Whether the end of a trial in the log is still valid."""
        if end["executions"] != self._planned:
            return False
        if end["failure"]:
            return not retry_failed
        taken = len(end["scores"])
        return (taken == self._planned or self._is_race) and all(
            (end["tell"], number) in self.executions.records for number in range(taken)
        )

    def has_changed(self) -> bool:
        """Reread the executions; whether the folder holds another state than was replayed."""
        known = dict(self.executions.records)
        self.executions.reread()
        return self.executions.records != known or self._log.read() != self._replayed

    def begin(self, retry_failed: bool) -> None:
        """Queue what trials under way still lack, and completed ones whose records are damaged."""
        self._log.write(self._replayed or [])
        self.executions.rewrite()
        self._replayed = None  # the oracle changes from here on
        self._retry = retry_failed
        self._waiting.clear()  # of an interrupted session, as are the outcomes
        self._outcomes.clear()
        for trial in self.oracle.trials.values():
            if trial.status == TrialStatus.RUNNING:
                self._queue(trial)
            else:
                self._report(self._planned)

    def has_next(self) -> bool:
        """Whether there is anything to run."""
        if (spec := self.next()) is not None:
            self._waiting.appendleft(spec)
        return spec is not None

    def _report(self, executions: int) -> None:
        for _ in range(executions):
            self._on_progress()

    def next(self) -> ExecutionSpec | None:
        """What to run next; None where nothing can be begun now."""
        steps = [self._ask, self._race] if self._is_race else [self._ask]
        if oracles.is_adaptive(self.oracle):
            steps.reverse()  # it proposes better with more scores
        while not self._waiting:
            if not any(step() for step in steps):
                return None
        return self._waiting.popleft()

    def _ask(self) -> bool:
        """Queue a new trial, if there is one."""
        trial = oracles.ask(self.oracle)
        if trial is None:
            return False
        self._log.append({"ask": trial.trial_id, "values": dict(trial.hyperparameters.values)})
        self._queue(trial)
        return True

    def _queue(self, trial: Trial) -> None:
        """Queue the trial's executions, in a race its next one."""
        outcomes = self._outcomes.setdefault(trial.trial_id, {})
        taken = len(outcomes)
        parent = trial.hyperparameters.values.get("tuner/trial_id")
        for number in range(taken, taken + 1 if self._is_race else self._planned):
            held = None if parent is None else self.executions.load_with_state(parent, number)
            values = trial.hyperparameters.copy()
            self._waiting.append(ExecutionSpec(trial.trial_id, number, values, held, self._folds))
            outcomes[number] = None

    def saved(self, fingerprint: str, spec: ExecutionSpec) -> ExecutionRecord | None:
        """The record of an execution if it is in the folder; not if it is to be retried."""
        record = self.executions.records.get((spec.trial, spec.number))
        if record is None or record.id != spec.identity(fingerprint):
            return None
        return record if record.status == "finished" or not self._retry else None

    def take(self, spec: ExecutionSpec, cause: str) -> None:
        """An execution has ended; with the last one of its trial, that one ends."""
        outcomes = self._outcomes[spec.trial]
        which = f"seed {spec.seed}" if spec.fold is None else f"seed {spec.seed}, fold {spec.fold}"
        outcomes[spec.number] = f"{which}: {cause}" if cause else ""
        self._report(1)
        is_complete = len(outcomes) == self._planned and None not in outcomes.values()
        if is_complete or (self._is_race and cause):
            self._end(spec.trial)

    def _race(self) -> bool:
        """Queue an execution of the most promising trial, or end those that cannot win."""
        idle = [trial for trial, ended in self._outcomes.items() if None not in ended.values()]
        if not idle:
            return False
        trials, share = self.oracle.trials, 1.0
        scores = {name: found for name in trials if (found := self._scores(name))}
        names = list(scores)
        if oracles.is_adaptive(self.oracle):  # else no trial was stopped before, and none will come
            ended = [name for name in names if name not in self._outcomes]
            stopped = sum(len(scores[name]) < self._planned for name in ended)
            to_come = max((self.oracle.max_trials or 0) - len(trials), 0)
            share = len(idle) / (len(idle) + stopped + to_come)
        chosen, means = racing.most_promising(
            list(scores.values()),
            self._planned,
            [names.index(name) for name in idle],
            self.oracle.objective.direction,
            share,
        )
        if chosen is not None:
            self._queue(trials[names[chosen]])
            return True
        for name in idle:
            self._end(name, float(means[names.index(name)]))
        return False

    def _scores(self, trial_id: str) -> list[float]:
        """The scores of a trial's executions, as far as they are known; none of a failed one."""
        if trial_id in self._outcomes:
            taken = sum(cause is not None for cause in self._outcomes[trial_id].values())
        else:
            taken = len(oracles.scores_of(self.oracle, self.oracle.trials[trial_id]))
        records = [self.executions.records.get((trial_id, number)) for number in range(taken)]
        return [record.score for record in records if record and record.score is not None]

    def _end(self, trial_id: str, mean: float | None = None) -> None:
        """End a trial; `mean` is what the mean over all its executions is expected to be."""
        scores, outcomes = self._scores(trial_id), self._outcomes.pop(trial_id)
        self._report(self._planned - len(outcomes))
        failure = "; ".join(cause for _, cause in sorted(outcomes.items()) if cause)
        end: dict[str, Any] = {"scores": [], "epochs": 0, "failure": failure}
        if not failure:
            records = [self.executions.records[trial_id, number] for number in sorted(outcomes)]
            if mean is not None:  # moved to where it compares with complete trials
                scores = [score + mean - fmean(scores) for score in scores]
            end |= {
                "scores": scores,
                "epochs": max(record.epochs for record in records),
                "hyperparameters": records[0].hyperparameters,
            }
        oracles.tell(self.oracle, trial_id, **end)
        self._log.append({"tell": trial_id, "executions": self._planned, **end})
        if self.prints:
            self._print_end(self.oracle.trials[trial_id])

    def _print_end(self, trial: Trial) -> None:
        text = f"failed: {trial.message}"
        if trial.status == TrialStatus.COMPLETED:
            (best,) = self.oracle.get_best_trials(1)
            name = self.oracle.objective.name
            text = f"ended: {name} {trial.score:.4g}, best so far {best.score:.4g}"
        write_line(f"Trial {trial.trial_id} {text}")


def _is_whole(entry: Mapping[str, Any]) -> bool:
    return entry.keys() >= _ASKED or entry.keys() >= _ENDED
