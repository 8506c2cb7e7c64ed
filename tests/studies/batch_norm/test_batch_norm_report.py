"""The batch normalization study's sections: what was run is drawn, claims find their figures."""

from dataclasses import replace

import batch_norm_samples as samples
import numpy as np
import pytest
from fake_records import fake_runs
from report_samples import figures_of, told
from test_report_figures import assert_readable

from dlip_reg.studies.batch_norm import CLAIMS
from dlip_reg.studies.papers.ioffe_fig1 import STUDY as PAPER
from dlip_reg.studies.papers.ioffe_fig1 import PaperPreset
from dlip_reg.training import probes
from dlip_reg.training.records import Measures

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


@pytest.fixture(scope="module")
def runs():
    return samples.runs()


@pytest.fixture(scope="module")
def drawn(runs):
    return samples.sections(runs)


def diverged(record):
    return replace(record, status="diverged", measures=Measures())


def test_every_figure_can_be_read(drawn):
    for item in figures_of(drawn).values():
        assert_readable(item.figure)
        assert len(item.alt) > 40 and len(item.caption) > 40


def test_every_claim_has_its_figures(drawn):
    assert {name for claim in CLAIMS for name in claim.figures} == set(figures_of(drawn))


@pytest.mark.parametrize("claim", CLAIMS, ids=[claim.id for claim in CLAIMS])
def test_one_claim_alone_has_a_report(claim):
    alone = samples.runs(samples.QUICK, [claim.id])
    assert set(claim.figures) <= set(figures_of(samples.sections(alone, [claim.id])))


def test_the_report_explains_what_can_mislead(drawn):
    text = told(drawn)
    for warning in (
        "the note contradicts itself",
        "Re-estimating them takes images of the new kind, but no labels",
        "the moving statistics are wrong",
        "not the same step for both networks",
        "L2 does not make the function smaller",
        "at equal training losses",
        "the ratio between layers shows nothing",
        "Internal covariate shift has two definitions",
    ):
        assert warning in text


def test_the_two_sentences_on_dropout_are_shown_together_with_their_verdicts(runs, drawn):
    (text,) = [
        paragraph
        for section in drawn
        for paragraph in section.paragraphs
        if "contradicts itself" in paragraph
    ]
    for claim in samples.judged(runs, ["bn-no-dropout", "bn-with-dropout"]):
        assert f"{claim.sentence.rstrip('.')}”: {claim.verdict} (" in text
    assert text.count("percentage points)") == 2


def test_numbers_in_the_text_are_those_of_the_records(drawn):
    text = told(drawn)
    # The made-up networks are best at 0.12 and 0.5, of which the grid has 0.1 and 0.5.
    assert "0.1 without batch norm, 0.5 with batch norm" in text
    assert "same initial learning rate, 0.1" in text
    assert "0 of 10 runs without batch norm and 0 of 10 runs with batch norm" in text
    # A gain on one kind of image and a loss on the other, which no mean of the two may hide.
    assert "it gains 10 on tinted and −5.0 on inverted images" in text
    # 2.3 nats that fall by e to 0.35 in each of 10 epochs, and half as fast again with batch norm.
    assert "0.0695 nats without batch norm and 0.0121 nats with batch norm" in text
    # 0.2 and 0.2 more in each of 12 epochs without batch norm, 2 throughout with it.
    assert "0.200 without batch norm and 2.00 with batch norm before training" in text
    assert "5.00 without batch norm and 2.00 with batch norm after it" in text
    # The rate decays to a twentieth, so that 4 initial ones are 80 of the last.
    assert (probes._STEPS.min(), probes._STEPS.max()) == pytest.approx((0.5, 4))
    assert "by 0.5 to 4 times the initial learning rate" in text and "80 of the last ones" in text


def test_a_section_shows_the_seeds_that_were_run():
    claim = ["bn-internal-shift"]
    five = samples.runs(claims=claim)
    of_twenty = samples.runs(
        replace(samples.STANDARD, seeds=20),
        claim,
        lambda spec, record: record if spec.seed < 5 else None,
    )
    texts = [told(samples.sections(runs, claim)) for runs in (five, of_twenty)]
    assert texts[0] == texts[1]


def test_a_cosine_is_not_drawn_beyond_1():
    def spread(spec, record):
        cosine = 0.99 - 0.3 * (spec.seed % 3 == 2)
        return replace(
            record, shift=tuple(replace(row, shift_cosine=cosine) for row in record.shift)
        )

    found = samples.runs(samples.QUICK, ["bn-independence"], spread)
    items = figures_of(samples.sections(found, ["bn-independence"]))
    cosine = items["independence"].figure.axes[1]
    assert max(band.get_datalim(cosine.transData).ymax for band in cosine.collections) > 1.1
    assert cosine.get_ylim()[1] < 1.03


@pytest.mark.parametrize("fault", ["diverged", "lost"])
def test_a_seed_that_went_wrong_leaves_a_report(fault):
    def spoil(spec, record):
        if spec.seed != 1:
            return record
        return None if fault == "lost" else diverged(record)

    found = samples.sections(samples.runs(samples.QUICK, spoil=spoil))
    assert {name for claim in CLAIMS for name in claim.figures} <= set(figures_of(found))


@pytest.mark.parametrize("arm", [False, True])
@pytest.mark.parametrize("fault", ["diverged", "lost"])
def test_an_arm_without_any_good_run_leaves_a_report(arm, fault):
    def spoil(spec, record):
        if spec.regularization.batch_norm != arm:
            return record
        return None if fault == "lost" else diverged(record)

    for item in figures_of(samples.sections(samples.runs(samples.QUICK, spoil=spoil))).values():
        assert_readable(item.figure)


@pytest.mark.parametrize("seeds", [1, 5])
def test_the_paper_check_compares_with_the_papers_finding(seeds):
    preset = PaperPreset(seeds=seeds, epochs=20, n_train=6000, n_validation=600)
    found = fake_runs(PAPER, preset, samples.record_of, "mlp")
    (section,) = PAPER.sections(found, [])
    for item in section.figures:
        assert_readable(item.figure)
    text = " ".join(section.paragraphs)
    assert "helps the network train faster and achieve higher accuracy" in text
    assert "after 2,000 steps" in text  # 6,000 images in batches of 60, 20 epochs
    last = [record.measures.test_accuracy for record in found["sigmoid/bn"]]
    assert f"{100 * np.mean(last):.1f}"[:4] in text
