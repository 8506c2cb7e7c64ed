"""What the claims on the batch size measure, on runs whose answers are known."""

import functools
import math
from dataclasses import replace

import batch_size_samples as samples
import pytest
from batch_size_samples import CLAIMS, diverged, judged, record_of, runs
from fake_records import announced_and_run, assert_looks_stand, part
from test_report_figures import assert_readable

from dlip_reg.studies.batch_size import STUDY
from dlip_reg.studies.batch_size.fits import best_rate
from dlip_reg.studies.batch_size.linear_scaling import exponents
from dlip_reg.studies.judging import as_measurement, judge_claim
from dlip_reg.training.specification import InterpolationSpec, ThroughputSpec


@pytest.fixture(scope="module")
def made():
    return runs()


def test_controls_pass_and_known_effects_are_found(made):
    for name in CLAIMS:
        result = judged(made, name)
        assert (name, result.verdict) == (name, "supported")
        for control in result.controls:
            assert (control.verdict == "supported") == (control.kind == "positive")
    assert judged(made, "bs-flat-sharp").effect == pytest.approx(samples.SHARPER, abs=0.1)
    assert judged(made, "bs-small-better").effect == pytest.approx(
        samples.POINTS_PER_DECADE, abs=0.2
    )
    assert judged(made, "bs-parallel").effect == pytest.approx(
        math.log(samples.TWO_THREADS), abs=0.05
    )


@pytest.mark.parametrize("name", ["quick", "standard"])
def test_about_as_many_runs_are_announced_as_there_are(name):
    announced, made = announced_and_run(STUDY, STUDY.presets[name], record_of)
    assert announced == pytest.approx(made, rel=0.1)  # grids are extended as needed


@pytest.mark.parametrize("power", [0.5, 0.75, 1.0])
def test_the_exponent_and_the_slope_are_those_of_the_curves(power):
    made = runs(functools.partial(record_of, power=power), "bs-linear-scaling", "bs-lr-match")
    for group in ("grid", "momentum"):
        assert exponents(made, group) == pytest.approx([power] * 5, abs=0.1)
    for way in ("equal epochs", "equal updates"):
        slope = part(judged(made, "bs-lr-match"), f"slope at {way}")
        assert slope == pytest.approx(power, abs=0.1)


def test_planted_square_root_scaling_loses_supported():
    made = runs(functools.partial(record_of, power=0.5), "bs-linear-scaling")
    result = judged(made, "bs-linear-scaling")
    assert result.effect == pytest.approx(-0.5, abs=0.1)
    # Not even small steps follow the rule, which is the fault's and not the sentence's.
    assert result.verdict == "not measurable"


def test_a_full_batch_that_never_arrives_counts_as_all_its_epochs_and_is_noted():
    def stuck(spec):
        record = record_of(spec)
        if not isinstance(spec, ThroughputSpec) and spec.batch_size == spec.data.n_train:
            flat = (2.0,) * (spec.epochs + 1)
            return replace(record, curves=replace(record.curves, clean_loss=flat))
        return record

    result = judged(runs(stuck, "bs-faster-than-full"), "bs-faster-than-full")
    assert part(result, "epochs of the full batch to the loss") == 600
    assert "lower bound" in result.notes[0] and "5 of 5" in result.notes[0]


def test_a_diverged_run_counts_as_guessing_and_not_as_missing():
    def spoil(spec):
        record = record_of(spec)
        if spec.seed < 1000 and getattr(spec, "batch_size", 0) == 8 and spec.seed % 2:
            return diverged(record)
        return record

    made = runs(spoil, "bs-small-better")
    claim = CLAIMS["bs-small-better"]
    honest = judged(made, claim.id)
    assert honest.n_seeds == 5 and honest.verdict != "supported"

    # The planted fault: runs that diverged are dropped.
    def dropping(runs):
        return [
            value if record.status == "finished" else math.nan
            for value, record in zip(
                as_measurement(claim.measure(runs)).differences, runs["best/8"], strict=True
            )
        ]

    faulty = judge_claim(replace(claim, measure=dropping), made, len(CLAIMS))
    assert faulty.n_seeds == 3 and faulty.effect < -1 < 0 < honest.effect


def test_on_one_core_parallel_says_why_it_is_not_measurable():
    def one_core(spec):
        record = record_of(spec)
        if isinstance(spec, ThroughputSpec) and spec.threads == 2:
            return replace(record, measures=replace(record.measures, examples_per_second=None))
        return record

    result = judged(runs(one_core, "bs-parallel"), "bs-parallel")
    assert result.verdict != "supported" and result.effect is None
    assert "one processor core" in result.notes[0]


def test_a_run_that_misses_the_loss_counts_as_no_difference():
    def missed(spec):
        record = record_of(spec)
        return replace(record, minimizer=()) if spec.seed == 1 else record

    result = judged(runs(missed, "bs-flat-sharp"), "bs-flat-sharp")
    assert result.n_seeds == 5 and "2 runs" in result.notes[0]
    assert result.effect == pytest.approx(0.8 * samples.SHARPER, abs=0.1)


def test_what_a_look_found_is_the_same_with_more_seeds(monkeypatch):
    """Most runs of the first look fail, and few of all."""

    def spoil(spec):
        record = record_of(spec)
        large = not isinstance(spec, ThroughputSpec | InterpolationSpec) and spec.batch_size > 8
        return diverged(record) if spec.seed < 3 and large else record

    monkeypatch.setattr(samples, "PRESET", replace(samples.PRESET, seeds=20))
    assert_looks_stand(runs(spoil), STUDY.claims)


def test_times_to_a_loss_that_no_run_reaches_decide_nothing():
    """In as many epochs larger batches make fewer updates, and faster ones."""

    def stuck(spec):
        record = record_of(spec)
        if isinstance(spec, ThroughputSpec) or spec.seed > 1000:
            return record
        flat = (2.0,) * (spec.epochs + 1)
        return replace(record, curves=replace(record.curves, clean_loss=flat))

    names = ("bs-faster-than-full", "bs-large-faster")
    made = runs(stuck, *names)
    for result in (judged(made, name) for name in names):
        assert (result.verdict, result.effect) == ("undecided", None)


def test_where_most_runs_miss_the_loss_nothing_is_decided():
    def missed(spec):
        record = record_of(spec)
        return replace(record, minimizer=()) if spec.seed >= 1 else record

    result = judged(runs(missed, "bs-flat-sharp"), "bs-flat-sharp")
    assert result.verdict in ("undecided", "not measurable")


@pytest.mark.parametrize("vertex", [0.03, 0.1, 0.25])
def test_the_best_rate_is_the_vertex_of_a_parabola(vertex):
    rates = (0.01, 0.03, 0.1, 0.3, 0.9)
    costs = {rate: math.exp(0.05 * math.log(rate / vertex) ** 2) for rate in rates}
    assert best_rate(costs) == pytest.approx(vertex, rel=1e-6)


def test_a_best_rate_at_the_end_or_of_failed_runs_is_no_extrapolation():
    assert best_rate({0.1: 1.0, 0.2: 2.0, 0.4: 3.0}) == 0.1
    assert math.isnan(best_rate({0.1: math.inf, 0.2: math.nan}))
    # Where training breaks down is no part of the curve's shape: the cap hides how badly.
    known = {0.1: 1.1, 0.2: 1.0, 0.4: 30.0}
    assert best_rate(known) == best_rate(known | {0.4: math.inf})


def test_every_figure_can_be_read(made):
    names = set()
    for claim in CLAIMS.values():
        for item in claim.draw(made):
            names.add(item.name)
            assert_readable(item.figure)
            assert len(item.alt) > 40 and len(item.caption) > 40
    assert {"one_rate", "scaling", "convergence", "sharpness", "threads"} <= names
