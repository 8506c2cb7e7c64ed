"""What holds for every claim of the labs, on runs that are made up."""

import itertools
import json
import re
from dataclasses import replace

import batch_norm_samples
import batch_size_samples
import pytest
import regularization_samples
from fake_records import announced_and_run, arms_read, in_verdicts, with_numbers
from further_cases import thorough_after
from report_samples import figures_of
from test_report_figures import assert_readable

from dlip_reg.datasets import dataset_info
from dlip_reg.datasets.splits import draw_splits
from dlip_reg.report.figures.interactive import describe
from dlip_reg.studies.arm import expand
from dlip_reg.studies.arm_resolver import TUNING_SEEDS_FROM
from dlip_reg.studies.judging import is_open, judge_claim
from dlip_reg.studies.part import StudyPart
from dlip_reg.studies.setting import Setting

LABS = {
    "batch_norm": batch_norm_samples.LAB,
    "regularization": regularization_samples.LAB,
    "batch_size": batch_size_samples.LAB,
}
each_lab = pytest.mark.parametrize("lab", LABS.values(), ids=LABS)
CLAIMS = [pytest.param(lab, name, id=name) for lab in LABS.values() for name in lab.claims]
OPEN = ("undecided", "not measurable")


@pytest.mark.parametrize(("lab", "name"), CLAIMS)
def test_measures_controls_and_figures_read_the_arms_that_are_named(lab, name):
    claim, made = lab.claims[name], lab.runs(name, preset=lab.small)
    for of in (claim, *claim.controls):
        named, read = set(expand(of.needs, list(made))), arms_read(of.measure, made)
        assert read <= named
        assert all(arm.startswith(lab.read_as_trials) for arm in named - read)
    if claim.draw is not None:
        shown = (*claim.needed, *claim.shown, *lab.study.shown)
        assert arms_read(claim.draw, made) <= {*expand(shown, list(made))}
    lab.study.sections(made, [lab.judged(made, name)])
    assert claim.smallest_effect_source
    assert any(control.kind == "negative" for control in claim.controls)


# All other effects are there.
FOUND = {
    "reg-separate": "no effect",
    # With batch norm dropout gains more than the margin here: of the two sentences, one is right.
    "bn-no-dropout": "contradicted",
    "bn-internal-shift": "no effect",
    "bn-independence": "no effect",
}


@pytest.mark.parametrize(("lab", "name"), CLAIMS)
def test_effects_that_are_there_are_found_and_the_controls_pass(lab, name):
    result = lab.judged(lab.runs(name, preset=replace(lab.preset, seeds=20)), name)
    assert result.verdict == FOUND.get(name, "supported")
    # Shares that are the same with every seed need twenty.
    assert (result.look == 20) >= (name in ("bn-vanishing", "bn-exploding"))
    for control in result.controls:
        passes = (control.verdict == "supported") == (control.kind == "positive")
        assert passes, control.description


# That large batches do worse is a claim, and speed needs no training.
SUPPORTED_BY_FAILURE = ("bs-small-better", "bs-parallel")
# Whether a network trains is the claim, and without the treatment it does not.
NO_EFFECT_BY_FAILURE = ("bn-vanishing", "bn-bounded")


@pytest.mark.parametrize(("lab", "name"), CLAIMS)
def test_a_treatment_that_always_diverges_supports_nothing(lab, name):
    def spoil(spec, record):
        return lab.diverged(record) if lab.is_treated(spec) else record

    made = lab.runs(name, spoil=in_verdicts(spoil), preset=replace(lab.preset, seeds=20))
    verdict = lab.judged(made, name).verdict
    assert verdict != "supported" or name in SUPPORTED_BY_FAILURE
    assert verdict != "no effect" or name in NO_EFFECT_BY_FAILURE


SPREADS = {"batch_norm": (0, 0.04), "regularization": (0, 0), "batch_size": (0.1, 0.1)}


@pytest.mark.parametrize("name", LABS)
@pytest.mark.parametrize("preset", thorough_after(1, ["standard", "quick", "full"]))
def test_about_as_many_runs_are_announced_as_there_are(name, preset):
    """A tuned arm may come out as one that is run anyway, and a grid is extended as needed."""
    lab = LABS[name]
    counts = announced_and_run(lab.study, lab.study.presets[preset], lab.record_of)
    for announced, made, spread in zip(*counts, SPREADS[name], strict=True):
        assert announced == pytest.approx(made, rel=spread)


@each_lab
@pytest.mark.parametrize("preset", ["quick", "standard", "full"])
def test_the_default_data_has_enough_images_for_all_arms(lab, preset):
    study = lab.study
    setting = Setting(study.presets[preset], study.default_model, study.default_dataset)
    arms = study.arms_for(setting, study.claims)
    source = dataset_info(study.default_dataset)
    for data in StudyPart(study, setting, preset, study.claims, arms, 0).expected_data():
        draw_splits(data.name, source, 0, data.n_train, data.n_validation, data.n_test)


@each_lab
def test_what_a_look_found_is_the_same_with_more_seeds(lab):
    """Most runs of the first look fail, and few of all."""

    def spoil(spec, record):
        return lab.diverged(record) if spec.seed < 3 and lab.is_treated(spec) else record

    made = lab.runs(spoil=spoil, preset=replace(lab.preset, seeds=20))
    # A family of so many claims decides nothing and goes on.
    for claim, family in itertools.product(lab.study.claims, (len(lab.claims), 10**9)):
        whole = judge_claim(claim, made, family)
        for look in (5, 10):
            then = judge_claim(claim, made.first(look), family)
            assert whole.estimates[: len(then.estimates)] == then.estimates
            assert is_open(then) or whole == then


# What is decided all the same: batch norm loses to none with dropout where both fail; nothing is
# tuned for bs-parallel; and what was tuned in vain may still train, at the least bad rate.
DECIDED = {
    "lost": (),
    "diverged": ("bn-no-dropout",),
    "tuning lost": ("bs-parallel",),
    "tuning diverged": (
        "bs-parallel", "bn-easier", "bn-landscape", "bn-predictiveness", "bn-beta",
        "bn-internal-shift", "bn-independence", "bn-noise",
    ),
}  # fmt: skip


@each_lab
@pytest.mark.parametrize("kind", thorough_after(2, DECIDED))
def test_no_failure_stops_the_report_or_supports_a_claim(lab, kind):
    def spoil(spec, record):
        if (spec.seed >= TUNING_SEEDS_FROM) != kind.startswith("tuning"):
            return record
        return lab.diverged(record) if kind.endswith("diverged") else None

    made = lab.runs(spoil=spoil)
    results = [lab.judged(made, name) for name in lab.claims]
    for result in results:
        assert result.verdict in OPEN or result.id in DECIDED[kind]
        assert result.verdict != "supported" or kind.startswith("tuning")
    texts = [note for result in results for note in result.notes]
    drawn = [item for c in lab.study.claims for item in (c.draw(made) if c.draw else ())]
    for section in lab.study.sections(made, results):
        texts += section.paragraphs
        drawn += section.figures
    for text in (*texts, *(item.caption for item in drawn)):
        assert not re.search(r"\bnan\b|[,:] ?\.", text), text


# Numbers that finished runs may leave on data that is easy, or on which nothing is learnt: in
# float32 the cross-entropy of images that are classified with certainty is 0.
NUMBERS = {
    "no loss": lambda name, number: 1.0 if "accuracy" in name else 0.0,
    "some without loss": lambda name, number: number * (str(number)[-1] < "5"),
    "all alike": lambda name, number: 0.5,
    "almost alike": lambda name, number: 0.5 + 1e-16 * (str(number)[-1] < "5"),
}


@pytest.mark.parametrize(
    ("kind", "lab"),
    thorough_after(
        0, [pytest.param(kind, lab, id=f"{kind}-{lab}") for kind in NUMBERS for lab in LABS]
    ),
)
@pytest.mark.filterwarnings("error")
def test_no_numbers_of_finished_runs_stop_the_report_or_support_a_claim(kind, lab):
    lab = LABS[lab]

    def spoil(spec, record):
        return with_numbers(record, NUMBERS[kind]) if record.status == "finished" else record

    made = lab.runs(spoil=spoil, preset=lab.small)
    results = [lab.judged(made, name) for name in lab.claims]
    for claim in lab.study.claims:
        for item in claim.draw(made) if claim.draw else ():
            json.dumps(describe(item.figure), allow_nan=False)
            item.figure.canvas.draw()
    lab.study.sections(made, results)
    if not kind.startswith("some"):
        supported = {result.id for result in results if result.verdict == "supported"}
        assert supported <= {"bs-parallel"}  # of speeds, which are as they were


# Those of the lecture note, of Santurkar et al. and of Keskar et al. are among them.
FIGURES = {
    "batch_norm": (
        "lowest_loss", "rates", "curves_by_rate", "steps_to_target", "fast_decay", "input_shift",
        "landscape_at_loss", "landscape", "internal_shift", "independence", "vanishing",
        "deep_accuracy", "largest_activation", "exploding", "growth", "noise", "dropout_rates",
        "dropout", "l2",
    ),
    "regularization": (
        "loss_curves", "gap_at_loss", "training_loss_misleads", "strengths", "by_strength",
        "weights_by_optimizer", "strength_surface", "distance_at_loss", "activations",
        "test_accuracy", "random_labels",
    ),
    "batch_size": (
        "accuracy_by_size", "one_rate", "scaling", "sharpness", "convergence", "to_loss",
        "best_rates_equal_epochs", "best_rates_equal_updates", "threads",
    ),
}  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("name", LABS)
@pytest.mark.filterwarnings("error::UserWarning")
def test_every_figure_can_be_read_and_explains_itself(name):
    lab = LABS[name]

    def spoil(spec, record):
        """With one seed no run gave a record, and with another the treated ones diverged."""
        if spec.seed == 1:
            return None
        return lab.diverged(record) if spec.seed == 2 and lab.is_treated(spec) else record

    made = lab.runs(spoil=spoil, preset=lab.small)
    draws = dict.fromkeys(claim.draw for claim in lab.study.claims if claim.draw)
    results = [lab.judged(made, name) for name in lab.claims]
    items = [item for draw in draws for item in draw(made)]
    items += figures_of(lab.study.sections(made, results)).values()
    assert {item.name for item in items} >= set(FIGURES[name])
    for item in items:
        assert_readable(item.figure)
        json.dumps(describe(item.figure), allow_nan=False)  # the interactive one
        assert len(item.alt) > 40 and len(item.caption) > 40
