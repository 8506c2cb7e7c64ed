"""keras-tuner's oracles made deterministic, so that replaying a log restores them.

How an oracle is changed, and why:

- the random draws of a trial depend only on the oracle's seed and the trial's number, so that a
  resumed search repeats them and searches with neighbouring seeds share no trials;
- a grid proposes its next point without waiting for the last one's score;
- the oracle writes no files: the tuner's log is the only state.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner import oracles
from keras_tuner.engine.trial import Trial, TrialStatus

from dlip_reg.checks import require_whole
from dlip_reg.tuning.hyperband import whole_runs
from dlip_reg.tuning.objective import make_objective

_KINDS = {
    "random": oracles.RandomSearchOracle,
    "bayesian": oracles.BayesianOptimizationOracle,
    "hyperband": oracles.HyperbandOracle,
    "grid": oracles.GridSearchOracle,
}
# After so many draws of points that were tried before, the space counts as exhausted; keras-tuner's
# 20 leave out points of small grids.
_MOST_COLLISIONS = 1000
# keras-tuner pads a trial's id to the digits of `max_trials`, which may grow from one session to
# the next; with this one all have four.
_MOST_TRIALS = 9999
# Without a seed, keras-tuner draws one of these.
_DRAWN_SEEDS = range(1, 10_001)


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
    size: dict[str, int] = {"max_trials": max_trials}
    if kind == "hyperband":
        runs = whole_runs(max_trials, max_epochs)
        size = {"max_epochs": max_epochs, "hyperband_iterations": runs}
    # keras-tuner takes a seed of 0 for none at all.
    return _KINDS[kind](objective=make_objective(objective), seed=_draw("oracle", seed), **size)


def prepare(oracle: keras_tuner.Oracle) -> None:
    """Turn off the oracle's output and saving, and replace its list of best trials."""
    oracle.verbose = 0
    oracle.max_consecutive_failed_trials = None  # a failed trial never ends a search
    oracle._max_collisions = _MOST_COLLISIONS
    oracle.save = lambda: None
    oracle._save_trial = lambda trial: None
    oracle.get_best_trials = lambda num_trials=1: best_trials(oracle)[:num_trials]


def adopt_seed(oracle: keras_tuner.Oracle, seed: Any) -> None:
    """Use the seed of an earlier session if keras-tuner may have drawn both.

    Then they differ although the caller chose neither.
    """
    if oracle.seed in _DRAWN_SEEDS and seed in _DRAWN_SEEDS:
        oracle.seed = seed
        if is_slow(oracle):
            oracle.gpr.random_state = seed


def is_adaptive(oracle: keras_tuner.Oracle) -> bool:
    """Whether its proposals depend on the scores of earlier trials."""
    return not isinstance(oracle, oracles.RandomSearchOracle | oracles.GridSearchOracle)


def is_slow(oracle: keras_tuner.Oracle) -> bool:
    """Whether a proposal takes a substantial part of a second: it fits a Gaussian process."""
    return isinstance(oracle, oracles.BayesianOptimizationOracle)


def ask(oracle: keras_tuner.Oracle) -> Trial | None:
    """Return the next trial; None if there is none until another trial has a score."""
    if oracle.max_trials and len(oracle.trials) >= oracle.max_trials:
        return None
    if not is_slow(oracle):
        return _create_trial(oracle)
    with _gaussian_process():
        oracle._random_state = np.random.RandomState(_draw(oracle.seed, len(oracle.trials)))
        _fit_completed(oracle)
        return _create_trial(oracle)


def ask_again(oracle: keras_tuner.Oracle, values: Mapping[str, Any]) -> Trial | None:
    """Return the next trial, which had these values in an earlier session.

    The limits on the number of trials do not count, and a Gaussian process is not fitted again. The
    values are others, or there is no trial, if what came before differs from that session.
    """
    runs = getattr(oracle, "hyperband_iterations", None)
    if runs is not None:
        oracle.hyperband_iterations = math.inf
    if is_slow(oracle):
        answer = {"status": TrialStatus.RUNNING, "values": dict(values)}
        oracle.populate_space = lambda trial_id: answer
    try:
        return _create_trial(oracle)
    finally:
        if runs is not None:  # one that has begun is completed
            oracle.hyperband_iterations = max(runs, oracle._current_iteration + 1)
        vars(oracle).pop("populate_space", None)


def _create_trial(oracle: keras_tuner.Oracle) -> Trial | None:
    number, most = len(oracle.trials), oracle.max_trials
    oracle._seed_state = _draw(oracle.seed, number)
    oracle.max_trials = _MOST_TRIALS
    try:
        trial = oracle.create_trial(f"trial {number}")
    finally:
        oracle.max_trials = most
    if trial.status != TrialStatus.RUNNING:
        return None
    if isinstance(oracle, oracles.GridSearchOracle):
        oracle._populate_next.append(trial.trial_id)
    return trial


@contextlib.contextmanager
def _gaussian_process() -> Iterator[None]:
    """Limit scikit-learn to one thread: with several, its small steps take ten times as long."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        # A Gaussian process with few trials warns; there is no remedy.
        warnings.filterwarnings("ignore", module="sklearn")
        yield


def _fit_completed(oracle: oracles.BayesianOptimizationOracle) -> None:
    """Fit the Gaussian process to the ended trials, to predict those in flight.

    The oracle itself uses its previous fit, which a new session does not have.
    """
    trials = oracle.trials
    completed = {k: t for k, t in trials.items() if t.status == TrialStatus.COMPLETED}
    if oracle.ongoing_trials and completed:
        oracle.trials = completed
        try:
            oracle.gpr.fit(*oracle._vectorize_trials())
        finally:
            oracle.trials = trials


def tell(
    oracle: keras_tuner.Oracle,
    trial_id: str,
    scores: Mapping[str, Sequence[float]],
    epochs: int,
    failure: str = "",
) -> None:
    """End a trial.

    Args:
        oracle: The oracle that proposed it.
        trial_id: The trial.
        scores: Metric -> one value for each execution, after `epochs` epochs.
        epochs: The number of epochs.
        failure: Why the trial failed; "" if it did not.
    """
    trial = oracle.trials[trial_id]
    for name, values in scores.items():
        trial.metrics.register(name, direction="max" if name.endswith("accuracy") else "min")
        for value in values:
            trial.metrics.update(name, value, step=epochs)
    trial.status = TrialStatus.FAILED if failure else TrialStatus.COMPLETED
    trial.message = failure or None
    oracle.end_trial(trial)


def best_trials(oracle: keras_tuner.Oracle) -> list[Trial]:
    """Return the trials with a score, best first, ties in the order in which they were begun.

    A trial that Hyperband continued is left out, and those that trained longest come first, because
    scores after different numbers of epochs are not comparable.
    """
    completed = [t for t in oracle.trials.values() if t.status == TrialStatus.COMPLETED]
    continued = {t.hyperparameters.values.get("tuner/trial_id") for t in completed}
    sign = -1 if oracle.objective.direction == "max" else 1
    kept = [t for t in completed if t.trial_id not in continued]
    return sorted(kept, key=lambda t: (-t.best_step, sign * t.score, int(t.trial_id)))


def _draw(*sources: Any) -> int:
    """Return a seed for this combination of sources: below 2**31, not in `_DRAWN_SEEDS`."""
    digest = hashlib.sha256("/".join(map(str, sources)).encode()).digest()
    return max(int.from_bytes(digest[:4], "big") // 2, _DRAWN_SEEDS.stop)
