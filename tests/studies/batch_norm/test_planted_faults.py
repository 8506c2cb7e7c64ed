"""Faults planted into copies of the claims: controls or the rule's guard must take the verdict."""

import math
from dataclasses import replace

import batch_norm_samples as samples
import numpy as np
from batch_norm_samples import TWENTY
from fake_records import fake_runs

from dlip_reg.evidence.paired import minus
from dlip_reg.studies import Runs
from dlip_reg.studies.arm import varied
from dlip_reg.studies.batch_norm import CLAIMS, STUDY, easier, input_shift, less_l2
from dlip_reg.studies.judging import judge_claim


def verdict(claim, record_of, controls=True):
    study = replace(STUDY, claims=(claim,))
    made = fake_runs(study, TWENTY, record_of, claims=(claim,))
    claim = claim if controls else replace(claim, controls=())
    return judge_claim(claim, made, len(CLAIMS)).verdict


def with_measures(record, **measures):
    return replace(record, measures=replace(record.measures, **measures))


# ---- L2 tuned on the verdict's seeds


def all_strengths(setting):
    """The faulty arms: every strength is run with the verdict's seeds."""
    arms = {arm.name: arm for arm in less_l2.l2_arms(setting)}
    made = []
    for name, arm in arms.items():
        if arm.tuning is None:
            made.append(arm)
            continue
        for i, changes in enumerate(arm.tuning.candidates):
            made.append(varied(f"{name}/{i}", arm.spec, **changes))
    return made


def gain_of_the_best(runs, net, level="best"):
    """The faulty measurement: of each seed the strength that does best on its test images."""
    every = [arm for arm in runs if arm.startswith(f"l2/{net}/{level}/")]
    rows = [runs.values(arm, lambda r: 100 * r.measures.test_accuracy) for arm in every]
    none = runs.values(f"l2/{net}/none", lambda r: 100 * r.measures.test_accuracy)
    return minus([max(row) for row in zip(*rows, strict=True)], none)


TUNED_ON_VERDICT_SEEDS = replace(
    less_l2.claim,
    arms=all_strengths,
    measure=lambda runs: minus(gain_of_the_best(runs, "plain"), gain_of_the_best(runs, "bn")),
    needs=("l2/plain/none", "l2/bn/none", "l2/plain/best/", "l2/bn/best/"),
    controls=(
        replace(
            less_l2.claim.controls[0],
            measure=lambda runs: gain_of_the_best(runs, "plain", "useless"),
            needs=("l2/plain/none", "l2/plain/useless/"),
        ),
    ),
)


def useless_l2(spec):
    """L2 changes nothing; accuracy differs by more between runs without batch norm."""
    record = samples.record_of(replace(spec, regularization=replace(
        spec.regularization, conv_l2=0.0, dense_l2=0.0)))  # fmt: skip
    noise = np.random.default_rng([spec.seed, int(1e12 * spec.regularization.dense_l2)])
    size = 0.002 if spec.regularization.batch_norm else 0.01
    accuracy = 0.8 + noise.normal(0, size)
    tested = {"test_accuracy": accuracy} if "test" in spec.measures else {}
    return with_measures(record, val_accuracy=0.8 + noise.normal(0, size), **tested)


def test_l2_that_is_tuned_on_the_verdict_s_seeds_is_found_out():
    assert verdict(TUNED_ON_VERDICT_SEEDS, useless_l2, controls=False) == "supported"
    assert verdict(TUNED_ON_VERDICT_SEEDS, useless_l2) == "not measurable"
    assert verdict(less_l2.claim, useless_l2) in ("no effect", "undecided")


# ---- diverged runs dropped


class Dropping(Runs):
    """The faulty runs: those that diverged are left out, and not what the claim says."""

    def values(self, arm, read, failure=math.nan):
        return super().values(arm, read)


def dropping(measure):
    return lambda runs: measure(
        Dropping(runs.seeds, runs._records, runs.trials, runs.chosen, runs.labels)
    )


DROPS_DIVERGED = replace(
    easier.claim,
    measure=dropping(easier.claim.measure),
    controls=tuple(
        replace(control, measure=dropping(control.measure)) for control in easier.claim.controls
    ),
)


def fragile(share):
    """Scale and shift train further, normalized or not, where they do not diverge."""

    def record_of(spec):
        record = samples.record_of(spec)
        if samples.net_of(spec) == "plain":
            return record
        losses = tuple(loss**3 / 2.3**2 for loss in record.curves.clean_loss)
        record = replace(record, curves=replace(record.curves, clean_loss=losses))
        fails = spec.seed < 1000 and spec.seed % 20 in range(0, 20, round(1 / share))
        return replace(record, status="diverged") if fails else record

    return record_of


def test_a_fragile_network_gains_nothing_by_dropping_its_diverged_runs():
    record_of = fragile(1 / 3)
    assert verdict(DROPS_DIVERGED, record_of, controls=False) == "supported"
    assert verdict(DROPS_DIVERGED, record_of) == "not measurable"
    # The fault alone takes the verdict: counted, its diverged runs hold the placebo back.
    assert verdict(easier.claim, record_of) == "supported"


def test_counted_as_guessing_diverged_runs_hold_a_network_back():
    # All diverge, in the placebo as well.
    record_of = fragile(1)
    assert verdict(easier.claim, record_of) in ("contradicted", "not measurable")
    # Dropped, there is no seed left, and the rule decides nothing.
    assert verdict(DROPS_DIVERGED, record_of, controls=False) == "undecided"


# ---- batch norm evaluated with stale statistics

FRESH = {"grey": 0.84, "tinted": 0.6, "inverted": 0.1, "dimmed": 0.15}
STALE = {"grey": 0.7, "tinted": 0.3, "inverted": 0.1, "dimmed": 0.12}


def statistics(moving):
    """Statistics of the same kind of images win nothing back beyond those of training."""

    def record_of(spec):
        record = samples.record_of(spec)
        noise = np.random.default_rng(spec.seed)
        rows = []
        for row in record.colours:
            base = FRESH[row.variant] + noise.normal(0, 0.005)
            stale = base if moving is FRESH else moving[row.variant] + noise.normal(0, 0.005)
            same = 0.83 if row.variant == "dimmed" else base
            rows.append(
                replace(row, accuracy=stale, recalibrated_accuracy=same,
                        source_recalibrated_accuracy=base)
            )  # fmt: skip
        return replace(record, colours=tuple(rows))

    return record_of


def test_stale_statistics_of_training_are_found_out():
    claim = input_shift.claim
    assert verdict(claim, statistics(STALE), controls=False) == "supported"
    assert verdict(claim, statistics(STALE)) == "not measurable"
    assert verdict(claim, statistics(FRESH)) == "no effect"
