"""The batch normalization lab's plan: both arms alike, tuned on validation data, paired by seed."""

from dataclasses import replace

import pytest

from dlip_reg.experiments import count_runs, run_together
from dlip_reg.experiments.batch_norm import (
    DEPTH,
    FASTER,
    SHALLOW,
    TOO_LARGE,
    Preset,
    experiments,
)
from dlip_reg.experiments.ioffe_fig1 import Preset as PaperPreset
from dlip_reg.experiments.ioffe_fig1 import experiments as paper_experiments
from dlip_reg.training import RunSpec

PRESET = Preset(
    2, "no time", epochs=3, n_train=200, n_validation=50, rates=(0.1, 1.0, 10.0),
    dropout_rates=(0.1, 0.3), strengths=(1e-3, 1e-2), deep_epochs=2, sigmoid_epochs=2,
)  # fmt: skip
TUNED = ("same_rate", "gaps", "fast_decay", "dropout", "l2", "colours")


def best(spec):
    """Batch norm is best at 1 and dropout 0.3, the other net at 0.1 and dropout 0.1."""
    normed = spec.regularization.batch_norm
    rate, share = (1.0, 0.3) if normed else (0.1, 0.1)
    return 0.5 + 0.2 * (spec.learning_rate == rate) + 0.1 * (
        spec.regularization.dense_dropout == share
    )  # fmt: skip


def run_all(
    names, accuracy=best, diverges=lambda spec: False, lost=lambda spec: False, preset=PRESET
):
    """The outcomes, and the stages of specifications that were run."""
    stages = []

    def run(specs):
        stages.append(specs)
        return {spec: record(spec) for spec in specs if not lost(spec)}

    def record(spec):
        measures = {"val_accuracy": accuracy(spec), "val_loss": 1.0}
        if diverges(spec):
            measures = dict.fromkeys(measures)
        status = "diverged" if diverges(spec) else "finished"
        return {"spec": spec.to_json(), "status": status, "measures": measures}

    chosen = [e for e in experiments(preset, "lenet5", "mnist") if e.name in names]
    assert len(chosen) == len(names)
    return run_together(chosen, run), stages


def specs(tree):
    """Every record's specification below a tree of dicts."""
    if tree is None:
        return []
    if "spec" in tree:
        return [RunSpec.from_json(tree["spec"])]
    return [spec for branch in tree.values() for spec in specs(branch)]


def arms_differ_in_batch_norm_alone(plain, bn):
    changed = [
        replace(spec, regularization=replace(spec.regularization, batch_norm=True))
        for spec in plain
    ]
    return changed == bn


def test_both_arms_try_the_same_learning_rates_with_every_seed():
    outcomes, (stage,) = run_all(["rates"])
    grid = outcomes["rates"]
    assert list(grid) == ["plain", "bn"]
    assert all(list(grid[arm]) == list(PRESET.rates) for arm in grid)
    assert arms_differ_in_batch_norm_alone(specs(grid["plain"]), specs(grid["bn"]))
    assert {spec.seed for spec in stage} == {0, 1} and len(stage) == len(set(stage)) == 12


def test_what_is_not_about_the_rate_runs_at_each_arms_own_best():
    outcomes, _ = run_all(TUNED)
    for name in ("fast_decay", "dropout", "l2", "colours"):
        for arm, rate in (("plain", 0.1), ("bn", 1.0)):
            assert {spec.learning_rate for spec in specs(outcomes[name][arm])} == {rate}
    rates = {spec.learning_rate for spec in specs(outcomes["same_rate"])}
    assert rates == {0.1}  # the plain net's


def test_small_differences_are_measured_on_more_seeds_and_tuned_on_the_labs_own():
    preset = replace(PRESET, repeats=3)
    outcomes, stages = run_all(["gaps", "fast_decay", "dropout", "l2"], preset=preset)
    for name in ("gaps", "fast_decay", "dropout"):
        assert {spec.seed for spec in specs(outcomes[name])} == set(range(6))
    assert {spec.seed for spec in specs(outcomes["l2"])} == {0, 1}
    assert {spec.seed for spec in stages[0]} == {0, 1}
    # The gaps' first seeds are runs of the grid of learning rates.
    again = [spec for spec in specs(outcomes["gaps"]) if spec.seed < 2]
    assert set(again) <= set(stages[0])


def test_the_same_rate_differs_in_batch_norm_and_in_what_only_it_can_show():
    outcomes, _ = run_all(["same_rate"])
    plain, bn = (specs(outcomes["same_rate"][arm]) for arm in ("plain", "bn"))
    assert set(bn[0].measures) - set(plain[0].measures) == {"companions"}
    alike = [replace(spec, measures=plain[0].measures) for spec in bn]
    assert arms_differ_in_batch_norm_alone(plain, alike)


def test_fast_decay_changes_the_speed_and_nothing_else():
    outcomes, _ = run_all(["fast_decay"])
    for by_speed in outcomes["fast_decay"].values():
        slow, fast = specs(by_speed[1.0]), specs(by_speed[FASTER])
        assert fast == [replace(s, schedule=replace(s.schedule, speed=FASTER)) for s in slow]


def test_dropout_is_tuned_for_each_arm_and_sees_the_test_split_at_its_best_alone():
    outcomes, stages = run_all(["dropout"])
    for arm, share in (("plain", 0.1), ("bn", 0.3)):
        cells = outcomes["dropout"][arm]
        assert {s.regularization.dense_dropout for s in specs(cells["with"])} == {share}
        assert {s.regularization.dense_dropout for s in specs(cells["without"])} == {0.0}
    tested = [spec for stage in stages for spec in stage if "test" in spec.measures]
    assert len(tested) == 2 * 2 * 2  # arms, with and without, seeds
    # Dropout sees it once its rate is chosen.
    early = [spec for stage in stages[:-1] for spec in stage if "test" in spec.measures]
    assert {spec.regularization.dense_dropout for spec in early} == {0.0}


def test_l2_reaches_convolutions_and_dense_layers_alike():
    outcomes, _ = run_all(["l2"])
    for grid in outcomes["l2"].values():
        for strength, by_seed in grid.items():
            for spec in specs(by_seed):
                r = spec.regularization
                assert r.conv_l2 == r.dense_l2 == strength


def test_deep_nets_are_alike_but_for_batch_norm_depth_and_scale():
    outcomes, _ = run_all(["deep", "too_large"])
    deep = outcomes["deep"]
    assert arms_differ_in_batch_norm_alone(specs(deep["plain"]), specs(deep["bn"]))
    large = outcomes["too_large"]
    assert list(large) == ["plain", "bn", "well_scaled"]
    for by_depth in large.values():
        assert list(by_depth) == [SHALLOW, DEPTH]
    assert arms_differ_in_batch_norm_alone(specs(large["plain"]), specs(large["bn"]))

    def scale(arm):
        (scale,) = {
            spec.builder_options()["kernel_initializer"]["config"]["scale"]
            for spec in specs(large[arm])
        }
        return scale

    # He et al. 2015: a variance of 2 / fan-in.
    assert scale("well_scaled") == 2 and scale("plain") == 2 * TOO_LARGE


def test_experiments_share_the_runs_they_begin_with():
    outcomes, stages = run_all(["rates", *TUNED])
    counted = count_runs(experiments(PRESET, "lenet5", "mnist"))
    own = sum(len(set(stage)) for stage in stages)
    assert len(stages[0]) == len(set(stages[0])) == 12
    assert set(outcomes) == {"rates", *TUNED}
    # Announced are the runs of all stages; what two later stages share is there already.
    extra = 2 * (2 + 6 + 2)  # deep, too_large, sigmoid, with two seeds
    assert own <= counted - extra <= own + 4


def test_without_a_rate_that_trains_there_are_no_runs_but_an_outcome():
    outcomes, stages = run_all(TUNED[2:], diverges=lambda spec: spec.regularization.batch_norm)
    assert len(specs(outcomes["fast_decay"]["bn"])) == 0
    assert len(specs(outcomes["fast_decay"]["plain"])) == 4
    assert outcomes["colours"]["bn"] == {0: None, 1: None}
    assert not any(spec.regularization.batch_norm for stage in stages[1:] for spec in stage)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_lost_run_leaves_a_hole(seed):
    outcomes, _ = run_all(["l2"], lost=lambda s: s.regularization.dense_l2 and s.seed == seed)
    for grid in outcomes["l2"].values():
        for by_seed in grid.values():
            assert by_seed[seed] is None and by_seed[1 - seed] is not None


def test_the_paper_check_is_fifty_thousand_steps_of_sixty():
    preset = PaperPreset(3, "no time")
    (experiment,) = paper_experiments(preset, "mlp", "mnist")
    stage = next(experiment.steps())
    assert len(stage) == experiment.runs == 6
    for spec in stage:
        options = spec.builder_options()
        assert options["hidden"] == [100] * 3 and options["activation"] == "sigmoid"
        assert spec.batch_size == 60
        steps = spec.epochs * (spec.data.n_train // spec.batch_size)
        assert steps == pytest.approx(50_000, rel=1e-4)
        assert spec.data.n_train + spec.data.n_validation == 60_000
    assert arms_differ_in_batch_norm_alone(stage[:3], stage[3:])
