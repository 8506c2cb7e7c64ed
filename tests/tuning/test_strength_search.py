"""The tuning lab's searches: one budget, separate and tied, and Hyperband ends at full epochs."""

import math
from collections import Counter

import pytest
from fake_executions import FakeExecutions
from tuning_samples import run_fake, thread_workers

from dlip_reg.tuning import make_oracle
from dlip_reg.tuning.hyperband import rounds, size
from dlip_reg.tuning.results import execution_rows, trial_rows
from dlip_reg.tuning.strength_search import Preset, Search, best_ratios, trials_to_draw

KINDS = ("random", "grid", "hyperband")


def searched(path, kind, tied, trials, workers=3, epochs=10):
    """A finished search of the lab, of executions that train nothing, with two seeds."""
    preset = Preset(2, trials, epochs, n_train=60, n_validation=40, minutes=1, n_test=10)
    run = preset.run("lenet5", "fashion_mnist_subset")
    (path / "calls").mkdir(exist_ok=True)
    with thread_workers(workers) as pool:
        tuner = Search(kind, tied).tuner(preset, run, pool, path)
        run_fake(tuner, FakeExecutions(path / "calls"), epochs=epochs)
    return preset, tuner


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trials", [3, 8, 10])
def test_separate_and_tied_have_one_budget_seeds_and_range(tmp_path, kind, trials):
    budgets = []
    for tied in (False, True):
        preset, tuner = searched(tmp_path, kind, tied, trials)
        rows = trial_rows(tuner)
        assert {row["status"] for row in rows} == {"completed"}
        budgets.append(Counter(row["epochs"] for row in rows))
        assert len(rows) == Search(kind, tied).trials(preset)
        # What it costs is what the announcement reckons with.
        cost = sum(trial["cost"] for trial in trials_to_draw(tuner, preset.epochs))
        assert cost == pytest.approx(Search(kind, tied).trainings(preset))
        assert [(row["trial"], row["seed"]) for row in execution_rows(tuner)] == [
            (row["trial"], seed) for row in rows for seed in range(2)
        ]
        strengths = [row[name] for row in rows for name in tuner.hypermodel.space.names]
        assert min(strengths) >= 3e-4 and max(strengths) <= 3e-2
        if kind == "grid":
            assert {min(strengths), max(strengths)} == {3e-4, 3e-2}
    separate, tied = budgets
    assert separate == tied
    assert kind == "hyperband" or set(separate) == {10}


@pytest.mark.parametrize("workers", [1, 4])
def test_hyperband_promotes_and_what_is_compared_trained_all_epochs(tmp_path, workers):
    preset, tuner = searched(tmp_path, "hyperband", False, 8, workers)
    rows = trial_rows(tuner)
    # Li et al. 2018: brackets from the most aggressive one to plain random search.
    assert Counter(row["epochs"] for row in rows) == {2: 12, 4: 4 + 6, 10: 2 + 2 + 4}
    assert sum(row["tuner/initial_epoch"] > 0 for row in rows) == 4 + 2 + 2
    best = tuner.oracle.get_best_trials(1)[0]
    assert best.best_step == 10
    whole = [trial for trial in trials_to_draw(tuner, preset.epochs) if trial["whole"]]
    assert len(whole) == 8 and all(len(trial["scores"]) == 2 for trial in whole)
    # With each seed, of the trials that trained all epochs the most accurate one.
    names = ("conv_l2", "dense_l2")
    assert best_ratios(tuner, preset.epochs) == [
        math.log10(best["strengths"][names[0]] / best["strengths"][names[1]])
        for best in (max(whole, key=lambda trial: trial["scores"][seed]) for seed in range(2))
    ]


@pytest.mark.parametrize("max_epochs", [1, 2, 3, 4, 9, 10, 15, 20, 27, 81, 100, 243])
def test_a_run_of_hyperband_is_as_large_as_keras_tuner_makes_it(max_epochs):
    oracle = make_oracle("hyperband", max_trials=1, max_epochs=max_epochs)
    expected = [
        (oracle._get_size(bracket, number), oracle._get_epochs(bracket, number))
        for bracket in reversed(range(oracle._get_num_brackets()))
        for number in range(bracket + 1)
    ]
    assert [(trials, end) for trials, _, end in rounds(max_epochs)] == expected
    assert expected[-1][1] == max_epochs
    assert oracle.hyperband_iterations == size(1, max_epochs).runs == 1
