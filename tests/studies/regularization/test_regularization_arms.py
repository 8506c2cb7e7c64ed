"""The arms of the regularization study: equal budgets, equal layers, and controls that differ in
one thing."""

import functools
from dataclasses import replace

import pytest
from regularization_samples import LAB, PRESET, record_of

from dlip_reg.datasets import load_dataset
from dlip_reg.regularization import L2_RANGE
from dlip_reg.studies import Setting, UsageError
from dlip_reg.studies.arm_resolver import ArmResolver, tuning_seeds
from dlip_reg.studies.regularization import STUDY
from dlip_reg.studies.regularization.arms import METHODS, penalty

PACKAGED = "fashion_mnist_subset"


@pytest.fixture(scope="module", params=STUDY.presets)
def preset(request):
    return STUDY.presets[request.param]


@functools.cache
def resolved(preset, claims=STUDY.claims):
    arms = STUDY.arms_for(Setting(preset, "lenet5", PACKAGED), claims)
    resolver = ArmResolver(arms, tuning_seeds(preset.tuning_seeds, 0))
    asked = []
    while requests := resolver.requests():
        asked += requests
        resolver.advance({spec: record_of(spec) for spec in requests})
    return arms, resolver, asked


def test_all_methods_are_tuned_over_as_many_candidates(preset):
    arms, resolver, asked = resolved(preset)
    counts = {arm: len(trials) for arm, trials in resolver.trials.items()}
    compared = ("none", *METHODS, "sgd_none", "sgd_l1", "sgd_l2", "useless", "dropout_l2",
                "dropout_max_norm")  # fmt: skip
    assert {counts[arm] for arm in compared} == {preset.trials}
    searches = [arm for arm in counts if arm.startswith(("l2_separate", "l2_tied"))]
    assert {counts[arm] for arm in searches} == {preset.side**2}
    # The number that is announced is that which is tried, and tuning sees no test image.
    assert {name: arms[name].tuning.size for name in counts} == counts
    assert len(asked) == sum(counts.values()) * preset.tuning_seeds
    assert all(spec.data.n_test is None and "test" not in spec.measures for spec in asked)
    assert not {spec.seed for spec in asked} & set(range(preset.seeds))
    tested = {resolver.chosen[arm].data.n_test for arm in arms if not arm.startswith("labels/")}
    assert tested == {preset.n_test}


def test_methods_are_tuned_at_the_same_learning_rates(preset):
    _, resolver, _ = resolved(preset)
    rates = {arm: {s.learning_rate for s in resolver.trials[arm]} for arm in (*METHODS, "useless")}
    assert len(set(map(frozenset, rates.values()))) == 1
    assert rates["l1"] == {s.learning_rate for s in resolver.trials["two_rates"]}


def test_all_regularizers_sit_on_convolutions_and_dense_layers(preset):
    _, resolver, _ = resolved(preset)
    for method in METHODS:
        for spec in resolver.trials[method]:
            values = spec.regularization
            conv, dense = (getattr(values, f"{kind}_{method}") for kind in ("conv", "dense"))
            # Srivastava et al. 2014 drop 0.1 to 0.25 of the inputs of convolutions where they drop
            # half of the dense ones.
            assert conv == pytest.approx((0.4 if method == "dropout" else 1) * dense, abs=1e-4)
            assert dense > 0
            others = set(METHODS) - {method}
            assert not any(getattr(values, f"dense_{other}") for other in others)


def test_controls_differ_from_their_base_in_one_thing(preset):
    _, resolver, _ = resolved(preset)
    chosen = resolver.chosen
    for slow, base in (("none_slow", "none"), ("sgd_none_slow", "sgd_none")):
        assert replace(chosen[slow], learning_rate=chosen[base].learning_rate) == chosen[base]
        assert chosen[slow].learning_rate == pytest.approx(chosen[base].learning_rate / 3)
    for labels in ("true", "random"):
        slow, base = chosen[f"labels/{labels}/slower"], chosen[f"labels/{labels}/none"]
        assert slow.learning_rate < base.learning_rate
        assert replace(slow, learning_rate=base.learning_rate) == base
        strong = chosen[f"labels/{labels}/strong_l2"]
        assert replace(strong, regularization=base.regularization) == base
        assert strong.regularization == penalty("l2", 2 / 3 * L2_RANGE[1])
    for rate in (0, 0.005, 0.1, 0.3, 0.5):
        dosed = chosen[f"dose/{rate}"]
        none = replace(chosen["none"], epochs=preset.dose_epochs or preset.epochs)
        assert replace(dosed, regularization=none.regularization) == none
        assert dosed.regularization.dense_dropout == rate
    assert chosen["useless"].regularization.dense_l2 <= 1e-8
    none, more = chosen["none"], chosen["more_images"]
    assert more.data.n_train == 3 * none.data.n_train
    updates = [s.epochs * s.data.n_train for s in (none, more)]
    assert updates[1] == pytest.approx(updates[0], rel=0.3)


def test_the_tied_search_chooses_one_strength_for_both_kinds_of_layers(preset):
    _, resolver, _ = resolved(preset)
    tied = resolver.chosen["l2_tied"].regularization
    assert tied.conv_l2 == tied.dense_l2 > 0


def test_random_labels_are_the_only_difference_to_true_ones(preset):
    _, resolver, _ = resolved(preset)
    for method in ("none", *METHODS):
        true, random = (
            resolver.chosen[f"labels/{labels}/{method}"] for labels in ("true", "random")
        )
        assert replace(random, data=true.data) == true
        assert replace(random.data, random_labels=False) == true.data
        assert random.data.random_labels and true.regularization == (
            resolver.chosen[method].regularization
        )


def test_every_arm_can_be_drawn_from_the_packaged_images_and_redraws_its_test_images(preset):
    _, resolver, asked = resolved(preset)
    sizes = {spec.data for spec in (*asked, *resolver.chosen.values())}
    for data in sizes:
        drawn = load_dataset(
            PACKAGED, n_train=data.n_train, n_validation=data.n_validation, n_test=data.n_test
        )
        assert len(drawn.x_train) == data.n_train
    tested = {data.n_test for data in sizes} - {None}
    assert max(tested) < 4000  # all there are: the same for each seed


@pytest.mark.parametrize("name", ["strengths", "side"])
def test_a_preset_needs_two_strengths(name):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of 2 or more"):
        replace(PRESET, **{name: 1})


def test_a_model_without_convolutions_has_no_separate_strengths():
    arms, _, _ = resolved(PRESET)
    with pytest.raises(UsageError, match=r"mlp has no convolutions, .* --claims without it, or"):
        STUDY.check(Setting(PRESET, "mlp", PACKAGED), list(arms.values()), {"dense"})
    with pytest.raises(UsageError, match=r"^net has no dense layers, so reg-separate"):
        STUDY.check(Setting(PRESET, "net", PACKAGED), list(arms.values()), {"conv"})
    STUDY.check(Setting(PRESET, "mlp", PACKAGED), list(arms.values()), {"conv", "dense"})
    others, _, _ = resolved(PRESET, (LAB.claims["reg-overfit"],))
    STUDY.check(Setting(PRESET, "mlp", PACKAGED), list(others.values()), {"dense"})
