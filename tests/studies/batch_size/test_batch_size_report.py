"""The batch-size study's sections: every claim has its figures, and the text its numbers."""

import math
import re
from dataclasses import replace

import batch_size_samples as samples
import pytest
from fake_records import fake_runs, make_record
from report_samples import figures_of, told
from test_report_figures import assert_readable, legend_words

from dlip_reg.studies.batch_size import CLAIMS
from dlip_reg.studies.batch_size.minimizers import IMPROVEMENT, ON_SURFACES, PROBED, RESCALED_ON
from dlip_reg.studies.papers import keskar_f1
from dlip_reg.training import fitting, interpolation, probes, rescaling
from dlip_reg.training.records import KeskarSearch, Measures
from dlip_reg.training.throughput import ThroughputSpec

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


@pytest.fixture(scope="module")
def runs():
    return samples.runs()


@pytest.fixture(scope="module")
def sections(runs):
    return samples.sections(runs)


def test_every_figure_can_be_read(sections):
    drawn = figures_of(sections)
    assert {name for claim in CLAIMS for name in claim.figures} == set(drawn)
    for item in drawn.values():
        assert_readable(item.figure)
        assert len(item.alt) > 40 and len(item.caption) > 40


@pytest.mark.parametrize("claim", CLAIMS, ids=[claim.id for claim in CLAIMS])
def test_one_claim_alone_has_a_report(claim):
    runs = samples.runs(samples.QUICK, [claim])
    assert set(claim.figures) <= set(figures_of(samples.sections(runs, [claim])))


def test_the_limitations_are_stated(sections):
    text = told(sections).lower()
    for warning in (
        "equal epochs are not equal updates",
        "changes the function that is minimised",
        "must be re-estimated",
        "the same for every image",
        "a search that fails is reported as failed",
        "do not end at the same training loss",
    ):
        assert warning in text


def test_numbers_in_the_text_are_those_of_the_records(runs, sections):
    text = told(sections)
    # 5 updates an epoch of batch 256, 15 epochs: 0.99^75 = 0.4706.
    assert "Batch 256 makes 75 updates" in text and "47 % at a momentum of 0.99" in text
    assert "takes 32 times as many steps" in text  # 256 / 8
    rate = runs["scaling/unscaled/8"][0].spec.learning_rate
    assert f"batch 8 at the learning rate {rate:.3g}" in text


def test_the_runs_that_stopped_by_themselves_are_counted():
    def stop(spec, record):
        if getattr(spec, "patience", None) and spec.batch_size == 8 and spec.seed < 2:
            columns = {name: values[:-5] for name, values in vars(record.curves).items()}
            return replace(record, curves=replace(record.curves, **columns))
        return record

    claims = [claim for claim in CLAIMS if claim.id == "bs-flat-sharp"]
    text = told(samples.sections(samples.runs(samples.QUICK, claims, stop), claims))
    assert "has not improved by 10⁻⁴ nats for 10 epochs, 30 at most" in text
    assert "batch 8: 2 of 3 without and 2 of 3 with batch normalization" in text
    assert "batch 128: 0 of 3 without and 0 of 3 with batch normalization" in text
    assert "the epoch with the lowest training loss" in text


def test_the_text_agrees_with_the_code_of_the_runs():
    # Keras keeps the sign of the direction with it.
    assert abs(fitting._StopAtTheLowest(patience=3).min_delta) == IMPROVEMENT
    assert PROBED == probes._IMAGES
    assert RESCALED_ON == rescaling._IMAGES
    assert ON_SURFACES == interpolation._SURFACE_IMAGES
    drawn = figures_of(samples.sections(samples.runs(samples.QUICK)))
    for name, images in (("sharpness", 256), ("stability", 256), ("rescaled", 512)):
        assert re.search(f"(those|that) of {images}\\b", drawn[name].caption)


def test_the_full_batch_has_one_name_in_all_figures(sections):
    drawn = figures_of(sections)
    for name in ("best_rates", "convergence", "stability"):
        entries = legend_words(drawn[name].figure)
        assert any(entry.startswith("batch 1,280") for entry in entries)
        assert not any("full batch," in entry for entry in entries)
        assert "full batch" in drawn[name].caption and "1,280" in drawn[name].caption


@pytest.mark.parametrize("fault", ["diverged", "lost"])
@pytest.mark.parametrize("seeds", [(1,), (1, 1_000_001)], ids=["one seed", "also when tuning"])
def test_a_seed_that_failed_still_gives_a_report(fault, seeds):
    def spoil(spec, record):
        if spec.seed not in seeds:
            return record
        if fault == "lost":
            return None
        if isinstance(spec, ThroughputSpec):  # a timing has no way to diverge
            return record
        empty = {"line": None, "filter_normalised": None, "surfaces": None, "rescaled": ()}
        return replace(record, status="diverged", measures=Measures(), **empty)

    runs = samples.runs(samples.QUICK, spoil=spoil)
    drawn = figures_of(samples.sections(runs))
    expected = {name for claim in CLAIMS for name in claim.figures}
    if fault == "diverged" and len(seeds) == 2:  # at every rate, so no rate is any good
        expected -= {"one_rate", "equal_updates", "accuracy_by_size", "scaling", "stability"}
        expected -= {"convergence"}
    assert expected <= set(drawn)
    assert_readable(drawn["sharpness"].figure)


def f1_runs(lost=lambda spec: False):
    def record_of(spec):
        if lost(spec):
            return None
        ratio = 50.0 if spec.batch_size == keskar_f1.LARGE else 1.0
        names = ("keskar_1e_3", "keskar_5e_4", "keskar_subspace_1e_3", "keskar_subspace_5e_4")
        measures = {name: ratio * math.exp(spec.seed / 10) for name in names}
        status = "2: ABNORMAL: " if spec.seed else "1: STOP: TOTAL NO. OF ITERATIONS REACHED LIMIT"
        searches = (
            KeskarSearch(1e-3, None, "l-bfgs-b", 0.5, True, status, 2),
            KeskarSearch(1e-3, None, "sign-corner", ratio, False, "", 2),
            KeskarSearch(1e-3, 100, "sign-ascent", 0.25, False, "", 2),
        )
        accuracy = 0.98 + 0.001 * spec.seed
        record = make_record(spec, recalibrated_test_accuracy=accuracy, **measures)
        return replace(record, keskar=searches)

    preset = keskar_f1.F1Preset(seeds=3, epochs=5, patience=2)
    return fake_runs(keskar_f1.STUDY, preset, record_of, "mlp")


def test_the_paper_check_prints_ours_next_to_theirs():
    sections = keskar_f1.sections(f1_runs(), [])
    (item,) = figures_of(sections).values()
    assert_readable(item.figure)
    text = told(sections)
    for number in ("98.03 %", "97.81 %", "1.23 ± 0.83", "205.14 ± 69.52", "50, 50, 50 times",
                   "167 times", "98.10", "l-bfgs-b 0.500 (3 failed)", "in 6 boxes",
                   "it made its ten iterations in 2", "it failed in 4",
                   "the largest value was found by sign-corner in 6",
                   "(100 random dimensions, ε = 10⁻³, means): batch 256: sign-ascent 0.250",
                   ):  # fmt: skip
        assert number in text
    rows = [label.get_text().replace("\n", " ") for label in item.figure.axes[0].get_yticklabels()]
    assert "φ, 100 random dimensions, ε = 5·10⁻⁴" in rows and len(rows) == 4


def test_the_paper_check_without_one_arm_has_a_report():
    sections = keskar_f1.sections(f1_runs(lost=lambda spec: spec.batch_size == keskar_f1.LARGE), [])
    assert "–, –, – times" in told(sections)
