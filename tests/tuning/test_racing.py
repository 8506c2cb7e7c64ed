"""Racing saves executions, and seldom stops the trial that would have been the best."""

import logging
import statistics

import numpy as np
import pytest
from fake_executions import FakeExecutions
from tuning_samples import fake_search, make_tuner, thread_workers

from dlip_reg.tuning import ParallelTuner, make_oracle
from dlip_reg.tuning.racing import ERROR, comparable, will_lose
from dlip_reg.tuning.results import execution_rows, trial_rows


def race(table):
    """The rows (trials) of scores that a race completes, best first, and how many it looked at."""
    complete, looked = [], 0
    for row in table:
        for tried in range(1, len(row) + 1):
            looked += 1
            if tried < len(row) and will_lose(row[:tried], complete):
                break
        else:
            complete = sorted([*complete, row], key=sum, reverse=True)
    return complete, looked


def drawn(random, trials, executions, spread, scatter=1.0):
    """Scores of trials whose true means differ by `spread`, with effects of the seeds."""
    means = random.normal(0, 1, (trials, 1)) * spread
    return means + 3 * random.normal(size=(1, executions)) + scatter * random.normal(
        size=(trials, executions)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("spread", "most_looks"), [(0.0, 0.85), (1.0, 0.65), (2.0, 0.55), (4.0, 0.45)]
)
def test_a_race_keeps_the_best_of_24_trials_and_saves_executions(spread, most_looks):
    random = np.random.default_rng(0)
    kept, looks = [], []
    for _ in range(300):
        table = drawn(random, 24, 5, spread)
        complete, looked = race(table)
        kept.append(np.array_equal(complete[0], table[np.argmax(table.mean(1))]))
        looks.append(looked / table.size)
    # 1 - ERROR, less two standard errors of 300 searches.
    assert np.mean(kept) >= 1 - ERROR - 2 * (ERROR * (1 - ERROR) / 300) ** 0.5
    assert np.mean(looks) <= most_looks


@pytest.mark.parametrize("executions", [2, 5, 10])
def test_a_trial_that_would_just_have_won_is_stopped_as_seldom_as_stated(executions):
    # The worst case: it ends exactly as good as the incumbent, and nobody knows the scatter.
    random = np.random.default_rng(1)
    stopped = 0
    for _ in range(2000):
        complete = drawn(random, 4, executions, 0.0)
        complete = sorted(complete, key=sum, reverse=True)
        row = complete[0] + random.normal(size=executions) * 2**0.5
        row += np.mean(complete[0]) - np.mean(row)
        stopped += any(will_lose(row[:k], complete) for k in range(1, executions))
    assert 0.001 < stopped / 2000 <= ERROR + 2 * (ERROR * (1 - ERROR) / 2000) ** 0.5


def test_nothing_is_decided_without_a_complete_trial_or_any_measure_of_scatter():
    assert not will_lose([0.0], [])
    assert not will_lose([0.0], [[1.0, 1.0, 1.1]])
    assert will_lose([0.0, 0.01], [[1.0, 1.01, 1.1]])
    assert not will_lose([2.0, 2.01], [[1.0, 1.01, 1.1]])
    assert will_lose([2.0, 2.01], [[1.0, 1.01, 1.1]], "min")


def test_scores_of_a_stopped_trial_are_compared_on_the_same_seeds():
    # On the first seeds all trials are better than on the others.
    assert comparable([8.0, 9.0], [9.0, 9.0, 3.0, 3.0]) == [5.0, 6.0]


OPTIONS = {"oracle": {"max_trials": 16}, "executions_per_trial": 5}


def test_a_search_that_races_finds_the_same_best_with_fewer_executions(tmp_path, capsys, caplog):
    whole = fake_search(tmp_path / "whole", 2, **OPTIONS)
    fake = FakeExecutions(tmp_path / "calls")
    ended = []
    with caplog.at_level(logging.INFO):
        raced = fake_search(
            tmp_path, 2, fake=fake, racing=True, on_progress=lambda: ended.append(1), **OPTIONS
        )
    best = raced.oracle.get_best_trials(1)[0]
    assert best.trial_id == whole.oracle.get_best_trials(1)[0].trial_id
    rows = {row["trial"]: row for row in trial_rows(raced)}
    assert rows[int(best.trial_id)]["executions"] == 5
    calls = fake.count()
    assert set(calls.values()) == {1} and len(calls) <= 40  # of 80
    assert len(ended) == 80
    for trial, row in rows.items():
        numbers = sorted(number for t, number in calls if t == trial)
        assert numbers == list(range(row["executions"]))
    # A stopped trial's score is moved as far as the incumbent's mean over all seeds is from its
    # mean over those that the trial has, which here is hardly at all.
    for old, new in zip(trial_rows(whole), rows.values(), strict=True):
        assert new["score"] == pytest.approx(old["score"], abs=1e-3)
    said = f"stopped {sum(r['executions'] < 5 for r in rows.values())} of 16 trials"
    saved = f"saved {80 - len(calls)} of 80 executions"
    raced.results_summary()
    for text in (caplog.text, capsys.readouterr().out):
        assert said in text and saved in text


def test_a_race_resumes_with_every_execution_and_decision(tmp_path):
    whole = fake_search(tmp_path / "whole", 1, racing=True, **OPTIONS)
    fake, step = FakeExecutions(tmp_path / "calls"), []

    def stop():
        step.append(1)
        if len(step) % 7 == 0:
            raise KeyboardInterrupt

    for _ in range(20):
        try:
            step.clear()
            raced = fake_search(
                tmp_path, 1, fake=fake, racing=True, on_progress=stop, **OPTIONS
            )  # fmt: skip
        except KeyboardInterrupt:
            continue
        break
    raced = fake_search(tmp_path, 1, fake=fake, racing=True, **OPTIONS)
    assert trial_rows(raced) == trial_rows(whole)
    assert execution_rows(raced) == execution_rows(whole)
    assert set(fake.count().values()) == {1}


def test_without_racing_what_was_stopped_is_completed(tmp_path):
    fake = FakeExecutions(tmp_path / "calls")
    fake_search(tmp_path, 2, fake=fake, racing=True, **OPTIONS)
    completed = fake_search(tmp_path, 2, fake=fake, **OPTIONS)
    assert trial_rows(completed) == trial_rows(fake_search(tmp_path / "whole", 2, **OPTIONS))
    assert set(fake.count().values()) == {1}
    # And racing changes nothing about trials that are complete.
    again = fake_search(tmp_path, 2, fake=fake, racing=True, **OPTIONS)
    assert trial_rows(again) == trial_rows(completed)


def test_a_race_ends_a_trial_at_its_first_failure_and_retries_it(tmp_path):
    fake = FakeExecutions(tmp_path / "calls", diverges=3)
    options = {"oracle": {"max_trials": 6}, "executions_per_trial": 4, "racing": True}
    tuner = fake_search(tmp_path, 2, fake=fake, **options)
    assert [int(trial.trial_id) for trial in tuner.failed_trials()] == [1, 4]
    assert fake.count()[1, 0] == 1 and (1, 1) not in fake.count()
    fake.diverges = None
    again = fake_search(tmp_path, 2, fake=fake, search={"retry_failed": True}, **options)
    assert not again.failed_trials()
    assert fake.count()[1, 0] == 2


def test_bayesian_optimization_races_with_scores_that_compare(tmp_path):
    options = {"oracle": {"max_trials": 10}, "executions_per_trial": 5, "racing": True}
    fake_search(tmp_path, 1, "bayesian", **options)
    tuner = make_tuner(tmp_path / "search", thread_workers(1), "bayesian", **options)
    rows = trial_rows(tuner)
    assert any(row["executions"] < 5 for row in rows)
    best = max(rows, key=lambda row: row["score"])
    assert best["executions"] == 5
    raw = [r.score for r in tuner.executions(tuner.oracle.trials[f"{best['trial']:04}"])]
    assert best["score"] == pytest.approx(statistics.mean(raw))


@pytest.mark.parametrize(
    ("oracle", "options"), [("random", {}), ("hyperband", {"executions_per_trial": 3})]
)
def test_a_race_that_cannot_be_is_one_sentence(tmp_path, oracle, options):
    with pytest.raises(ValueError, match=r"several executions_per_trial or folds, .* Hyperband"):
        ParallelTuner(
            make_oracle(oracle), lambda hp: None, racing=True, directory=tmp_path, **options
        )
