"""The batch-size lab's plan: what is run, paired how, and which rates a search comes to."""

import json
import math
from dataclasses import replace

import pytest

from dlip_reg.experiments import count_runs, run_together
from dlip_reg.experiments.batch_size import Preset, experiments
from dlip_reg.experiments.keskar_f1 import LARGE, PAPER, SMALL
from dlip_reg.experiments.keskar_f1 import Preset as PaperPreset
from dlip_reg.experiments.keskar_f1 import experiments as paper_experiments
from dlip_reg.experiments.rate_search import LEARNING_RATES
from dlip_reg.regularization import Regularization
from dlip_reg.training import RunSpec
from dlip_reg.training.interpolation import InterpolationSpec
from dlip_reg.training.rescaling import RescalingSpec
from dlip_reg.training.throughput import ThroughputSpec

PRESET = Preset(
    2, "no time", batch_sizes=(8, 32, 128), epochs=6, n_train=1280, n_validation=100,
    sharp_sizes=(8, 64, 128), sharp_epochs=20,
)  # fmt: skip
SEEDS = (0, 1)
SIZES = (*PRESET.batch_sizes, PRESET.n_train)


def run_all(names, best=lambda spec: 0.02, diverges=lambda spec: False, lost=lambda spec: False):
    """The outcomes, and every specification that was run; losses are parabolas in ln rate."""
    ran = []

    def run(specs):
        ran.extend(specs)
        return {spec: record(spec) for spec in specs if not lost(spec)}

    def record(spec):
        made = {"spec": spec.to_json(), "status": "finished", "measures": {}}
        if isinstance(spec, RunSpec):
            made["measures"]["val_loss"] = 1 + math.log(spec.learning_rate / best(spec)) ** 2
            if diverges(spec):
                made |= {"status": "diverged", "measures": {"val_loss": None}}
        return made

    chosen = [e for e in experiments(PRESET, "lenet5", "mnist") if e.name in names]
    assert len(chosen) == len(names)
    return run_together(chosen, run), ran


def runs(outcome):
    """Every record's specification below a tree of dicts."""
    if isinstance(outcome, dict) and "spec" in outcome:
        return [RunSpec.from_json(outcome["spec"])]
    return [spec for branch in outcome.values() for spec in runs(branch)]


@pytest.mark.parametrize("power", [-0.5, 0, 0.5, 1, 1.5])
def test_each_size_finds_its_own_rate_to_a_factor_of_two(power):
    outcomes, ran = run_all(["rates"], best=lambda s: 0.003 * (s.batch_size / 8) ** power)
    assert list(outcomes["rates"]) == list(SIZES)
    for size, tuned in outcomes["rates"].items():
        target = 0.003 * (size / 8) ** power
        assert abs(math.log2(tuned.rate / target)) <= 0.51  # three digits of a two-fold grid
        assert set(LEARNING_RATES) <= set(tuned.trials) and list(tuned.trials) == sorted(
            tuned.trials
        )
        # The best lies between two others: no edge was taken for an optimum.
        assert min(tuned.trials) < tuned.rate < max(tuned.trials)
        for seed in SEEDS:
            spec = RunSpec.from_json(tuned.finals[seed]["spec"])
            assert (spec.learning_rate, spec.batch_size, spec.seed) == (tuned.rate, size, seed)
            assert spec.measures == ("curves", "test") and spec.optimizer == "sgd"
    trials = [spec for spec in ran if not spec.measures]
    assert all("test" not in spec.measures for spec in trials)
    # Every rate with every seed, and nothing twice.
    assert len(set(trials)) == len(trials)
    assert {replace(spec, seed=0) for spec in trials} == {
        replace(s, seed=0) for s in trials if s.seed
    }


def test_the_search_ends_where_no_edge_is_found():
    outcomes, _ = run_all(["rates"], best=lambda spec: 1e9)
    assert {tuned.rate for tuned in outcomes["rates"].values()} == {max(
        outcomes["rates"][8].trials
    )}  # fmt: skip
    assert max(outcomes["rates"][8].trials) < 1000 * max(LEARNING_RATES)


def test_a_rate_that_diverged_or_was_lost_with_one_seed_never_wins():
    for fault in ({"diverges": lambda s: (s.learning_rate, s.seed) == (0.02, 1)},
                  {"lost": lambda s: (s.learning_rate, s.seed) == (0.02, 1)}):  # fmt: skip
        outcomes, _ = run_all(["rates"], **fault)
        assert {tuned.rate for tuned in outcomes["rates"].values()} <= {0.01, 0.04}


def test_if_a_seed_is_lost_at_every_rate_the_others_decide():
    best = {0: 0.005, 1: 0.08}
    outcomes, _ = run_all(["rates"], best=lambda s: best[s.seed], lost=lambda s: s.seed == 1)
    assert {tuned.rate for tuned in outcomes["rates"].values()} == {0.005}


def test_where_everything_diverges_there_are_no_finals():
    names = ["rates", "one_rate", "scaling", "stability"]
    outcomes, ran = run_all(names, diverges=lambda spec: True)
    assert all(tuned.rate is None for tuned in outcomes["rates"].values())
    assert outcomes["rates"][8].finals == {0: None, 1: None}
    assert not any(outcomes["one_rate"].values()) and not any(outcomes["scaling"].values())
    assert outcomes["stability"] == {}
    assert not any(spec.measures for spec in ran)


def test_the_one_rate_favours_no_size():
    # The small batch alone would take 0.005, the largest 0.08: the middle is best for all.
    best = {8: 0.005, 32: 0.02, 128: 0.08}
    outcomes, _ = run_all(["one_rate"], best=lambda spec: best[spec.batch_size])
    arms = outcomes["one_rate"]
    assert {spec.learning_rate for spec in runs(arms)} == {0.02}
    assert {name: list(arm) for name, arm in arms.items()} == {
        "equal epochs": [8, 32, 128],
        "equal updates": [8, 32, 128],
        "batch norm": [8, 32, 128],
        "keras momentum": [8, 32, 128],
    }
    updates = {spec.epochs * 1280 // spec.batch_size for spec in runs(arms["equal updates"])}
    assert len(updates) == 1
    for name in ("equal epochs", "batch norm", "keras momentum"):
        assert {spec.epochs for spec in runs(arms[name])} == {PRESET.epochs}
    # Two evaluations of the same weights: all that differs has no part in training.
    for ours, keras in zip(runs(arms["batch norm"]), runs(arms["keras momentum"]), strict=True):
        assert json.loads(keras.builder) == {"batch_norm_momentum": 0.99}
        assert replace(keras, builder={}, measures=()) == replace(ours, measures=())


def test_scaled_rates_are_in_proportion_to_the_batch():
    outcomes, _ = run_all(["scaling"])
    arms = outcomes["scaling"]
    base = RunSpec.from_json(arms["unscaled"][8][0]["spec"])
    for spec in runs(arms["unscaled"]):
        assert spec.learning_rate == base.learning_rate
    for spec in runs(arms["scaled"]) + runs(arms["scaled, warm-up"]):
        k = spec.batch_size / 8
        assert spec.learning_rate == pytest.approx(k * base.learning_rate, rel=1e-12)
    for spec in runs(arms["scaled, warm-up"]):
        if spec.batch_size > 8:
            # From the base's rate, over a third of these few epochs.
            start = spec.schedule.warmup_from * spec.learning_rate
            assert start == pytest.approx(base.learning_rate, rel=1e-12)
            assert spec.schedule.warmup_epochs == 2
    assert {arms[name][8][0]["spec"]["learning_rate"] for name in arms} == {base.learning_rate}
    assert len({RunSpec.from_json(arms[name][8][1]["spec"]) for name in arms}) == 1


def test_sharpness_is_of_small_and_large_batches_by_adam_until_the_loss_rests():
    outcomes, ran = run_all(["sharpness"])
    arms = outcomes["sharpness"]
    assert list(arms["plain"]) == [8, 64, 128] and list(arms["batch norm"]) == [8, 128]
    assert list(arms["plain"])[-1] == PRESET.n_train // 10  # Keskar's large batch
    for spec in runs(arms["plain"]) + runs(arms["batch norm"]):
        assert (spec.optimizer, spec.learning_rate) == ("adam", 1e-3)
        assert (spec.epochs, spec.patience) == (20, 10)
        assert {"keskar", "test"} <= set(spec.measures)
    between = [spec for spec in ran if isinstance(spec, InterpolationSpec)]
    assert [spec.surfaces for spec in between] == [True, False]
    for spec in between:
        # The very nets whose sharpness was measured.
        for run, size in ((spec.first, 8), (spec.second, 128)):
            measured = RunSpec.from_json(arms["plain"][size][spec.seed]["spec"])
            assert run == replace(measured, measures=())
    rescaled = [spec for spec in ran if isinstance(spec, RescalingSpec)]
    assert [spec.run for spec in rescaled] == [spec.first for spec in between]
    assert list(arms["between"]) == list(arms["rescaled"]) == list(SEEDS)


def test_stability_gives_the_full_batch_ten_times_the_epochs():
    outcomes, _ = run_all(["stability"])
    told = {spec.batch_size: spec for spec in runs(outcomes["stability"])}
    assert {size: spec.epochs for size, spec in told.items()} == {8: 6, 32: 6, 1280: 60}
    assert {spec.measures for spec in told.values()} == {("stability",)}


def test_speed_is_measured_apart_at_every_size_and_at_one():
    (throughput,) = [e for e in experiments(PRESET, "lenet5", "mnist") if e.timed]
    assert throughput.name == "throughput"
    outcomes, ran = run_all(["throughput"])
    assert list(outcomes["throughput"]) == [1, *SIZES]
    assert all(isinstance(spec, ThroughputSpec) for spec in ran)
    assert len(set(ran)) == len(ran) == 2 * 5


def test_experiments_share_the_runs_they_have_in_common():
    names = ["rates", "one_rate", "scaling", "stability"]
    _, together = run_all(names)
    alone = [spec for name in names for spec in set(run_all([name])[1])]
    assert len(set(together)) < 0.6 * len(alone)


def test_the_announced_number_of_runs_is_that_of_a_search_that_stays_on_its_grid():
    for experiment in experiments(PRESET, "lenet5", "mnist"):
        _, ran = run_all([experiment.name])
        assert count_runs([experiment]) == pytest.approx(len(set(ran)), abs=len(SEEDS))


@pytest.mark.parametrize("sizes", [(8, 30), (8, 12), (8, 2560)])
def test_sizes_that_do_not_divide_are_refused(sizes):
    with pytest.raises(ValueError, match=f"not {sizes[1]}"):
        replace(PRESET, batch_sizes=sizes)


def test_the_paper_check_is_keskar_s_f1():
    paper = PaperPreset(5, "hours", epochs=9, patience=3)
    (f1,) = paper_experiments(paper, "mlp", "mnist")
    ran = []

    def run(specs):
        ran.extend(specs)
        return {}

    assert run_together([f1], run) == {"f1": {size: dict.fromkeys(range(5)) for size in PAPER}}
    assert len(ran) == f1.runs == 10
    assert {spec.batch_size for spec in ran} == {SMALL, LARGE} == {256, 5999}
    for spec in ran:
        assert json.loads(spec.builder) == {"hidden": [512] * 5}
        assert spec.regularization == Regularization(batch_norm=True)
        assert (spec.optimizer, spec.patience) == ("adam", 3)
        assert spec.data.n_train + spec.data.n_validation == 60_000
        assert {"keskar", "recalibrated", "test"} <= set(spec.measures)
