"""The claims at matched training loss, on made-up runs whose effects are known."""

import inspect
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import batch_norm_samples as samples
import numpy as np
import pytest
from fake_records import part

from dlip_reg.codec import from_plain
from dlip_reg.studies import Runs
from dlip_reg.studies.batch_norm import landscape, matched, noise
from dlip_reg.studies.judging import as_measurement
from dlip_reg.training import DataSpec, RunSpec
from dlip_reg.training.records import LevelRow, make_record as full_record

CLAIM = samples.LAB.claims
LANDSCAPE = ("bn-landscape", "bn-predictiveness", "bn-beta")
# What each claim's measure reads from a made-up row.
READS = {
    **{claim: {"scale": 0.5} for claim in LANDSCAPE},
    "bn-independence": {"change": 0.02},
    "bn-internal-shift": {"drift": 0.5},
}
AT_LOSS = tuple(READS)
ALL = (matched.PLAIN, matched.BN, matched.PLACEBO, matched.MOMENTUM)
LEVELS = (1.0, 0.7, 0.5, 0.35)
SPEC = RunSpec("mlp", DataSpec("mnist", 320), epochs=10, loss_levels=LEVELS)


def run(reaches=LEVELS, end=0.1, row=lambda loss, step: {}, status="finished"):
    """A run that reaches some levels, and the loss `end`; `row` gives the options of its rows."""
    rows = []
    for i, level in enumerate(LEVELS):
        if level in reaches:
            rows.append(samples.level_row(level, 10 * i + 10, **row(level, 10 * i + 10)))
        else:
            rows.append({"level": level, "step": None, "loss": None})
    rows.append(samples.level_row(None, 100, end, **row(end, 100)))
    tested = {"test_accuracy": 0.5}
    return full_record(SPEC, "", status == "finished", levels=rows, measures=tested)


def runs_of(by_arm, seeds=20):
    """Arm -> a record for every seed, or a function of the seed to it."""
    records = {
        arm: {seed: made(seed) if callable(made) else made for seed in range(seeds)}
        for arm, made in by_arm.items()
    }
    return Runs(range(seeds), records, {}, {}, {arm: arm for arm in by_arm})


def judged(claim, runs):
    return samples.LAB.judged(runs, claim)


def levelled(**options):
    return from_plain(LevelRow, samples.level_row(0.5, 10, **options))


@pytest.mark.parametrize("curvature", [0.1, 0.3, 1.5])
def test_measures_of_a_quadratic(curvature):
    # Longest step: 4 learning rates, each bending by `curvature` of the slope.
    row = levelled(scale=curvature)
    assert landscape.deviation(row.landscape, row.loss) == pytest.approx(4 * curvature / 2)
    assert landscape.relative_change(row.landscape, row.loss) == pytest.approx(4 * curvature)
    assert landscape.rated_beta(row.landscape, row.loss) == pytest.approx(curvature)
    assert landscape.scaled_beta(row.landscape, row.loss) == pytest.approx(
        curvature / 0.1 * 20.0**2
    )
    # Four times shorter steps.
    assert landscape.deviation(row.landscape, row.loss, 4) == pytest.approx(curvature / 2)
    row = levelled(scale=1.0)  # cosines 1 - 0.1 times 0.5, 1, 2 and 4
    assert landscape.unpredicted(row.landscape, row.loss) == pytest.approx(0.1 * 7.5 / 4)


def test_measures_do_not_change_when_weights_and_learning_rate_are_rescaled():
    row = levelled(scale=0.5).landscape
    # Weights times 3: gradients a third, the learning rate that suits them nine times as large.
    other = replace(
        row,
        rate=9 * row.rate,
        weight_norm=3 * row.weight_norm,
        gradient_norm=row.gradient_norm / 3,
        gradient_distances=tuple(d / 3 for d in row.gradient_distances),
    )
    for measure in (
        landscape.deviation,
        landscape.relative_change,
        landscape.rated_beta,
        landscape.scaled_beta,
    ):
        assert measure(other, 0.5) == pytest.approx(measure(row, 0.5))


@pytest.mark.parametrize("claim", AT_LOSS)
def test_the_effect_is_the_log_ratio_at_common_levels(claim):
    more = READS[claim]
    less = {name: value / 2 for name, value in more.items()}
    runs = runs_of(
        {
            matched.PLAIN: run((1.0, 0.7, 0.5), row=lambda *at: more),
            # At the level that the plain network does not reach it counts for nothing.
            matched.BN: run(row=lambda loss, step: less if loss > 0.4 else {"scale": 99.0}),
        }
    )
    assert as_measurement(CLAIM[claim].measure(runs)).differences == pytest.approx(
        [-math.log(2)] * 20
    )


@pytest.mark.parametrize("claim", AT_LOSS)
@pytest.mark.parametrize("failed", [run(status="diverged"), run(reaches=()), None])
def test_failures_count_as_no_difference_and_lost_runs_not_at_all(claim, failed):
    """Where most runs fail nothing is decided."""
    flat = run(row=lambda *at: {"scale": 0.1})
    made = dict.fromkeys(ALL, run())
    once = runs_of({**made, matched.BN: lambda seed: failed if seed == 1 else flat})
    values = as_measurement(CLAIM[claim].measure(once)).differences
    assert math.isnan(values[1]) if failed is None else values[1] == 0
    assert not math.isnan(values[0])
    always = judged(claim, runs_of({**made, matched.BN: lambda seed: failed}))
    assert (always.verdict, always.effect) == ("undecided", None)


def test_levels_that_were_missed_are_told():
    runs = runs_of({matched.PLAIN: run((1.0, 0.7)), matched.BN: run(status="diverged")}, 2)
    notes = " ".join(as_measurement(CLAIM["bn-beta"].measure(runs)).notes)
    assert "4 of 8 levels were not reached: matched/plain." in notes
    assert "2 of 2 runs diverged: matched/bn." in notes


def tried(rate, steps):
    """A candidate and its record, of a run that took those steps to the levels."""
    spec = replace(SPEC, learning_rate=rate)
    rows = [
        SimpleNamespace(level=level, step=step) for level, step in zip(LEVELS, steps, strict=True)
    ]
    return spec, SimpleNamespace(spec=spec, levels=rows)


@pytest.mark.parametrize("claim", LANDSCAPE)
def test_levels_above_the_loss_before_training_are_left_out(claim):
    """With two classes the loss of guessing is 0.69: there networks were compared untrained."""

    def two_classes(scale):
        record = run(row=lambda loss, step: {"scale": scale if step <= 20 else 1.0})
        rows = (replace(r, step=0) if r.step and r.step <= 20 else r for r in record.levels)
        return replace(record, levels=tuple(rows))

    result = judged(
        claim, runs_of({arm: two_classes(0.1 if arm == matched.BN else 1) for arm in ALL})
    )
    assert result.effect == 0
    assert "40 of 80 levels lie above the loss before training, and are left out: matched/bn." in (
        result.notes
    )


def test_the_rate_is_where_the_parabola_of_the_log_steps_has_its_minimum():
    rates = (0.05, 0.1, 0.2, 0.4)
    # log steps = 3 + (log rate - log 0.13)^2 at each level
    trials = {}
    for rate in rates:
        spec, record = tried(rate, [math.exp(3 + math.log(rate / 0.13) ** 2)] * 4)
        trials[spec] = [record, record]
    assert matched.quickest(trials).learning_rate == pytest.approx(0.13)
    end = {spec: records for spec, records in trials.items() if spec.learning_rate <= 0.1}
    assert matched.quickest(end).learning_rate == 0.1
    lost = {spec: [*records, None] for spec, records in trials.items()}
    assert matched.quickest(lost) is None


def test_a_level_that_was_missed_counts_as_twice_the_run():
    slow, slow_record = tried(0.1, (100, 100, 100, 100))
    missed, missed_record = tried(0.2, (90, 100, 100, None))
    assert matched._steps(missed_record)[-1] == 2 * 10 * 10  # epochs of 320 images in batches of 32
    assert matched.quickest({missed: [missed_record], slow: [slow_record]}) == slow


def noisy(options, of_loss, spread=0.15):
    """Rows with options that depend on the loss alone, times lognormal noise, by seed."""

    def by_seed(arm, **kept):
        def made(seed):
            rng = np.random.default_rng([seed, ALL.index(arm)])

            def row(loss, step):
                noise = np.exp(rng.normal(0, spread))
                return {name: of_loss(loss) * factor * noise for name, factor in options.items()}

            return run(row=row, **kept)

        return made

    return by_seed


# Where each network ends: all but the plain one have fitted more.
ENDS = {matched.PLAIN: 0.34, matched.BN: 0.03, matched.PLACEBO: 0.3, matched.MOMENTUM: 0.06}


def same_function_of_loss(claim):
    """All networks are alike at equal loss, and what is measured falls with the loss."""
    by_seed = noisy(READS[claim], lambda loss: max(loss, 0.35) ** 0.1 * min(1, loss / 0.35))
    return runs_of({arm: by_seed(arm, end=ENDS[arm]) for arm in ALL})


@pytest.mark.parametrize("claim", AT_LOSS)
def test_comparing_at_unequal_loss_is_caught_by_a_negative_control(claim, monkeypatch):
    """The planted fault reads each run at the end of its training and not at matched loss."""
    runs = same_function_of_loss(claim)
    honest = judged(claim, runs)
    assert honest.verdict in ("no effect", "undecided")
    assert all(c.verdict != "supported" for c in honest.controls if c.kind == "negative")
    # Where the loss is ignored batch norm "wins" because it has fitted more ...
    ends = matched.at_end(runs, matched.BN, matched.PLAIN, reader(claim))
    assert np.mean(ends) < -2 * CLAIM[claim].smallest_effect
    monkeypatch.setattr(
        matched, "matched_rows", lambda *pair: [tuple(map(matched.at_the_end, pair))]
    )
    faulty = judged(claim, runs)
    assert faulty.effect == pytest.approx(np.mean(ends[: faulty.n_seeds]))
    # ... and so does momentum, which has no batch norm: the claim loses its "supported".
    assert [c.verdict for c in faulty.controls if c.description.startswith("Momentum")] == [
        "supported"
    ]
    assert faulty.verdict == "not measurable"


@pytest.mark.parametrize("claim", AT_LOSS)
def test_an_effect_at_equal_loss_is_found_and_its_controls_hold(claim):
    by_seed = noisy(READS[claim], lambda loss: 1.0)
    flatter = noisy({name: f / 4 for name, f in READS[claim].items()}, lambda loss: 1.0)
    runs = runs_of(
        {arm: (flatter if arm == matched.BN else by_seed)(arm, end=ENDS[arm]) for arm in ALL}
    )
    result = judged(claim, runs)
    assert result.verdict == "supported"
    assert {(c.kind, c.verdict) for c in result.controls} <= {
        ("negative", "no effect"),
        ("negative", "undecided"),
        ("positive", "supported"),
    }


def reader(claim):
    """What the claim's controls read."""
    return inspect.getclosurevars(CLAIM[claim].controls[0].measure).nonlocals["read"]


def gap_runs(gap, seeds=20):
    """Ghost batches of every size with `gap(size, loss)`, and the slower control."""
    arms = {f"noise/{size}": size for size in noise.SIZES} | {noise.SLOW: noise.BATCH_SIZE}
    return runs_of(
        {
            arm: lambda seed, size=size, arm=arm: run(
                row=lambda loss, step: {
                    "gap": gap(size, loss)
                    + np.random.default_rng([seed, size, arm == noise.SLOW]).normal(0, 0.003)
                },
                end=0.34 if size == 4 else 0.05 if arm == noise.FULL else 0.2,
            )
            for arm, size in arms.items()
        },
        seeds,
    )


def test_the_slope_against_the_noise_is_recovered():
    runs = gap_runs(lambda size, loss: 0.3 - 0.4 / size)
    result = judged("bn-noise", runs)
    assert result.effect == pytest.approx(-0.4 * noise.RANGE, abs=0.01)
    assert result.verdict == "supported"
    assert pytest.approx(1 / 4 - 1 / 32) == noise.RANGE


def test_the_change_of_the_accuracy_is_in_points():
    def doses(spec, record):
        size = json.loads(spec.builder).get("ghost_size", 32)
        measures = replace(record.measures, test_accuracy=0.5 + 0.1 / size)
        return replace(record, measures=measures)

    made = samples.LAB.runs("bn-noise", spoil=doses, preset=samples.QUICK)
    label = "change of the test accuracy at the end of training"
    found = part(judged("bn-noise", made), label)
    assert found == pytest.approx(100 * 0.1 * (1 / 4 - 1 / 32))


def test_a_gap_that_only_grows_as_the_loss_falls_is_no_regularization(monkeypatch):
    runs = gap_runs(lambda size, loss: 0.1 / loss**0.5)
    assert judged("bn-noise", runs).verdict == "no effect"
    # The planted fault: gaps at the end, where small ghost batches have fitted less.
    monkeypatch.setattr(noise, "reached", lambda record: {"end": matched.at_the_end(record)})
    faulty = judged("bn-noise", runs)
    assert faulty.effect < -noise.claim.smallest_effect
    assert faulty.controls[0].verdict == "supported"
    assert faulty.verdict == "not measurable"


def test_a_ghost_run_that_fails_counts_as_no_difference():
    runs = gap_runs(lambda size, loss: 1 / size, 5)
    runs._records["noise/4"][2] = run(status="diverged")
    runs._records["noise/8"][3] = None
    values = as_measurement(noise.claim.measure(runs)).differences
    assert values[2] == 0 and math.isnan(values[3]) and values[0] > 0.1


def test_arms_differ_as_they_say():
    found = samples.LAB.runs(*AT_LOSS, "bn-noise", preset=samples.QUICK).chosen
    plain, bn, placebo, momentum = (found[arm] for arm in ALL)
    assert (plain.optimizer, momentum.optimizer) == ("sgd", "momentum")
    assert bn.regularization.batch_norm and not plain.regularization.batch_norm
    assert "scale_and_shift" in placebo.model
    assert len({spec.loss_levels for spec in (plain, bn, placebo, momentum)}) == 1
    assert all(spec.schedule == plain.schedule for spec in (bn, placebo, momentum))
    full, slow = found[noise.FULL], found[noise.SLOW]
    assert slow.learning_rate == pytest.approx(noise.SLOWER * full.learning_rate)
    for size in noise.SIZES[:-1]:
        ghost = found[f"noise/{size}"]
        assert f'"ghost_size": {size}' in ghost.builder
        assert (ghost.batch_size, ghost.learning_rate) == (full.batch_size, full.learning_rate)
        assert ghost.data == full.data and ghost.loss_levels == full.loss_levels
