"""The paper check on random labels: its arms and report, on runs that are made up."""

import pytest
from fake_records import fake_runs
from report_samples import figures_of, told
from test_report_figures import assert_readable

from dlip_reg.models import get_builder
from dlip_reg.studies import Setting, changed
from dlip_reg.studies.papers import PaperPreset, zhang_t1
from dlip_reg.training.records import make_record

PRESET = PaperPreset(seeds=3, epochs=4, n_train=49_990, n_validation=10)


def zhang_runs(lost=lambda spec: False):
    def record_of(spec):
        if lost(spec):
            return None
        random = spec.data.random_labels
        curves = {
            "epoch": list(range(5)),
            "clean_accuracy": [0.1, 0.4, 0.8, 0.9, 0.97 if random else 1.0],
            **dict.fromkeys(
                ("clean_loss", "penalty", "keras_loss", "clean_val_loss", "clean_val_accuracy"), ()
            ),
        }
        accuracy = 0.1 if random else 0.5 + 0.01 * spec.seed
        return make_record(spec, "", True, measures={"test_accuracy": accuracy}, curves=curves)

    return fake_runs(zhang_t1.STUDY, PRESET, record_of, "mlp")


def test_ours_are_printed_next_to_the_paper_s():
    sections = zhang_t1.sections(zhang_runs(), [])
    (item,) = figures_of(sections).values()
    assert_readable(item.figure)
    text = told(sections)
    numbers = (
        "the paper's 99.34 %",
        "the paper's 10.48 %",
        "51.0 [48.5, 53.5] %",
        "training accuracy 97",
    )
    for number in numbers:
        assert number in text


def test_a_lost_arm_leaves_a_report():
    sections = zhang_t1.sections(zhang_runs(lambda spec: spec.data.random_labels), [])
    assert "accuracy – %" in told(sections)


def test_random_labels_and_depth_are_all_that_differs():
    setting = Setting(PRESET, "mlp", "cifar10")
    specs = {arm.name: changed(arm.spec, **arm.changes) for arm in zhang_t1.arms(setting)}
    assert set(specs) == {"3/true", "3/random", "1/true", "1/random"}
    assert {name: spec.data.random_labels for name, spec in specs.items()} == {
        name: name.endswith("random") for name in specs
    }
    (rates,) = {(spec.learning_rate, spec.schedule.decay) for spec in specs.values()}
    assert rates == (0.01, pytest.approx(0.95**4))


@pytest.mark.parametrize(("depth", "count"), [(1, 1_209_866), (3, 1_735_178)])
def test_on_cropped_images_the_networks_have_the_paper_s_parameters(depth, count):
    model = get_builder("mlp")((28, 28, 3), 10, hidden=[512] * depth)
    assert model.count_params() == count
