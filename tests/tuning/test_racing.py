"""Racing saves executions, and seldom stops the trial that would have been the best."""

import logging
import statistics
from dataclasses import replace

import numpy as np
import pytest
from fake_executions import FakeExecutions
from simulated_races import drawn, simulated_race
from tuning_samples import fake_search, make_tuner, thread_workers

from dlip_reg.tuning import racing
from dlip_reg.tuning.racing import ERROR, _forecasts, most_promising
from dlip_reg.tuning.results import trial_rows


@pytest.mark.parametrize(
    ("spread", "strengths", "adaptive", "most_looks"),
    [
        (2, "normal", True, 0.55),
        pytest.param(2, "normal", False, 0.4, marks=pytest.mark.thorough),
        pytest.param(0, "normal", False, 0.62, marks=pytest.mark.thorough),
        pytest.param(1, "one-sided", False, 0.6, marks=pytest.mark.thorough),
        pytest.param(1, "heavy tails", False, 0.4, marks=pytest.mark.thorough),
        pytest.param(0.5, "normal", False, 0.55, marks=pytest.mark.slow),
        pytest.param(0.5, "normal", True, 0.75, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_race_keeps_the_best_of_24_trials_and_saves_executions(
    spread, strengths, adaptive, most_looks
):
    random, searches = np.random.default_rng(0), 40 if adaptive else 100
    kept, looks = [], []
    for _ in range(searches):
        table = drawn(random, 24, 5, spread, strengths)
        best, looked = simulated_race(table, adaptive)
        kept.append(best == np.argmax(table.mean(1)))
        looks.append(looked / table.size)
    # 1 - ERROR, less two standard errors.
    assert np.mean(kept) >= 1 - ERROR - 2 * (ERROR * (1 - ERROR) / searches) ** 0.5
    assert np.mean(looks) <= most_looks


@pytest.mark.parametrize("spread", [0.2, 3.0])
def test_the_expected_mean_is_that_of_the_trials_final_means(spread):
    # Of trials with one of five executions, if two of twenty are complete.
    random, errors = np.random.default_rng(1), []
    for _ in range(100):
        table = drawn(random, 20, 5, spread)
        scores = [list(row if number < 2 else row[:1]) for number, row in enumerate(table)]
        _, means = most_promising(scores, 5, range(2, 20))
        assert means[:2] == pytest.approx(table[:2].mean(1))
        wrong = means[2:] - table[2:].mean(1)
        errors.append(wrong - wrong.mean())  # seeds that two trials have do the same to all
    # A mean that is not drawn towards the others has an error of (1 - 1 / 5) ** 0.5 = 0.89.
    # Where trials differ much, so few scores do not tell how much.
    assert np.std(errors) < (0.6 if spread < 1 else 1.1)


def test_forecasts_are_those_of_the_linear_mixed_model():
    """Flat executions, normal strengths: generalized least squares with a dense covariance."""
    table = drawn(np.random.default_rng(0), 6, 4, 1.0)
    for trial, known in enumerate((4, 4, 3, 2, 1, 1)):
        table[trial, known:] = np.nan
    rows, columns = np.nonzero(~np.isnan(table))
    scores, by_execution, by_trial = table[rows, columns], np.eye(4)[columns], np.eye(6)[rows]
    freedom = len(scores) - 4
    for ratio, log, means, deviations in zip(racing._RATIOS, *_forecasts(table), strict=True):
        covariance = np.eye(len(scores)) + ratio * by_trial @ by_trial.T
        inverse = np.linalg.inv(covariance)
        precision = by_execution.T @ inverse @ by_execution
        effects = np.linalg.solve(precision, by_execution.T @ inverse @ scores)
        left = scores - by_execution @ effects
        variance = left @ inverse @ left / freedom
        # Patterson & Thompson 1971: the restricted likelihood.
        sizes = np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(precision)[1]
        assert log == pytest.approx(-(freedom * np.log(variance) + sizes) / 2)
        for trial, row in enumerate(table):
            missing = np.isnan(row).astype(float)
            with_known = ratio * missing.sum() * by_trial[:, trial]
            along = inverse @ with_known
            total = np.nansum(row) + missing @ effects + along @ left
            gap = missing - by_execution.T @ along
            own = missing.sum() + ratio * missing.sum() ** 2 - with_known @ along
            spread = variance * (own + gap @ np.linalg.solve(precision, gap))
            assert means[trial] == pytest.approx(total / 4)
            assert deviations[trial] == pytest.approx(np.sqrt(spread) / 4, abs=1e-9)


def test_the_clear_loser_is_stopped_in_either_direction_and_nobody_else():
    scores = [[3.0, 3.1, 2.9, 3.0], [2.0, 2.1, 1.9, 2.0], [0.5, 0.6], [3.1]]
    assert most_promising(scores, 4, [2])[0] is None
    assert most_promising(scores, 4, [2, 3])[0] == 3
    mirrored = [[-score for score in row] for row in scores]
    assert most_promising(mirrored, 4, [2], "min")[0] is None
    assert most_promising(mirrored, 4, [2, 3], "min")[0] == 3
    # Nothing is known of the scatter.
    assert most_promising([[1.0], [0.0]], 3, [0, 1])[0] == 0
    # With a smaller share of the error more has to be known.
    scores = [[3.0, 3.4, 2.7, 3.1], [2.0, 1.8, 2.3, 2.0], [2.0, 2.1]]
    assert most_promising(scores, 4, [2])[0] is None
    assert most_promising(scores, 4, [2], share=0.1)[0] == 2


class Biased(FakeExecutions):
    """Every seed has another effect, which all trials share."""

    def __call__(self, spec, job):
        record = super().__call__(spec, job)
        return replace(record, score=record.score + 0.05 * spec.number)


OPTIONS = {"oracle": {"max_trials": 16}, "executions_per_trial": 5}


@pytest.mark.parametrize("options", [OPTIONS, OPTIONS | {"executions_per_trial": 1, "folds": 5}])
def test_a_search_that_races_finds_the_same_best_with_fewer_executions(
    tmp_path, capsys, caplog, options
):
    (tmp_path / "all").mkdir()
    whole = fake_search(tmp_path / "whole", 2, fake=Biased(tmp_path / "all"), **options)
    fake = Biased(tmp_path / "calls")
    ended = []
    with caplog.at_level(logging.INFO):
        raced = fake_search(
            tmp_path, 2, fake=fake, racing=True, on_progress=lambda: ended.append(1), **options
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
    # A stopped trial's score is what is expected of it with all executions. It lacks 4 of 5, and by
    # chance these differ by at most a thousandth in the trial and in those that have them.
    for old, new in zip(trial_rows(whole), rows.values(), strict=True):
        assert new["score"] == pytest.approx(old["score"], abs=2 * 0.8e-3)
    said = f"stopped {sum(r['executions'] < 5 for r in rows.values())} of 16 trials"
    saved = f"saved {80 - len(calls)} of 80 executions"
    raced.results_summary()
    for text in (caplog.text, capsys.readouterr().out):
        assert said in text and saved in text


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


@pytest.mark.thorough
def test_bayesian_optimization_races_with_scores_that_compare(tmp_path, monkeypatch):
    spent, judge = [], racing.most_promising

    def noted(scores, planned, candidates, direction, share):
        chosen, means = judge(scores, planned, candidates, direction, share)
        spent.append(share * (chosen is None))
        return chosen, means

    monkeypatch.setattr(racing, "most_promising", noted)
    options = {"oracle": {"max_trials": 10}, "executions_per_trial": 5, "racing": True}
    fake_search(tmp_path, 1, "bayesian", **options)
    assert np.count_nonzero(spent) > 1 and sum(spent) < 1 + 1e-9  # of the whole error
    tuner = make_tuner(tmp_path / "search", thread_workers(1), "bayesian", **options)
    rows = trial_rows(tuner)
    assert any(row["executions"] < 5 for row in rows)
    best = max(rows, key=lambda row: row["score"])
    assert best["executions"] == 5
    raw = [r.score for r in tuner.executions(tuner.oracle.trials[f"{best['trial']:04}"])]
    assert best["score"] == pytest.approx(statistics.mean(raw))
