"""What each arm runs with: fixed, tuned and derived specifications."""

from dataclasses import replace

import pytest
from fake_records import make_record
from fake_studies import DATA, spec

from dlip_reg.regularization import Regularization
from dlip_reg.studies import Arm, Claim, Preset, Setting, Study, Tuning, times, varied
from dlip_reg.studies.arm_resolver import (
    TUNING_SEEDS_FROM,
    ArmResolver,
    at_end_of_grid,
    chosen_numbers,
    tuning_seeds,
)
from dlip_reg.studies.readings import most_accurate
from dlip_reg.training import DataSpec, Schedule

SEEDS = (1001, 1002)


def resolve(arms, accuracy=lambda run: run.learning_rate, seeds=SEEDS):
    """Resolve the arms; `accuracy` of None loses the run, NaN lets it diverge."""
    resolver = ArmResolver({arm.name: arm for arm in arms}, seeds)
    stages = []
    while requests := resolver.requests():
        stages.append(requests)
        records = {}
        for run in requests:
            value = accuracy(run)
            if value is not None:
                status = "finished" if value == value else "diverged"
                records[run] = make_record(run, None, status, val_accuracy=value, val_loss=1.0)
        resolver.advance(records)
    return resolver, stages


def rate_of(resolver, arm):
    chosen = resolver.chosen[arm]
    return chosen and chosen.learning_rate


def test_a_tuned_arm_runs_with_its_best_candidate_over_all_tuning_seeds():
    # 0.2 is better with one seed, 0.1 on average.
    scores = {(0.1, 1001): 0.6, (0.1, 1002): 0.6, (0.2, 1001): 0.9, (0.2, 1002): 0.2}
    tuning = Tuning([spec(0.1, seed=7), spec(0.2)], watch=("weights",))  # its seed plays no part
    arm = Arm("a", tuning=tuning)
    resolver, (runs,) = resolve([arm], lambda run: scores[run.learning_rate, run.seed])
    assert resolver.chosen["a"] == spec(0.1)
    assert [(run.learning_rate, run.seed) for run in runs] == list(scores)
    # The first tuning seed is watched.
    assert [run.seed for run in runs if "weights" in run.measures] == [1001, 1001]
    assert {s.learning_rate: len(r) for s, r in resolver.trials["a"].items()} == {0.1: 2, 0.2: 2}


def test_a_chain_of_uses_takes_a_stage_for_each_tuning():
    arms = [
        Arm("third", lambda chosen: spec(2 * chosen["second"].learning_rate), uses=("second",)),
        Arm("second", "first", Tuning([{"learning_rate": times(k)} for k in (1, 3)])),
        Arm("first", tuning=Tuning([spec(0.1), spec(0.2)])),
    ]
    resolver, stages = resolve(arms)
    assert [len(stage) for stage in stages] == [4, 4]
    assert [rate_of(resolver, a) for a in ("first", "second", "third")] == pytest.approx(
        [0.2, 0.6, 1.2]
    )


def test_more_candidates_are_tried_while_the_best_is_at_the_end():
    def extend(tried):
        rates = [s.learning_rate for s in tried]
        return [spec(2 * max(rates))] if max(rates) < 1 else None

    resolver, stages = resolve([Arm("a", tuning=Tuning([spec(0.1), spec(0.2)], extend=extend))])
    assert [len(stage) for stage in stages] == [4, 2, 2, 2]
    assert rate_of(resolver, "a") == 1.6
    assert len(resolver.trials["a"]) == 5
    # What was tried already extends nothing.
    resolver, stages = resolve([Arm("a", tuning=Tuning([spec(0.1)], extend=list))])
    assert len(stages) == 1 and rate_of(resolver, "a") == 0.1


@pytest.mark.parametrize("lost", [None, float("nan")])
def test_arms_that_use_one_that_cannot_be_trained_cannot_run(lost):
    arms = [
        Arm("failing", tuning=Tuning([spec(0.1), spec(0.2)])),
        Arm("derived", lambda chosen: spec(0.5), uses=("failing",)),
        Arm("tuned", tuning=Tuning([spec(0.3)]), uses=("failing",)),
        Arm("fixed", spec(0.4)),
    ]
    resolver, _ = resolve(arms, lambda run: lost)
    assert resolver.chosen == {
        "failing": None, "derived": None, "tuned": None, "fixed": spec(0.4)
    }  # fmt: skip


def test_a_candidate_that_misses_a_seed_or_diverges_never_wins():
    def accuracy(run):
        if run.seed == 1002:
            return {0.2: None, 0.3: float("nan")}.get(run.learning_rate, 0.5)
        return 3 * run.learning_rate  # 0.6 and 0.9 of those two, alone

    resolver, _ = resolve([Arm("a", tuning=Tuning([spec(r) for r in (0.1, 0.2, 0.3)]))], accuracy)
    assert rate_of(resolver, "a") == 0.1


def test_the_loss_decides_nothing_but_ties_of_accuracy():
    def record(accuracy, loss):
        return [make_record(None, val_accuracy=accuracy, val_loss=loss)]

    candidates = {"high": record(0.6, 0.9), "low": record(0.6, 0.7)}
    assert most_accurate(candidates) == "low"
    assert most_accurate(candidates | {"worst": record(0.61, 5.0)}) == "worst"
    assert most_accurate({}) is None


def test_tuning_seeds_are_no_verdict_seeds():
    first_seeds = (0, 20, 100, 5000, TUNING_SEEDS_FROM - 20)
    verdicts = {s for first in first_seeds for s in range(first, first + 20)}
    tuning = [set(tuning_seeds(5, first)) for first in first_seeds]
    assert all(len(seeds) == 5 and not seeds & verdicts for seeds in tuning)
    assert len(set.union(*tuning)) == 5 * len(tuning)  # each repetition tunes anew


def test_a_best_value_at_the_end_of_its_grid_is_named():
    trials = {spec(rate): () for rate in (0.1, 0.2, 0.3)}
    assert at_end_of_grid(spec(0.3), trials) == ["learning_rate 0.3 is the largest tried"]
    assert at_end_of_grid(spec(0.1), trials) == ["learning_rate 0.1 is the smallest tried"]
    assert at_end_of_grid(spec(0.2), trials) == []
    decays = [replace(spec(0.1), schedule=Schedule(0.1, speed=s)) for s in (1, 2, 4)]
    found = at_end_of_grid(decays[2], dict.fromkeys(decays, ()))
    assert found == ["speed 4 is the largest tried"]
    # None is no limit, and so beyond the largest.
    limits = [spec(0.1, regularization=Regularization(max_norm=m)) for m in (2, 4, None)]
    found = [at_end_of_grid(limit, dict.fromkeys(limits, ())) for limit in limits]
    assert found == [["max_norm 2 is the smallest tried"], [], []]
    # Strengths that are tied are named once.
    tied = [spec(0.1, regularization=Regularization(conv_l2=s, dense_l2=s)) for s in (1e-3, 1e-2)]
    found = at_end_of_grid(tied[1], dict.fromkeys(tied, ()))
    assert found == ["conv_l2 0.01 is the largest tried"]


def test_the_numbers_that_were_chosen_are_those_of_which_several_were_tried():
    tied = [
        spec(rate, regularization=Regularization(conv_l2=strength, dense_l2=strength))
        for rate in (1 / 3, 0.5)
        for strength in (1e-3, 1e-2)
    ]
    assert chosen_numbers(tied[1], dict.fromkeys(tied, ())) == [
        "conv_l2 0.01",
        "learning_rate 0.333",
    ]


def test_the_arms_of_a_study_are_those_its_claims_need_with_what_they_use():
    study = Study(
        name="fake",
        arms=[
            Arm("a", spec(0.1)),
            Arm("b", lambda chosen: spec(0.2), uses=("a",)),
            Arm("group/1", spec(0.3)),
            Arm("group/2", spec(0.4)),
            Arm("group/2", spec(0.4)),  # the same again
            Arm("unused", spec(0.5)),
        ],
        claims=[a_claim(("b", "group/"))],
    )
    arms = study.arms_for(Setting(Preset(), "", ""), study.claims)
    assert list(arms) == ["a", "b", "group/1", "group/2"]


def a_claim(needs):
    return Claim(
        id="c", sentence="Claimed.", experiment="", unit="", direction=1, smallest_effect=0.1,
        measure=lambda runs: [], needs=needs,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arms", "needs", "says"),
    [
        ([spec(0.1)], "b", "No arm is named 'b'; there are a"),
        ([], "b", "No arm is named 'b'; there are no arms"),
        ([spec(0.1)], "group/", "No arm is named 'group/'; there are a"),
        ([spec(0.1), spec(0.2)], "a", "Two different arms are named 'a'"),
    ],
)
def test_a_name_that_no_arm_has_or_two_have_is_refused(arms, needs, says):
    study = Study(name="fake", arms=[Arm("a", s) for s in arms], claims=[a_claim((needs,))])
    with pytest.raises(ValueError, match=says):
        study.arms_for(Setting(Preset(), "", ""), study.claims)


def test_the_setting_replaces_model_and_data_of_plain_arms():
    more = DataSpec(DATA, 90)
    arms = [Arm("a", spec(0.1)), Arm("b", tuning=Tuning([spec(0.2)])), varied("c", "a", data=more)]
    placed = Study(name="fake", arms=arms).arms_for(Setting(Preset(), "lenet5", "mnist"), [])
    for run in (placed["a"].spec, *placed["b"].tuning.candidates):
        assert (run.model, run.data.name) == ("lenet5", "mnist")
    assert placed["c"].changes == {"data": replace(more, name="mnist")}
    assert placed["c"].used == ("a",)


def build(input_shape, classes):
    raise NotImplementedError


def test_an_arm_may_be_another_arm_but_for_some_changes():
    arms = [
        Arm("first", tuning=Tuning([spec(0.1), spec(0.2)])),
        varied("half", "first", learning_rate=times(0.5), dense_l2=0.01),
        varied("longer", "half", epochs=99),
        varied("own", "first", model=build),  # a function that is a value and no change to one
    ]
    resolver, _ = resolve(arms)
    half = spec(0.1, regularization=Regularization(dense_l2=0.01))
    assert resolver.chosen["half"] == half
    assert resolver.chosen["longer"] == replace(half, epochs=99)
    assert resolver.chosen["own"].model.endswith(":build")


@pytest.mark.parametrize("base", ["first", spec(0.1, epochs=7), lambda chosen: chosen["first"]])
def test_candidates_may_be_changes_to_the_arm_s_specification(base):
    tried = [{"learning_rate": times(2)}, {"learning_rate": 0.3, "epochs": 5}]
    arms = [
        Arm("first", spec(0.1, epochs=7)),
        Arm("a", base, Tuning(tried), {"measures": ("test",)}, uses=("first",)),
    ]
    resolver, stages = resolve(arms)
    assert [(run.learning_rate, run.epochs) for run in stages[0][::2]] == [(0.2, 7), (0.3, 5)]
    assert all(run.measures == () for run in stages[0])
    assert resolver.chosen["a"] == spec(0.3, epochs=5, measures=("test",))
