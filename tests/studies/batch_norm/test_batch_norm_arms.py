"""The batch normalization study's arms: all networks alike but for what is compared."""

import json
from dataclasses import replace

import pytest
from batch_norm_samples import LAB, QUICK, net_of

from dlip_reg.studies.batch_norm.arms import SCALE_AND_SHIFT
from dlip_reg.studies.batch_norm.deep import DEPTH, SHALLOW
from dlip_reg.studies.batch_norm.dropout import ALONE, MORE, MORE_IMAGES, TUNED, TUNED_USELESS
from dlip_reg.studies.batch_norm.noise import GHOST
from dlip_reg.studies.workspace import options_of
from dlip_reg.training.model_functions import build, functions_of

PRESET = replace(QUICK, seeds=1, rates=(0.1, 0.3, 1.0))
NETS = ("plain", "bn", "placebo")


@pytest.fixture(scope="module")
def runs():
    return LAB.runs(preset=PRESET)


@pytest.fixture
def specs(runs):
    """Arm -> the specification it runs with."""
    return runs.chosen


def differ_in_batch_norm_alone(plain, bn):
    return replace(plain, regularization=replace(plain.regularization, batch_norm=True)) == bn


def without_placebo(spec, builder):
    return replace(spec, model=builder, builder={
        name: value for name, value in json.loads(spec.builder).items() if name != "net"
    })  # fmt: skip


def test_all_networks_try_the_same_learning_rates(runs):
    for rate in PRESET.rates:
        plain, bn, placebo = (runs.chosen[f"rates/{net}/{rate:g}"] for net in NETS)
        assert plain.learning_rate == rate and differ_in_batch_norm_alone(plain, bn)
        assert placebo.model == SCALE_AND_SHIFT and without_placebo(placebo, "lenet5") == plain
    for arm in ("{}", "start/{}/2", "l2/{}/best", "deep/{}", "scale/{}/1"):
        plain, bn, placebo = (list(runs.trials[arm.format(net)]) for net in NETS)
        assert len(plain) == len(bn) == len(placebo) > 0
        assert all(map(differ_in_batch_norm_alone, plain, bn))
        model = plain[0].model
        assert [without_placebo(spec, model) for spec in placebo] == plain


@pytest.mark.parametrize("prefix", ["decay", "dropout", "colours"])
def test_what_is_not_about_the_rate_runs_at_each_networks_own_best(specs, prefix):
    for net, rate in (("plain", 0.1), ("bn", 0.3)):
        arms = [spec for name, spec in specs.items() if name.startswith(f"{prefix}/{net}")]
        assert {spec.learning_rate for spec in arms} == {rate}


def test_faster_decay_changes_the_speed_and_nothing_else(specs):
    for net in NETS:
        slow = specs[f"decay/{net}/1"]
        for speed in PRESET.speeds:
            faster = replace(slow, schedule=replace(slow.schedule, speed=speed))
            assert specs[f"decay/{net}/{speed:g}"] == faster


def test_dropout_is_tuned_over_as_many_candidates_as_batch_norm_alone(runs):
    for arm in (TUNED, TUNED_USELESS):
        assert len(runs.trials[arm]) == min(len(PRESET.rates), 2 * len(PRESET.dropout_rates))
    alone, with_, more = (runs.chosen[arm] for arm in (ALONE, TUNED, MORE_IMAGES))
    assert with_.regularization.dense_dropout == 0.1
    assert alone == replace(with_, regularization=replace(with_.regularization, dense_dropout=0.0))
    assert all(spec.regularization.dense_dropout < 0.001 for spec in runs.trials[TUNED_USELESS])
    assert more.data.n_train == MORE * alone.data.n_train
    assert more.epochs == alone.epochs // MORE


def test_l2_is_compared_at_the_plain_network_s_learning_rate(runs):
    for net in NETS:
        assert runs.chosen[f"l2/{net}/none"].learning_rate == 0.1
        trials = list(runs.trials[f"l2/{net}/best"])
        assert {spec.learning_rate for spec in trials} == {0.1}
        strengths = [(s.regularization.conv_l2, s.regularization.dense_l2) for s in trials]
        assert strengths == [(s, s) for s in PRESET.strengths]
    useless = list(runs.trials["l2/plain/useless"])
    assert len(useless) == len(PRESET.strengths)
    assert all(spec.regularization.dense_l2 < 1e-6 for spec in useless)


def test_deep_networks_are_alike_but_for_batch_norm_depth_and_scale(specs):
    deep, bn, shallow = (specs[f"deep/{net}"] for net in ("plain", "bn", "shallow"))
    # Each has the rate that was best for it, among the same.
    assert differ_in_batch_norm_alone(replace(deep, learning_rate=bn.learning_rate), bn)
    assert len(json.loads(deep.builder)["hidden"]) == DEPTH
    assert len(json.loads(shallow.builder)["hidden"]) == SHALLOW
    for net in NETS:
        for scale in PRESET.deep_scales:
            spec = specs[f"scale/{net}/{scale:g}"]
            assert net_of(spec) == net
            config = json.loads(spec.builder)["kernel_initializer"]["config"]
            # He et al. 2015: a variance of 2 / fan-in.
            assert config["scale"] == 2 * scale**2


def test_an_own_network_is_trained_in_each_form_that_the_lab_compares():
    """With batch norm, as placebo and with ghost batches: it takes what the lab sets, no more."""
    made = replace(LAB, model="own_network:small").runs(preset=PRESET)
    specs = [spec.runs[0] for spec in made.chosen.values()]
    forms = {(spec.model, options_of(spec)): spec for spec in specs if spec.model != "mlp"}
    kinds = {}
    for spec in forms.values():
        if "own_network:small" in functions_of(spec):  # the deep placebos are perceptrons
            layers = build(spec, (28, 28, 1), 10).layers
            kinds.setdefault(spec.model, set()).update(type(layer).__name__ for layer in layers)
    assert set(kinds) == {"own_network:small", SCALE_AND_SHIFT, GHOST}
    assert "BatchNormalization" in kinds["own_network:small"]
    assert "ScaleShift" in kinds[SCALE_AND_SHIFT]
    assert "GhostBatchNormalization" in kinds[GHOST]
