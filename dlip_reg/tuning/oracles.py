"""keras-tuner's oracles made deterministic and resumable.

How an oracle is changed, and why:

- the random draws of a trial depend only on the oracle's seed and the trial's number, so that a
  resumed search repeats them and searches with neighbouring seeds share no trials;
- a grid proposes its next point without waiting for the last one's score;
- the oracle writes no files, because it does so in the middle of a step: the tuner writes the whole
  state after each step.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterator
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner import oracles
from keras_tuner.engine.trial import Trial, TrialStatus

from dlip_reg.checks import require_whole
from dlip_reg.tuning import TUNERS
from dlip_reg.tuning.hyperband import whole_runs
from dlip_reg.tuning.objective import make_objective

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
    if kind not in TUNERS:
        raise ValueError(f"Unknown tuner {kind!r}; known are {', '.join(TUNERS)}.")
    for name, value, least in (
        ("max_trials", max_trials, 1),
        ("max_epochs", max_epochs, 1),
        ("seed", seed, 0),
    ):
        require_whole(name, value, least)
    # keras-tuner takes a seed of 0 for none at all.
    common: dict[str, Any] = {"objective": make_objective(objective), "seed": _draw("oracle", seed)}
    if kind == "hyperband":
        runs = whole_runs(max_trials, max_epochs)
        return oracles.HyperbandOracle(**common, max_epochs=max_epochs, hyperband_iterations=runs)
    return {
        "random": oracles.RandomSearchOracle,
        "bayesian": oracles.BayesianOptimizationOracle,
        "grid": oracles.GridSearchOracle,
    }[kind](**common, max_trials=max_trials)


def prepare(oracle: keras_tuner.Oracle) -> None:
    """Turn off the oracle's output and saving, and replace its list of best trials."""
    oracle.verbose = 0
    oracle.max_consecutive_failed_trials = None  # a failed trial never ends a search
    oracle._max_collisions = _MOST_COLLISIONS
    oracle.save = lambda: None
    oracle._save_trial = lambda trial: None
    oracle.get_best_trials = lambda num_trials=1: best_trials(oracle)[:num_trials]


def adopt_seed(oracle: keras_tuner.Oracle, seed: int) -> None:
    """Use the seed of an earlier session if keras-tuner may have drawn both.

    Then they differ although the caller chose neither.
    """
    if oracle.seed in _DRAWN_SEEDS and seed in _DRAWN_SEEDS:
        oracle.seed = seed
        if isinstance(oracle, oracles.BayesianOptimizationOracle):
            oracle.gpr = oracle._make_gpr()


def is_adaptive(oracle: keras_tuner.Oracle) -> bool:
    """Whether its proposals depend on the scores of earlier trials."""
    return not isinstance(oracle, oracles.RandomSearchOracle | oracles.GridSearchOracle)


def is_slow(oracle: keras_tuner.Oracle) -> bool:
    """Whether a proposal takes a substantial part of a second."""
    return isinstance(oracle, oracles.BayesianOptimizationOracle)


def ask(oracle: keras_tuner.Oracle) -> Trial | None:
    """Return the next trial; None if there is none until another trial has a score."""
    number, most = len(oracle.trials), oracle.max_trials
    if most and number >= most:
        return None
    seed = _draw(oracle.seed, number)
    oracle._seed_state = seed
    bayesian = isinstance(oracle, oracles.BayesianOptimizationOracle)
    oracle.max_trials = _MOST_TRIALS
    try:
        with _gaussian_process() if bayesian else contextlib.nullcontext():
            if bayesian:
                oracle._random_state = np.random.RandomState(seed)  # its second source
                _fit_completed(oracle)
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


def tell(oracle: keras_tuner.Oracle, trial: Trial, scores: dict[str, list[float]], step: int):
    """End `trial` with one value of every metric for each execution, after `step` epochs."""
    for name, values in scores.items():
        trial.metrics.register(name, direction="max" if name.endswith("accuracy") else "min")
        for value in values:
            trial.metrics.update(name, value, step=step)
    trial.status, trial.message = TrialStatus.COMPLETED, None
    oracle.end_trial(trial)


def tell_failure(oracle: keras_tuner.Oracle, trial: Trial, message: str) -> None:
    """End `trial` as failed, with that message."""
    trial.status, trial.message = TrialStatus.FAILED, message
    oracle.end_trial(trial)


def take_back(oracle: keras_tuner.Oracle, trial: Trial) -> None:
    """Reset a trial that had ended to running."""
    trial.status, trial.message, trial.score = TrialStatus.RUNNING, None, None
    trial.metrics = type(trial.metrics)()
    oracle.end_order.remove(trial.trial_id)
    oracle._run_times[trial.trial_id] = 0
    oracle.ongoing_trials[f"trial {trial.trial_id} again"] = trial


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


def get_state(oracle: keras_tuner.Oracle) -> dict[str, Any]:
    """Return what `set_state` needs: keras-tuner's own state, and the grid's order."""
    state = oracle.get_state()
    if isinstance(oracle, oracles.GridSearchOracle):
        state["grid"] = {"order": _order(oracle), "populate_next": list(oracle._populate_next)}
    return state


def set_state(oracle: keras_tuner.Oracle, state: dict[str, Any], trials: list[Trial]) -> None:
    """Restore the state that `get_state` returned, with these trials."""
    oracle.trials = {trial.trial_id: trial for trial in trials}
    runs = getattr(oracle, "hyperband_iterations", None)
    oracle.set_state(state)
    oracle._retry_queue = []
    if runs is not None:  # those of now, which may be more
        oracle.hyperband_iterations = max(runs, oracle._current_iteration + 1)
    if isinstance(oracle, oracles.GridSearchOracle):
        oracle._ordered_ids = type(oracle._ordered_ids)()
        previous = None
        for trial_id in state["grid"]["order"]:
            oracle._ordered_ids.insert(trial_id, previous)
            previous = trial_id
        oracle._populate_next = state["grid"]["populate_next"]


def _order(oracle: keras_tuner.Oracle) -> list[str]:
    """Return the grid's trials in the order of its points (not that in which they were begun)."""
    ids, index = [], oracle._ordered_ids._next_index[None]
    while index is not None:
        ids.append(oracle._ordered_ids._memory[index])
        index = oracle._ordered_ids._next_index[index]
    return ids


def _draw(*sources: Any) -> int:
    """Return a seed for this combination of sources: below 2**31, not in `_DRAWN_SEEDS`."""
    digest = hashlib.sha256("/".join(map(str, sources)).encode()).digest()
    return max(int.from_bytes(digest[:4], "big") // 2, _DRAWN_SEEDS.stop)
