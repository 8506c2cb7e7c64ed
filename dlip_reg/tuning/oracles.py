"""keras-tuner's oracles, used by their public ask and tell so that replaying a log restores them.

An oracle that gets the same requests and scores in the same order proposes the same trials.
keras-tuner's grid waits for scores, and so there is one of our own. The tuner writes its own log,
and the oracle's files are not used.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import itertools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras_tuner
from keras_tuner import oracles
from keras_tuner.engine.trial import Trial, TrialStatus

from dlip_reg.checks import require_whole
from dlip_reg.tuning.objective import make_objective

# keras-tuner gives up after 20 draws of points that were tried before, and so leaves out points of
# small spaces; ours after so many times 20.
_MOST_DRAWS = 50
# keras-tuner pads a trial's id to the digits of `max_trials`, which may grow from one session to
# the next; with this one all have four.
_MOST_TRIALS = 9999
# Without a seed, keras-tuner draws one of these.
_DRAWN_SEEDS = range(1, 10_001)
_FACTOR = 3  # Hyperband promotes one trial in so many, to so many times the epochs


class RandomOracle(oracles.RandomSearchOracle):
    """Random search that tries every point of a small space."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        for _ in range(_MOST_DRAWS):
            answer = super().populate_space(trial_id)
            if answer["status"] == TrialStatus.RUNNING:
                break
        return answer


class GridOracle(oracles.GridSearchOracle):
    """A grid in its order, which does not wait for scores."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        points = self._points({}, self.get_space().space)
        values = next(itertools.islice(points, len(self.trials), None), None)
        if values is None:
            return {"status": TrialStatus.STOPPED}
        return {"status": TrialStatus.RUNNING, "values": values}

    def _points(self, chosen: dict[str, Any], left: Sequence[Any]) -> Iterator[dict[str, Any]]:
        if not left:
            yield chosen
            return
        known = keras_tuner.HyperParameters()
        known.values = chosen
        active = known.is_active(left[0])
        for value in left[0].values if active else [None]:
            yield from self._points({**chosen, left[0].name: value} if active else chosen, left[1:])


_KINDS = {
    "random": RandomOracle,
    "bayesian": oracles.BayesianOptimizationOracle,
    "hyperband": oracles.HyperbandOracle,
    "grid": GridOracle,
}


def make_oracle(
    kind: str = "random",
    *,
    max_trials: int = 10,
    max_epochs: int = 10,
    objective: str = "clean_val_accuracy",
    seed: int = 0,
) -> keras_tuner.Oracle:
    """Make an oracle.

    Args:
        kind: "random", "bayesian" (needs scikit-learn), "hyperband" or "grid".
        max_trials: The number of trials. Hyperband completes all its brackets, as often as is
            needed for so many trials.
        max_epochs: How many epochs Hyperband trains at most.
        objective: "clean_val_accuracy" or "clean_val_loss".
        seed: Decides the proposals.

    Raises:
        ValueError: Another kind or objective, or a number that is not whole or too small.
    """
    if kind not in _KINDS:
        raise ValueError(f"Unknown tuner {kind!r}; known are {', '.join(_KINDS)}.")
    require_whole("max_trials", max_trials)
    require_whole("max_epochs", max_epochs)
    require_whole("seed", seed, least=0)
    limits: dict[str, int] = {"max_trials": max_trials}
    if kind == "hyperband":
        runs = hyperband_size(max_trials, max_epochs).runs
        limits = {"max_epochs": max_epochs, "hyperband_iterations": runs}
    # keras-tuner takes a seed of 0 for none at all, and seeds near each other share trials.
    digest = hashlib.sha256(f"oracle/{seed}".encode()).digest()
    spaced = max(int.from_bytes(digest[:4], "big") // 2, _DRAWN_SEEDS.stop)
    return _KINDS[kind](objective=make_objective(objective), seed=spaced, **limits)


class HyperbandSize(NamedTuple):
    """Runs, and their trials and epochs; a trial that is promoted counts again."""

    runs: int
    trials: int
    epochs: int


def hyperband_size(max_trials: int, max_epochs: int) -> HyperbandSize:
    """Return the size of as many whole runs as have at least `max_trials` trials.

    It is that of Li et al. 2018, algorithm 1, with keras-tuner's rounding.
    """
    trials = epochs = 0
    largest = math.ceil(1 + math.log(max_epochs, _FACTOR))
    brackets = next(k for k in itertools.count() if _FACTOR**k > max_epochs)
    for bracket in range(brackets):
        reached = 0
        for left in reversed(range(bracket + 1)):  # so many rounds come after this one
            count = math.ceil(largest / (bracket + 1) * _FACTOR**left)
            end = math.ceil(max_epochs / _FACTOR**left)
            trials += count
            epochs += count * (end - reached)
            reached = end
    runs = math.ceil(max_trials / trials)
    return HyperbandSize(runs, runs * trials, runs * epochs)


def prepare(oracle: keras_tuner.Oracle, held_seed: Any = None) -> None:
    """Make a new oracle quiet, and give it a folder that nobody reads.

    It gets the seed of an earlier session if keras-tuner may have drawn both: then they differ
    although the caller chose neither.
    """
    # TensorFlow's file system in memory: there a trial is written in half a millisecond less.
    oracle._set_project_dir("ram://dlip_reg", "oracle")
    oracle.save = lambda: None
    oracle.verbose = 0
    oracle.max_consecutive_failed_trials = None  # a failed trial never ends a search
    oracle.get_best_trials = lambda num_trials=1: best_trials(oracle)[:num_trials]
    if oracle.seed in _DRAWN_SEEDS and held_seed in _DRAWN_SEEDS:
        oracle.set_state({**oracle.get_state(), "seed": held_seed, "seed_state": held_seed})


def is_adaptive(oracle: keras_tuner.Oracle) -> bool:
    """Whether its proposals depend on the scores of earlier trials."""
    return not isinstance(oracle, oracles.RandomSearchOracle | GridOracle)


def is_slow(oracle: keras_tuner.Oracle) -> bool:
    """Whether a proposal takes a substantial part of a second: it fits a Gaussian process."""
    return isinstance(oracle, oracles.BayesianOptimizationOracle)


def ask(oracle: keras_tuner.Oracle, logged: Mapping[str, Any] | None = None) -> Trial | None:
    """Return the next trial; None if there is none until another trial has a score.

    Args:
        oracle: The oracle.
        logged: The values of that trial in an earlier session. Then limits on the number of trials
            do not count. The trial has other values if what came before differs.
    """
    number, most = len(oracle.trials), oracle.max_trials
    if logged is None and most and number >= most:
        return None
    runs = getattr(oracle, "hyperband_iterations", None)
    oracle.max_trials = _MOST_TRIALS
    if logged is not None and runs is not None:
        oracle.hyperband_iterations = math.inf
    try:
        with _fitted(oracle) if is_slow(oracle) else contextlib.nullcontext():
            trial = oracle.create_trial(f"trial {number}")
    finally:
        oracle.max_trials = most
        if logged is not None and runs is not None:  # one that has begun is completed
            begun = oracle.get_state()["current_iteration"] + 1
            oracle.hyperband_iterations = max(runs, begun)
    if trial.status != TrialStatus.RUNNING:
        return None
    if logged is not None and is_slow(oracle):
        # The last digits of a fit depend on the machine.
        trial.hyperparameters.values = dict(logged)
    return trial


@contextlib.contextmanager
def _fitted(oracle: oracles.BayesianOptimizationOracle) -> Iterator[None]:
    """Fit the Gaussian process to the ended trials, to predict those in flight.

    The oracle itself uses its previous fit, which lacks the last scores. Within the block
    scikit-learn has one thread: with several, its small steps take ten times as long.
    """
    from threadpoolctl import threadpool_limits

    trials = oracle.trials
    completed = {k: t for k, t in trials.items() if t.status == TrialStatus.COMPLETED}
    with threadpool_limits(1), warnings.catch_warnings():
        # A Gaussian process with few trials warns; there is no remedy.
        warnings.filterwarnings("ignore", module="sklearn")
        if oracle.ongoing_trials and completed:
            oracle.trials = completed
            try:
                oracle.gpr.fit(*oracle._vectorize_trials())
            finally:
                oracle.trials = trials
        yield


def tell(
    oracle: keras_tuner.Oracle,
    trial_id: str,
    scores: Sequence[float],
    epochs: int,
    failure: str = "",
    hyperparameters: Mapping[str, Any] | None = None,
) -> None:
    """End a trial.

    Args:
        oracle: The oracle that proposed it.
        trial_id: The trial.
        scores: The objective's value for each execution, after `epochs` epochs.
        epochs: The number of epochs.
        failure: Why the trial failed; "" if it did not.
        hyperparameters: The configuration of the trial's, where there are more of them by now.
    """
    trial, objective = oracle.trials[trial_id], oracle.objective
    if hyperparameters:
        # A copy, because keras-tuner changes what it is given.
        config = copy.deepcopy(dict(hyperparameters))
        trial.hyperparameters = keras_tuner.HyperParameters.from_config(config)
    if scores:
        trial.metrics.register(objective.name, objective.direction)
    for score in scores:
        trial.metrics.update(objective.name, score, step=epochs)
    trial.status = TrialStatus.FAILED if failure else TrialStatus.COMPLETED
    trial.message = failure or None
    oracle.end_trial(trial)
    oracle.end_order.clear()  # keras-tuner reads all of it each time, to count failures in a row


def scores_of(oracle: keras_tuner.Oracle, trial: Trial) -> list[float]:
    """Return the scores that `tell` was given for a trial; none for a failed one."""
    name = oracle.objective.name
    return list(trial.metrics.get_history(name)[-1].value) if trial.metrics.exists(name) else []


def best_trials(oracle: keras_tuner.Oracle) -> list[Trial]:
    """Return the trials with a score, best first, ties in the order in which they were begun.

    A trial that Hyperband continued is left out, and those that trained longest come first, because
    scores after different numbers of epochs are not comparable.
    """
    completed = [t for t in oracle.trials.values() if t.status == TrialStatus.COMPLETED]
    continued = {t.hyperparameters.values.get("tuner/trial_id") for t in completed}
    sign = -1 if oracle.objective.direction == "max" else 1

    def key(trial: Trial) -> tuple[float, float, int]:
        trained = trial.hyperparameters.values.get("tuner/epochs", 0)
        return -trained, sign * trial.score, int(trial.trial_id)

    return sorted((t for t in completed if t.trial_id not in continued), key=key)
