"""What the claims on regularization measure, on runs whose answers are known."""

import math
from dataclasses import replace

import pytest
import regularization_samples as samples
from fake_records import in_verdicts, part
from regularization_samples import LAB, PRESET, diverged, method_of, speed_of

from dlip_reg.codec import from_plain
from dlip_reg.regularization import L2_RANGE
from dlip_reg.studies import at_matched_loss, gap, matching_notes
from dlip_reg.studies.readings import FAILURES
from dlip_reg.studies.regularization.complexity import STRONG_L2, epochs_to_fit
from dlip_reg.training.records import CurvatureRow

judged = LAB.judged


@pytest.fixture(scope="module")
def made():
    return LAB.runs()


def control(result, kind):
    return next(control for control in result.controls if control.kind == kind)


def spoiled(change, *claims):
    """The runs, with `change(spec, record)` made to the records of verdict seeds."""
    return LAB.runs(*claims, spoil=in_verdicts(change))


def test_overfitting_is_compared_at_the_same_training_loss(made):
    arms = ("none", "dropout", "l1", "l2")
    speeds = [speed_of(made.chosen[arm]) for arm in arms]
    # Levels lie evenly in log between what the fastest has after an epoch and the slowest at last.
    mean_gained = (max(speeds) + PRESET.epochs * min(speeds)) / 2
    result = judged(made, "reg-overfit")
    assert result.effect == pytest.approx(mean_gained * sum(samples.GAP.values()) / 3)
    assert part(result, "dropout minus none at matched loss") == pytest.approx(
        mean_gained * samples.GAP["dropout"]
    )
    assert control(result, "negative").effect == pytest.approx(0, abs=1e-6)
    # At the end of training the slow arms have the smaller gap, for being slow as well.
    end = {arm: gap(made[arm][0])[-1] for arm in ("none", "none_slow")}
    assert end["none_slow"] < end["none"] - 0.05
    assert part(result, "mean over methods minus none at the end of training") < result.effect


def test_complexity_is_the_ratio_of_times_to_fit(made):
    result = judged(made, "reg-complex")
    assert result.effect == pytest.approx(sum(samples.FITS.values()) / 3)
    assert control(result, "negative").effect == pytest.approx(0, abs=1e-6)
    assert control(result, "positive").effect == pytest.approx(samples.FITS["l2"])
    fitted = epochs_to_fit(made["labels/true/none"][0])
    assert fitted == pytest.approx(math.log(9) / speed_of(made.chosen["labels/true/none"]))


def never_fits(spec, record):
    """The record of a run whose training accuracy stays low, on random labels."""
    flat = (0.1,) * len(record.curves.epoch)
    curves = replace(record.curves, clean_accuracy=flat)
    return replace(record, curves=curves) if spec.data.random_labels else record


def test_a_run_that_diverges_or_never_fits_counts_as_its_whole_length_and_is_told():
    def stuck(spec, record):
        if method_of(spec) == "l1" and spec.seed == 1:
            return diverged(record)
        return never_fits(spec, record) if method_of(spec) == "dropout" else record

    made = spoiled(stuck, "reg-complex")
    result = judged(made, "reg-complex")
    speed = speed_of(made.chosen["dropout"])
    at_most = math.log(PRESET.label_epochs / (math.log(9) / speed))
    assert part(result, "dropout minus none") == pytest.approx(at_most)
    assert result.n_seeds == 5
    assert [note.partition(";")[0] for note in result.notes] == [
        "1 of 20 runs on true labels did not fit them",
        "6 of 20 runs on random labels did not fit them",
    ]
    # Of L1's seed not even the side is known: it counts as no difference.
    assert part(result, "L1 minus none") == pytest.approx(0.8 * samples.FITS["l1"])

    def blind(spec, record):
        """Of a measurement that does not see the constraint."""
        strong = spec.data.random_labels and spec.regularization == STRONG_L2
        return made["labels/random/none"][spec.seed] if strong else record

    assert judged(spoiled(blind, "reg-complex"), "reg-complex").verdict == "not measurable"
    # Where no run fits them, nothing is decided.
    result = judged(spoiled(never_fits, "reg-complex"), "reg-complex")
    assert (result.verdict, result.n_seeds) == ("undecided", 0)


def test_dropout_is_best_only_if_it_beats_both(made):
    result = judged(made, "reg-dropout-best")
    assert result.effect == pytest.approx(100 * (samples.POINTS["dropout"] - samples.POINTS["l2"]))
    assert part(result, "dropout minus L1") == pytest.approx(
        100 * (samples.POINTS["dropout"] - samples.POINTS["l1"])
    )

    def lucky_l2(spec, record):
        """An epoch on the way at which the test accuracy is five points higher."""
        if method_of(spec) != "l2" or not record.curves.clean_test_accuracy:
            return record
        first, second, *later = record.curves.clean_test_accuracy
        curves = replace(record.curves, clean_test_accuracy=(first, second + 0.05, *later))
        return replace(record, curves=curves)

    lucky = judged(spoiled(lucky_l2, "reg-dropout-best"), "reg-dropout-best")
    assert lucky.effect == pytest.approx(result.effect)
    label = "dropout minus L2, each run at its best epoch"
    assert part(lucky, label) == pytest.approx(result.effect - 5)

    def better_l2(spec, record):
        if method_of(spec) != "l2" or record.measures.test_accuracy is None:
            return record
        better = record.measures.test_accuracy + 0.03
        return replace(record, measures=replace(record.measures, test_accuracy=better))

    def guessing(spec, record):
        return diverged(record) if method_of(spec) == "dropout" else record

    for spoil, accuracy in ((better_l2, 100 * (0.8 + samples.POINTS["dropout"])), (guessing, 10)):
        result = judged(spoiled(spoil, "reg-dropout-best"), "reg-dropout-best")
        assert result.verdict == "contradicted"
        assert part(result, "test accuracy of dropout") == pytest.approx(accuracy, abs=2)


def test_the_dose_response_is_the_slope_over_dropout_rates(made):
    result = judged(made, "reg-dropout-weights")
    assert result.effect == pytest.approx(samples.DISTANCE)
    assert control(result, "negative").effect == pytest.approx(
        samples.DISTANCE * 0.005 / 0.5, rel=1e-5
    )
    assert part(result, "slope of the norm (RMS) of the weights") == pytest.approx(0, abs=1e-6)


def test_slower_fitting_alone_is_no_effect_of_dropout_on_the_weights():
    """The way grows with the steps, whatever the dropout, and dropout takes more to a loss."""

    def by_steps(spec, record):
        if record.weights is None:
            return record
        rate = spec.regularization.dense_dropout
        loss = tuple(samples.START * math.exp(-0.3 * e / (1 + rate)) for e in record.curves.epoch)

        def moved(row):
            way = math.sqrt(row.epoch) * (1 + 0.01 * math.sin(spec.seed + 10 * rate))
            return replace(row, layers=tuple(replace(x, distance=way) for x in row.layers))

        weights = replace(record.weights, rows=tuple(map(moved, record.weights.rows)))
        return replace(record, curves=replace(record.curves, clean_loss=loss), weights=weights)

    result = judged(spoiled(by_steps, "reg-dropout-weights"), "reg-dropout-weights")
    assert part(result, "slope of the distance at matched loss") > 0.25
    assert result.effect == pytest.approx(0, abs=0.05)
    assert result.verdict == "no effect"


def test_sparseness(made):
    assert judged(made, "reg-dropout-sparse").effect == pytest.approx(samples.ACTIVATIONS)
    result = judged(made, "reg-l1-sparse")
    # The gap of the slower arm at the same test loss moves both by what 0.01 a nat is worth.
    assert result.effect == pytest.approx(samples.L1_HOYER - samples.L2_HOYER, abs=0.01)
    assert part(result, "L2 minus none") == pytest.approx(samples.L2_HOYER, abs=0.01)
    assert control(result, "positive").effect > 0.25


def test_sizes_of_weights_are_log_ratios_of_which_both_must_be_small(made):
    result = judged(made, "reg-l2-small")
    assert result.effect == pytest.approx(samples.L2_SIZE, abs=0.05)
    labels = ("largest weight, L2 over L1", "RMS of the weights, L2 over L1")
    assert part(result, labels[0]) == pytest.approx(part(result, labels[1]))

    def one_large_weight(spec, record):
        if record.weights is None or method_of(spec) != "l2":
            return record
        rows = tuple(
            replace(row, layers=tuple(replace(layer, max=5.0) for layer in row.layers))
            for row in record.weights.rows
        )
        return replace(record, weights=replace(record.weights, rows=rows))

    assert judged(spoiled(one_large_weight, "reg-l2-small"), "reg-l2-small").verdict != "supported"


AT_MATCHED_LOSS = (
    "reg-overfit", "reg-dropout-weights", "reg-dropout-sparse", "reg-l1-sparse", "reg-l2-small"
)  # fmt: skip


@pytest.mark.parametrize("name", AT_MATCHED_LOSS)
def test_a_diverged_run_counts_as_no_difference_and_is_told(made, name):
    spoilt = spoiled(
        lambda spec, r: diverged(r) if spec.seed == 1 and method_of(spec) != "none" else r, name
    )
    result = judged(spoilt, name)
    assert result.n_seeds == 5
    assert result.notes == (f"A run diverged with 1 of 5 seeds; they {FAILURES}.",)
    whole = judged(made, name)
    assert result.effect == pytest.approx(0.8 * whole.effect)


@pytest.mark.parametrize("name", AT_MATCHED_LOSS)
def test_runs_without_a_common_loss_decide_nothing_and_are_told(name):
    def untrained(spec, record):
        """Regularized runs that never get to what the others have after an epoch."""
        trained = ("none", "l2") if spec.optimizer == "sgd" else ("none",)
        if method_of(spec) in trained or record.curves is None:
            return record
        flat = tuple(9.0 - 0.1 * epoch for epoch in record.curves.epoch)
        curves = replace(record.curves, clean_loss=flat)
        if curves.clean_test_loss:
            curves = replace(curves, clean_test_loss=flat)
        return replace(record, curves=curves)

    result = judged(spoiled(untrained, name), name)
    assert result.verdict in ("undecided", "not measurable") and result.look is None
    assert (result.effect, result.n_seeds) == (None, 0)
    assert result.notes == (
        "The runs reach no loss in common with 5 of 5 seeds; they are left out.",
        "Only 0 of 5 seeds could be compared, fewer than half, so nothing is decided.",
    )


def test_lost_runs_are_left_out():
    def lost(spec, record):
        return None if spec.seed in (1, 3) and method_of(spec) == "dropout" else record

    made = spoiled(lost)
    for name in ("reg-overfit", "reg-complex", "reg-dropout-best", "reg-dropout-sparse"):
        assert judged(made, name).n_seeds == 3


def test_ill_matched_strengths_must_cost_accuracy(made):
    """The pair of different strengths that tuning found worst, here the one farthest the wrong
    way, is what shows that the comparison would see a difference."""
    strengths = made.chosen["l2_ill_matched"].regularization
    assert (strengths.conv_l2, strengths.dense_l2) == (L2_RANGE[1], L2_RANGE[0])
    result = judged(made, "reg-separate")
    assert control(result, "positive").effect == pytest.approx(100 * samples.ILL_MATCHED)
    decades = math.log10(samples.BEST_CONV / samples.BEST_DENSE)
    label = "best conv over best dense strength, by tuning seed"
    assert part(result, label) == pytest.approx(decades, abs=0.1)


def test_without_the_search_over_pairs_of_strengths_the_other_claims_are_decided():
    def lost(spec, record):
        is_pair = spec.regularization.conv_l2 != spec.regularization.dense_l2
        return None if spec.seed > 1000 and is_pair else record

    made = LAB.runs(spoil=lost)
    *others, separate = (judged(made, name) for name in LAB.claims)
    assert {other.verdict for other in others} == {"supported"}
    assert separate.verdict in ("undecided", "not measurable") and separate.n_seeds == 0


def test_levels_are_those_of_each_seed_and_independent_of_speed(made):
    def logs(record):
        return [math.log(loss) for loss in record.curves.clean_loss]

    arms = ("none", "none_slow")
    values = at_matched_loss(made, arms, logs)
    assert values["none"] == pytest.approx(values["none_slow"])
    slowest = PRESET.epochs * speed_of(made.chosen["none_slow"])
    for arm in arms:
        last = at_matched_loss(made, arms, logs, last=True)[arm]
        assert last == pytest.approx([math.log(samples.START) - slowest] * 5)
    assert not list(matching_notes(made, ("none", "none_slow")))


def test_the_sharpness_figure_says_how_many_seeds_it_shows():
    """It has `sharpness_seeds`, which are fewer than those of the first look."""

    def spoil(spec, record):
        if "curvature" not in spec.measures:
            return record
        row = {"epoch": 1, "step": 10, "lambda_max": 5.0, "adaptive_sharpness": 0.1}
        return replace(record, curvature=from_plain(tuple[CurvatureRow, ...], [row]))

    made = LAB.runs(spoil=spoil, preset=replace(PRESET, sharpness_seeds=2))
    sections = LAB.study.sections(made, [])
    (figure,) = [item for s in sections for item in s.figures if item.name == "sharpness"]
    assert "geometric means over at most 2 seeds" in figure.caption
