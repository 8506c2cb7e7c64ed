"""The batch-size lab's sections: what was run is drawn, claims find their figures, all is told."""

import math
import re

import batch_size_samples as samples
import pytest
from report_samples import figures_of, told
from test_report_figures import assert_readable, legend_words

from dlip_reg.claims.batch_size import CLAIMS
from dlip_reg.experiments import run_together
from dlip_reg.experiments.keskar_f1 import LARGE, Preset, experiments
from dlip_reg.report.keskar_f1 import keskar_f1_sections
from dlip_reg.report.minimizers import IMPROVEMENT, ON_SURFACES, PROBED, RESCALED
from dlip_reg.training import fitting, interpolation, probes, rescaling

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


@pytest.fixture(scope="module")
def outcomes():
    return samples.outcomes()


def test_what_an_instructor_would_say_is_said(outcomes):
    text = told(samples.sections(outcomes)).lower()
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
    text = told(samples.sections(outcomes))
    # 5 updates an epoch of batch 256, 15 epochs: 0.99^75 = 0.4706.
    assert "Batch 256 makes 75 updates" in text and "47 % at a momentum of 0.99" in text
    assert "takes 32 times as many steps" in text  # 256 / 8
    rate = outcomes["scaling"]["unscaled"][8][0]["spec"]["learning_rate"]
    assert f"batch 8 at the rate {rate:.3g}" in text


def test_the_runs_that_stopped_by_themselves_are_counted():
    def stop(spec, record):
        if getattr(spec, "patience", None) and spec.batch_size == 8 and spec.seed < 2:
            record["curves"] = {name: values[:-5] for name, values in record["curves"].items()}
        return record

    text = told(samples.sections(samples.outcomes(samples.QUICK, ["sharpness"], stop)))
    assert "has not improved by 10⁻⁴ nats for 10 epochs, 30 at most" in text
    assert "batch 8: 2 of 3 without and 2 of 3 with batch normalization" in text
    assert "batch 128: 0 of 3 without and 0 of 3 with batch normalization" in text
    assert "the epoch with the lowest training loss" in text


def test_what_the_text_says_of_the_runs_is_what_they_do():
    # Keras keeps the sign of the direction with it.
    assert abs(fitting._StopAtTheLowest(patience=3).min_delta) == IMPROVEMENT
    assert PROBED == probes._IMAGES
    assert RESCALED == rescaling._IMAGES
    assert ON_SURFACES == interpolation._SURFACE_IMAGES
    drawn = figures_of(samples.sections(samples.outcomes(samples.QUICK)))
    for name, images in (("sharpness", 256), ("stability", 256), ("rescaled", 512)):
        assert re.search(f"(those|that) of {images}\\b", drawn[name].caption)


def test_the_full_batch_has_one_name_in_all_figures(outcomes):
    drawn = figures_of(samples.sections(outcomes))
    for name in ("best_rates", "convergence", "stability"):
        entries = legend_words(drawn[name].figure)
        assert any(entry.startswith("batch 1,280") for entry in entries)
        assert not any("full batch," in entry for entry in entries)
        assert "full batch" in drawn[name].caption and "1,280" in drawn[name].caption


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
    drawn = figures_of(samples.sections(outcomes))
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
        search = {"epsilon": 1e-3, "subspace": None, "evaluations": 2}
        status = "2: ABNORMAL: " if spec.seed else "1: STOP: TOTAL NO. OF ITERATIONS REACHED LIMIT"
        return {
            "status": "finished",
            "spec": spec.to_json(),
            "measures": {**measures, "recalibrated_test_accuracy": 0.98 + 0.001 * spec.seed},
            "keskar": [
                {**search, "name": "l-bfgs-b", "value": 0.5, "failed": True, "status": status},
                {**search, "name": "sign-corner", "value": ratio, "failed": False, "status": ""},
                {**search, "name": "sign-ascent", "value": 0.25, "failed": False, "status": "",
                 "subspace": 100},
            ],
        }  # fmt: skip

    return run_together(experiments(Preset(3, "hours", 5, 2), "mlp", "mnist"), run)


def test_the_paper_check_prints_ours_next_to_theirs():
    sections = keskar_f1_sections(f1_outcome())
    (item,) = figures_of(sections).values()
    assert_readable(item.figure)
    text = told(sections)
    for number in ("98.03 %", "97.81 %", "1.23 ± 0.83", "205.14 ± 69.52", "50, 50, 50 times",
                   "167 times", "98.10", "l-bfgs-b 0.500 (3 failed)", "in 6 boxes",
                   "it made its ten iterations in 2", "it gave up in 4",
                   "the most was found by sign-corner in 6",
                   "(100 random dimensions, ε = 10⁻³, means): batch 256: sign-ascent 0.250",
                   ):  # fmt: skip
        assert number in text
    rows = [label.get_text().replace("\n", " ") for label in item.figure.axes[0].get_yticklabels()]
    assert "φ, 100 random dimensions, ε = 5·10⁻⁴" in rows and len(rows) == 4


def test_the_paper_check_without_one_arm_is_still_told():
    sections = keskar_f1_sections(f1_outcome(lost=lambda spec: spec.batch_size == LARGE))
    assert "–, –, – times" in told(sections)
