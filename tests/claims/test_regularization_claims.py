"""The seven claims on outcomes made by hand, whose effects are computed by hand."""

import math
from copy import deepcopy

import pytest

from dlip_reg.claims import judge_claims
from dlip_reg.claims.regularization import CLAIMS
from dlip_reg.experiments.regularization import Outcome, methods

CLAIM = {claim.id: claim for claim in CLAIMS}
NAMES = list(methods(4))
SEEDS = (0, 1, 2)


def kernels(size, rms, largest, near_zero):
    return {"size": size, "rms": rms, "max": largest, "near_zero": near_zero}


def make_record(**measures):
    """A final record with the statistics of an untrained and of a trained net."""
    values = {
        "train_loss": 0.5,
        "val_loss": 0.5,
        "val_accuracy": 0.5,
        "test_accuracy": 0.5,
        "pruned_val_accuracy": 0.5,
    }
    conv, dense = kernels(100, 0.1, 1.0, 0.1), kernels(300, 0.2, 2.0, 0.2)
    activations = [
        {"layer": "conv1_act", "kind": "conv", "size": 1000, "mean": 9.0, "near_zero": 0.9},
        {"layer": "dense1_act", "kind": "dense", "size": 30, "mean": 1.0, "near_zero": 0.4},
        {"layer": "dense2_act", "kind": "dense", "size": 10, "mean": 2.0, "near_zero": 0.8},
    ]
    start = kernels(100, 7.0, 7.0, 0.7)
    rows = [
        {"kinds": {"conv": start, "dense": start}, "activations": activations[:1]},
        {"kinds": {"conv": conv, "dense": dense}, "activations": activations},
    ]
    return {
        "status": "finished",
        "measures": {**values, **measures},
        "weights": {"rows": deepcopy(rows)},
    }


@pytest.fixture
def outcomes():
    """Every method with every seed, all alike; a test changes what it is about."""
    return {name: {seed: Outcome((), make_record()) for seed in SEEDS} for name in NAMES}


def set_measure(outcomes, method, name, values):
    for seed, value in zip(SEEDS, values, strict=True):
        outcomes[method][seed].final["measures"][name] = value


def trained(outcomes, method, seed):
    """The statistics of the trained net."""
    return outcomes[method][seed].final["weights"]["rows"][-1]


def effects(outcomes, claim):
    return CLAIM[claim].measure(outcomes).differences


def part(outcomes, claim, label):
    (found,) = [p for p in CLAIM[claim].measure(outcomes).parts if label in p.label]
    return found


def near(*values):
    # Sums and logarithms of a few decimal fractions: float64 rounding and no more.
    return pytest.approx(values, rel=1e-12, abs=1e-12)


def test_the_claims_are_the_notes_seven():
    assert list(CLAIM) == [
        "reg-overfit",
        "reg-dropout-best",
        "reg-dropout-weights",
        "reg-dropout-sparse",
        "reg-l1-sparse",
        "reg-l2-small",
        "reg-separate",
    ]
    assert len(CLAIMS) == len(CLAIM)


@pytest.mark.parametrize(
    ("claim", "direction", "unit"),
    [
        ("reg-overfit", -1, "nats"),  # a smaller gap
        ("reg-dropout-best", +1, "percentage points"),  # a higher accuracy
        ("reg-dropout-weights", -1, "log-ratio"),  # smaller weights
        ("reg-dropout-sparse", +1, "percentage points"),  # more zeros
        ("reg-l1-sparse", +1, "percentage points"),
        ("reg-l2-small", -1, "log-ratio"),
        ("reg-separate", +1, "percentage points"),
    ],
)
def test_direction_and_unit(claim, direction, unit):
    assert (CLAIM[claim].direction, CLAIM[claim].unit) == (direction, unit)
    assert CLAIM[claim].smallest_effect > 0


@pytest.mark.parametrize("claim", CLAIM)
def test_nothing_differs_where_all_methods_do_alike(outcomes, claim):
    assert effects(outcomes, claim) == near(0, 0, 0)


@pytest.mark.parametrize("claim", CLAIM)
def test_a_claim_reads_the_methods_it_needs_and_no_other(outcomes, claim):
    needed = {name: outcomes[name] for name in CLAIM[claim].needs}
    assert effects(needed, claim) == effects(outcomes, claim)
    for name in needed:
        with pytest.raises(KeyError, match=name):
            CLAIM[claim].measure({n: by_seed for n, by_seed in needed.items() if n != name})


def test_overfit_is_the_mean_gap_of_three_methods_minus_the_gap_without(outcomes):
    set_measure(outcomes, "none", "val_loss", (1.5, 1.4, 1.3))  # gaps 1.0, 0.9, 0.8
    set_measure(outcomes, "dropout", "val_loss", (0.8, 0.9, 1.0))  # 0.3, 0.4, 0.5
    set_measure(outcomes, "l1", "val_loss", (0.6, 0.6, 0.6))  # 0.1, 0.1, 0.1
    set_measure(outcomes, "l2", "val_loss", (0.7, 0.6, 0.5))  # 0.2, 0.1, 0.0
    # (0.6 / 3 - 1.0, 0.6 / 3 - 0.9, 0.6 / 3 - 0.8)
    assert effects(outcomes, "reg-overfit") == near(-0.8, -0.7, -0.6)
    assert part(outcomes, "reg-overfit", "without").values == near(1.0, 0.9, 0.8)
    assert part(outcomes, "reg-overfit", "dropout minus none").values == near(-0.7, -0.5, -0.3)
    assert part(outcomes, "reg-overfit", "L2 minus none").values == near(-0.8, -0.8, -0.8)


def test_dropouts_rival_is_the_better_of_l1_and_l2_by_validation_accuracy(outcomes):
    set_measure(outcomes, "dropout", "test_accuracy", (0.80, 0.81, 0.82))
    set_measure(outcomes, "l1", "test_accuracy", (0.70, 0.90, 0.70))
    set_measure(outcomes, "l2", "test_accuracy", (0.90, 0.70, 0.75))
    # L1 is ahead on validation data with seeds 0 and 2, though behind on test data there.
    set_measure(outcomes, "l1", "val_accuracy", (0.6, 0.5, 0.6))
    set_measure(outcomes, "l2", "val_accuracy", (0.5, 0.6, 0.5))
    assert effects(outcomes, "reg-dropout-best") == near(10, 11, 12)
    assert part(outcomes, "reg-dropout-best", "minus L1").values == near(10, -9, 12)
    set_measure(outcomes, "dropout_l2", "test_accuracy", (0.81, 0.83, 0.85))
    combined = part(outcomes, "reg-dropout-best", "dropout + L2")
    assert combined.unit == "percentage points"
    assert combined.values == near(1, 2, 3)


def test_dropouts_weights_are_those_of_the_dense_layers(outcomes):
    for seed, factor in zip(SEEDS, (0.5, 2.0, 1.0), strict=True):
        trained(outcomes, "dropout", seed)["kinds"]["dense"]["rms"] *= factor
        trained(outcomes, "dropout", seed)["kinds"]["conv"]["rms"] *= 3
    ln2 = math.log(2)
    assert effects(outcomes, "reg-dropout-weights") == near(-ln2, ln2, 0)
    assert part(outcomes, "reg-dropout-weights", "conv").values == near(*[math.log(3)] * 3)


def test_dropouts_sparsity_is_that_of_hidden_dense_activations(outcomes):
    # Without: (30 x 0.4 + 10 x 0.8) / 40 = 0.5. The conv layer's 1000 values do not count.
    for seed, share in zip(SEEDS, (0.8, 0.4, 0.0), strict=True):
        trained(outcomes, "dropout", seed)["activations"][1]["near_zero"] = share
        trained(outcomes, "dropout", seed)["activations"][0]["near_zero"] = 0.0
    # (24 + 8) / 40 = 0.8, 0.5, (0 + 8) / 40 = 0.2
    assert effects(outcomes, "reg-dropout-sparse") == near(30, 0, -30)
    assert part(outcomes, "reg-dropout-sparse", "without").values == near(50, 50, 50)


def test_l1s_sparsity_is_that_of_all_kernels_together(outcomes):
    # Without: (100 x 0.1 + 300 x 0.2) / 400 = 17.5 %.
    for seed, share in zip(SEEDS, (0.9, 0.5, 0.1), strict=True):
        trained(outcomes, "l1", seed)["kinds"]["conv"]["near_zero"] = share
    # 37.5 %, 27.5 %, 17.5 %
    assert effects(outcomes, "reg-l1-sparse") == near(20, 10, 0)
    set_measure(outcomes, "l1", "val_accuracy", (0.80, 0.80, 0.80))
    set_measure(outcomes, "l1", "pruned_val_accuracy", (0.79, 0.80, 0.60))
    kept = part(outcomes, "reg-l1-sparse", "set to zero")
    assert (kept.values, kept.unit) == (near(-1, 0, -20), "percentage points")


def test_l2s_weights_are_all_kernels_pooled_by_size(outcomes):
    # Without: mean square (100 x 0.01 + 300 x 0.04) / 400 = 0.0325.
    for seed, rms in zip(SEEDS, (0.05, 0.2, 0.4), strict=True):
        trained(outcomes, "l2", seed)["kinds"]["dense"]["rms"] = rms
        trained(outcomes, "l2", seed)["kinds"]["conv"]["max"] = 4.0  # not the largest without
    squares = [(100 * 0.01 + 300 * rms**2) / 400 for rms in (0.05, 0.2, 0.4)]
    expected = [math.log(square / 0.0325) / 2 for square in squares]
    assert effects(outcomes, "reg-l2-small") == near(*expected)
    assert expected[0] < 0 < expected[2]
    largest = part(outcomes, "reg-l2-small", "largest")
    assert largest.values == near(*[math.log(2)] * 3)


def test_separate_is_the_separate_searchs_winner_against_the_tied_ones(outcomes):
    set_measure(outcomes, "l2", "test_accuracy", (0.80, 0.80, 0.80))
    set_measure(outcomes, "l2_separate", "test_accuracy", (0.82, 0.80, 0.77))
    grid = methods(4)["l2_separate"].trials
    by_accuracy = {  # the best pair of each seed: conv / dense = 1/100, 1, 100
        seed: {(0.0003, 0.03): a, (0.03, 0.03): b, (0.03, 0.0003): c}
        for seed, (a, b, c) in zip(SEEDS, ((3, 2, 1), (2, 3, 1), (1, 2, 3)), strict=True)
    }
    for seed in SEEDS:
        trials = tuple(
            {
                "status": "finished",
                "spec": {"regularization": pair.to_json()},
                "measures": {
                    "val_accuracy": by_accuracy[seed].get((pair.conv_l2, pair.dense_l2), 0),
                    "val_loss": 1.0,
                },
            }
            for pair in grid
        )
        outcomes["l2_separate"][seed] = Outcome(trials, outcomes["l2_separate"][seed].final)
    assert effects(outcomes, "reg-separate") == near(2, 0, -3)
    ratios = part(outcomes, "reg-separate", "best conv strength")
    assert (ratios.values, ratios.unit) == (near(-2, 0, 2), "decades")


@pytest.mark.parametrize("gone", ["diverged", "missing"])
@pytest.mark.parametrize("claim", CLAIM)
def test_a_seed_without_a_final_of_a_compared_method_has_no_effect(outcomes, claim, gone):
    beside = {"dropout_l2", "dropout_max_norm"}  # shown next to the effect, not in it
    if claim in ("reg-l1-sparse", "reg-l2-small"):
        beside |= {"l1", "l2"} - {claim.split("-")[1]}
    for method in CLAIM[claim].needs:
        damaged = deepcopy(outcomes)
        if gone == "missing":
            damaged[method][1] = Outcome((), None)
        else:
            final = damaged[method][1].final
            final["status"] = "diverged"
            final["measures"] = dict.fromkeys(final["measures"])
        measured = effects(damaged, claim)
        assert [math.isnan(value) for value in measured] == [False, method not in beside, False]


def test_what_was_measured_is_what_is_judged(outcomes):
    set_measure(outcomes, "l2_separate", "test_accuracy", (0.60, 0.61, 0.62))  # 10, 11, 12 points
    (judged,) = judge_claims([CLAIM["reg-separate"]], outcomes, family_size=7)
    assert judged["effect"] == pytest.approx(11)
    assert judged["n_seeds"] == 3
    assert judged["unit"] == "percentage points"
