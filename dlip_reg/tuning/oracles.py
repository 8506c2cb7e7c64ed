"""keras-tuner's oracles, asked and told so that a search repeats and can be taken up again.

What is done here to an oracle from outside, and why:

- the random draws of a trial come from the oracle's seed and the trial's number alone, so that they
  survive a restart and that searches with neighbouring seeds share no trials;
- a grid goes on to the next point without waiting for the last one's score;
- nothing is written at the oracle's own moments, which lie between the changes of one step: the
  tuner writes the whole state after each.
"""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner import oracles
from keras_tuner.engine.trial import Trial, TrialStatus

from dlip_reg.tuning import TUNERS
from dlip_reg.tuning.objective import make_objective

# So often a point that was tried before is drawn again before the space counts as exhausted;
# keras-tuner's 20 leave out points of small grids.
_MOST_COLLISIONS = 1000


def make_oracle(
    kind: str = "random",
    *,
    max_trials: int = 10,
    max_epochs: int = 10,
    objective: str = "clean_val_accuracy",
    seed: int = 0,
) -> keras_tuner.Oracle:
    """The oracle of that kind: "random", "bayesian", "hyperband" or "grid".

    Hyperband trains trials for up to `max_epochs` epochs, in as many brackets as `max_trials`
    allows. Bayesian optimization needs scikit-learn. ValueError for another kind or objective and
    numbers that are not whole or too small.
    """
    if kind not in TUNERS:
        raise ValueError(f"Unknown tuner {kind!r}; known are {', '.join(TUNERS)}.")
    for name, value, least in (
        ("max_trials", max_trials, 1),
        ("max_epochs", max_epochs, 1),
        ("seed", seed, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be a whole number of {least} or more, not {value!r}.")
    # keras-tuner takes a seed of 0 for none at all.
    common: dict[str, Any] = {"objective": make_objective(objective), "seed": _draw("oracle", seed)}
    if kind == "hyperband":
        oracle = oracles.HyperbandOracle(**common, max_epochs=max_epochs, hyperband_iterations=1000)
        oracle.max_trials = max_trials
        return oracle
    return {
        "random": oracles.RandomSearchOracle,
        "bayesian": oracles.BayesianOptimizationOracle,
        "grid": oracles.GridSearchOracle,
    }[kind](**common, max_trials=max_trials)


def prepare(oracle: keras_tuner.Oracle) -> None:
    """Make the oracle quiet, and leave its saving and best list to the tuner."""
    oracle.verbose = 0
    oracle.max_consecutive_failed_trials = None  # a failed trial never ends a search
    oracle._max_collisions = _MOST_COLLISIONS
    oracle.save = lambda: None
    oracle._save_trial = lambda trial: None
    oracle.get_best_trials = lambda num_trials=1: best_trials(oracle)[:num_trials]


def is_adaptive(oracle: keras_tuner.Oracle) -> bool:
    """Whether what it proposes depends on the scores it was told."""
    return not isinstance(oracle, oracles.RandomSearchOracle | oracles.GridSearchOracle)


def ask(oracle: keras_tuner.Oracle) -> Trial | None:
    """The next trial, or None where there is none for now (it may have to wait for a score)."""
    number = len(oracle.trials)
    seed = _draw(oracle.seed, number)
    oracle._seed_state = seed
    if hasattr(oracle, "_random_state"):  # the Bayesian one's second source
        oracle._random_state = np.random.RandomState(seed)
    with warnings.catch_warnings():
        # scikit-learn's, of a Gaussian process with few trials; nothing that one could do.
        warnings.filterwarnings("ignore", module="sklearn")
        trial = oracle.create_trial(f"trial {number}")
    if trial.status != TrialStatus.RUNNING:
        return None
    if isinstance(oracle, oracles.GridSearchOracle):
        oracle._populate_next.append(trial.trial_id)
    return trial


def tell(oracle: keras_tuner.Oracle, trial: Trial, scores: dict[str, list[float]], step: int):
    """End `trial` with one value of every metric for each execution, after `step` epochs."""
    for name, values in scores.items():
        trial.metrics.register(name, direction="max" if name.endswith("accuracy") else "min")
        for value in values:
            trial.metrics.update(name, value, step=step)
    trial.status, trial.message = TrialStatus.COMPLETED, None
    oracle.end_trial(trial)


def tell_failure(oracle: keras_tuner.Oracle, trial: Trial, message: str) -> None:
    """End `trial` as failed."""
    trial.status, trial.message = TrialStatus.FAILED, message
    oracle.end_trial(trial)


def take_back(oracle: keras_tuner.Oracle, trial: Trial) -> None:
    """A failed trial is under way again."""
    trial.status, trial.message = TrialStatus.RUNNING, None
    oracle.end_order.remove(trial.trial_id)
    oracle._run_times[trial.trial_id] = 0
    oracle.ongoing_trials[f"trial {trial.trial_id} again"] = trial


def best_trials(oracle: keras_tuner.Oracle) -> list[Trial]:
    """The trials that came to a score, best first, ties in the order they were begun.

    One that Hyperband went on with is left out for the trial that went on.
    """
    completed = [t for t in oracle.trials.values() if t.status == TrialStatus.COMPLETED]
    continued = {t.hyperparameters.values.get("tuner/trial_id") for t in completed}
    sign = -1 if oracle.objective.direction == "max" else 1
    kept = [t for t in completed if t.trial_id not in continued]
    return sorted(kept, key=lambda trial: (sign * trial.score, int(trial.trial_id)))


def get_state(oracle: keras_tuner.Oracle) -> dict[str, Any]:
    """What `set_state` needs beside the trials: keras-tuner's own state, and the grid's order."""
    state = oracle.get_state()
    if isinstance(oracle, oracles.GridSearchOracle):
        state["grid"] = {"order": _order(oracle), "populate_next": list(oracle._populate_next)}
    return state


def set_state(oracle: keras_tuner.Oracle, state: dict[str, Any], trials: list[Trial]) -> None:
    """Put the oracle back to where `get_state` was called, with these trials."""
    oracle.trials = {trial.trial_id: trial for trial in trials}
    oracle.set_state(state)
    oracle._retry_queue = []
    if isinstance(oracle, oracles.GridSearchOracle):
        oracle._ordered_ids = type(oracle._ordered_ids)()
        previous = None
        for trial_id in state["grid"]["order"]:
            oracle._ordered_ids.insert(trial_id, previous)
            previous = trial_id
        oracle._populate_next = state["grid"]["populate_next"]


def _order(oracle: keras_tuner.Oracle) -> list[str]:
    """The grid's trials along its order of points, which is not that in which they were begun."""
    ids, index = [], oracle._ordered_ids._next_index[None]
    while index is not None:
        ids.append(oracle._ordered_ids._memory[index])
        index = oracle._ordered_ids._next_index[index]
    return ids


def _draw(*sources: Any) -> int:
    """A seed that differs for every combination of sources, below 2**31 and never 0."""
    digest = hashlib.sha256("/".join(map(str, sources)).encode()).digest()
    return int.from_bytes(digest[:4], "big") // 2 or 1
