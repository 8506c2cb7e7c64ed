"""The sections of the labs on batch normalization and batch size: every figure, for every claim."""

import batch_norm_samples
import batch_size_samples
import pytest
from report_samples import figures_of
from test_report_figures import assert_readable

from dlip_reg.claims import batch_norm, batch_size

pytestmark = pytest.mark.filterwarnings("error::UserWarning")

LABS = {"batch norm": batch_norm_samples, "batch size": batch_size_samples}
CLAIMS = {batch_norm_samples: batch_norm.CLAIMS, batch_size_samples: batch_size.CLAIMS}
ALONE = [(lab, claim) for lab, claims in CLAIMS.items() for claim in claims]


@pytest.fixture(scope="module", params=LABS.values(), ids=LABS)
def lab(request):
    return request.param


@pytest.fixture(scope="module")
def drawn(lab):
    return figures_of(lab.sections(lab.outcomes()))


def test_every_figure_can_be_read(drawn):
    for item in drawn.values():
        assert_readable(item.figure)
        assert len(item.alt) > 40 and len(item.caption) > 40


def test_every_claim_has_its_figures(lab, drawn):
    assert {name for claim in CLAIMS[lab] for name in claim.figures} <= set(drawn)


@pytest.mark.parametrize(("lab", "claim"), ALONE, ids=[claim.id for _, claim in ALONE])
def test_one_claim_alone_has_a_report(lab, claim):
    outcomes = lab.outcomes(lab.QUICK, names=claim.needs)
    assert set(claim.figures) <= set(figures_of(lab.sections(outcomes)))
