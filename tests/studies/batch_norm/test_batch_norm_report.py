"""The batch normalization study's sections: what was run is drawn, claims find their figures."""

from dataclasses import replace

import batch_norm_samples as samples
import numpy as np
import pytest
from fake_records import fake_runs
from report_samples import figures_of, told
from test_report_figures import assert_readable

from dlip_reg.studies.batch_norm import CLAIMS
from dlip_reg.studies.papers import PaperPreset
from dlip_reg.studies.papers.ioffe_fig1 import STUDY as PAPER
from dlip_reg.training.records import Measures

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


@pytest.fixture(scope="module")
def runs():
    return samples.runs(samples.QUICK)


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
    draws = dict.fromkeys(claim.draw for claim in CLAIMS)
    figures = dict(zip(draws, (section.figures for section in drawn), strict=False))
    names = [[item.name for item in figures[claim.draw]] for claim in CLAIMS]
    assert all(names)
    assert {name for of_claim in names for name in of_claim} == set(figures_of(drawn))


def test_the_report_explains_what_can_mislead(drawn):
    assert "the note contradicts itself" in told(drawn)
    captions = " ".join(item.caption for item in figures_of(drawn).values())
    for warning in ("L2 does not make the function smaller", "unlabelled", "Santurkar et al. 2018"):
        assert warning in captions


def test_a_section_shows_the_seeds_that_were_run():
    claim = ["bn-vanishing"]
    five = samples.runs(claims=claim)
    of_twenty = samples.runs(
        replace(samples.STANDARD, seeds=20),
        claim,
        lambda spec, record: record if spec.seed < 5 else None,
    )
    texts = [told(samples.sections(runs, claim)) for runs in (five, of_twenty)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("fault", ["one seed lost", "bn diverged", "plain lost"])
def test_runs_that_went_wrong_leave_a_report(drawn, fault):
    def spoil(spec, record):
        which, _, end = fault.rpartition(" ")
        wrong = spec.seed == 1 if which == "one seed" else samples.net_of(spec) == which
        return record if not wrong else diverged(record) if end == "diverged" else None

    found = figures_of(samples.sections(samples.runs(samples.QUICK, spoil=spoil)))
    for item in found.values() if fault != "plain lost" else ():  # "no runs" is the shortest note
        assert_readable(item.figure)
    if fault == "one seed lost":
        assert set(found) == set(figures_of(drawn))


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
