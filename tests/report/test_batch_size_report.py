"""The batch-size lab's sections: what was run is drawn, claims find their figures, all is told."""

import math

import batch_size_samples as samples
import pytest
from report_samples import figures_of, told
from test_report_figures import assert_readable

from dlip_reg.claims import judge_claims
from dlip_reg.claims.batch_size import CLAIMS
from dlip_reg.experiments import run_together
from dlip_reg.experiments.keskar_f1 import LARGE, Preset, experiments
from dlip_reg.report.batch_size import batch_size_sections
from dlip_reg.report.keskar_f1 import keskar_f1_sections

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


@pytest.fixture(scope="module")
def outcomes():
    return samples.outcomes()


def sections_of(outcomes):
    chosen = [claim for claim in CLAIMS if set(claim.needs) <= set(outcomes)]
    judged = judge_claims(chosen, outcomes, family_size=len(CLAIMS))
    return batch_size_sections(outcomes, {}, judged)


def test_every_figure_can_be_read(outcomes):
    for item in figures_of(sections_of(outcomes)).values():
        assert_readable(item.figure)
        assert len(item.alt) > 40 and len(item.caption) > 40


def test_every_claim_has_its_figures(outcomes):
    drawn = figures_of(sections_of(outcomes))
    assert {name for claim in CLAIMS for name in claim.figures} <= set(drawn)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_one_claim_alone_has_a_report(claim):
    outcomes = samples.outcomes(samples.QUICK, names=claim.needs)
    drawn = figures_of(sections_of(outcomes))
    assert drawn and set(claim.figures) & set(drawn)


def test_what_an_instructor_would_say_is_said(outcomes):
    text = told(sections_of(outcomes)).lower()
    for warning in (
        "equal epochs are not equal updates",
        "changes the function that is minimised",
        "must be re-estimated",
        "the same for every image",
        "a search that fails is reported as failed",
        "do not end at the same training loss",
    ):
        assert warning in text


def test_numbers_in_the_text_are_those_of_the_records(outcomes):
    text = told(sections_of(outcomes))
    # 5 updates an epoch of batch 256, 15 epochs: 0.99^75 = 0.4706.
    assert "Batch 256 makes 75 updates" in text and "47 % at a momentum of 0.99" in text
    assert "takes 32 times as many steps" in text  # 256 / 8
    rate = outcomes["scaling"]["unscaled"][8][0]["spec"]["learning_rate"]
    assert f"batch 8 at the rate {rate:.3g}" in text


@pytest.mark.parametrize("fault", ["diverged", "lost"])
def test_a_seed_that_went_wrong_leaves_a_report(fault):
    def spoil(spec, record):
        if spec.seed != 1:
            return record
        if fault == "lost":
            return None
        empty = {"line": None, "filter_normalised": None, "surfaces": None, "rescaled": []}
        measures = dict.fromkeys(record["measures"])
        return {**record, **empty, "status": "diverged", "measures": measures}

    names = [claim.needs for claim in CLAIMS]
    outcomes = samples.outcomes(
        samples.QUICK, spoil=spoil, names={n for some in names for n in some}
    )
    if fault == "diverged":  # a timing has no way to diverge
        whole = samples.outcomes(samples.QUICK, names=["throughput"])
        outcomes["throughput"] = whole["throughput"]
    drawn = figures_of(sections_of(outcomes))
    expected = {name for claim in CLAIMS for name in claim.figures}
    if fault == "diverged":  # with that seed at every rate, so no rate is any good
        expected -= {"one_rate", "equal_updates", "accuracy_by_size", "scaling", "stability"}
    assert expected <= set(drawn)
    assert_readable(drawn["sharpness"].figure)


def f1_outcome(lost=lambda spec: False):
    def run(specs):
        return {spec: record(spec) for spec in specs if not lost(spec)}

    def record(spec):
        ratio = 50.0 if spec.batch_size == LARGE else 1.0
        names = ("keskar_1e-3", "keskar_5e-4", "keskar_subspace_1e-3", "keskar_subspace_5e-4")
        measures = {name: ratio * math.exp(spec.seed / 10) for name in names}
        search = {"epsilon": 1e-3, "subspace": None, "status": "0: fine", "evaluations": 2}
        return {
            "status": "finished",
            "spec": spec.to_json(),
            "measures": {**measures, "recalibrated_test_accuracy": 0.98 + 0.001 * spec.seed},
            "keskar": [
                {**search, "name": "l-bfgs-b", "value": 0.5, "failed": True},
                {**search, "name": "sign-corner", "value": ratio, "failed": False},
            ],
        }

    return run_together(experiments(Preset(3, "hours", 5, 2), "mlp", "mnist"), run)


def test_the_paper_check_prints_ours_next_to_theirs():
    sections = keskar_f1_sections(f1_outcome())
    (item,) = figures_of(sections).values()
    assert_readable(item.figure)
    text = told(sections)
    for number in ("98.03 %", "97.81 %", "1.23 ± 0.83", "205.14 ± 69.52", "50, 50, 50 times",
                   "167 times", "98.10", "l-bfgs-b 0.500 (3 failed)"):  # fmt: skip
        assert number in text


def test_the_paper_check_without_one_arm_is_still_told():
    sections = keskar_f1_sections(f1_outcome(lost=lambda spec: spec.batch_size == LARGE))
    assert "–, –, – times" in told(sections)
