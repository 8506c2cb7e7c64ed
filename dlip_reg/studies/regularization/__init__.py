"""The note's eight statements on dropout, L1 and L2: `STUDY`, one module for each claim."""

from collections.abc import Mapping, Sequence
from typing import Any

from dlip_reg.studies import Arm, Claim, Setting, Study, UsageError
from dlip_reg.studies.drawing import methods
from dlip_reg.studies.papers import zhang_t1
from dlip_reg.studies.regularization import (
    complexity,
    dropout_best,
    dropout_effects,
    overfit,
    penalty_effects,
    separate_strengths,
)
from dlip_reg.studies.regularization.arms import LABELS, METHODS, RegularizationPreset, shared_arms
from dlip_reg.studies.regularization.sections import sections
from dlip_reg.studies.workspace import missing_layers

# Few images and enough epochs to fit them: with more images the same network hardly overfits, and a
# regularizer has nothing to do.
PRESETS = {
    "quick": RegularizationPreset(
        minutes=1.1, run_seconds=0.42, seeds=3, tuning_seeds=1, strengths=2, epochs=6,
        n_train=500, n_validation=500, n_test=500, label_images=100, label_epochs=30,
        dose_epochs=16, sharpness_seeds=1,
    ),
    "standard": RegularizationPreset(minutes=12, run_seconds=1.47),
    "full": RegularizationPreset(
        tuning_seeds=5, strengths=7, side=5, epochs=20, n_train=3500, label_images=1000,
        label_epochs=100,
    ),
}  # fmt: skip

CLAIMS: Sequence[Claim] = (
    overfit.claim,
    complexity.claim,
    dropout_best.claim,
    dropout_effects.weights,
    dropout_effects.sparsity,
    penalty_effects.sparsity,
    penalty_effects.size,
    separate_strengths.claim,
)


def check(setting: Setting, arms: Sequence[Arm], kinds: set[str]) -> None:
    """Strengths that are apart for two kinds of layers need both kinds."""
    apart = any(arm.name == "l2_separate" for arm in arms)
    missing = missing_layers(kinds)
    if apart and missing:
        raise UsageError(
            f"{setting.model} has {missing}, so reg-separate cannot be "
            "measured on it; choose --claims without it, or another --model."
        )


@methods
def facts(preset: RegularizationPreset) -> Mapping[str, Any]:
    """How the numbers were measured.

    Candidates: {trials} for each method, and {trials} without one

    Training: {n_train:,} images, {epochs} epochs, batches of {batch_size}

    Random labels: {label_images:,} images, {label_epochs} epochs

    Test: {n_test:,} images, drawn by seed; loss curves, and so the gaps, are on at most 1,000 of
    them
    """
    return {"trials": preset.trials}


STUDY = Study(
    name="lab_regularization",
    title="Loss function and regularization, measured",
    lead="Each sentence of the lecture note on regularization, tested by runs on real images: an "
    "effect, an interval over seeds, controls, and the verdict of a rule that was fixed before the "
    "data was seen.",
    description="Measure what the lecture note says about dropout, L1 and L2, and write a report.",
    arms=shared_arms,
    claims=CLAIMS,
    presets=PRESETS,
    shown=("none", *METHODS),
    check=check,
    sections=sections,
    styled_first=tuple(LABELS.values()),
    facts=facts,
    papers={zhang_t1.STUDY.name: zhang_t1.STUDY},
    default_model="lenet5",
    default_dataset="fashion_mnist_subset",
)
