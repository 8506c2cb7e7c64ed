"""What the claims on the batch size measure, on runs whose answers are known."""

import functools
import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import batch_size_samples as samples
import pytest
from batch_size_samples import LAB, diverged, record_of
from fake_records import in_verdicts, make_record, part

from dlip_reg.studies.batch_size.fits import best_rate, trial_costs, tuned
from dlip_reg.studies.batch_size.learning_rates import losses_at, ways
from dlip_reg.studies.batch_size.linear_scaling import (
    can_be_compared,
    exponents,
    log_gaps,
    nearest_rate,
)
from dlip_reg.studies.batch_size.small_better import lowest_validation_loss
from dlip_reg.studies.judging import as_measurement, judge_claim
from dlip_reg.training import DataSpec, RunSpec, Schedule
from dlip_reg.training.specification import ThroughputSpec

SPEC = RunSpec("mlp", DataSpec("mnist"), epochs=4)


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
    # Half of the exponent less the 1 that is asserted, and that of one batch labelled as larger.
    half, one_size, _ = LAB.judged(made, "bs-linear-scaling").controls
    assert half.effect == pytest.approx(power / 2 - 1, abs=0.1)
    assert one_size.effect == pytest.approx(0, abs=0.1)


def test_the_exponent_is_the_slope_of_a_line_through_the_base():
    """Four times the batch takes four times the rate, and sixteen times it takes four times, too.

    The squares of ln 4 and 2 ln 4 weigh the slopes 1 and 1/2.
    """

    def record(spec):
        return record_of(spec, power=0.5 if getattr(spec, "batch_size", 8) > 32 else 1.0)

    made = replace(LAB, record_of=record).runs("bs-linear-scaling")
    assert exponents(made, "grid") == pytest.approx([3 / 5] * 5, abs=0.08)


def test_curves_are_as_far_apart_as_their_logarithms_after_the_start():
    slow, fast = (
        make_record(SPEC, [2.0 * math.exp(-speed * epoch) for epoch in range(5)])
        for speed in (0.2, 0.5)
    )
    assert log_gaps(fast, slow) == pytest.approx([-0.3, -0.6, -0.9, -1.2])


def trained(rate, speed):
    losses = [2.0 * math.exp(-speed * epoch) for epoch in range(5)]
    return make_record(replace(SPEC, learning_rate=rate), losses)


@pytest.mark.parametrize("true", [0.1, 0.14])
@pytest.mark.parametrize("breaks", [0.15, 0.3, math.inf])
def test_the_nearest_curve_is_found_between_rates_and_beside_one_that_learns_nothing(true, breaks):
    """The loss falls faster at larger rates, up to the one at which training breaks down."""

    def at(rate):
        return trained(rate, (rate <= breaks) * (0.3 + 0.1 * math.log2(rate / 0.1)))

    found = nearest_rate(at(true), *(at(0.1 * 2.0**power) for power in (-2, -1, 0, 1, 2)))
    # Between a rate and one that learns nothing there is nothing to go by.
    assert found == pytest.approx(0.1 if true < breaks < 0.2 else true)


def test_of_two_rates_with_the_same_curve_the_one_below_the_best_rate_is_found():
    speeds = {0.05: 0.2, 0.2: 0.4, 0.4: 0.3, 0.8: 0.1}
    others = [trained(rate, speed) for rate, speed in speeds.items()]
    assert nearest_rate(trained(0.1, 0.3), *others) == pytest.approx(0.1)
    # Of rates all of which are slower, the best one is the nearest.
    assert nearest_rate(trained(0.1, 0.5), *others) == pytest.approx(0.2)
    assert can_be_compared(trained(0.1, 0.5), *others)
    assert not can_be_compared(trained(0.1, 0.1), *others[:3])  # the lowest is faster already


def test_a_batch_size_that_never_comes_near_the_base_is_named():
    def spoil(spec, record):
        if isinstance(spec, ThroughputSpec) or spec.batch_size == 8 or record.curves is None:
            return record
        higher = tuple(1.1 * loss for loss in record.curves.clean_loss)
        return replace(record, curves=replace(record.curves, clean_loss=higher))

    notes = judged("bs-linear-scaling", in_verdicts(spoil)).notes
    for group, size in itertools.product(("Without", "With"), (32, 128)):
        begins = f"{group} momentum, no rate of batch {size} brings the loss to within 5 % of the"
        assert any(note.startswith(begins) and " 5 of 5 seeds" in note for note in notes)
    usual = LAB.judged(LAB.runs("bs-linear-scaling"), "bs-linear-scaling")
    assert not any("no rate" in note for note in usual.notes)


def test_arms_differ_from_others_as_they_say():
    made = LAB.runs()
    rates = {arm: made.spec(arm).learning_rate for arm in made if made.chosen[arm].runs}
    for size in (8, 32, 128):
        for power in (-3, 0, 3):
            arm = f"grid/{size}/{power}"
            assert rates[arm] == pytest.approx(2.0**power * rates[f"grid/{size}/0"], rel=0.01)
            assert rates[f"momentum/{size}/{power}"] == pytest.approx(rates[arm] / 10, rel=0.01)
            assert made.spec(f"momentum/{size}/{power}").optimizer == "momentum"
    for row, times in (("unscaled", 1), ("root", 4), ("scaled", 16), ("warmup", 16)):
        assert rates[f"scaling/{row}/128"] == pytest.approx(times * rates["grid/8/0"], rel=0.01)
        schedule = Schedule(warmup_epochs=2, warmup_from=1 / 16) if row == "warmup" else Schedule()
        assert made.spec(f"scaling/{row}/128").schedule == schedule
    assert rates["slower/128"] == pytest.approx(rates["best/128"] / 2, rel=0.01)
    race, again = ({s.learning_rate for s in made.trials[f"{n}/128"]} for n in ("race", "again"))
    assert race and again and not race & again


def test_rates_are_compared_by_validation_loss_at_equal_epochs_or_equal_updates():
    made = LAB.runs("bs-lr-match")
    grid = [made[arm] for arm in made.grid("grid/32/*").values()]
    for seed, losses in enumerate(losses_at(made, 32, 2)):
        records = [of_arm[seed] for of_arm in grid]
        assert losses == {r.spec.learning_rate: r.curves.clean_val_loss[2] for r in records}
    lengths = {size: made.spec(f"grid/{size}/0").epochs for size in (8, 32, 128)}
    compared = ways(made)
    assert compared["equal epochs"] == dict.fromkeys(lengths, min(lengths.values()))
    assert compared["equal updates"] == {s: lengths[128] * s // 128 for s in lengths}

    def slowing(spec, record):
        """The best rate is inversely as the epochs, and so there are two for one batch size."""
        if isinstance(spec, ThroughputSpec) or spec.batch_size != 8 or spec.stop_loss:
            return record
        losses = [0.5 + 0.1 * math.log(spec.learning_rate * max(epoch, 1) / 0.4) ** 2
                  for epoch in record.curves.epoch]  # fmt: skip
        return replace(record, curves=replace(record.curves, clean_val_loss=tuple(losses)))

    (control,) = judged("bs-lr-match", in_verdicts(slowing)).controls
    assert control.effect == pytest.approx(1, abs=0.1)


def test_a_search_takes_geometric_means_and_goes_on_beyond_its_better_end():
    def trials(costs):
        return {
            replace(SPEC, learning_rate=rate): [make_record(SPEC, val_loss=cost) for cost in found]
            for rate, found in costs.items()
        }

    def cost(record):
        return record.measures.val_loss

    assert trial_costs(cost, trials({0.1: (1.0, 4.0)})) == {0.1: pytest.approx(2)}
    tried = trials({0.1: (1.0, 4.0), 0.3: (1.0, 4.0)})
    lost = {spec: (*records[:-1], None) for spec, records in tried.items()}
    assert list(trial_costs(cost, lost).values()) == [math.inf] * 2  # the harder seed's
    tuning = tuned("a", SPEC, cost).tuning
    costs = trials({0.003: (1.6,), 0.01: (1.0,), 0.03: (1.0,), 0.1: (1.05,), 0.3: (1.5,)})
    without = {spec: found for spec, found in costs.items() if spec.learning_rate != 0.03}
    lost = {spec: found if spec in without else (None,) for spec, found in costs.items()}
    assert tuning.choose(lost) == tuning.choose(without)
    extend = tuning.extend
    for costs, rates in (((1, 2, 3, 4), [0.00333]), ((4, 3, 2, 1), [0.9]), ((2, 1, 2, 3), [])):
        tried = trials({0.01 * 3**i: (cost,) for i, cost in enumerate(costs)})
        found = [spec.learning_rate for spec in extend(tried)]
        assert found == pytest.approx(rates, rel=0.11)  # 0.27 is 0.3 of the grid
    losses = SimpleNamespace(clean_val_loss=(None, 0.5, 0.3, 0.4), clean_loss=(0.9, 0.2, 0.1, 0))
    assert lowest_validation_loss(SimpleNamespace(curves=losses)) == 0.3


def test_the_slower_control_is_in_the_claim_s_unit():
    slow = LAB.runs("bs-small-better").spec("slower/128")

    def worse(spec, record):
        if (spec.batch_size, spec.learning_rate) != (128, slow.learning_rate):
            return record
        accuracies = tuple(a - 0.012 for a in record.curves.clean_test_accuracy)
        return replace(record, curves=replace(record.curves, clean_test_accuracy=accuracies))

    (control,) = judged("bs-small-better", in_verdicts(worse)).controls
    assert control.effect == pytest.approx(-1.2 / math.log10(128 / 8))


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
    assert result.effect < -1  # and it says that the full batch is slower


def test_a_mini_batch_that_never_arrives_may_outweigh_those_that_do():
    def spoil(spec, record):
        if isinstance(spec, ThroughputSpec):
            return replace(record, measures=replace(record.measures, examples_per_second=1e3))
        if spec.batch_size == 8:
            return stuck(record)
        if spec.batch_size < spec.data.n_train:
            return record
        losses = tuple(samples.START * math.exp(-epoch / 10) for epoch in range(spec.epochs + 1))
        return replace(record, curves=replace(record.curves, clean_loss=losses))

    result = judged("bs-faster-than-full", in_verdicts(spoil))
    ratios = [part(result, f"examples, batch {size} over full batch") for size in (8, 32, 128)]
    assert ratios[0] > 1 and sum(ratios) / 3 < -0.25  # by what is counted
    assert (result.verdict, result.effect) == ("undecided", None)


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
    lost = judged("bs-parallel", lambda spec, record: None)
    assert not any("one processor core" in note for note in lost.notes)


@pytest.mark.parametrize("missed", [{1}, {1, 2, 3, 4}])
@pytest.mark.parametrize("rows", [0, 1])
def test_a_run_that_misses_the_loss_counts_as_no_difference_unless_most_do(missed, rows):
    """Or passes it in its first epoch: its sharpness is that of a lower loss."""

    def spoil(spec, record):
        kept = record.minimizer[len(record.minimizer) - rows :]
        return replace(record, minimizer=kept) if spec.seed in missed else record

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
    # Where training breaks down is not part of the curve's shape: the cap hides how badly.
    known = {0.1: 1.1, 0.2: 1.0, 0.4: 30.0}
    assert best_rate(known) == best_rate(known | {0.4: math.inf})


def test_a_seed_of_which_a_batch_size_never_trains_has_no_best_rate_and_no_exponent():
    def spoil(spec, record):
        large = isinstance(spec, RunSpec) and spec.batch_size > 8
        return diverged(record) if large and spec.seed == 0 else record

    made = LAB.runs("bs-lr-match", "bs-linear-scaling", spoil=in_verdicts(spoil))
    for name in ("bs-lr-match", "bs-linear-scaling"):
        assert not any("at an end" in note for note in LAB.judged(made, name).notes)
    first, *others = exponents(made, "grid")
    assert first == 0 and all(0.5 < exponent < 1.5 for exponent in others)
