"""The regularization lab's plan: equal budgets, one range, winners by validation data alone."""

from dataclasses import astuple, fields

import pytest

from dlip_reg.experiments.regularization import (
    DROPOUT_RANGE,
    L1_RANGE,
    L2_RANGE,
    MAX_NORM_RANGE,
    Outcome,
    Preset,
    RegularizationLab,
    best_strengths,
    methods,
)
from dlip_reg.regularization import Regularization
from dlip_reg.training.specification import MEASURES

PRESET = Preset(2, trials=4, epochs=1, n_train=50, n_validation=20, duration="no time", n_test=10)
NAMES = ["none", "dropout", "l1", "l2", "dropout_l2", "dropout_max_norm", "l2_separate"]


def make_lab(*names):
    chosen = methods(PRESET.trials)
    return RegularizationLab("lenet5", "mnist", PRESET, tuple(chosen[n] for n in names or NAMES))


def make_record(spec, accuracy=0.5, loss=1.0, status="finished"):
    measures = {"val_accuracy": accuracy, "val_loss": loss}
    if status == "diverged":
        measures = dict.fromkeys(measures)
    return {"id": spec.identity(""), "spec": spec.to_json(), "status": status, "measures": measures}


def run_all(specs, accuracy=lambda spec: 0.5):
    return {spec: make_record(spec, accuracy(spec)) for spec in specs}


@pytest.mark.parametrize("trials", [4, 9, 25])
def test_every_method_has_the_same_number_of_trials(trials):
    table = methods(trials)
    assert list(table) == NAMES
    for name, method in table.items():
        assert method.name == name
        expected = 1 if name == "none" else trials  # there is nothing to try without a regularizer
        assert len(set(method.trials)) == len(method.trials) == expected
    assert table["none"].trials == (Regularization(),)


@pytest.mark.parametrize("trials", [-4, 0, 1, 2, 8, 10])
def test_a_number_without_a_grid_is_refused(trials):
    with pytest.raises(ValueError, match=f"^trials must be a square number .* not {trials}\\.$"):
        methods(trials)


@pytest.mark.parametrize("trials", [4, 9, 25])
def test_the_tied_and_the_separate_search_cover_the_same_range(trials):
    table = methods(trials)
    tied = {(r.conv_l2, r.dense_l2) for r in table["l2"].trials}
    separate = {(r.conv_l2, r.dense_l2) for r in table["l2_separate"].trials}
    assert all(conv == dense for conv, dense in tied)
    grid = {conv for conv, _ in separate}
    assert separate == {(conv, dense) for conv in grid for dense in grid}
    ends = (min(grid), max(grid))
    assert ends == (min(tied)[0], max(tied)[0]) == L2_RANGE
    # Strengths that are tied in the separate search are the tied search's own numbers.
    assert {(s, s) for s in ends} <= tied
    if trials == 9:
        assert {(s, s) for s in grid} <= tied


@pytest.mark.parametrize(
    ("method", "name", "ends"),
    [
        ("dropout", "dense_dropout", DROPOUT_RANGE),
        ("l1", "conv_l1", L1_RANGE),
        ("l1", "dense_l1", L1_RANGE),
        ("dropout_l2", "conv_l2", L2_RANGE),
        ("dropout_max_norm", "max_norm", MAX_NORM_RANGE),
    ],
)
def test_the_ends_of_a_range_are_tried(method, name, ends):
    values = [getattr(r, name) for r in methods(9)[method].trials]
    assert (min(values), max(values)) == ends


def test_a_method_uses_its_own_regularizers_and_no_other():
    used = {
        "none": set(),
        "dropout": {"dense_dropout"},
        "l1": {"conv_l1", "dense_l1"},
        "l2": {"conv_l2", "dense_l2"},
        "dropout_l2": {"dense_dropout", "conv_l2", "dense_l2"},
        "dropout_max_norm": {"dense_dropout", "max_norm"},
        "l2_separate": {"conv_l2", "dense_l2"},
    }
    names = [field.name for field in fields(Regularization)]
    for name, method in methods(9).items():
        for trial in method.trials:
            on = {n for n, v in zip(names, astuple(trial), strict=True) if v}
            assert on == used[name]


def test_trials_are_every_method_with_every_seed_and_never_see_the_test_split():
    lab = make_lab()
    specs = lab.trial_specs()
    assert len(specs) == 2 * (1 + 6 * 4)
    assert {spec.measures for spec in specs} == {()}
    for seed in (0, 1):
        tried = [spec.regularization for spec in specs if spec.seed == seed]
        assert tried == [trial for method in lab.methods for trial in method.trials]
    alike = {(s.model, s.data, s.optimizer, s.learning_rate, s.batch_size, s.epochs) for s in specs}
    assert len(alike) == 1
    assert lab.example() in specs


def test_finals_are_the_winners_with_every_seed_measured_in_full():
    lab = make_lab("l2", "l1")
    l2, l1 = (method.trials for method in lab.methods)
    # l2: the third is best on average, though another is best with each single seed.
    accuracies = {l2[0]: (0.9, 0.1), l2[1]: (0.1, 0.9), l2[2]: (0.6, 0.7), l2[3]: (0.5, 0.5)}
    trials = run_all(
        lab.trial_specs(), lambda s: accuracies.get(s.regularization, (0.2, 0.2))[s.seed]
    )
    finals = lab.final_specs(trials)
    assert [(s.seed, s.regularization) for s in finals] == [
        (0, l2[2]),
        (0, l1[0]),
        (1, l2[2]),
        (1, l1[0]),
    ]
    assert {s.measures for s in finals} == {MEASURES}
    outcomes = lab.outcomes(trials, {})
    assert [outcomes["l2"][seed].best for seed in (0, 1)] == [l2[0], l2[1]]


def test_a_tie_goes_to_the_lower_loss():
    specs = make_lab("l2").trial_specs()[:3]
    candidates = [
        [make_record(s, 0.5, loss)] for s, loss in zip(specs, (1.2, 0.8, 0.9), strict=True)
    ]
    assert best_strengths(candidates) == specs[1].regularization
    candidates[2] = [make_record(specs[2], 0.51, 5.0)]  # the loss decides nothing but ties
    assert best_strengths(candidates) == specs[2].regularization


def test_a_candidate_that_diverged_with_any_seed_never_wins():
    lab = make_lab("l2")
    good, bad, *_ = lab.methods[0].trials
    trials = {}
    for spec in lab.trial_specs():
        accuracy = {good: 0.4, bad: 0.9}.get(spec.regularization, 0.1)
        status = "diverged" if (spec.regularization, spec.seed) == (bad, 1) else "finished"
        trials[spec] = make_record(spec, accuracy, status=status)
    assert {s.regularization for s in lab.final_specs(trials)} == {good}
    # With seed 0 alone it did well; with seed 1 it is out.
    outcomes = lab.outcomes(trials, {})["l2"]
    assert [outcomes[seed].best for seed in (0, 1)] == [bad, good]


def test_a_candidate_that_misses_a_run_does_not_compete_with_complete_ones():
    # Its mean would be over other seeds, and seeds differ by more than strengths do.
    lab = make_lab("l2")
    complete, partial, *_ = lab.methods[0].trials
    trials = run_all(
        lab.trial_specs(),
        lambda s: {complete: 0.6, partial: (0.9, 0.1)[s.seed]}.get(s.regularization, 0.2),
    )
    lost = next(s for s in trials if (s.regularization, s.seed) == (partial, 1))
    del trials[lost]
    assert {s.regularization for s in lab.final_specs(trials)} == {complete}


def test_if_all_candidates_miss_the_same_seed_the_others_decide():
    lab = make_lab("l2")
    best = lab.methods[0].trials[2]
    trials = run_all(
        [s for s in lab.trial_specs() if s.seed == 0],
        lambda s: 0.6 if s.regularization == best else 0.2,
    )
    assert [(s.seed, s.regularization) for s in lab.final_specs(trials)] == [(0, best), (1, best)]


def test_outcomes_hold_what_there_is():
    lab = make_lab("none", "l2", "l1")
    _, l2, l1 = lab.methods
    specs = lab.trial_specs()
    dead = {s for s in specs if s.regularization in l1.trials}
    lost = next(s for s in specs if s.regularization == l2.trials[1] and s.seed == 0)
    trials = run_all(s for s in specs if s not in dead and s != lost)
    final_specs = lab.final_specs(trials)
    assert len(final_specs) == 4  # l1 has no strength to be measured at
    finals = {
        s: make_record(s)
        for s in final_specs
        if (s.seed, s.regularization) != (1, Regularization())
    }
    outcomes = lab.outcomes(trials, finals)

    assert list(outcomes) == ["none", "l2", "l1"]
    assert all(list(by_seed) == [0, 1] for by_seed in outcomes.values())
    assert outcomes["l1"] == {seed: Outcome((), None) for seed in (0, 1)}
    assert outcomes["l1"][0].best is None
    assert outcomes["none"][1].final is None
    tried = [r["spec"]["regularization"]["conv_l2"] for r in outcomes["l2"][0].trials]
    assert tried == [t.conv_l2 for t in l2.trials if t != l2.trials[1]]
    for seed in (0, 1):
        final = outcomes["l2"][seed].final
        assert final["spec"]["seed"] == seed
        assert tuple(final["spec"]["measures"]) == MEASURES
