"""The fifteen claims on outcomes made by hand, whose effects are computed by hand."""

import math
from copy import deepcopy

import pytest

from dlip_reg.claims import judge_claims
from dlip_reg.claims.batch_norm import CLAIMS
from dlip_reg.claims.batch_norm.readings import quickest, steps_to, targets
from dlip_reg.claims.batch_norm.regularizers import (
    centre_of_best,
    strength_that_costs_a_point,
)
from dlip_reg.experiments.batch_norm import DEPTH, FASTER, SHALLOW

CLAIM = {claim.id: claim for claim in CLAIMS}
SEEDS = (0, 1, 2)
EPOCHS, STEPS = 4, 25  # of 1,000 images in batches of 40


def make_record(accuracies=(0.1, 0.3, 0.5, 0.7, 0.8), **measures):
    """A run with everything that any claim reads."""
    losses = [2.0 / 2**epoch for epoch in range(EPOCHS + 1)]
    probes = [{"epoch": epoch} for epoch in range(EPOCHS + 1)]
    landscape = {"loss_range": 1.0, "gradient_distance_range": 2.0, "effective_beta": 3.0}
    shift = {"shift_distance": 1.0, "shift_relative": 0.5, "shift_cosine": 0.9}
    drift = {"activation_drift": 0.2, "activation_largest": 5.0}
    flow = {"gradient_norm": 10.0, "gradient_first_over_last": 1.0}
    return {
        "status": "finished",
        "spec": {"epochs": EPOCHS, "batch_size": 40, "data": {"n_train": 1000}},
        "measures": {
            "val_accuracy": accuracies[-1],
            "val_loss": 0.5,
            "test_accuracy": 0.8,
            **measures,
        },
        "curves": {
            "epoch": list(range(EPOCHS + 1)),
            "clean_val_accuracy": list(accuracies),
            "clean_loss": losses,
            "clean_val_loss": [loss + 0.5 for loss in losses],
        },
        "landscape": [{**row, **landscape} for row in probes],
        "shift": [{**row, **shift} for row in probes],
        "percentiles": [{**row, **drift} for row in probes],
        "flow": [{**probes[at], **flow} for at in (0, 2, 4)],
        "companions": [
            {"batch_size": size, "relative_variance": 1 / size} for size in (8, 32, 256)
        ],
        "colours": [
            {"variant": name, "accuracy": 0.8, "recalibrated_accuracy": 0.8}
            for name in ("grey", "tinted", "inverted")
        ],
    }


def cell(*arguments, **measures):
    return {seed: make_record(*arguments, **measures) for seed in SEEDS}


@pytest.fixture
def outcomes():
    """Both arms alike; a test changes what it is about."""
    arms = ("plain", "bn")
    return {
        "same_rate": {arm: cell() for arm in arms},
        "gaps": {arm: cell() for arm in arms},
        "rates": {
            arm: {0.1: cell(), 1.0: cell((0.1,) * 5), 10.0: cell((0.1,) * 5)} for arm in arms
        },
        "fast_decay": {arm: {1.0: cell(), FASTER: cell()} for arm in arms},
        "dropout": {arm: {"without": cell(), "with": cell()} for arm in arms},
        "l2": {arm: {0.001: cell(), 0.01: cell(), 0.1: cell()} for arm in arms},
        "deep": {arm: cell() for arm in arms},
        "too_large": {arm: {SHALLOW: cell(), DEPTH: cell()} for arm in (*arms, "well_scaled")},
        "sigmoid": {arm: cell() for arm in arms},
        "colours": {arm: cell() for arm in arms},
    }


def set_rows(records, part, key, values, epochs=None):
    """Give the rows of a part of every seed's record that seed's value."""
    for seed, value in zip(SEEDS, values, strict=True):
        for row in records[seed][part]:
            if epochs is None or row["epoch"] in epochs:
                row[key] = value


def set_measure(records, name, values):
    for seed, value in zip(SEEDS, values, strict=True):
        records[seed]["measures"][name] = value


def effects(outcomes, claim):
    return CLAIM[claim].measure(outcomes).differences


def part(outcomes, claim, label):
    (found,) = [p for p in CLAIM[claim].measure(outcomes).parts if label in p.label]
    return found.values


def near(*values):
    # Sums and logarithms of a few decimal fractions: float64 rounding and no more.
    return pytest.approx(values, rel=1e-9, abs=1e-9)


def test_the_claims_are_the_notes_fifteen():
    assert list(CLAIM) == [
        "bn-landscape",
        "bn-predictiveness",
        "bn-beta",
        "bn-large-lr",
        "bn-fast-decay",
        "bn-no-dropout",
        "bn-with-dropout",
        "bn-less-l2",
        "bn-vanishing",
        "bn-exploding",
        "bn-internal-shift",
        "bn-independence",
        "bn-bounded",
        "bn-input-shift",
        "bn-noise",
    ]
    assert len(CLAIMS) == len(CLAIM)


@pytest.mark.parametrize(
    ("claim", "direction"),
    [
        *((f"bn-{name}", -1) for name in ("landscape", "predictiveness", "beta", "large-lr")),
        ("bn-fast-decay", +1),  # less accuracy lost
        ("bn-no-dropout", -1),  # less to gain from dropout
        ("bn-with-dropout", +1),  # something to gain
        ("bn-less-l2", -1),
        ("bn-vanishing", +1),  # nearer to 1
        ("bn-exploding", -1),
        *((f"bn-{name}", -1) for name in ("internal-shift", "independence", "bounded")),
        ("bn-input-shift", -1),  # accuracy falls
        ("bn-noise", -1),  # a smaller gap
    ],
)
def test_direction(claim, direction):
    assert CLAIM[claim].direction == direction
    assert CLAIM[claim].smallest_effect > 0


@pytest.mark.parametrize("claim", CLAIM)
def test_nothing_differs_where_both_arms_do_alike(outcomes, claim):
    assert effects(outcomes, claim) == near(0, 0, 0)


@pytest.mark.parametrize("claim", CLAIM)
def test_a_claim_reads_the_experiments_it_needs_and_no_other(outcomes, claim):
    needed = {name: outcomes[name] for name in CLAIM[claim].needs}
    assert effects(needed, claim) == effects(outcomes, claim)
    for name in needed:
        with pytest.raises(KeyError, match=name):
            CLAIM[claim].measure({n: o for n, o in needed.items() if n != name})


@pytest.mark.parametrize(
    ("claim", "part_of", "key"),
    [
        ("bn-landscape", "landscape", "loss_range"),
        ("bn-predictiveness", "landscape", "gradient_distance_range"),
        ("bn-beta", "landscape", "effective_beta"),
        ("bn-independence", "shift", "shift_relative"),
        ("bn-bounded", "percentiles", "activation_largest"),
    ],
)
def test_probes_are_compared_epoch_by_epoch_as_log_ratios(outcomes, claim, part_of, key):
    arms = outcomes["same_rate"]
    set_rows(arms["plain"], part_of, key, (1.0, 1.0, 1.0))
    set_rows(arms["bn"], part_of, key, (2.0, 0.5, 4.0))
    # Of five epochs seed 2 has four at a quarter instead: the mean of ln 4 and four times -ln 4.
    set_rows(arms["bn"], part_of, key, (2.0, 0.5, 0.25), epochs=(1, 2, 3, 4))
    ln2 = math.log(2)
    assert effects(outcomes, claim) == near(ln2, -ln2, -6 / 5 * ln2)
    # A probe that one of the two lacks counts for neither.
    arms["bn"][2][part_of][0][key] = None
    assert effects(outcomes, claim)[2] == pytest.approx(-2 * ln2)


def test_a_target_is_reached_between_two_epochs():
    record = make_record((0.1, 0.3, 0.5, 0.7, 0.8))
    # 0.4 lies half-way from the end of epoch 1 to that of epoch 2.
    assert steps_to(record, 0.4) == pytest.approx(1.5 * STEPS)
    assert steps_to(record, 0.8) == pytest.approx(4 * STEPS)
    assert steps_to(record, 0.1) == 0
    assert steps_to(record, 0.81) is None


def test_large_rates_are_judged_by_the_steps_to_the_plain_nets_best(outcomes):
    grids = outcomes["rates"]
    # At 0.1 the plain net ends best, with 0.8 after 4 epochs; batch norm at 1 has 0.8 after 2.
    grids["bn"][1.0] = cell((0.1, 0.4, 0.8, 0.85, 0.9))
    assert targets(grids["plain"]) == dict.fromkeys(SEEDS, 0.8)
    assert quickest(grids["bn"], dict.fromkeys(SEEDS, 0.8)) == 1.0
    assert effects(outcomes, "bn-large-lr") == near(*[math.log(2 / 4)] * 3)
    assert part(outcomes, "bn-large-lr", "steps to it with") == near(*[2 * STEPS] * 3)
    assert part(outcomes, "bn-large-lr", "got there") == (100, 100, 100)
    assert part(outcomes, "bn-large-lr", "quickest") == near(*[math.log(10)] * 3)


def test_a_run_that_never_gets_there_counts_with_all_its_steps_and_wins_nothing(outcomes):
    # At rate 10 each seed would be there at once, but for seed 2, which never is.
    quick = cell((0.1, 0.8, 0.8, 0.8, 0.8))
    quick[2] = make_record((0.1, 0.2, 0.2, 0.2, 0.2))
    grids = outcomes["rates"]
    grids["bn"] = {10.0: quick}
    assert effects(outcomes, "bn-large-lr") == near(math.log(1 / 4), math.log(1 / 4), 0)
    assert part(outcomes, "bn-large-lr", "got there") == (100, 100, 0)
    grids["bn"][0.1] = cell()  # slower, and there in every seed
    assert quickest(grids["bn"], targets(grids["plain"])) == 0.1


def test_the_largest_rate_that_trains_ends_half_way_from_chance(outcomes):
    grids = outcomes["rates"]
    # Best is 0.8, so half-way from 0.1 is 0.45.
    grids["bn"][10.0] = cell((0.1, 0.2, 0.3, 0.4, 0.46))
    grids["bn"][1.0] = cell((0.1, 0.2, 0.3, 0.4, 0.44))
    largest = part(outcomes, "bn-large-lr", "largest")
    assert largest == near(*[math.log(10 / 0.1)] * 3)
    grids["bn"][10.0][1]["status"] = "diverged"
    assert part(outcomes, "bn-large-lr", "largest")[1] == pytest.approx(0)


def test_fast_decay_is_the_accuracy_lost_with_minus_without(outcomes):
    arms = outcomes["fast_decay"]
    set_measure(arms["plain"][FASTER], "test_accuracy", (0.70, 0.72, 0.80))  # -10, -8, 0
    set_measure(arms["bn"][FASTER], "test_accuracy", (0.78, 0.75, 0.79))  # -2, -5, -1
    assert effects(outcomes, "bn-fast-decay") == near(8, 3, -1)
    assert part(outcomes, "bn-fast-decay", "decay, without") == near(-10, -8, 0)


def test_dropout_is_an_interaction_and_a_simple_effect(outcomes):
    arms = outcomes["dropout"]
    set_measure(arms["plain"]["with"], "test_accuracy", (0.83, 0.84, 0.78))  # 3, 4, -2
    set_measure(arms["bn"]["with"], "test_accuracy", (0.81, 0.79, 0.80))  # 1, -1, 0
    assert effects(outcomes, "bn-no-dropout") == near(-2, -5, 2)
    assert effects(outcomes, "bn-with-dropout") == near(1, -1, 0)


def test_dropout_slows_by_the_steps_to_what_all_four_nets_reach(outcomes):
    arms = outcomes["dropout"]
    # The slowest of the four ends at 0.5, where the others are after two epochs.
    arms["bn"]["with"] = cell((0.1, 0.2, 0.3, 0.4, 0.5))
    slowed = part(outcomes, "bn-no-dropout", "over none, with batch norm")
    assert slowed == near(*[math.log(4 / 2)] * 3)
    assert part(outcomes, "bn-no-dropout", "over none, without") == near(0, 0, 0)


def test_the_best_strength_is_weighted_by_e_to_the_points():
    alike = {0.001: 0.8, 0.01: 0.8, 0.1: 0.8}
    assert centre_of_best(alike) == pytest.approx(0.01)
    assert centre_of_best(alike | {0.1: 0.3}) == pytest.approx(math.sqrt(0.001 * 0.01))
    # One point behind weighs 1/e: the weights are 1 and 1/e at -3 and -1 decades.
    share = 1 / (1 + math.e)
    decades = math.log10(centre_of_best({0.001: 0.80, 0.1: 0.79}))
    assert decades == pytest.approx(-3 + 2 * share)
    assert centre_of_best({0.001: math.nan, 0.1: 0.5}) == pytest.approx(0.1)
    assert math.isnan(centre_of_best({0.001: math.nan}))


def test_a_point_is_lost_where_the_line_beyond_the_best_crosses():
    # From 0.80 at 0.01 down to 0.78 at 0.1: a point lower half-way, in the logarithm.
    grid = {0.001: 0.70, 0.01: 0.80, 0.1: 0.78, 1.0: 0.10}
    assert strength_that_costs_a_point(grid) == pytest.approx(0.01 * math.sqrt(10))
    # Neither weaker strengths that do as well nor those that do worse are anything to it.
    for weaker in (0.80, 0.75):
        assert strength_that_costs_a_point(grid | {1e-4: weaker}) == pytest.approx(
            0.01 * math.sqrt(10)
        )
    assert math.isnan(strength_that_costs_a_point({0.001: 0.7, 0.01: 0.8, 0.1: 0.795}))
    assert math.isnan(strength_that_costs_a_point({0.001: math.nan}))


def test_less_l2_is_the_ratio_of_the_best_strengths(outcomes):
    grids = outcomes["l2"]
    for arm, best in (("plain", 0.1), ("bn", 0.001)):
        for strength in grids[arm]:
            # Far apart, so that the best has all the weight but e^-50.
            set_measure(
                grids[arm][strength], "val_accuracy", (0.9 if strength == best else 0.4,) * 3
            )
    assert effects(outcomes, "bn-less-l2") == near(*[math.log(0.01)] * 3)
    assert part(outcomes, "bn-less-l2", "single best") == near(*[math.log(0.01)] * 3)


def test_vanishing_counts_the_distance_from_one_in_decades_either_way(outcomes):
    arms = outcomes["deep"]
    set_rows(arms["plain"], "flow", "gradient_first_over_last", (1e-6, 1e-6, 1e3))
    set_rows(arms["bn"], "flow", "gradient_first_over_last", (10, 1e8, 1e-1))
    # 6 - 1, 6 - 8 (it explodes worse than it vanished), 3 - 1
    assert effects(outcomes, "bn-vanishing") == near(5, -2, 2)
    # The mean over the three probes: (6 + 6 + 0) / 3 - 1
    arms["plain"][0]["flow"][-1]["gradient_first_over_last"] = 1.0
    assert effects(outcomes, "bn-vanishing")[0] == pytest.approx(3)
    assert part(outcomes, "bn-vanishing", "chance, without") == near(70, 70, 70)


def test_exploding_is_the_growth_of_the_whole_gradient_per_layer(outcomes):
    arms = outcomes["too_large"]
    layers = DEPTH - SHALLOW
    for arm, factor in (("plain", 2.0), ("bn", 1.2)):
        for depth, by_seed in arms[arm].items():
            set_rows(by_seed, "flow", "gradient_norm", [factor**depth] * 3, epochs=(0,))
    assert layers == 15
    assert effects(outcomes, "bn-exploding") == near(*[math.log(1.2 / 2)] * 3)
    # A run that diverged later tells of its beginning as well; a lost one does not.
    arms["plain"][DEPTH][0]["status"] = "diverged"
    arms["plain"][DEPTH][1] = None
    measured = effects(outcomes, "bn-exploding")
    assert measured[0] == pytest.approx(math.log(1.2 / 2)) and math.isnan(measured[1])
    assert part(outcomes, "bn-exploding", "infinity, without") == (50, 0, 0)


def test_internal_shift_is_the_ratio_of_mean_drifts(outcomes):
    arms = outcomes["sigmoid"]
    set_rows(arms["plain"], "percentiles", "activation_drift", (0.4, 0.1, 0.2))
    set_rows(arms["bn"], "percentiles", "activation_drift", (0.1, 0.1, 0.4))
    for arm in arms.values():
        for record in arm.values():
            record["percentiles"][0]["activation_drift"] = None  # there is no probe before it
    assert effects(outcomes, "bn-internal-shift") == near(math.log(1 / 4), 0, math.log(2))


def test_bounded_tells_of_the_deep_nets_beside(outcomes):
    set_measure(outcomes["deep"]["plain"], "val_accuracy", (0.1, 0.1, 0.2))
    assert part(outcomes, "bn-bounded", "above chance, without") == near(0, 0, 10)
    large = outcomes["too_large"]
    set_rows(large["plain"][DEPTH], "percentiles", "activation_largest", (500,) * 3, epochs=(0,))
    assert part(outcomes, "bn-bounded", "started too large") == near(*[math.log(0.01)] * 3)


def test_input_shift_is_the_mean_change_on_the_two_other_kinds_of_image(outcomes):
    arms = outcomes["colours"]

    def set_accuracy(arm, variant, accuracy, recalibrated):
        for record in arms[arm].values():
            for row in record["colours"]:
                if row["variant"] == variant:
                    row["accuracy"], row["recalibrated_accuracy"] = accuracy, recalibrated

    set_accuracy("plain", "tinted", 0.6, None)  # -20
    set_accuracy("plain", "inverted", 0.1, None)  # -70
    set_accuracy("bn", "tinted", 0.7, 0.75)  # -10, after re-estimation -5
    set_accuracy("bn", "inverted", 0.2, 0.35)  # -60, -45
    assert effects(outcomes, "bn-input-shift") == near(-45, -45, -45)
    for variant, change, back in (("tinted", -10, 5), ("inverted", -60, 15)):
        found = part(outcomes, "bn-input-shift", f"{variant} images, with batch norm")
        assert found == near(*[change] * 3)
        found = part(outcomes, "bn-input-shift", f"{variant} images, re-estimated")
        assert found == near(*[back] * 3)


def test_gaps_are_compared_at_equal_training_losses(outcomes):
    for record in outcomes["gaps"]["bn"].values():
        # Twice as fast, and at each training loss the same gap plus a tenth.
        losses = [2.0 / 4**epoch for epoch in range(EPOCHS + 1)]
        record["curves"]["clean_loss"] = losses
        record["curves"]["clean_val_loss"] = [loss + 0.6 for loss in losses]
    assert effects(outcomes, "bn-noise") == near(0.1, 0.1, 0.1)
    assert part(outcomes, "bn-noise", "batches of 32") == near(*[100 / 32] * 3)


def test_gaps_are_interpolated_and_averaged_over_the_common_losses(outcomes):
    for arm, slope in (("plain", 1.0), ("bn", 3.0)):
        for record in outcomes["gaps"][arm].values():
            curves = record["curves"]
            curves["clean_val_loss"] = [x + slope * (2 - x) for x in curves["clean_loss"]]
    # The gap is linear in the loss: the difference is 2 (2 - x), at five x from 1/8 to 1.
    levels = [8.0 ** (-i / 4) for i in range(5)]
    expected = sum(2 * (2 - x) for x in levels) / 5
    assert effects(outcomes, "bn-noise") == near(*[expected] * 3)


def test_runs_without_a_loss_in_common_have_no_gap_to_compare(outcomes):
    for record in outcomes["gaps"]["bn"].values():
        record["curves"]["clean_loss"] = [2.0, 0.01, 0.009, 0.008, 0.007]
    assert all(math.isnan(value) for value in effects(outcomes, "bn-noise"))


@pytest.mark.parametrize("gone", ["diverged", "missing"])
@pytest.mark.parametrize(
    "claim", sorted(set(CLAIM) - {"bn-exploding", "bn-large-lr", "bn-less-l2"})
)
def test_a_seed_without_a_record_of_a_compared_arm_has_no_effect(outcomes, claim, gone):
    def spoil_records(tree):
        if 0 in tree and "status" in tree[0]:
            if gone == "missing":
                tree[1] = None
            else:
                tree[1] |= {"status": "diverged", "measures": dict.fromkeys(tree[1]["measures"])}
        else:
            for branch in tree.values():
                spoil_records(branch)

    # "bounded" and "with-dropout" compare one experiment, and one arm, and show others beside.
    for arm in ("bn",) if claim == "bn-with-dropout" else ("plain", "bn"):
        if claim == "bn-input-shift" and arm == "bn":
            continue
        damaged = deepcopy(outcomes)
        spoil_records(damaged[CLAIM[claim].needs[0]][arm])
        measured = effects(damaged, claim)
        assert [math.isnan(value) for value in measured] == [False, True, False]


def test_what_was_measured_is_what_is_judged(outcomes):
    set_measure(outcomes["dropout"]["bn"]["with"], "test_accuracy", (0.83, 0.84, 0.85))
    (judged,) = judge_claims([CLAIM["bn-with-dropout"]], outcomes, family_size=len(CLAIMS))
    assert judged["effect"] == pytest.approx(4)
    assert judged["n_seeds"] == 3
    assert judged["unit"] == "percentage points"
