"""The batch-size study's arms: what is run, paired how, and which rates a search comes to."""

import json
import math
from dataclasses import replace

import pytest
from fake_records import fake_runs, make_record

from dlip_reg.regularization import Regularization
from dlip_reg.studies import Setting
from dlip_reg.studies.batch_size import CLAIMS, PRESETS, STUDY
from dlip_reg.studies.batch_size.arms import LEARNING_RATES, BatchSizePreset
from dlip_reg.training import RunSpec
from dlip_reg.training.throughput import ThroughputSpec

PRESET = BatchSizePreset(
    seeds=2, tuning_seeds=2, batch_sizes=(8, 32, 128), epochs=6, n_train=1280, n_validation=100,
    sharp_sizes=(8, 64, 128), sharp_epochs=20,
)  # fmt: skip
SIZES = (*PRESET.batch_sizes, PRESET.n_train)
CLAIM = {claim.id: claim for claim in CLAIMS}
FIRST = 1_000_000  # of the tuning seeds


def resolve(best=lambda spec: 0.02, diverges=lambda spec: False, lost=lambda spec: False):
    """The runs, whose losses are parabolas in ln rate."""

    def record_of(spec):
        if lost(spec):
            return None
        if not isinstance(spec, RunSpec):
            return make_record(spec)
        if diverges(spec):
            return make_record(spec, status="diverged")
        return make_record(spec, val_loss=1 + math.log(spec.learning_rate / best(spec)) ** 2)

    return fake_runs(STUDY, PRESET, record_of)


def chosen(runs, group):
    """Batch size -> the specification that it runs with."""
    return {size: runs.chosen[f"{group}/{size}"] for size in runs.tree(group)}


@pytest.mark.parametrize("power", [-0.5, 0, 0.5, 1, 1.5])
def test_each_size_finds_its_own_rate_to_a_factor_of_two(power):
    runs = resolve(best=lambda spec: 0.003 * (spec.batch_size / 8) ** power)
    assert list(runs.tree("rates")) == list(SIZES)
    for size, spec in chosen(runs, "rates").items():
        target = 0.003 * (size / 8) ** power
        assert abs(math.log2(spec.learning_rate / target)) <= 0.51  # 3 digits of a two-fold grid
        rates = {trial.learning_rate for trial in runs.trials[f"rates/{size}"]}
        # The best lies between two others: no end was taken for an optimum.
        assert set(LEARNING_RATES) <= rates and min(rates) < spec.learning_rate < max(rates)
        assert {trial.batch_size for trial in runs.trials[f"rates/{size}"]} == {size}
        assert (spec.batch_size, spec.measures, spec.optimizer) == (size, ("curves", "test"), "sgd")


def test_tuning_sees_neither_the_seeds_nor_the_test_images_of_the_verdicts():
    seen = set()

    def lost(spec):
        if isinstance(spec, RunSpec) and spec.seed >= FIRST:
            seen.add(spec)
        return False

    runs = resolve(lost=lost)
    assert {spec.seed for spec in seen} == {FIRST, FIRST + 1}
    assert all(spec.measures == () for spec in seen)
    # Every rate with every seed.
    by_seed = [{replace(s, seed=0) for s in seen if s.seed == seed} for seed in (FIRST, FIRST + 1)]
    assert by_seed[0] == by_seed[1]
    assert runs.seeds == (0, 1)


def test_the_search_ends_where_no_end_of_the_rates_is_found():
    runs = resolve(best=lambda spec: 1e9)
    rates = {trial.learning_rate for trial in runs.trials["rates/8"]}
    assert {spec.learning_rate for spec in chosen(runs, "rates").values()} == {max(rates)}
    assert max(rates) < 1000 * max(LEARNING_RATES)


def test_a_rate_that_diverged_or_was_lost_with_one_seed_never_wins():
    def fault(spec):
        return (getattr(spec, "learning_rate", 0), spec.seed) == (0.02, FIRST + 1)

    for faults in ({"diverges": fault}, {"lost": fault}):
        runs = resolve(**faults)
        assert {s.learning_rate for s in chosen(runs, "rates").values()} <= {0.01, 0.04}


def test_if_a_seed_is_lost_at_every_rate_the_others_decide():
    runs = resolve(
        best=lambda spec: 0.08 if spec.seed == FIRST + 1 else 0.005,
        lost=lambda spec: spec.seed == FIRST + 1,
    )
    assert {spec.learning_rate for spec in chosen(runs, "rates").values()} == {0.005}


def test_where_everything_diverges_nothing_that_needs_a_rate_is_run():
    runs = resolve(diverges=lambda spec: True)
    assert {name.split("/")[0] for name, spec in runs.chosen.items() if spec is not None} == {
        "throughput", "sharpness", "minimizers",
    }  # fmt: skip


def test_the_one_rate_favours_no_size():
    # The small batch alone would take 0.005, the largest 0.08: the middle is best for all.
    best = {8: 0.005, 32: 0.02, 128: 0.08}
    runs = resolve(best=lambda spec: best.get(spec.batch_size, 0.02))
    arms = {name: chosen(runs, f"one_rate/{name}") for name in runs.tree("one_rate")}
    assert list(arms) == ["epochs", "updates", "batch_norm", "keras_momentum"]
    assert all(list(arm) == [8, 32, 128] for arm in arms.values())
    for arm in arms.values():
        assert {spec.learning_rate for spec in arm.values()} == {0.02}
        assert {size: spec.batch_size for size, spec in arm.items()} == {8: 8, 32: 32, 128: 128}
    assert len({spec.epochs * 1280 // size for size, spec in arms["updates"].items()}) == 1
    for name in ("epochs", "batch_norm", "keras_momentum"):
        assert {spec.epochs for spec in arms[name].values()} == {PRESET.epochs}
    # Two evaluations of the same weights: all that differs has no part in training.
    for size, keras in arms["keras_momentum"].items():
        assert json.loads(keras.builder) == {"batch_norm_momentum": 0.99}
        ours = replace(arms["batch_norm"][size], measures=())
        assert replace(keras, builder={}, measures=()) == ours


def test_scaled_rates_are_in_proportion_to_the_batch():
    runs = resolve()
    unscaled, scaled, warm = (
        chosen(runs, f"scaling/{row}") for row in ("unscaled", "scaled", "warmup")
    )
    base = runs.chosen["rates/8"]
    assert unscaled[8] == scaled[8] == warm[8] == base
    assert {spec.learning_rate for spec in unscaled.values()} == {base.learning_rate}
    for size in (32, 128):
        for spec in (scaled[size], warm[size]):
            assert spec.learning_rate == pytest.approx(size / 8 * base.learning_rate, rel=1e-12)
        # From the base's rate, over a third of these few epochs.
        schedule = warm[size].schedule
        start = schedule.warmup_from * warm[size].learning_rate
        assert start == pytest.approx(base.learning_rate, rel=1e-12)
        assert schedule.warmup_epochs == 2


def test_sharpness_is_of_small_and_large_batches_by_adam_until_the_loss_rests():
    runs = resolve()
    plain, normalised = (chosen(runs, f"sharpness/{name}") for name in ("plain", "batch_norm"))
    assert list(plain) == [8, 64, 128] and list(normalised) == [8, 128]
    assert list(plain)[-1] == PRESET.n_train // 10  # Keskar's large batch
    for spec in (*plain.values(), *normalised.values()):
        assert (spec.optimizer, spec.learning_rate) == ("adam", 1e-3)
        assert (spec.epochs, spec.patience) == (20, 10)
        assert {"keskar", "test"} <= set(spec.measures)
    # The very nets whose sharpness was measured.
    between, rescaled = runs.chosen["minimizers/between"], runs.chosen["minimizers/rescaled"]
    assert between.first == rescaled.run == replace(plain[8], measures=())
    assert between.second == replace(plain[128], measures=())


def test_stability_gives_the_full_batch_ten_times_the_epochs():
    specs = chosen(resolve(), "stability")
    assert {size: spec.epochs for size, spec in specs.items()} == {8: 6, 32: 6, 1280: 60}
    assert {spec.measures for spec in specs.values()} == {("stability",)}


def test_speed_is_measured_apart_at_every_size_and_at_one():
    runs = resolve()
    arms = STUDY.arms_for(Setting(PRESET, "lenet5", "mnist"), CLAIMS)
    assert [n for n, arm in arms.items() if arm.timed] == [f"throughput/{s}" for s in (1, *SIZES)]
    for size, spec in chosen(runs, "throughput").items():
        assert isinstance(spec, ThroughputSpec) and spec.run.batch_size == size


def test_claims_share_the_runs_they_have_in_common():
    runs = resolve()
    tuning = [spec for name in runs.trials for spec in runs.trials[name]]
    # The one rate is tuned over runs that the batch sizes' own searches need as well.
    own = {spec for name in runs.trials if name.startswith("rates/") for spec in runs.trials[name]}
    assert set(tuning) == own and len(tuning) > len(own)


@pytest.mark.parametrize("sizes", [(8, 30), (8, 12), (8, 2560), (8,)])
def test_sizes_that_do_not_divide_or_compare_are_refused(sizes):
    with pytest.raises(ValueError, match=f"not .*{sizes[-1]}"):
        replace(PRESET, batch_sizes=sizes)


def test_the_presets_look_at_3_and_at_20_seeds():
    assert {name: preset.seeds for name, preset in PRESETS.items()} == {
        "quick": 3, "standard": 20, "full": 20,
    }  # fmt: skip
    for preset in PRESETS.values():
        assert preset.sharp_sizes[-1] == preset.n_train // 10


def test_the_paper_check_is_keskar_s_f1():
    study = STUDY.papers["keskar-f1"]
    preset = replace(study.presets["paper"], epochs=9, patience=3)
    assert preset.seeds == 5 and study.claims == ()
    arms = study.arms_for(Setting(preset, "mlp", "mnist"), [])
    assert [arm.spec.batch_size for arm in arms.values()] == [256, 5999]
    for arm in arms.values():
        spec = arm.spec
        assert json.loads(spec.builder) == {"hidden": [512] * 5}
        assert spec.regularization == Regularization(batch_norm=True)
        assert (spec.optimizer, spec.patience) == ("adam", 3)
        assert spec.data.n_train + spec.data.n_validation == 60_000
        assert {"keskar", "recalibrated", "test"} <= set(spec.measures)
