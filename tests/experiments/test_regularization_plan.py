"""The regularization lab's plan: equal budgets, one range, winners by validation data alone."""

from dataclasses import astuple, fields

import pytest

from dlip_reg.experiments import count_runs, run_together
from dlip_reg.experiments.regularization import (
    DROPOUT_RANGE,
    L1_RANGE,
    L2_RANGE,
    MAX_NORM_RANGE,
    Outcome,
    Preset,
    experiments,
    methods,
)
from dlip_reg.regularization import Regularization
from dlip_reg.training.specification import MEASURES, RunSpec

PRESET = Preset(2, trials=4, epochs=1, n_train=50, n_validation=20, duration="no time", n_test=10)
NAMES = ["none", "dropout", "l1", "l2", "dropout_l2", "dropout_max_norm", "l2_separate"]


METHODS = methods(PRESET.trials)


def chosen(*names):
    return [e for e in experiments(PRESET, "lenet5", "mnist") if e.name in names]


def make_record(spec, accuracy=0.5, loss=1.0, status="finished"):
    measures = {"val_accuracy": accuracy, "val_loss": loss}
    if status == "diverged":
        measures = dict.fromkeys(measures)
    return {"id": spec.identity(""), "spec": spec.to_json(), "status": status, "measures": measures}


def no(spec):
    return False


def stages_of(*names, accuracy=lambda spec: 0.5, diverged=no, failed=no):
    """What is run at every stage, and the outcomes."""
    stages = []

    def run(specs):
        stages.append(specs)
        return {
            s: make_record(s, accuracy(s), status="diverged" if diverged(s) else "finished")
            for s in specs
            if not failed(s)
        }

    return stages, run_together(chosen(*names), run)


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
    trials, _ = stages_of(*NAMES)[0]
    assert len(trials) == 2 * len({r for m in METHODS.values() for r in m.trials})
    assert {spec.measures for spec in trials} == {()}
    for seed in (0, 1):
        tried = [spec.regularization for spec in trials if spec.seed == seed]
        assert tried == list(dict.fromkeys(r for m in METHODS.values() for r in m.trials))
    settings = [f.name for f in fields(RunSpec) if f.name not in ("regularization", "seed")]
    assert len({tuple(getattr(spec, name) for name in settings) for spec in trials}) == 1
    assert (trials[0].model, trials[0].data.name) == ("lenet5", "mnist")


@pytest.mark.parametrize("names", [NAMES, ["l2", "none"]])
def test_the_number_of_runs_is_known_beforehand(names):
    # Not where two methods end at the same strengths, which nobody can know.
    stages, _ = stages_of(
        *names, accuracy=lambda s: s.regularization.conv_l2 > s.regularization.dense_l2
    )
    assert count_runs(chosen(*names)) == len({spec for stage in stages for spec in stage})


def test_finals_are_the_winners_with_every_seed_measured_in_full():
    l1, l2 = METHODS["l1"].trials, METHODS["l2"].trials
    # l2: the third is best on average, though another is best with each single seed.
    accuracies = {l2[0]: (0.9, 0.1), l2[1]: (0.1, 0.9), l2[2]: (0.6, 0.7), l2[3]: (0.5, 0.5)}
    (_, finals), outcomes = stages_of(
        "l1", "l2", accuracy=lambda s: accuracies.get(s.regularization, (0.2, 0.2))[s.seed]
    )
    assert [(s.seed, s.regularization) for s in finals] == [
        (0, l1[0]),
        (0, l2[2]),
        (1, l1[0]),
        (1, l2[2]),
    ]
    assert {s.measures for s in finals} == {(*MEASURES, "curvature")}
    assert [outcomes["l2"][seed].best for seed in (0, 1)] == [l2[0], l2[1]]


def test_a_candidate_that_diverged_with_any_seed_never_wins():
    good, bad, *_ = METHODS["l2"].trials
    (_, finals), outcomes = stages_of(
        "l2",
        accuracy=lambda s: {good: 0.4, bad: 0.9}.get(s.regularization, 0.1),
        diverged=lambda s: (s.regularization, s.seed) == (bad, 1),
    )
    assert {s.regularization for s in finals} == {good}
    # With seed 0 alone it did well; with seed 1 it is out.
    assert [outcomes["l2"][seed].best for seed in (0, 1)] == [bad, good]


def test_a_candidate_that_misses_a_run_does_not_compete_with_complete_ones():
    # Its mean would be over other seeds, and seeds differ by more than strengths do.
    complete, partial, *_ = METHODS["l2"].trials
    (_, finals), _ = stages_of(
        "l2",
        accuracy=lambda s: {complete: 0.6, partial: (0.9, 0.1)[s.seed]}.get(s.regularization, 0.2),
        failed=lambda s: (s.regularization, s.seed) == (partial, 1),
    )
    assert {s.regularization for s in finals} == {complete}


def test_if_all_candidates_miss_the_same_seed_the_others_decide():
    best = METHODS["l2"].trials[2]
    (_, finals), _ = stages_of(
        "l2",
        accuracy=lambda s: 0.6 if s.regularization == best else 0.2,
        failed=lambda s: s.seed == 1,
    )
    assert [(s.seed, s.regularization) for s in finals] == [(0, best), (1, best)]


def test_outcomes_hold_what_there_is():
    l1, l2 = METHODS["l1"].trials, METHODS["l2"].trials

    def failed(spec):
        lost = (spec.regularization, spec.seed) == (l2[1], 0)
        final_lost = spec.measures and (spec.seed, spec.regularization) == (1, Regularization())
        return spec.regularization in l1 or lost or final_lost

    (_, finals), outcomes = stages_of("none", "l1", "l2", failed=failed)
    assert len(finals) == 4  # l1 has no strength to be measured at
    assert list(outcomes) == ["none", "l1", "l2"]
    assert all(list(by_seed) == [0, 1] for by_seed in outcomes.values())
    assert outcomes["l1"] == {seed: Outcome((), None) for seed in (0, 1)}
    assert outcomes["l1"][0].best is None
    assert outcomes["none"][1].final is None
    tried = [r["spec"]["regularization"]["conv_l2"] for r in outcomes["l2"][0].trials]
    assert tried == [t.conv_l2 for t in l2 if t != l2[1]]
    for seed in (0, 1):
        final = outcomes["l2"][seed].final
        assert final["spec"]["seed"] == seed
        assert tuple(final["spec"]["measures"]) == (*MEASURES, "curvature")
