"""The fifteen claims on runs made by hand, whose effects are computed by hand."""

import math
from dataclasses import replace

import pytest

from dlip_reg.studies import Runs, Setting
from dlip_reg.studies.batch_norm import CLAIMS, STUDY
from dlip_reg.studies.batch_norm.arms import DEPTH, BatchNormPreset
from dlip_reg.studies.batch_norm.deep import SHALLOW
from dlip_reg.studies.batch_norm.learning_rates import FASTER, quickest, targets
from dlip_reg.studies.batch_norm.readings import grid, steps_to
from dlip_reg.studies.batch_norm.regularizers import centre_of_best, strength_that_costs_a_point
from dlip_reg.studies.judging import judge_claim
from dlip_reg.studies.study import expand
from dlip_reg.training import DataSpec, RunSpec
from dlip_reg.training.records import Measures, make_record

CLAIM = {claim.id: claim for claim in CLAIMS}
SEEDS = (0, 1, 2)
EPOCHS, STEPS = 4, 25  # of 1,000 images in batches of 40
SPEC = RunSpec("mlp", DataSpec("mnist", 1000), batch_size=40, epochs=EPOCHS)
PRESET = BatchNormPreset(
    seeds=3, epochs=EPOCHS, n_train=1000, n_validation=100, rates=(0.1, 1.0, 10.0),
    dropout_rates=(0.1,), strengths=(0.001, 0.01, 0.1), deep_epochs=4, sigmoid_epochs=4,
)  # fmt: skip


def record(accuracies=(0.1, 0.3, 0.5, 0.7, 0.8), losses=None, gap=0.5):
    """A run with everything that any claim reads."""
    losses = losses or [2.0 / 2**epoch for epoch in range(EPOCHS + 1)]
    at = [{"epoch": epoch, "step": epoch * STEPS} for epoch in range(EPOCHS + 1)]
    ranges = dict.fromkeys(
        ("loss_low", "loss_high", "gradient_distance_low", "gradient_distance_high"), 0.0
    )
    return make_record(
        SPEC,
        "",
        True,
        measures={"val_accuracy": accuracies[-1], "val_loss": 0.5, "test_accuracy": 0.8},
        curves={
            "epoch": range(EPOCHS + 1),
            "clean_val_accuracy": accuracies,
            "clean_loss": losses,
            "clean_val_loss": [loss + gap for loss in losses],
            **dict.fromkeys(("clean_accuracy", "penalty", "keras_loss"), ()),
        },
        landscape=[
            row | ranges | {
                "loss_range": 1.0, "gradient_distance_range": 2.0, "effective_beta": 3.0,
                "step_lengths": (), "losses": (), "gradient_distances": (),
            }
            for row in at
        ],
        shift=[
            row | {"shift_distance": 1.0, "shift_relative": 0.5, "shift_cosine": 0.9, "layers": ()}
            for row in at
        ],
        percentiles=[
            row | {
                "activation_p15": None, "activation_p50": None, "activation_p85": None,
                "activation_drift": 0.2, "activation_largest": 5.0, "units": (),
            }
            for row in at
        ],
        flow=[
            at[epoch] | {
                "gradient_norm": 10.0, "gradient_first_over_last": 1.0, "gradient_growth": 1.0,
                "layers": (),
            }
            for epoch in (0, 2, 4)
        ],
        batch_noise=[
            {"batch_size": size, "relative_variance": 1 / size} for size in (8, 32, 256)
        ],
        colours=[
            {
                "variant": name, "accuracy": 0.8, "recalibrated_accuracy": 0.8,
                "samples": {"shape": (), "pixels": ""},
            }
            for name in ("grey", "tinted", "inverted")
        ],
    )  # fmt: skip


def every_seed(*arguments, **options):
    return dict.fromkeys(SEEDS, record(*arguments, **options))


@pytest.fixture
def records():
    """Both networks alike; a test changes what it is about."""
    arms = STUDY.arms_for(Setting(PRESET, "lenet5", "mnist"), CLAIMS)
    records = {name: every_seed() for name in arms}
    for net in ("plain", "bn"):
        records |= {f"rates/{net}/{rate}": every_seed((0.1,) * 5) for rate in (1, 10)}
    return records


def runs_of(records):
    return Runs(SEEDS, records, {}, {}, {})


def set_rows(records, arm, part, field, values, epochs=None):
    """Give the rows of a part of every seed's record that seed's value."""
    for seed, value in zip(SEEDS, values, strict=True):
        rows = tuple(
            replace(row, **{field: value}) if epochs is None or row.epoch in epochs else row
            for row in getattr(records[arm][seed], part)
        )
        records[arm][seed] = replace(records[arm][seed], **{part: rows})


def set_measure(records, arm, name, values):
    for seed, value in zip(SEEDS, values, strict=True):
        old = records[arm][seed]
        records[arm][seed] = replace(old, measures=replace(old.measures, **{name: value}))


def effects(records, claim):
    return CLAIM[claim].measure(runs_of(records)).differences


def part(records, claim, label):
    (found,) = [p for p in CLAIM[claim].measure(runs_of(records)).parts if label in p.label]
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
    assert CLAIM[claim].smallest_effect_source


@pytest.mark.parametrize("claim", CLAIM)
def test_nothing_differs_where_both_arms_are_alike(records, claim):
    assert effects(records, claim) == near(0, 0, 0)


@pytest.mark.parametrize("claim", CLAIM)
def test_a_claim_reads_the_arms_it_needs_and_no_other(records, claim):
    needed = {name: records[name] for name in expand(CLAIM[claim].needs, list(records))}
    assert effects(needed, claim) == effects(records, claim)
    read = set()

    class Noted(dict):
        def __getitem__(self, name):
            read.add(name)
            return super().__getitem__(name)

    effects(Noted(records), claim)
    assert read == set(needed)


@pytest.mark.parametrize(
    ("claim", "part_of", "field"),
    [
        ("bn-landscape", "landscape", "loss_range"),
        ("bn-predictiveness", "landscape", "gradient_distance_range"),
        ("bn-beta", "landscape", "effective_beta"),
        ("bn-independence", "shift", "shift_relative"),
        ("bn-bounded", "percentiles", "activation_largest"),
    ],
)
def test_probes_are_compared_epoch_by_epoch_as_log_ratios(records, claim, part_of, field):
    set_rows(records, "same_rate/plain", part_of, field, (1.0, 1.0, 1.0))
    set_rows(records, "same_rate/bn", part_of, field, (2.0, 0.5, 4.0))
    # Of five epochs seed 2 has four at a quarter instead: the mean of ln 4 and four times -ln 4.
    set_rows(records, "same_rate/bn", part_of, field, (2.0, 0.5, 0.25), epochs=(1, 2, 3, 4))
    ln2 = math.log(2)
    assert effects(records, claim) == near(ln2, -ln2, -6 / 5 * ln2)
    # A probe that one of the two lacks counts for neither.
    set_rows(records, "same_rate/bn", part_of, field, (2.0, 0.5, None), epochs=(0,))
    assert effects(records, claim)[2] == pytest.approx(-2 * ln2)


def test_a_target_is_reached_between_two_epochs():
    run = record((0.1, 0.3, 0.5, 0.7, 0.8))
    # 0.4 lies half-way from the end of epoch 1 to that of epoch 2.
    assert steps_to(run, 0.4) == pytest.approx(1.5 * STEPS)
    assert steps_to(run, 0.8) == pytest.approx(4 * STEPS)
    assert steps_to(run, 0.1) == 0
    assert steps_to(run, 0.81) is None


def rates_of(records, net):
    return grid(runs_of(records), f"rates/{net}")


def test_large_rates_are_judged_by_the_steps_to_the_plain_networks_best(records):
    # At 0.1 the plain network ends best, with 0.8 after 4 epochs; batch norm at 1 after 2.
    records["rates/bn/1"] = every_seed((0.1, 0.4, 0.8, 0.85, 0.9))
    assert targets(rates_of(records, "plain")) == [0.8, 0.8, 0.8]
    assert quickest(rates_of(records, "bn"), [0.8, 0.8, 0.8]) == 1.0
    assert effects(records, "bn-large-lr") == near(*[math.log(2 / 4)] * 3)
    assert part(records, "bn-large-lr", "accuracy with batch norm") == near(*[2 * STEPS] * 3)
    assert part(records, "bn-large-lr", "reached it") == (100, 100, 100)
    assert part(records, "bn-large-lr", "quickest") == near(*[math.log(10)] * 3)


def test_a_run_that_never_reaches_the_target_counts_with_all_its_steps_and_never_wins(records):
    # At rate 10 each seed reaches it at once, but for seed 2, which never does.
    del records["rates/bn/0.1"], records["rates/bn/1"]
    records["rates/bn/10"] = every_seed((0.1, 0.8, 0.8, 0.8, 0.8)) | {
        2: record((0.1, 0.2, 0.2, 0.2, 0.2))
    }
    assert effects(records, "bn-large-lr") == near(math.log(1 / 4), math.log(1 / 4), 0)
    assert part(records, "bn-large-lr", "reached it") == (100, 100, 0)
    records["rates/bn/0.1"] = every_seed()  # slower, and reaches it in every seed
    assert quickest(rates_of(records, "bn"), targets(rates_of(records, "plain"))) == 0.1


def test_the_largest_rate_that_trains_ends_half_way_from_chance(records):
    # Best is 0.8, so half-way from 0.1 is 0.45.
    records["rates/bn/10"] = every_seed((0.1, 0.2, 0.3, 0.4, 0.46))
    records["rates/bn/1"] = every_seed((0.1, 0.2, 0.3, 0.4, 0.44))
    largest = part(records, "bn-large-lr", "largest")
    assert largest == near(*[math.log(10 / 0.1)] * 3)
    records["rates/bn/10"][1] = replace(records["rates/bn/10"][1], status="diverged")
    assert part(records, "bn-large-lr", "largest")[1] == pytest.approx(0)


def test_fast_decay_is_the_accuracy_lost_with_minus_without(records):
    set_measure(records, f"fast_decay/plain/{FASTER:g}", "test_accuracy", (0.70, 0.72, 0.80))
    set_measure(records, f"fast_decay/bn/{FASTER:g}", "test_accuracy", (0.78, 0.75, 0.79))
    assert part(records, "bn-fast-decay", "decay, without") == near(-10, -8, 0)
    assert part(records, "bn-fast-decay", "slow decay, with ") == near(-2, -5, -1)
    assert effects(records, "bn-fast-decay") == near(8, 3, -1)


def test_dropout_is_an_interaction_and_a_simple_effect(records):
    set_measure(records, "dropout/plain/with", "test_accuracy", (0.83, 0.84, 0.78))  # 3, 4, -2
    set_measure(records, "dropout/bn/with", "test_accuracy", (0.81, 0.79, 0.80))  # 1, -1, 0
    assert effects(records, "bn-no-dropout") == near(-2, -5, 2)
    assert effects(records, "bn-with-dropout") == near(1, -1, 0)


def test_dropout_slows_by_the_steps_to_what_all_four_networks_reach(records):
    # The slowest of the four ends at 0.5, where the others are after two epochs.
    records["dropout/bn/with"] = every_seed((0.1, 0.2, 0.3, 0.4, 0.5))
    slowed = part(records, "bn-no-dropout", "over none, with batch norm")
    assert slowed == near(*[math.log(4 / 2)] * 3)
    assert part(records, "bn-no-dropout", "over none, without") == near(0, 0, 0)


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
    strengths = {0.001: 0.70, 0.01: 0.80, 0.1: 0.78, 1.0: 0.10}
    assert strength_that_costs_a_point(strengths) == pytest.approx(0.01 * math.sqrt(10))
    # Weaker strengths change nothing, whether they perform as well or worse.
    for weaker in (0.80, 0.75):
        assert strength_that_costs_a_point(strengths | {1e-4: weaker}) == pytest.approx(
            0.01 * math.sqrt(10)
        )
    assert math.isnan(strength_that_costs_a_point({0.001: 0.7, 0.01: 0.8, 0.1: 0.795}))
    assert math.isnan(strength_that_costs_a_point({0.001: math.nan}))


def test_less_l2_is_the_ratio_of_the_best_strengths(records):
    for net, best in (("plain", 0.1), ("bn", 0.001)):
        for strength in PRESET.strengths:
            # Far apart, so that the best has all the weight but e^-50.
            accuracy = 0.9 if strength == best else 0.4
            set_measure(records, f"l2/{net}/{strength:g}", "val_accuracy", (accuracy,) * 3)
    assert effects(records, "bn-less-l2") == near(*[math.log(0.01)] * 3)
    assert part(records, "bn-less-l2", "single best") == near(*[math.log(0.01)] * 3)


def test_vanishing_counts_the_distance_from_one_in_decades_either_way(records):
    field = "gradient_first_over_last"
    set_rows(records, "deep/plain", "flow", field, (1e-6, 1e-6, 1e3))
    set_rows(records, "deep/bn", "flow", field, (10, 1e8, 1e-1))
    # 6 - 1, 6 - 8 (it explodes worse than it vanished), 3 - 1
    assert effects(records, "bn-vanishing") == near(5, -2, 2)
    # The mean over the three probes: (6 + 6 + 0) / 3 - 1
    set_rows(records, "deep/plain", "flow", field, (1.0, 1.0, 1.0), epochs=(4,))
    assert effects(records, "bn-vanishing")[0] == pytest.approx(3)
    assert part(records, "bn-vanishing", "chance, without") == near(70, 70, 70)


def test_exploding_is_the_growth_of_the_whole_gradient_per_layer(records):
    for net, factor in (("plain", 2.0), ("bn", 1.2)):
        for depth in (SHALLOW, DEPTH):
            norms = [factor**depth] * 3
            set_rows(records, f"too_large/{net}/{depth}", "flow", "gradient_norm", norms, (0,))
    assert DEPTH - SHALLOW == 15
    assert effects(records, "bn-exploding") == near(*[math.log(1.2 / 2)] * 3)
    # A run that diverged later still has a gradient before training; a lost one has none.
    plain = records[f"too_large/plain/{DEPTH}"]
    plain[0], plain[1] = replace(plain[0], status="diverged"), None
    measured = effects(records, "bn-exploding")
    assert measured[0] == pytest.approx(math.log(1.2 / 2)) and math.isnan(measured[1])
    assert part(records, "bn-exploding", "diverge without") == (50, 0, 0)


def test_internal_shift_is_the_ratio_of_mean_drifts(records):
    set_rows(records, "sigmoid/plain", "percentiles", "activation_drift", (0.4, 0.1, 0.2))
    set_rows(records, "sigmoid/bn", "percentiles", "activation_drift", (0.1, 0.1, 0.4))
    for arm in ("sigmoid/plain", "sigmoid/bn"):  # there is no probe before the first
        set_rows(records, arm, "percentiles", "activation_drift", (None,) * 3, epochs=(0,))
    assert effects(records, "bn-internal-shift") == near(math.log(1 / 4), 0, math.log(2))


def test_bounded_also_shows_the_deep_networks(records):
    set_measure(records, "deep/plain", "val_accuracy", (0.1, 0.1, 0.2))
    assert part(records, "bn-bounded", "above chance, without") == near(0, 0, 10)
    arm, values = f"too_large/plain/{DEPTH}", (500,) * 3
    set_rows(records, arm, "percentiles", "activation_largest", values, epochs=(0,))
    assert part(records, "bn-bounded", "initialized too large") == near(*[math.log(0.01)] * 3)


def test_input_shift_is_the_mean_change_on_the_two_other_kinds_of_image(records):
    def set_accuracy(arm, variant, accuracy, recalibrated):
        for seed, old in records[arm].items():
            rows = tuple(
                replace(row, accuracy=accuracy, recalibrated_accuracy=recalibrated)
                if row.variant == variant
                else row
                for row in old.colours
            )
            records[arm][seed] = replace(old, colours=rows)

    set_accuracy("colours/plain", "tinted", 0.6, None)  # -20
    set_accuracy("colours/plain", "inverted", 0.1, None)  # -70
    set_accuracy("colours/bn", "tinted", 0.7, 0.75)  # -10, after re-estimation -5
    set_accuracy("colours/bn", "inverted", 0.2, 0.35)  # -60, -45
    assert effects(records, "bn-input-shift") == near(-45, -45, -45)
    for variant, change, back in (("tinted", -10, 5), ("inverted", -60, 15)):
        found = part(records, "bn-input-shift", f"{variant} images, with batch norm")
        assert found == near(*[change] * 3)
        found = part(records, "bn-input-shift", f"{variant} images, re-estimated")
        assert found == near(*[back] * 3)


def test_gaps_are_compared_at_equal_training_losses(records):
    # Twice as fast, and at each training loss the same gap plus a tenth.
    losses = [2.0 / 4**epoch for epoch in range(EPOCHS + 1)]
    records["same_rate/bn"] = every_seed(losses=losses, gap=0.6)
    assert effects(records, "bn-noise") == near(0.1, 0.1, 0.1)
    assert part(records, "bn-noise", "batches of 32") == near(*[100 / 32] * 3)


def test_gaps_are_interpolated_and_averaged_over_the_common_losses(records):
    for net, slope in (("plain", 1.0), ("bn", 3.0)):
        for seed, old in records[f"same_rate/{net}"].items():
            gaps = [slope * epoch for epoch in range(EPOCHS + 1)]
            losses = tuple(map(sum, zip(old.curves.clean_loss, gaps, strict=True)))
            curves = replace(old.curves, clean_val_loss=losses)
            records[f"same_rate/{net}"][seed] = replace(old, curves=curves)
    # The loss halves each epoch, so five levels from 1 to 1/8 lie at the epochs 1, 1.75, ..., 4.
    # The gap is linear in the epoch: the difference is 2 epochs' worth, 2.5 on average.
    assert effects(records, "bn-noise") == near(*[2 * 2.5] * 3)


def test_runs_without_a_loss_in_common_have_no_gap_to_compare(records):
    records["same_rate/bn"] = every_seed(losses=[2.0, 0.01, 0.009, 0.008, 0.007])
    assert all(math.isnan(value) for value in effects(records, "bn-noise"))


@pytest.mark.parametrize("gone", ["diverged", "missing"])
@pytest.mark.parametrize(
    "claim", sorted(set(CLAIM) - {"bn-exploding", "bn-large-lr", "bn-less-l2"})
)
def test_a_seed_without_a_record_of_a_compared_arm_has_no_effect(records, claim, gone):
    # These read one of their arms, or one group of them, for additional numbers.
    only = {"bn-with-dropout": "/bn/", "bn-input-shift": "/plain", "bn-bounded": "same_rate"}
    for arm in (name for name in CLAIM[claim].needs if only.get(claim, "") in name):
        for name in expand([arm], list(records)):
            damaged = {key: dict(by_seed) for key, by_seed in records.items()}
            spoilt = replace(damaged[name][1], status="diverged", measures=Measures())
            damaged[name][1] = None if gone == "missing" else spoilt
            measured = effects(damaged, claim)
            assert [math.isnan(value) for value in measured] == [False, True, False]


def test_what_was_measured_is_what_is_judged(records):
    set_measure(records, "dropout/bn/with", "test_accuracy", (0.83, 0.84, 0.85))
    judged = judge_claim(CLAIM["bn-with-dropout"], runs_of(records), family=len(CLAIMS))
    assert judged.effect == pytest.approx(4)
    assert judged.n_seeds == 3
    assert judged.unit == "percentage points"
