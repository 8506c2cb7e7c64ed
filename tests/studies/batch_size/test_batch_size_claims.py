"""The seven claims on records made by hand, whose effects are computed by hand."""

import math
from dataclasses import replace

import pytest
from fake_records import fake_runs, make_record

from dlip_reg.studies.batch_size import CLAIMS, STUDY
from dlip_reg.studies.batch_size.arms import BatchSizePreset
from dlip_reg.studies.batch_size.speed import to_target
from dlip_reg.studies.judging import judge_claim
from dlip_reg.training import RunSpec
from dlip_reg.training.throughput import ThroughputSpec

CLAIM = {claim.id: claim for claim in CLAIMS}
SEEDS = (0, 1, 2)
SIZES, FULL = (8, 32, 128), 1280
PRESET = BatchSizePreset(
    seeds=3, tuning_seeds=1, batch_sizes=SIZES, epochs=4, n_train=FULL, n_validation=100,
    sharp_sizes=SIZES, sharp_epochs=4,
)  # fmt: skip
NAMES = ("test_accuracy", "recalibrated_test_accuracy", "lambda_max", "sam_sharpness",
         "adaptive_sharpness", "keskar_1e_3", "keskar_5e_4", "keskar_subspace_1e_3",
         "keskar_subspace_5e_4")  # fmt: skip
HALVING = (8.0, 4.0, 2.0, 1.0, 0.5)


def run(spec, losses=HALVING, **more):
    return make_record(spec, losses, **{**dict.fromkeys(NAMES, 0.5), **more})


def speed(spec, rate):
    return make_record(spec, examples_per_second=rate, busy_cores=1.5)


def alike(spec):
    """The record of a network that does the same whatever the batch size; best at the rate 0.02."""
    if isinstance(spec, ThroughputSpec):
        return speed(spec, 1000.0)
    if isinstance(spec, RunSpec):
        return run(spec, val_loss=1 + abs(math.log(spec.learning_rate / 0.02)))
    return make_record(spec)


@pytest.fixture
def runs():
    """Every size alike; a test changes what it is about with `change`."""
    return fake_runs(STUDY, PRESET, alike)


def change(runs, arm, record_of, seeds=SEEDS):
    """Replace the arm's records of `seeds` by `record_of` of what they were."""
    for seed in seeds:
        runs._records[arm][seed] = record_of(runs._records[arm][seed])


def with_losses(*losses):
    return lambda record: run(record.spec, losses)


def with_speed(rate):
    return lambda record: speed(record.spec, rate)


def with_measure(**measures):
    return lambda record: replace(record, measures=replace(record.measures, **measures))


def effects(runs, claim):
    return CLAIM[claim].measure(runs).differences


def part(runs, claim, label):
    (found,) = [p for p in CLAIM[claim].measure(runs).parts if label in p.label]
    return found.values


def near(*values):
    # Logarithms and sums of a few numbers: float64 rounding and no more.
    return pytest.approx(values, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("claim", "direction", "unit"),
    [
        ("bs-faster-than-full", -1, "log-ratio"),  # a lower loss
        ("bs-parallel", +1, "log-ratio"),  # more examples a second
        ("bs-small-better", +1, "percentage points"),
        ("bs-flat-sharp", +1, "log-ratio"),  # a sharper large batch
        ("bs-lr-match", +1, "decades per decade"),
        ("bs-linear-scaling", -1, "log-ratio"),  # curves closer together
        ("bs-large-faster", -1, "log-ratio"),  # fewer seconds
    ],
)
def test_direction_and_unit(claim, direction, unit):
    assert (CLAIM[claim].direction, CLAIM[claim].unit) == (direction, unit)
    assert CLAIM[claim].smallest_effect > 0 and CLAIM[claim].smallest_effect_source
    assert CLAIM[claim].figures


def test_the_claims_are_the_notes_seven():
    assert len(CLAIMS) == len(CLAIM) == 7


@pytest.mark.parametrize("claim", sorted(set(CLAIM) - {"bs-linear-scaling"}))
def test_nothing_differs_where_all_sizes_do_alike(runs, claim):
    assert effects(runs, claim) == near(0, 0, 0)


def test_mini_batches_are_compared_to_the_full_batch_at_equal_examples_and_seconds(runs):
    claim = "bs-faster-than-full"
    change(runs, f"rates/{FULL}", with_losses(8.0, 7.0, 6.0, 5.0, 4.0))
    # 0.5 against 4 nats, for every mini-batch size.
    assert effects(runs, claim) == near(*[math.log(1 / 8)] * 3)
    # Four times as quick, the full batch is done when the mini-batches have done 1 epoch of 4.
    change(runs, f"throughput/{FULL}", with_speed(4000.0))
    in_time = part(runs, claim, "mini-batch over full batch after equal seconds")
    assert in_time == near(0, 0, 0)
    # One size alone twice as quick: 2 nats after 2 epochs.
    change(runs, "throughput/32", with_speed(2000.0))
    alone = part(runs, claim, "batch 32 alone, equal seconds")
    assert alone == near(*[math.log(2 / 4)] * 3)
    # Where the speed was not measured, nothing is known of seconds.
    change(runs, "throughput/32", lambda record: None, seeds=[1])
    assert math.isnan(part(runs, claim, "batch 32 alone, equal seconds")[1])


def test_parallel_is_the_largest_mini_batch_over_single_examples(runs):
    for size in (1, *SIZES, FULL):
        change(runs, f"throughput/{size}", with_speed(size / (0.02 + 0.001 * size)))
    assert effects(runs, "bs-parallel") == near(*[math.log(128 / 0.148 / (1 / 0.021))] * 3)
    assert part(runs, "bs-parallel", "knee") == pytest.approx((20,) * 3)


def test_small_better_is_the_accuracy_of_the_smallest_minus_the_largest(runs):
    claim = "bs-small-better"
    for seed, (small, large) in enumerate(((0.8, 0.7), (0.8, 0.8), (0.7, 0.75))):
        change(runs, "one_rate/epochs/8", with_measure(test_accuracy=small), [seed])
        change(runs, "one_rate/epochs/128", with_measure(test_accuracy=large), [seed])
        change(runs, "one_rate/updates/128", with_measure(test_accuracy=0.6), [seed])
    assert effects(runs, claim) == near(10, 0, -5)
    assert part(runs, claim, "updates") == near(-10, -10, -10)
    change(runs, "one_rate/batch_norm/8", with_measure(recalibrated_test_accuracy=0.9))
    assert part(runs, claim, "re-estimated") == near(40, 40, 40)


def test_flat_and_sharp_are_large_over_small(runs):
    for seed, ratio in enumerate((4.0, 1.0, 0.5)):
        change(runs, "sharpness/plain/128", with_measure(keskar_1e_3=0.5 * ratio), [seed])
    assert effects(runs, "bs-flat-sharp") == near(math.log(4), 0, math.log(0.5))
    change(runs, f"stability/{FULL}", with_measure(lambda_max=5.0))
    assert part(runs, "bs-flat-sharp", "after SGD") == near(*[math.log(10)] * 3)


@pytest.mark.parametrize("power", [1, 0.5, 0, -0.5])
def test_lr_match_is_the_power_of_the_best_rates(power):
    # Powers of two: the search comes to them, and none is rounded.
    def best(size):
        return 0.02 * 4.0 ** round(power * math.log(size / 8, 4))

    def record_of(spec):
        if not isinstance(spec, RunSpec):
            return alike(spec)
        return run(spec, val_loss=1 + abs(math.log(spec.learning_rate / best(spec.batch_size))))

    preset = replace(PRESET, batch_sizes=(8, 128), n_train=2048)  # factors of 4^2
    runs = fake_runs(STUDY, preset, record_of, claims=[CLAIM["bs-lr-match"]])
    assert effects(runs, "bs-lr-match") == near(*[power] * 3)
    assert CLAIM["bs-lr-match"].measure(runs).notes == ()
    # Seed 1 diverges at its best rate: the next best counts, which the slope shows.
    change(runs, "rates/2048", lambda record: replace(record, status="diverged"), [1])
    measured = effects(runs, "bs-lr-match")
    assert measured[0] == pytest.approx(power, abs=1e-12) and abs(measured[1] - power) > 0.05


def test_lr_match_reports_best_rates_at_an_end_of_those_tried():
    def record_of(spec):  # with the verdict's seeds ever larger rates are better
        best = 0.02 if spec.seed >= 1_000_000 else 1e6
        return run(spec, val_loss=1 + abs(math.log(spec.learning_rate / best)))

    runs = fake_runs(STUDY, PRESET, record_of, claims=[CLAIM["bs-lr-match"]])
    (note,) = CLAIM["bs-lr-match"].measure(runs).notes
    assert note.startswith("12 of 12 best rates")


def test_linear_scaling_compares_distances_to_the_base(runs):
    claim = "bs-linear-scaling"
    change(runs, "scaling/unscaled/32", with_losses(8.0, 8.0, 4.0, 2.0, 1.0))  # ln 2 away
    change(runs, "scaling/unscaled/128", with_losses(8.0, 8.0, 8.0, 4.0, 2.0))  # ln 2, then 2 ln 2
    change(runs, "scaling/scaled/32", with_losses(8.0, 4.0, 2.0, 1.0, 1.0))  # at the end only
    unscaled = (1 + (1 + 2 + 2 + 2) / 4) / 2
    scaled = (1 / 4 + 0) / 2
    assert effects(runs, claim) == near(*[math.log(scaled / unscaled)] * 3)
    # What diverges is as far away as what never learns: ln 2, 4, 8, 16 at the four epochs.
    lost = {"losses": (8.0, 1e6, None), "status": "diverged"}
    change(runs, "scaling/scaled/32", lambda record: run(record.spec, **lost), [0])
    scaled = (1 + 2 + 3 + 4) / 4 / 2
    assert near(effects(runs, claim)[0]) == (math.log(scaled / unscaled),)


def test_large_faster_is_seconds_to_what_all_reach(runs):
    # Comes down to 2 nats only: the target. The others pass it after 2 epochs.
    change(runs, "rates/32", with_losses(8.0, 6.0, 4.0, 3.0, 2.0))
    change(runs, "throughput/128", with_speed(3000.0))
    assert effects(runs, "bs-large-faster") == near(*[math.log(1 / 3)] * 3)
    assert part(runs, "bs-large-faster", "updates") == near(*[math.log(8 / 128)] * 3)
    reached = to_target(runs)
    assert reached["examples"][8] == near(*[2 * FULL] * 3)
    assert reached["updates"][32] == near(*[4 * FULL / 32] * 3)
    assert reached["seconds"][128] == near(*[2 * FULL / 3000] * 3)


NEEDED = {  # what the effect itself is made of
    "bs-faster-than-full": "rates/8",
    "bs-parallel": "throughput/1",
    "bs-small-better": "one_rate/epochs/128",
    "bs-flat-sharp": "sharpness/plain/8",
    "bs-linear-scaling": "scaling/scaled/8",
    "bs-large-faster": "rates/32",
}


@pytest.mark.parametrize("claim", NEEDED)
def test_a_seed_whose_run_is_missing_has_no_effect(runs, claim):
    change(runs, "scaling/unscaled/32", with_losses(8.0, 8.0, 4.0, 2.0, 1.0))
    change(runs, "scaling/scaled/32", with_losses(8.0, 8.0, 4.0, 2.0, 1.0))
    change(runs, NEEDED[claim], lambda record: None, seeds=[1])
    assert [math.isnan(value) for value in effects(runs, claim)] == [False, True, False]


def test_where_every_learning_rate_diverges_nothing_is_decided():
    def record_of(spec):
        record = alike(spec)
        searched = isinstance(spec, RunSpec) and spec.optimizer == "sgd"
        return replace(record, status="diverged") if searched else record

    runs = fake_runs(STUDY, replace(PRESET, seeds=5), record_of)
    judged = {claim.id: judge_claim(claim, runs, family=7) for claim in CLAIMS}
    unknown = {name for name, result in judged.items() if result.effect is None}
    assert unknown == set(CLAIM) - {"bs-parallel", "bs-flat-sharp"}
    assert not any(judged[name].verdict in ("supported", "contradicted") for name in unknown)
