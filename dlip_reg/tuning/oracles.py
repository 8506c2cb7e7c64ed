"""keras-tuner's oracles, asked and told so that a search repeats and can be taken up again.

What is done here to an oracle from outside, and why:

- the random draws of a trial come from the oracle's seed and the trial's number alone, so that they
  survive a restart and that searches with neighbouring seeds share no trials;
- a grid goes on to the next point without waiting for the last one's score;
- nothing is written at the oracle's own moments, which lie between the changes of one step: the
  tuner writes the whole state after each.
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

from dlip_reg.tuning import TUNERS
from dlip_reg.tuning.hyperband import whole_runs
from dlip_reg.tuning.objective import make_objective

# So often a point that was tried before is drawn again before the space counts as exhausted;
# keras-tuner's 20 leave out points of small grids.
_MOST_COLLISIONS = 1000
# keras-tuner pads a trial's id to the digits of `max_trials`, which may grow from one sitting to
# the next; with this one all have four.
_MOST_TRIALS = 9999
# Where it is given no seed, keras-tuner draws one of these.
_DRAWN_SEEDS = range(1, 10_001)


def make_oracle(
    kind: str = "random",
    *,
    max_trials: int = 10,
    max_epochs: int = 10,
    objective: str = "clean_val_accuracy",
    seed: int = 0,
) -> keras_tuner.Oracle:
    """The oracle of that kind: "random", "bayesian", "hyperband" or "grid".

    Hyperband trains trials for up to `max_epochs` epochs, in whole runs of all its brackets: as few
    as hold `max_trials` trials. Bayesian optimization needs scikit-learn. ValueError for another
    kind or objective and numbers that are not whole or too small.
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
        runs = whole_runs(max_trials, max_epochs)
        return oracles.HyperbandOracle(**common, max_epochs=max_epochs, hyperband_iterations=runs)
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


def adopt_seed(oracle: keras_tuner.Oracle, seed: int) -> None:
    """Go on with the seed of an earlier sitting, if both may be keras-tuner's own draws.

    They then differ with nobody having asked for that.
    """
    if oracle.seed in _DRAWN_SEEDS and seed in _DRAWN_SEEDS:
        oracle.seed = seed
        if isinstance(oracle, oracles.BayesianOptimizationOracle):
            oracle.gpr = oracle._make_gpr()


def is_adaptive(oracle: keras_tuner.Oracle) -> bool:
    """Whether what it proposes depends on the scores it was told."""
    return not isinstance(oracle, oracles.RandomSearchOracle | oracles.GridSearchOracle)


def is_slow(oracle: keras_tuner.Oracle) -> bool:
    """Whether it takes a good part of a second to propose a trial."""
    return isinstance(oracle, oracles.BayesianOptimizationOracle)


def ask(oracle: keras_tuner.Oracle) -> Trial | None:
    """The next trial, or None where there is none for now (it may have to wait for a score)."""
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
    """For scikit-learn's many small steps, which several threads make ten times as long."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        # Of a Gaussian process with few trials; nothing that one could do.
        warnings.filterwarnings("ignore", module="sklearn")
        yield


def _fit_completed(oracle: oracles.BayesianOptimizationOracle) -> None:
    """Let what the oracle expects of the trials in flight come from those that have ended.

    By itself it takes the fit of the time before, of which a new sitting has none.
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
    """End `trial` as failed."""
    trial.status, trial.message = TrialStatus.FAILED, message
    oracle.end_trial(trial)


def take_back(oracle: keras_tuner.Oracle, trial: Trial) -> None:
    """A trial that had ended is under way again."""
    trial.status, trial.message, trial.score = TrialStatus.RUNNING, None, None
    trial.metrics = type(trial.metrics)()
    oracle.end_order.remove(trial.trial_id)
    oracle._run_times[trial.trial_id] = 0
    oracle.ongoing_trials[f"trial {trial.trial_id} again"] = trial


def best_trials(oracle: keras_tuner.Oracle) -> list[Trial]:
    """The trials that came to a score, best first, ties in the order they were begun.

    One that Hyperband went on with is left out for the trial that went on, and those that trained
    longest come first: a score after fewer epochs is another measure.
    """
    completed = [t for t in oracle.trials.values() if t.status == TrialStatus.COMPLETED]
    continued = {t.hyperparameters.values.get("tuner/trial_id") for t in completed}
    sign = -1 if oracle.objective.direction == "max" else 1
    kept = [t for t in completed if t.trial_id not in continued]
    return sorted(kept, key=lambda t: (-t.best_step, sign * t.score, int(t.trial_id)))


def get_state(oracle: keras_tuner.Oracle) -> dict[str, Any]:
    """What `set_state` needs beside the trials: keras-tuner's own state, and the grid's order."""
    state = oracle.get_state()
    if isinstance(oracle, oracles.GridSearchOracle):
        state["grid"] = {"order": _order(oracle), "populate_next": list(oracle._populate_next)}
    return state


def set_state(oracle: keras_tuner.Oracle, state: dict[str, Any], trials: list[Trial]) -> None:
    """Put the oracle back to where `get_state` was called, with these trials."""
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
    """The grid's trials along its order of points, which is not that in which they were begun."""
    ids, index = [], oracle._ordered_ids._next_index[None]
    while index is not None:
        ids.append(oracle._ordered_ids._memory[index])
        index = oracle._ordered_ids._next_index[index]
    return ids


def _draw(*sources: Any) -> int:
    """A seed that differs for every combination of sources: below 2**31, none of `_DRAWN_SEEDS`."""
    digest = hashlib.sha256("/".join(map(str, sources)).encode()).digest()
    return max(int.from_bytes(digest[:4], "big") // 2, _DRAWN_SEEDS.stop)
