"""What the claims with a placebo measure, on runs whose answers are known."""

import functools
import math
from dataclasses import replace

import batch_norm_samples as samples
import fake_records
import numpy as np
import pytest
from batch_norm_samples import LAB, TWENTY, diverged
from fake_records import in_verdicts, part, with_numbers

from dlip_reg.evidence import FAILED, Bound
from dlip_reg.studies import Runs
from dlip_reg.studies.arm_resolver import TUNING_SEEDS_FROM
from dlip_reg.studies.batch_norm import STUDY, deep, input_shift
from dlip_reg.studies.batch_norm.easier import choose_lowest
from dlip_reg.studies.batch_norm.learning_rates import (
    beyond_spacing,
    fastest_decay,
    steps_until,
    target,
    width_above,
)
from dlip_reg.studies.judging import as_measurement
from dlip_reg.training.records import Measures

MATCHED = {f"bn-{name}" for name in ("landscape", "predictiveness", "beta", "independence",
           "internal-shift", "noise")}  # fmt: skip
CLAIM = {name: claim for name, claim in LAB.claims.items() if name not in MATCHED}
judged = LAB.judged


def runs(*claims, preset=TWENTY, **options):
    return LAB.runs(*(claims or CLAIM), preset=preset, **options)


@pytest.fixture(scope="module")
def made():
    return runs()


def test_the_known_effects(made):
    lowest = {
        net: np.log([[min(r.curves.clean_loss) for r in made[f"start/{net}/{scale:g}"]]
                     for scale in samples.STANDARD.start_scales])
        for net in ("bn", "plain")
    }  # fmt: skip
    easier = as_measurement(CLAIM["bn-easier"].measure(made)).differences
    assert easier == pytest.approx((lowest["bn"] - lowest["plain"]).mean(axis=0))
    between = samples.BEST_DROPOUT["plain"] - samples.BEST_DROPOUT["bn"]
    assert judged(made, "bn-less-dropout").effect == pytest.approx(between, abs=0.02)
    # The gradient's growth is shown whatever trains.
    growth = "growth of the gradient per layer before training, scale 1, with batch norm"
    first, *_, last, _ = zip(*[[row.norm for row in r.flow[0].layers] for r in made["scale/bn/1"]],
                             strict=True)  # fmt: skip
    expected = np.log(np.divide(first, last)).mean() / 19  # between 20 hidden layers
    assert expected == pytest.approx(math.log(1.1), abs=0.01)
    assert part(judged(made, "bn-exploding"), growth) == pytest.approx(expected)
    ratio = "first over last layer before training without batch norm"
    quarters = 20 * math.log10(0.25)  # of 20 layers
    assert part(judged(made, "bn-vanishing"), ratio) == pytest.approx(quarters, abs=0.1)
    cost = "accuracy 12 times as fast minus as slow, without batch norm"
    lost = 100 * samples.DECAY_COST["plain"] * math.log(12) ** 2
    assert part(judged(made, "bn-fast-decay"), cost) == pytest.approx(-lost, abs=0.5)
    record = made["rates/bn/0.1"][0]
    steps = record.spec.epochs * (1000 // 32)
    assert steps_until(record, 0.99) == steps and 1 <= steps_until(record, 0.5) < steps


def test_a_diverged_run_has_found_the_loss_of_guessing(made):
    spoil = in_verdicts(lambda spec, r: diverged(r) if samples.net_of(spec) == "bn" else r)
    result = judged(runs("bn-easier", spoil=spoil), "bn-easier")
    lowest = [min(r.curves.clean_loss) for r in made["start/plain/1"]]
    expected = math.log(math.log(10)) - np.mean(np.log(lowest[:5]))
    scale_one = part(result, "from initial weights of 1 times their size")
    assert scale_one == pytest.approx(expected)
    assert result.verdict == "contradicted"


def with_accuracies(record, change):
    """The record, if it has curves, with other validation accuracies."""
    if record.curves is None:
        return record
    accuracies = change(np.array(record.curves.clean_val_accuracy))
    curves = replace(record.curves, clean_val_accuracy=tuple(accuracies.tolist()))
    return replace(record, curves=curves)


def test_the_accuracy_to_reach_is_fixed_by_the_tuning_seeds(made):
    worse = in_verdicts(lambda spec, r: with_accuracies(r, lambda values: values / 2))
    assert target(runs("bn-large-lr", spoil=worse)) == target(made)

    def lower(spec, record):
        flat = np.full(spec.epochs + 1, 0.5)
        return record if spec.seed < 1000 else with_accuracies(record, lambda values: flat)

    assert target(runs("bn-large-lr", spoil=lower)) == pytest.approx(0.1 + 0.9 * 0.4)


def test_both_parts_of_a_large_rate_must_hold():
    def as_slow(spec, record):
        """With batch norm more learning rates work, and none of them is quicker."""
        rise = 1 - np.exp(-0.9 * np.arange(spec.epochs + 1))
        slowed = with_accuracies(record, lambda values: 0.1 + (values[-1] - 0.1) * rise)
        return slowed if samples.net_of(spec) == "bn" else record

    result = judged(runs("bn-large-lr", spoil=as_slow), "bn-large-lr")
    assert part(result, "ln of the usable range, over the plain network's") > 1
    assert result.verdict == "no effect"


@pytest.mark.thorough
def test_a_range_that_is_moved_is_not_taken_for_a_wider_one(assume):
    """Rates of batch norm are 1.7 times the plain network's: fewer or more of the grid's work."""
    moved = {"plain": 1.0, "placebo": 1.0, "bn": 1.7}
    for largest in (0.2, 0.5, 0.9):
        assume("LARGEST_RATE", {net: largest * factor for net, factor in moved.items()})
        assume("BEST_RATE", {net: 0.1 * factor for net, factor in moved.items()})
        result = judged(runs("bn-large-lr"), "bn-large-lr")
        assert result.verdict not in ("supported", "contradicted")
        samples.record_of.cache_clear()
    wider, _ = as_measurement(CLAIM["bn-large-lr"].measure(runs("bn-large-lr"))).differences
    assert all(isinstance(value, Bound) for value in wider)


def test_of_a_difference_of_ranges_what_the_spacing_of_the_rates_leaves_open_is_taken_away():
    rates = (0.1, 0.3, 1.2)  # up to four-fold apart
    found = beyond_spacing((math.log(8), -math.log(8), math.log(3), math.nan), rates)
    assert found == pytest.approx((math.log(2), -math.log(2), 0.0, math.nan), nan_ok=True)
    assert beyond_spacing((0.0,), (0.1,)) == (0.0,)


def test_an_accuracy_below_chance_is_none_to_reach():
    """Runs that diverge have the accuracy of guessing, and would all get there."""

    def spoil(spec, record):
        if spec.seed < TUNING_SEEDS_FROM:
            return diverged(record)
        return with_numbers(record, lambda name, number: 0.08 if "accuracy" in name else number)

    made = runs("bn-large-lr", preset=samples.QUICK, spoil=spoil)
    assert math.isnan(target(made))
    result = judged(made, "bn-large-lr")
    assert part(result, "usable learning rates with batch norm") is None
    assert part(result, "steps to the accuracy with batch norm") is None


@pytest.mark.parametrize("lost", [0, 1])
def test_an_end_of_the_rates_is_named_whichever_seed_reaches_the_accuracy_there(lost):
    spoil = in_verdicts(lambda spec, record: None if spec.seed == lost else record)
    made = runs("bn-large-lr", preset=replace(samples.QUICK, seeds=2), spoil=spoil)
    notes = judged(made, "bn-large-lr").notes
    assert any("still reached at the end of the learning rates" in note for note in notes)


def test_bounds_count_where_they_tell_which_network_is_faster(assume):
    """Of a network that never reaches the accuracy, and of one that no decay harms."""

    def never(spec, record):
        low = with_accuracies(record, lambda values: values / 2)
        return low if samples.net_of(spec) == "plain" else record

    made = runs("bn-large-lr", spoil=in_verdicts(never))
    _, faster = as_measurement(CLAIM["bn-large-lr"].measure(made)).differences
    assert min(faster) > 1
    assume("DECAY_COST", {"plain": 0.04, "placebo": 0.04, "bn": 0.0})
    result = judged(runs("bn-fast-decay"), "bn-fast-decay")
    assert result.verdict == "supported" and result.effect > math.log(12) - 1


def test_dropout_that_slows_training_takes_more_steps():
    def slowed(spec, record):
        """Half as fast, and to an accuracy that is five points lower."""
        if spec.regularization.dense_dropout < 0.05:
            return record
        return with_accuracies(record, lambda values: np.repeat(values, 2)[: len(values)] - 0.05)

    label = "steps to the accuracy that both reach, with dropout over alone"
    result = judged(runs("bn-no-dropout", spoil=in_verdicts(slowed)), "bn-no-dropout")
    assert part(result, label) > math.log(1.5)


def test_a_rate_at_which_a_tuning_run_diverged_is_chosen_only_if_there_is_no_other(made):
    trials = made.trials["start/plain/1"]
    best = choose_lowest(trials)
    spoilt = {s: ((diverged(r[0]), *r[1:]) if s == best else r) for s, r in trials.items()}
    assert choose_lowest(spoilt) not in (best, None)
    assert choose_lowest({spec: (diverged(r[0]),) for spec, r in trials.items()}) is not None


def test_width_above_a_level():
    line = {0.0: 0.0, 1.0: 1.0, 3.0: 1.0, 4.0: 0.0}
    assert width_above(line, 0.5) == pytest.approx(0.5 + 2 + 0.5)
    assert width_above(line, 0.0) == 4
    assert width_above(line, 1.1) == 0
    assert width_above({0.0: 1.0, 1.0: 0.0, 2.0: 1.0}, 0.5) == pytest.approx(1)
    assert math.isnan(width_above({0.0: 1.0, 1.0: math.nan}, 0.5))
    assert math.isnan(width_above({0.0: 1.0, 1.0: 0.0}, math.nan))


def test_the_fastest_decay_is_where_the_smoothed_line_has_lost_a_point():
    # Two points lost between speeds 1 and 2: one point half-way in the logarithm.
    assert fastest_decay({1: 0.80, 2: 0.78, 4: 0.70}) == pytest.approx(math.log(2) / 2)
    # A dip that comes back is chance: it is smoothed to 0.79, 0.79.
    assert fastest_decay({1: 0.80, 2: 0.78, 4: 0.80}) == pytest.approx(math.log(4))
    assert fastest_decay({1: 0.80, 2: 0.81, 4: 0.80}) == pytest.approx(math.log(4))
    # What does not train has nothing to lose.
    assert fastest_decay({1: 0.1, 2: 0.1, 4: 0.1}) == 0
    assert math.isnan(fastest_decay({1: 0.80, 2: math.nan, 4: 0.70}))


def accuracies_by_rate(curves):
    """Runs with the test accuracy that `curves[net]` has for each seed and dropout rate."""

    def records(column):
        made = (fake_records.make_record(None, [1.0]) for _ in column)
        pairs = zip(made, column, strict=True)
        changed = (replace(r, curves=replace(r.curves, clean_test_accuracy=(a,))) for r, a in pairs)
        return dict(enumerate(changed))

    by_arm = {
        f"dropout/{net}/{rate:g}": records(column)
        for net, rows in curves.items()
        for rate, column in zip(samples.STANDARD.dropout_curve, np.transpose(rows), strict=True)
    }
    return Runs(range(20), by_arm, {}, {}, {})


@pytest.mark.thorough
def test_no_best_dropout_rate_is_told_from_another_where_dropout_does_nothing():
    """The best rate of a flat curve is chance, also that of the mean over all seeds."""
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(60):
        curves = {net: 0.8 + rng.normal(0, 0.01, (20, 4)) for net in ("plain", "bn", "placebo")}
        verdicts.append(judged(accuracies_by_rate(curves), "bn-less-dropout"))
    assert {result.verdict for result in verdicts} == {"undecided"}
    assert max(abs(result.effect) for result in verdicts) < 0.25


def test_a_network_with_one_accuracy_at_all_dropout_rates_has_no_best_rate():
    rng = np.random.default_rng(0)
    found = 0.8 + rng.normal(0, 0.01, (20, 4))
    for guessing in (0.1, 0.5, 1.0):
        curves = {"plain": found, "bn": np.full((20, 4), guessing), "placebo": found}
        result = judged(accuracies_by_rate(curves), "bn-less-dropout")
        assert (result.verdict, result.n_seeds) == ("undecided", 0)


@pytest.fixture
def assume(monkeypatch):
    """`assume(name, value)`: another constant of the samples, whose records are made anew."""
    samples.record_of.cache_clear()
    yield functools.partial(monkeypatch.setattr, samples)
    samples.record_of.cache_clear()


def test_equal_best_rates_at_the_end_of_the_range_are_not_certain_at_once(assume):
    assume("BEST_DROPOUT", dict.fromkeys(samples.BEST_DROPOUT, -0.5))
    five = judged(runs("bn-less-dropout", preset=samples.STANDARD), "bn-less-dropout")
    assert (five.effect, five.verdict) == (0, "undecided")
    twenty = judged(runs("bn-less-dropout"), "bn-less-dropout")
    assert twenty.ci_high - twenty.ci_low < 0.2 < 0.9 < five.ci_high - five.ci_low


def test_removing_dropout_may_cost_half_a_point(assume):
    assume("NOISE", 1e-4)
    assume("BEST_DROPOUT", dict.fromkeys(samples.BEST_DROPOUT, 0.0))

    def verdict(gain):
        """BN's accuracy at its best rate of 0.2 is higher by `gain` than without dropout."""

        def spoil(spec, record):
            if spec.regularization.dense_dropout < 0.05 or record.curves is None:
                return record
            curves = record.curves
            better = tuple(a + gain for a in curves.clean_test_accuracy)
            return replace(record, curves=replace(curves, clean_test_accuracy=better))

        made = runs("bn-no-dropout", "bn-with-dropout", spoil=spoil)
        return tuple(judged(made, f"bn-{name}-dropout").verdict for name in ("no", "with"))

    # At a rate of 0.1, the smallest that is tried, dropout costs a point here.
    assert verdict(0.01) == ("supported", "no effect")
    assert verdict(0.01 + 0.02) == ("contradicted", "supported")
    assert verdict(0.01 - 0.02) == ("supported", "contradicted")


def test_networks_that_learn_nothing_do_not_show_that_dropout_can_be_removed():
    def spoil(spec, record):
        return with_numbers(record, lambda name, number: 0.1 if "accuracy" in name else number)

    result = judged(runs("bn-no-dropout", spoil=in_verdicts(spoil)), "bn-no-dropout")
    assert (result.n_seeds, result.look) == (0, None)


def test_the_note_s_two_sentences_on_dropout_stand_together(made):
    results = [judged(made, f"bn-{name}-dropout") for name in ("no", "with")]
    section, *_ = STUDY.sections(made, results)
    (text,) = section.paragraphs
    assert "contradicts itself" in text
    for result in results:
        assert f"{result.sentence.rstrip('.')}”: {result.verdict} (" in text
    assert all(s.title != section.title for s in STUDY.sections(made, results[:1]))


def test_vanishing_is_solved_by_both_criteria_or_not_at_all(made):
    record = made["deep/bn"][0]

    def found(ratios, accuracy=0.6):
        rows = tuple(
            replace(row, gradient_first_over_last=ratio)
            for row, ratio in zip(record.flow, ratios, strict=True)
        )
        changed = replace(record, flow=rows, measures=Measures(test_accuracy=accuracy))
        one = Runs((0,), {"deep/bn": {0: changed}}, {}, {}, {})
        return deep.solved(one, "deep/bn")

    assert found((0.2, 1, 5)) == (1,)
    assert found((1, 1, 1), accuracy=0.19) == (0,)
    assert found((1, 20, 1)) == (0,) and found((1, 1, 0.01)) == (0,)
    assert found((0.0, 1, 1)) == (0,) and found((None, 1, 1)) == (0,)
    lost = Runs((0,), {"deep/bn": {0: None}}, {}, {}, {})
    assert math.isnan(deep.solved(lost, "deep/bn")[0])


def test_the_share_won_back_is_that_of_what_was_lost(made):
    result = judged(made, "bn-input-shift")
    lost = 100 * (2 * 0.84 - 0.6 - 0.08)
    assert result.effect == pytest.approx(100 * (0.1 + 0.05) / lost, abs=0.01)
    record = made["colours/bn"][0]
    same = tuple(replace(row, accuracy=0.8) for row in record.colours)
    nothing_lost = replace(record, colours=same)
    share = input_shift.share_won_back(nothing_lost, input_shift.SHIFTED, input_shift.ON_TARGET)
    assert share == FAILED
    records = {**made._records, "colours/bn": dict.fromkeys(range(20), nothing_lost)}
    nowhere = replace(made, _records=records)
    assert judged(nowhere, "bn-input-shift").effect is None


@pytest.mark.parametrize("nets", [("plain", "bn"), ("plain",), ("bn",)])
def test_decays_of_networks_that_do_not_train_decide_nothing(nets):
    def guessing(spec, record):
        if samples.net_of(spec) not in nets:
            return record
        return replace(record, measures=replace(record.measures, test_accuracy=0.1))

    result = judged(runs("bn-fast-decay", spoil=in_verdicts(guessing)), "bn-fast-decay")
    assert result.effect is None and result.verdict not in ("no effect", "supported")
