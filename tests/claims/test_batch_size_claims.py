"""The seven claims on outcomes made by hand, whose effects are computed by hand."""

import math

import pytest

from dlip_reg.claims import judge_claims
from dlip_reg.claims.batch_size import CLAIMS
from dlip_reg.claims.convergence import to_target
from dlip_reg.experiments.rate_search import Tuned

CLAIM = {claim.id: claim for claim in CLAIMS}
SEEDS = (0, 1, 2)
SIZES, FULL = (8, 32, 128), 1280
EPOCHS = 4
NAMES = ("test_accuracy", "recalibrated_test_accuracy", "lambda_max", "sam_sharpness",
         "adaptive_sharpness", "keskar_1e-3", "keskar_5e-4", "keskar_subspace_1e-3",
         "keskar_subspace_5e-4")  # fmt: skip


def make_record(losses=(8.0, 4.0, 2.0, 1.0, 0.5), **measures):
    """A run whose training and validation loss are the same."""
    return {
        "status": "finished",
        "spec": {"epochs": EPOCHS, "data": {"n_train": FULL}},
        "measures": {**dict.fromkeys(NAMES, 0.5), "val_loss": losses[-1], **measures},
        "curves": {
            "epoch": list(range(len(losses))),
            "clean_loss": list(losses),
            "clean_val_loss": list(losses),
        },
    }


def cell(*arguments, **measures):
    return {seed: make_record(*arguments, **measures) for seed in SEEDS}


def speed(rate):
    return {
        seed: {
            "status": "finished",
            "measures": {"examples_per_second": rate, "busy_cores": 1.5},
        }
        for seed in SEEDS
    }


@pytest.fixture
def outcomes():
    """Every size alike; a test changes what it is about."""
    trials = {0.1: 1.0, 0.2: 0.5, 0.4: 2.0}
    return {
        "rates": {
            size: Tuned({rate: cell(val_loss=loss) for rate, loss in trials.items()}, 0.2, cell())
            for size in (*SIZES, FULL)
        },
        "one_rate": {
            name: {size: cell() for size in SIZES}
            for name in ("equal epochs", "equal updates", "batch norm", "keras momentum")
        },
        "scaling": {
            name: {size: cell() for size in SIZES}
            for name in ("unscaled", "scaled", "scaled, warm-up")
        },
        "sharpness": {
            "plain": {size: cell() for size in SIZES},
            "batch norm": {size: cell() for size in (8, 128)},
        },
        "stability": {size: cell() for size in (8, 32, FULL)},
        "throughput": {size: speed(1000.0) for size in (1, *SIZES, FULL)},
    }


def effects(outcomes, claim):
    return CLAIM[claim].measure(outcomes).differences


def part(outcomes, claim, label):
    (found,) = [p for p in CLAIM[claim].measure(outcomes).parts if label in p.label]
    return found


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
    assert CLAIM[claim].smallest_effect > 0
    assert CLAIM[claim].figures


def test_the_claims_are_the_notes_seven():
    assert len(CLAIMS) == len(CLAIM) == 7


@pytest.mark.parametrize("claim", sorted(set(CLAIM) - {"bs-linear-scaling"}))
def test_nothing_differs_where_all_sizes_do_alike(outcomes, claim):
    assert effects(outcomes, claim) == near(0, 0, 0)


def test_mini_batches_are_held_against_the_full_batch_at_equal_examples_and_seconds(outcomes):
    for seed in SEEDS:
        outcomes["rates"][FULL].finals[seed] = make_record((8.0, 7.0, 6.0, 5.0, 4.0))
    # 0.5 against 4 nats, for every mini-batch size.
    assert effects(outcomes, "bs-faster-than-full") == near(*[math.log(1 / 8)] * 3)
    # Four times as quick, the full batch is done when the mini-batches have done 1 epoch of 4.
    outcomes["throughput"][FULL] = speed(4000.0)
    in_time = part(
        outcomes, "bs-faster-than-full", "mini-batch over full batch after equal seconds"
    )
    assert in_time.values == near(0, 0, 0)
    # One size alone twice as quick: 2 nats after 2 epochs.
    outcomes["throughput"][32] = speed(2000.0)
    alone = part(outcomes, "bs-faster-than-full", "batch 32 alone, equal seconds")
    assert alone.values == near(*[math.log(2 / 4)] * 3)


def test_parallel_is_the_largest_mini_batch_over_single_examples(outcomes):
    for size in outcomes["throughput"]:
        outcomes["throughput"][size] = speed(size / (0.02 + 0.001 * size))
    assert effects(outcomes, "bs-parallel") == near(*[math.log(128 / 0.148 / (1 / 0.021))] * 3)
    assert part(outcomes, "bs-parallel", "knee").values == pytest.approx((20,) * 3)


def test_small_better_is_the_accuracy_of_the_smallest_minus_the_largest(outcomes):
    epochs, updates = outcomes["one_rate"]["equal epochs"], outcomes["one_rate"]["equal updates"]
    for seed, (small, large) in enumerate(((0.8, 0.7), (0.8, 0.8), (0.7, 0.75))):
        epochs[8][seed]["measures"]["test_accuracy"] = small
        epochs[128][seed]["measures"]["test_accuracy"] = large
        updates[128][seed]["measures"]["test_accuracy"] = 0.6
    assert effects(outcomes, "bs-small-better") == near(10, 0, -5)
    assert part(outcomes, "bs-small-better", "updates").values == near(-10, -10, -10)
    for seed in SEEDS:
        outcomes["one_rate"]["batch norm"][8][seed]["measures"]["recalibrated_test_accuracy"] = 0.9
    assert part(outcomes, "bs-small-better", "re-estimated").values == near(40, 40, 40)


def test_flat_and_sharp_are_large_over_small(outcomes):
    plain = outcomes["sharpness"]["plain"]
    for seed, ratio in enumerate((4.0, 1.0, 0.5)):
        plain[128][seed]["measures"]["keskar_1e-3"] = 0.5 * ratio
    assert effects(outcomes, "bs-flat-sharp") == near(math.log(4), 0, math.log(0.5))
    for seed in SEEDS:
        outcomes["stability"][FULL][seed]["measures"]["lambda_max"] = 5.0
    assert part(outcomes, "bs-flat-sharp", "after SGD").values == near(*[math.log(10)] * 3)


@pytest.mark.parametrize("power", [1, 0.5, 0, -0.5])
def test_lr_match_is_the_power_of_the_best_rates(outcomes, power):
    for size in (*SIZES, FULL):
        best = 0.01 * size**power
        outcomes["rates"][size] = Tuned(
            {
                rate: cell(val_loss=abs(math.log(rate / best)))
                for rate in (best / 2, best, 4 * best)
            },
            best,
            cell(),
        )
    assert effects(outcomes, "bs-lr-match") == near(*[power] * 3)
    # Seed 1 diverges at its best rate: the next best counts, which the slope shows.
    outcomes["rates"][FULL].trials[0.01 * FULL**power][1]["status"] = "diverged"
    measured = effects(outcomes, "bs-lr-match")
    assert measured[0] == pytest.approx(power, abs=1e-12) and measured[1] < power - 0.05


def test_linear_scaling_compares_distances_to_the_base(outcomes):
    arms = outcomes["scaling"]
    for seed in SEEDS:
        arms["unscaled"][32][seed] = make_record((8.0, 8.0, 4.0, 2.0, 1.0))  # ln 2 away
        arms["unscaled"][128][seed] = make_record((8.0, 8.0, 8.0, 4.0, 2.0))  # ln 2, then 2 ln 2
        arms["scaled"][32][seed] = make_record((8.0, 4.0, 2.0, 1.0, 1.0))  # at the end only
    unscaled = (1 + (1 + 2 + 2 + 2) / 4) / 2
    scaled = (1 / 4 + 0) / 2
    assert effects(outcomes, "bs-linear-scaling") == near(*[math.log(scaled / unscaled)] * 3)
    # What diverges is as far away as what never learns: ln 2, 4, 8, 16 at the four epochs.
    lost = make_record((8.0, 1e6, None))
    arms["scaled"][32][0] = {**lost, "status": "diverged"}
    scaled = (1 + 2 + 3 + 4) / 4 / 2
    assert near(effects(outcomes, "bs-linear-scaling")[0]) == (math.log(scaled / unscaled),)


def test_large_faster_is_seconds_to_what_all_reach(outcomes):
    for seed in SEEDS:
        # Comes down to 2 nats only: the target. The others pass it after 2 epochs.
        outcomes["rates"][32].finals[seed] = make_record((8.0, 6.0, 4.0, 3.0, 2.0))
    outcomes["throughput"][128] = speed(3000.0)
    assert effects(outcomes, "bs-large-faster") == near(*[math.log(1 / 3)] * 3)
    updates = part(outcomes, "bs-large-faster", "updates")
    assert updates.values == near(*[math.log(8 / 128)] * 3)
    reached = to_target(outcomes)
    assert reached[8]["epochs"] == near(2, 2, 2)
    assert reached[32]["updates"] == near(*[4 * FULL / 32] * 3)
    assert reached[128]["seconds"] == near(*[2 * FULL / 3000] * 3)


NEEDED = {  # what the effect itself is made of
    "bs-faster-than-full": lambda o: o["rates"][8].finals,
    "bs-parallel": lambda o: o["throughput"][1],
    "bs-small-better": lambda o: o["one_rate"]["equal epochs"][128],
    "bs-flat-sharp": lambda o: o["sharpness"]["plain"][8],
    "bs-linear-scaling": lambda o: o["scaling"]["scaled"][8],
    "bs-large-faster": lambda o: o["rates"][32].finals,
}


@pytest.mark.parametrize("claim", NEEDED)
def test_a_seed_whose_run_is_missing_has_no_effect(outcomes, claim):
    for seed in SEEDS:
        outcomes["scaling"]["unscaled"][32][seed] = make_record((8.0, 8.0, 4.0, 2.0, 1.0))
        outcomes["scaling"]["scaled"][32][seed] = make_record((8.0, 8.0, 4.0, 2.0, 1.0))
    if claim == "bs-linear-scaling":
        outcomes["scaling"]["unscaled"][8] = outcomes["scaling"]["scaled"][8]
    NEEDED[claim](outcomes)[1] = None
    assert [math.isnan(value) for value in effects(outcomes, claim)] == [False, True, False]


def test_where_nothing_could_be_run_nothing_is_decided(outcomes):
    outcomes["scaling"] = {name: {} for name in outcomes["scaling"]}
    outcomes["one_rate"] = {name: {} for name in outcomes["one_rate"]}
    outcomes["stability"] = {}
    for size in outcomes["rates"]:
        outcomes["rates"][size] = Tuned({}, None, dict.fromkeys(SEEDS))
    judged = judge_claims(CLAIMS, outcomes, family_size=7)
    undecided = {claim["id"] for claim in judged if claim["verdict"] == "undecided"}
    assert undecided == set(CLAIM) - {"bs-parallel", "bs-flat-sharp"}
