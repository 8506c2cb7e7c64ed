"""The batch normalization study's arms: both networks alike, tuned with seeds of their own."""

import json
from dataclasses import replace

import pytest
from fake_records import fake_runs, make_record

from dlip_reg.studies import Setting
from dlip_reg.studies.arms import TUNING_SEEDS_FROM
from dlip_reg.studies.batch_norm import CLAIMS, STUDY
from dlip_reg.studies.batch_norm.arms import DEPTH, BatchNormPreset
from dlip_reg.studies.batch_norm.deep import SHALLOW, TOO_LARGE
from dlip_reg.studies.batch_norm.learning_rates import FASTER
from dlip_reg.studies.papers.ioffe_fig1 import STUDY as PAPER

PRESET = BatchNormPreset(
    seeds=2, epochs=3, n_train=200, n_validation=50, rates=(0.1, 1.0, 10.0),
    dropout_rates=(0.1, 0.3), strengths=(1e-3, 1e-2), deep_epochs=2, sigmoid_epochs=2,
)  # fmt: skip
NETS = ("plain", "bn")


def best(spec):
    """Batch norm is best at 1 and dropout 0.3, the other network at 0.1 and dropout 0.1."""
    normed = spec.regularization.batch_norm
    rate, share = (1.0, 0.3) if normed else (0.1, 0.1)
    return 0.5 + 0.2 * (spec.learning_rate == rate) + 0.1 * (
        spec.regularization.dense_dropout == share
    )  # fmt: skip


def tuned(diverges=lambda spec: False, claims=CLAIMS, requested=None):
    """The runs of the study; what was asked for is appended to `requested`."""

    def record_of(spec):
        if requested is not None:
            requested.append(spec)
        status = "diverged" if diverges(spec) else "finished"
        return make_record(spec, status=status, val_accuracy=best(spec), val_loss=1.0)

    return fake_runs(STUDY, PRESET, record_of, claims=claims)


@pytest.fixture(scope="module")
def specs():
    """Arm -> the specification it runs with."""
    return tuned().chosen


def differ_in_batch_norm_alone(plain, bn):
    return replace(plain, regularization=replace(plain.regularization, batch_norm=True)) == bn


def test_both_networks_try_the_same_learning_rates():
    runs = tuned()
    for rate in PRESET.rates:
        plain, bn = (runs.chosen[f"rates/{net}/{rate:g}"] for net in NETS)
        assert plain.learning_rate == rate and differ_in_batch_norm_alone(plain, bn)
    plain, bn = (list(runs.trials[net]) for net in NETS)
    assert [spec.learning_rate for spec in plain] == list(PRESET.rates)
    assert all(map(differ_in_batch_norm_alone, plain, bn))


def test_tuning_sees_no_seed_of_a_verdict_and_no_test_image():
    requested = []
    tuned(requested=requested)
    tuning = [spec for spec in requested if spec.seed >= TUNING_SEEDS_FROM]
    # Of both networks 3 learning rates and 2 dropout rates, with two seeds each.
    assert len(tuning) == 2 * (3 + 2) * PRESET.tuning_seeds
    assert not any("test" in spec.measures for spec in tuning)
    assert {spec.seed for spec in requested} - {spec.seed for spec in tuning} == {0, 1}


@pytest.mark.parametrize("prefix", ["fast_decay", "dropout", "l2", "colours"])
def test_what_is_not_about_the_rate_runs_at_each_networks_own_best(specs, prefix):
    for net, rate in (("plain", 0.1), ("bn", 1.0)):
        arms = [spec for name, spec in specs.items() if name.startswith(f"{prefix}/{net}")]
        assert {spec.learning_rate for spec in arms} == {rate}


def test_the_same_rate_differs_in_batch_norm_and_in_what_only_it_can_show(specs):
    plain, bn = (specs[f"same_rate/{net}"] for net in NETS)
    assert plain.learning_rate == 0.1  # the best without batch norm
    assert set(bn.measures) - set(plain.measures) == {"batch_noise"}
    assert differ_in_batch_norm_alone(plain, replace(bn, measures=plain.measures))


def test_fast_decay_changes_the_speed_and_nothing_else(specs):
    for net in NETS:
        slow, fast = (specs[f"fast_decay/{net}/{speed:g}"] for speed in (1, FASTER))
        assert slow.schedule.speed == 1
        assert fast == replace(slow, schedule=replace(slow.schedule, speed=FASTER))


def test_dropout_is_tuned_for_each_network_and_sees_the_test_split_at_its_best_alone(specs):
    for net, share in (("plain", 0.1), ("bn", 0.3)):
        without, with_ = (specs[f"dropout/{net}/{level}"] for level in ("without", "with"))
        assert with_.regularization.dense_dropout == share
        assert without == replace(
            with_, regularization=replace(with_.regularization, dense_dropout=0.0)
        )
        assert "test" in with_.measures


def test_l2_reaches_convolutions_and_dense_layers_alike(specs):
    for net in NETS:
        for strength in PRESET.strengths:
            regularization = specs[f"l2/{net}/{strength:g}"].regularization
            assert regularization.conv_l2 == regularization.dense_l2 == strength


def test_deep_networks_are_alike_but_for_batch_norm_depth_and_scale(specs):
    assert differ_in_batch_norm_alone(specs["deep/plain"], specs["deep/bn"])
    for depth in (SHALLOW, DEPTH):
        plain, bn, well_scaled = (
            specs[f"too_large/{start}/{depth}"] for start in (*NETS, "well_scaled")
        )
        assert differ_in_batch_norm_alone(plain, bn)
        assert not well_scaled.regularization.batch_norm
        scales = [
            json.loads(spec.builder)["kernel_initializer"]["config"]["scale"]
            for spec in (plain, bn, well_scaled)
        ]
        # He et al. 2015: a variance of 2 / fan-in.
        assert scales == [2 * TOO_LARGE, 2 * TOO_LARGE, 2]
        assert len(json.loads(plain.builder)["hidden"]) == depth


def test_without_a_rate_that_trains_its_arms_cannot_run():
    runs = tuned(lambda spec: spec.regularization.batch_norm)
    for name in ("colours/{}", f"fast_decay/{{}}/{FASTER:g}", "dropout/{}/with"):
        assert runs.chosen[name.format("bn")] is None
        assert runs[name.format("bn")] == (None, None)
        assert None not in runs[name.format("plain")]


def test_the_paper_check_is_fifty_thousand_steps_of_sixty():
    (preset,) = PAPER.presets.values()
    arms = PAPER.arms_for(Setting(preset, PAPER.default_model, PAPER.default_dataset), ())
    plain, bn = (arm.spec for arm in arms.values())
    options = json.loads(plain.builder)
    assert options["hidden"] == [100] * 3 and options["activation"] == "sigmoid"
    assert plain.batch_size == 60
    steps = plain.epochs * (plain.data.n_train // plain.batch_size)
    assert steps == pytest.approx(50_000, rel=1e-4)
    assert plain.data.n_train + plain.data.n_validation == 60_000
    assert differ_in_batch_norm_alone(plain, bn)
