"""What the claims on the batch size measure, on runs whose answers are known."""

import functools
import math
from dataclasses import replace

import batch_size_samples as samples
import pytest
from batch_size_samples import LAB, diverged, record_of
from fake_records import in_verdicts, part

from dlip_reg.studies.batch_size.fits import best_rate
from dlip_reg.studies.batch_size.linear_scaling import exponents
from dlip_reg.studies.judging import as_measurement, judge_claim
from dlip_reg.training.specification import ThroughputSpec


def judged(name, spoil):
    """The claim on runs with records as `spoil(spec, record)` gives them."""
    return LAB.judged(LAB.runs(name, spoil=spoil), name)


@pytest.mark.parametrize(
    ("name", "effect", "spread"),
    [
        ("bs-flat-sharp", samples.SHARPER, 0.1),
        ("bs-small-better", samples.POINTS_PER_DECADE, 0.2),
        ("bs-parallel", math.log(samples.TWO_THREADS), 0.05),
    ],
)
def test_known_effects_are_found(name, effect, spread):
    assert LAB.judged(LAB.runs(name), name).effect == pytest.approx(effect, abs=spread)


def scaled(power, *claims):
    """The runs of batch sizes whose best learning rate grows like that power of them."""
    return replace(LAB, record_of=functools.partial(record_of, power=power)).runs(*claims)


@pytest.mark.parametrize("power", [0.5, 0.75, 1.0])
def test_the_exponent_and_the_slope_are_those_of_the_curves(power):
    made = scaled(power, "bs-linear-scaling", "bs-lr-match")
    for group in ("grid", "momentum"):
        assert exponents(made, group) == pytest.approx([power] * 5, abs=0.1)
    for way in ("equal epochs", "equal updates"):
        slope = part(LAB.judged(made, "bs-lr-match"), f"slope at {way}")
        assert slope == pytest.approx(power, abs=0.1)


def test_planted_square_root_scaling_loses_supported():
    result = LAB.judged(scaled(0.5, "bs-linear-scaling"), "bs-linear-scaling")
    assert result.effect == pytest.approx(-0.5, abs=0.1)
    # Not even small steps follow the rule, which is the fault's and not the sentence's.
    assert result.verdict == "not measurable"


def stuck(record):
    """The record of the same run, had its training loss stayed high."""
    flat = (2.0,) * (record.spec.epochs + 1)
    return replace(record, curves=replace(record.curves, clean_loss=flat))


def test_a_full_batch_that_never_arrives_counts_as_all_its_epochs_and_is_noted():
    def spoil(spec, record):
        is_timed = isinstance(spec, ThroughputSpec)
        return record if is_timed or spec.batch_size < spec.data.n_train else stuck(record)

    result = judged("bs-faster-than-full", spoil)
    assert part(result, "epochs of the full batch to the loss") == 600
    assert "lower bound" in result.notes[0] and "5 of 5" in result.notes[0]


@pytest.mark.parametrize("name", ["bs-faster-than-full", "bs-large-faster"])
def test_times_to_a_loss_that_no_run_reaches_decide_nothing(name):
    """In as many epochs larger batches make fewer updates, and faster ones."""

    def spoil(spec, record):
        return record if isinstance(spec, ThroughputSpec) else stuck(record)

    result = judged(name, in_verdicts(spoil))
    assert (result.verdict, result.effect) == ("undecided", None)


def test_a_diverged_run_counts_as_guessing_and_not_as_missing():
    def spoil(spec, record):
        return diverged(record) if spec.batch_size == 8 and spec.seed % 2 else record

    claim = LAB.claims["bs-small-better"]
    made = LAB.runs(claim.id, spoil=in_verdicts(spoil))
    honest = LAB.judged(made, claim.id)
    assert honest.n_seeds == 5 and honest.verdict != "supported"

    # The planted fault: runs that diverged are dropped.
    def dropping(runs):
        values = as_measurement(claim.measure(runs)).differences
        records = zip(values, runs["best/8"], strict=True)
        return [x if record.status == "finished" else math.nan for x, record in records]

    faulty = judge_claim(replace(claim, measure=dropping), made, len(LAB.claims))
    assert faulty.n_seeds == 3 and faulty.effect < -1 < 0 < honest.effect


def test_on_one_core_parallel_says_why_it_is_not_measurable():
    def spoil(spec, record):
        if not isinstance(spec, ThroughputSpec) or spec.threads == 1:
            return record
        return replace(record, measures=replace(record.measures, examples_per_second=None))

    result = judged("bs-parallel", spoil)
    assert result.verdict != "supported" and result.effect is None
    assert "one processor core" in result.notes[0]


@pytest.mark.parametrize("missed", [{1}, {1, 2, 3, 4}])
def test_a_run_that_misses_the_loss_counts_as_no_difference_unless_most_do(missed):
    def spoil(spec, record):
        return replace(record, minimizer=()) if spec.seed in missed else record

    result = judged("bs-flat-sharp", spoil)
    if len(missed) > 1:
        assert result.verdict in ("undecided", "not measurable")
    else:
        assert result.n_seeds == 5 and "2 runs" in result.notes[0]
        assert result.effect == pytest.approx(0.8 * samples.SHARPER, abs=0.1)


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
