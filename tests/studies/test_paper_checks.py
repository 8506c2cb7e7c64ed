"""The checks of what papers printed: their arms and reports, on runs that are made up."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import batch_norm_samples
import pytest
from fake_records import fake_runs, make_record
from report_samples import figures_of, told
from test_report_figures import assert_readable

from dlip_reg.models import get_builder
from dlip_reg.studies import Setting, Study, changed
from dlip_reg.studies.papers import PaperPreset, ioffe_fig1, keskar_f1, zhang_t1
from dlip_reg.training.records import Curves, KeskarSearch


def f1_record(spec):
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


def labels_record(spec):
    random = spec.data.random_labels
    fitted = (0.1, 0.4, 0.8, 0.9, 0.97 if random else 1.0)
    record = make_record(spec, test_accuracy=0.1 if random else 0.5 + 0.01 * spec.seed)
    return replace(record, curves=Curves(tuple(range(5)), (), fitted, (), (), (), ()))


@dataclass(frozen=True)
class Check:
    """A paper check at a size of its own, what its report says, and without the runs of an arm."""

    study: Study
    preset: PaperPreset
    record_of: Callable
    said: tuple[str, ...]
    is_lost: Callable
    said_without: str

    def sections(self, lost=False):
        def record_of(spec):
            return None if lost and self.is_lost(spec) else self.record_of(spec)

        return self.study.sections(fake_runs(self.study, self.preset, record_of, "mlp"), [])


CHECKS = {
    "ioffe-fig1": Check(
        ioffe_fig1.STUDY,
        PaperPreset(seeds=5, epochs=20, n_train=6000, n_validation=600),
        batch_norm_samples.record_of,
        # 6,000 images in batches of 60, 20 epochs
        ("helps the network train faster and achieve higher accuracy", "after 2,000 steps"),
        lambda spec: spec.regularization.batch_norm,
        "– % with it, a difference of – percentage points",
    ),
    "keskar-f1": Check(
        keskar_f1.STUDY,
        PaperPreset(seeds=3, epochs=5, patience=2, n_train=59_990, n_validation=10),
        f1_record,
        ("98.03 %", "97.81 %", "1.23 ± 0.83", "205.14 ± 69.52", "50, 50, 50 times", "167 times",
         "98.10", "l-bfgs-b 0.500 (3 failed)", "in 6 boxes", "it made its ten iterations in 2",
         "it failed in 4", "the largest value was found by sign-corner in 6",
         "(100 random dimensions, ε = 10⁻³, means): batch 256: sign-ascent 0.250",
         "φ, 100 random dimensions, ε = 5·10⁻⁴"),
        lambda spec: spec.batch_size == keskar_f1.LARGE,
        "–, –, – times",
    ),
    "zhang-t1": Check(
        zhang_t1.STUDY,
        PaperPreset(seeds=3, epochs=4, n_train=49_990, n_validation=10),
        labels_record,
        ("the paper's 99.34 %", "the paper's 10.48 %", "51.0 [48.5, 53.5] %",
         "training accuracy 97"),
        lambda spec: spec.data.random_labels,
        "accuracy – %",
    ),
}  # fmt: skip
each_check = pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)


@each_check
def test_ours_are_printed_beside_the_paper_s(check):
    sections = check.sections()
    for item in figures_of(sections).values():
        assert_readable(item.figure)
    text = told(sections)
    for said in check.said:
        assert said in text


@each_check
def test_without_one_arm_there_is_a_report(check):
    assert check.said_without in told(check.sections(lost=True))


def specs(study, preset):
    """Arm -> its specification."""
    arms = study.arms_for(Setting(preset, study.default_model, study.default_dataset), ())
    return {name: changed(arm.spec, **arm.changes) for name, arm in arms.items()}


def test_sigmoids_are_trained_for_fifty_thousand_steps_of_sixty():
    plain, bn = specs(ioffe_fig1.STUDY, ioffe_fig1.STUDY.presets["paper"]).values()
    options = json.loads(plain.builder)
    assert options["hidden"] == [100] * 3 and options["activation"] == "sigmoid"
    assert plain.batch_size == 60
    assert plain.epochs * (plain.data.n_train // 60) == pytest.approx(50_000, rel=1e-4)
    assert plain.data.n_train + plain.data.n_validation == 60_000
    assert changed(plain, batch_norm=True) == bn


def test_random_labels_and_depth_are_all_that_differs():
    found = specs(zhang_t1.STUDY, CHECKS["zhang-t1"].preset)
    assert set(found) == {"3/true", "3/random", "1/true", "1/random"}
    for name, spec in found.items():
        assert spec.data.random_labels == name.endswith("random")
        assert json.loads(spec.builder)["hidden"] == [512] * int(name[0])
        assert (spec.learning_rate, spec.schedule.decay) == (0.01, pytest.approx(0.95**4))


@pytest.mark.parametrize(("depth", "count"), [(1, 1_209_866), (3, 1_735_178)])
def test_on_cropped_images_the_networks_have_the_paper_s_parameters(depth, count):
    model = get_builder("mlp")((28, 28, 3), 10, hidden=[512] * depth)
    assert model.count_params() == count
