"""The tuning lab's searches: one budget, separate and tied, and Hyperband ends at full epochs."""

import math
from collections import Counter

import pytest
from fake_executions import FakeExecutions
from tuning_samples import run_fake, thread_workers

from dlip_reg.studies.strength_search.search import Preset, Search
from dlip_reg.training import DataSpec
from dlip_reg.training.specification import RunSpec
from dlip_reg.tuning import make_oracle
from dlip_reg.tuning.oracles import hyperband_size
from dlip_reg.tuning.results import execution_rows, trial_rows

KINDS = ("random", "grid", "hyperband")


def searched(path, kind, tied, trials, workers=3):
    """A finished search of the lab, of executions that train nothing, with two seeds."""
    preset = Preset(2, trials, epochs=10, n_train=60, n_validation=40, minutes=1)
    run = RunSpec("lenet5", DataSpec("fashion_mnist_subset", 60, 40, 10))
    search = Search(kind, tied, preset, run)
    (path / "calls").mkdir(exist_ok=True)
    with thread_workers(workers) as pool:
        search.open(pool, path)
        run_fake(search.tuner, FakeExecutions(path / "calls"), epochs=preset.epochs)
    return search


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trials", [3, 8, 10])
def test_separate_and_tied_have_one_budget_seeds_and_range(tmp_path, kind, trials):
    budgets = []
    for tied in (False, True):
        search = searched(tmp_path, kind, tied, trials)
        rows = trial_rows(search.tuner)
        assert {row["status"] for row in rows} == {"completed"}
        budgets.append(Counter(row["epochs"] for row in rows))
        assert len(rows) == search.trials
        # What it costs is what the announcement reckons with.
        cost = sum(trial["cost"] for trial in search.trials_to_draw())
        assert cost == pytest.approx(search.trainings)
        assert [(row["trial"], row["seed"]) for row in execution_rows(search.tuner)] == [
            (row["trial"], seed) for row in rows for seed in range(2)
        ]
        strengths = [row[name] for row in rows for name in search.tuner.hypermodel.space.names]
        assert min(strengths) >= 3e-4 and max(strengths) <= 3e-2
        if kind == "grid":
            assert {min(strengths), max(strengths)} == {3e-4, 3e-2}
    separate, tied = budgets
    assert separate == tied
    assert kind == "hyperband" or set(separate) == {10}


@pytest.mark.parametrize("workers", [1, 4])
def test_hyperband_promotes_and_what_is_compared_trained_all_epochs(tmp_path, workers):
    search = searched(tmp_path, "hyperband", False, 8, workers)
    rows = trial_rows(search.tuner)
    # Li et al. 2018: brackets from the most aggressive one to plain random search.
    assert Counter(row["epochs"] for row in rows) == {2: 12, 4: 4 + 6, 10: 2 + 2 + 4}
    assert sum(row["tuner/initial_epoch"] > 0 for row in rows) == 4 + 2 + 2
    best = search.tuner.oracle.get_best_trials(100)
    assert best[0].best_step == 10
    # Those that went on are listed once. They did best in the first round of the first bracket.
    parents = {int(row["tuner/trial_id"]) for row in rows if row.get("tuner/trial_id")}
    assert not parents & {int(trial.trial_id) for trial in best}
    first = [row for row in rows if row["epochs"] == 2]
    assert max(first, key=lambda row: row["score"])["trial"] in parents
    whole = [trial for trial in search.trials_to_draw() if trial["whole"]]
    assert len(whole) == 8 and all(len(trial["scores"]) == 2 for trial in whole)
    # With each seed, of the trials that trained all epochs the most accurate one.
    assert search.best_ratios() == [
        math.log10(best["strengths"]["conv_l2"] / best["strengths"]["dense_l2"])
        for best in (max(whole, key=lambda trial: trial["scores"][seed]) for seed in range(2))
    ]


@pytest.mark.parametrize("max_epochs", [1, 2, 3, 4, 9, 10, 15, 20, 27, 81, 100, 243])
def test_a_run_of_hyperband_is_as_large_as_keras_tuner_makes_it(max_epochs):
    oracle = make_oracle("hyperband", max_trials=1, max_epochs=max_epochs)
    trials = epochs = 0
    for bracket in range(oracle._get_num_brackets()):
        reached = 0
        for number in range(bracket + 1):
            end = oracle._get_epochs(bracket, number)
            trials += oracle._get_size(bracket, number)
            epochs += oracle._get_size(bracket, number) * (end - reached)
            reached = end
        assert reached == max_epochs
    assert hyperband_size(1, max_epochs) == (1, trials, epochs)
    assert hyperband_size(trials + 1, max_epochs) == (2, 2 * trials, 2 * epochs)
    assert oracle.hyperband_iterations == 1
