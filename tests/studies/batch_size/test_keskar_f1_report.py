"""The paper check on Keskar's network F1: its report, on runs that are made up."""

import math
from dataclasses import replace

from fake_records import fake_runs, make_record
from report_samples import figures_of, told
from test_report_figures import assert_readable

from dlip_reg.studies.papers import PaperPreset, keskar_f1
from dlip_reg.training.records import KeskarSearch


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

    preset = PaperPreset(seeds=3, epochs=5, patience=2, n_train=59_990, n_validation=10)
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
