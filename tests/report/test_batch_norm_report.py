"""The batch normalization lab's sections: what was run is drawn, claims find their figures."""

import batch_norm_samples as samples
import numpy as np
import pytest
from report_samples import figures_of, told
from test_report_figures import assert_readable

from dlip_reg.claims import judge_claims
from dlip_reg.experiments import run_together
from dlip_reg.experiments.ioffe_fig1 import Preset, experiments
from dlip_reg.report.batch_norm import batch_norm_sections
from dlip_reg.report.ioffe_fig1 import ioffe_fig1_sections
from dlip_reg.training import probes

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


@pytest.fixture(scope="module")
def outcomes():
    return samples.outcomes()


def test_what_an_instructor_would_say_is_said(outcomes):
    text = told(samples.sections(outcomes))
    for warning in (
        "the note contradicts itself",
        "To re-estimate them takes images of the new kind, but no labels",
        "the moving statistics are wrong",
        "not the same step for both nets",
        "L2 does not make the function smaller",
        "at equal training losses",
        "the ratio between layers says nothing",
        "Internal covariate shift has two definitions",
    ):
        assert warning in text


def test_the_two_sentences_on_dropout_stand_side_by_side_with_their_verdicts(outcomes):
    needed = [claim for claim in samples.CLAIMS if claim.needs == ("dropout",)]
    judged = judge_claims(needed, outcomes, family_size=len(samples.CLAIMS))
    (text,) = [
        paragraph
        for section in batch_norm_sections(outcomes, judged)
        for paragraph in section.paragraphs
        if "contradicts itself" in paragraph
    ]
    for claim in judged:
        assert f"{claim['verdict']} (" in text
    assert text.count("percentage points)") == 2


def test_numbers_in_the_text_are_those_of_the_records(outcomes):
    text = told(samples.sections(outcomes))
    # The made-up nets are best at 0.12 and 0.5, of which the grid has 0.1 and 0.5.
    assert "0.1 without batch norm, 0.5 with batch norm" in text
    assert "same learning rate, 0.1" in text
    assert "0 of 10 runs without batch norm and 0 of 10 runs with batch norm" in text
    # A gain on one kind of image and a loss on the other, which no mean of the two may hide.
    assert "it brings 10 on tinted and −5.0 on inverted images" in text
    # 2.3 nats that fall by e to 0.35 in each of 10 epochs, and half as fast again with batch norm.
    assert "0.0695 nats without batch norm and 0.0121 nats with batch norm" in text
    # 0.2 and 0.2 more in each of 12 epochs without batch norm, 2 throughout with it.
    assert "0.200 without batch norm and 2.00 with batch norm before training" in text
    assert "5.00 without batch norm and 2.00 with batch norm after it" in text
    # The rate falls to a twentieth, so that 4 initial ones are 80 of the last.
    assert (probes._STEPS.min(), probes._STEPS.max()) == pytest.approx((0.5, 4))
    assert "by 0.5 to 4 times the initial learning rate" in text and "80 of its last steps" in text


def test_a_cosine_is_not_drawn_beyond_1():
    def spread(spec, record):
        for row in record.get("shift", ()):
            row["shift_cosine"] = 0.99 - 0.3 * (spec.seed % 3 == 2)
        return record

    outcomes = samples.outcomes(samples.QUICK, spoil=spread, names=["same_rate"])
    cosine = figures_of(samples.sections(outcomes))["independence"].figure.axes[1]
    assert max(band.get_datalim(cosine.transData).ymax for band in cosine.collections) > 1.1
    assert cosine.get_ylim()[1] < 1.03


@pytest.mark.parametrize("fault", ["diverged", "lost"])
def test_a_seed_that_went_wrong_leaves_a_report(fault):
    def spoil(spec, record):
        if spec.seed != 1 or spec.measures == ("curves",):
            return record  # without its trials there would be no learning rate to go on with
        if fault == "lost":
            return None
        measures = dict.fromkeys(record["measures"])
        return record | {"status": "diverged", "measures": measures}

    sections = samples.sections(samples.outcomes(samples.QUICK, spoil=spoil))
    assert {name for c in samples.CLAIMS for name in c.figures} <= set(figures_of(sections))


@pytest.mark.parametrize("arm", [False, True])
@pytest.mark.parametrize("fault", ["diverged", "lost"])
def test_an_arm_without_any_good_run_is_no_end(arm, fault):
    def spoil(spec, record):
        if spec.regularization.batch_norm != arm:
            return record
        measures = dict.fromkeys(record["measures"])
        return None if fault == "lost" else record | {"status": "diverged", "measures": measures}

    for item in figures_of(samples.sections(samples.outcomes(samples.QUICK, spoil=spoil))).values():
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
