"""The batch normalization lab's sections: what was run is drawn, claims find their figures."""

import batch_norm_samples as samples
import numpy as np
import pytest
from report_samples import figures_of, told
from test_report_figures import assert_readable

from dlip_reg.claims import judge_claims
from dlip_reg.claims.batch_norm import CLAIMS
from dlip_reg.experiments import run_together
from dlip_reg.experiments.ioffe_fig1 import Preset, experiments
from dlip_reg.report.batch_norm import batch_norm_sections
from dlip_reg.report.ioffe_fig1 import ioffe_fig1_sections

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


@pytest.fixture(scope="module")
def outcomes():
    return samples.outcomes()


def sections_of(outcomes):
    chosen = [claim for claim in CLAIMS if set(claim.needs) <= set(outcomes)]
    judged = judge_claims(chosen, outcomes, family_size=len(CLAIMS))
    return batch_norm_sections(outcomes, {}, judged)


def test_every_figure_can_be_read(outcomes):
    for item in figures_of(sections_of(outcomes)).values():
        assert_readable(item.figure)
        assert len(item.alt) > 40 and len(item.caption) > 40


def test_every_claim_has_its_figures(outcomes):
    drawn = figures_of(sections_of(outcomes))
    assert {name for claim in CLAIMS for name in claim.figures} <= set(drawn)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_one_claim_alone_has_a_report(claim):
    drawn = figures_of(sections_of(samples.outcomes(samples.QUICK, names=claim.needs)))
    assert set(claim.figures) <= set(drawn)


def test_what_an_instructor_would_say_is_said(outcomes):
    text = told(sections_of(outcomes))
    for warning in (
        "the note contradicts itself",
        "statistics must be re-estimated",
        "the moving statistics are wrong",
        "not the same step for both nets",
        "L2 does not make the function smaller",
        "at equal training losses",
        "the ratio between layers says nothing",
        "Internal covariate shift has two definitions",
    ):
        assert warning in text


def test_the_two_sentences_on_dropout_stand_side_by_side_with_their_verdicts(outcomes):
    needed = [claim for claim in CLAIMS if claim.needs == ("dropout",)]
    judged = judge_claims(needed, outcomes, family_size=len(CLAIMS))
    (text,) = [
        paragraph
        for section in batch_norm_sections(outcomes, {}, judged)
        for paragraph in section.paragraphs
        if "contradicts itself" in paragraph
    ]
    for claim in judged:
        assert f"{claim['verdict']} (" in text
    assert text.count("percentage points)") == 2


def test_numbers_in_the_text_are_those_of_the_records(outcomes):
    text = told(sections_of(outcomes))
    # The made-up nets are best at 0.12 and 0.5, of which the grid has 0.1 and 0.5.
    assert "0.1 without batch norm, 0.5 with batch norm" in text
    assert "same learning rate, 0.1" in text
    assert "0 of 10 runs without batch norm and 0 of 10 runs with batch norm" in text


@pytest.mark.parametrize("fault", ["diverged", "lost"])
def test_a_seed_that_went_wrong_leaves_a_report(fault):
    def spoil(spec, record):
        if spec.seed != 1 or spec.measures == ("curves",):
            return record  # without its trials there would be no learning rate to go on with
        if fault == "lost":
            return None
        measures = dict.fromkeys(record["measures"])
        return record | {"status": "diverged", "measures": measures}

    sections = sections_of(samples.outcomes(samples.QUICK, spoil=spoil))
    assert {name for c in CLAIMS for name in c.figures} <= set(figures_of(sections))


@pytest.mark.parametrize("arm", [False, True])
@pytest.mark.parametrize("fault", ["diverged", "lost"])
def test_an_arm_without_any_good_run_is_no_end(arm, fault):
    def spoil(spec, record):
        if spec.regularization.batch_norm != arm:
            return record
        measures = dict.fromkeys(record["measures"])
        return None if fault == "lost" else record | {"status": "diverged", "measures": measures}

    for item in figures_of(sections_of(samples.outcomes(samples.QUICK, spoil=spoil))).values():
        assert_readable(item.figure)


def paper_outcomes(seeds=5):
    preset = Preset(seeds, "a moment", epochs=20, n_train=6000, n_validation=600)
    return run_together(
        experiments(preset, "mlp", "mnist"),
        lambda specs: {spec: samples.record_of(spec) for spec in specs},
    )


@pytest.mark.parametrize("seeds", [1, 5])
def test_the_paper_check_prints_ours_beside_the_papers_finding(seeds):
    outcomes = paper_outcomes(seeds)
    (section,) = ioffe_fig1_sections(outcomes)
    for item in section.figures:
        assert_readable(item.figure)
    text = " ".join(section.paragraphs)
    assert "helps the network train faster and achieve higher accuracy" in text
    assert "after 2,000 steps" in text  # 6,000 images in batches of 60, 20 epochs
    last = [r["measures"]["test_accuracy"] for r in outcomes["sigmoid"]["bn"].values()]
    assert f"{100 * np.mean(last):.1f}"[:4] in text
