"""The note's seven statements on the batch size: `STUDY`, one module for claims that share runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dlip_reg.studies.batch_size import (
    flat_sharp,
    learning_rates,
    linear_scaling,
    small_better,
    speed,
)
from dlip_reg.studies.batch_size.arms import BatchSizePreset, shared_arms
from dlip_reg.studies.papers import keskar_f1
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Claim, Setting, Study
from dlip_reg.training.specification import IMPROVEMENT

if TYPE_CHECKING:
    from dlip_reg.evidence.claims import ClaimResult
    from dlip_reg.report import Section

# Few images and a small perceptron: the full batch is one of the sizes and needs many updates.
PRESETS = {
    "quick": BatchSizePreset(
        seeds=3, tuning_seeds=1, batch_sizes=(8, 32, 128), epochs=10, n_train=1280,
        n_validation=1000, n_test=1000, sharp_sizes=(8, 128), sharp_epochs=300,
    ),
    "standard": BatchSizePreset(
        seeds=20, tuning_seeds=2, batch_sizes=(8, 16, 32, 64, 128, 256), epochs=15, n_train=2560,
        n_validation=2000, n_test=2000, sharp_sizes=(8, 32, 256), sharp_epochs=300,
    ),
    "full": BatchSizePreset(
        seeds=20, tuning_seeds=5, batch_sizes=(8, 16, 32, 64, 128, 256, 512, 1024), epochs=20,
        n_train=5120, n_validation=2000, sharp_sizes=(8, 16, 32, 64, 128, 256, 512),
        sharp_epochs=400,
    ),
}  # fmt: skip

CLAIMS: Sequence[Claim] = (
    speed.FASTER_THAN_FULL,
    speed.PARALLEL,
    small_better.CLAIM,
    flat_sharp.CLAIM,
    learning_rates.CLAIM,
    linear_scaling.CLAIM,
    speed.LARGE_FASTER,
)


def sections(runs: Runs, claims: Sequence[ClaimResult]) -> list[Section]:
    """The sections behind the claims that were measured."""
    from dlip_reg.report import Section
    from dlip_reg.studies.batch_size import minimizers

    measured = {claim.id for claim in claims}
    found = []
    if small_better.CLAIM.id in measured:
        found.append(small_better.section(runs))
    texts, figures = [], []
    for module in (learning_rates, linear_scaling):
        if module.CLAIM.id in measured:
            texts.append(module.TEXT)
            figures += module.draw(runs)
    found.append(Section("Which learning rate for which batch", texts, figures))
    with_curves = bool(measured & {speed.FASTER_THAN_FULL.id, speed.LARGE_FASTER.id})
    if with_curves or speed.PARALLEL.id in measured:
        found.append(speed.section(runs, with_curves))
    if flat_sharp.CLAIM.id in measured:
        found.append(minimizers.section(runs))
    return found


def facts(setting: Setting) -> Mapping[str, str]:
    """How the numbers were measured."""
    preset = setting.preset
    sizes = ", ".join(f"{size:,}" for size in preset.batch_sizes)
    return {
        "Batch sizes": f"{sizes} and all {preset.n_train:,} training images",
        "Training": f"{preset.n_train:,} images, {preset.epochs} epochs of plain SGD; sharpness: "
        f"Adam at {flat_sharp.ADAM_RATE:g} until the loss stops improving (by {IMPROVEMENT:g} nats "
        f"in {preset.patience} epochs), {preset.sharp_epochs} epochs at most",
        "Learning rates": "for each batch size on its own, the rate of lowest validation loss",
        "Validation": f"{preset.n_validation:,} images, drawn by seed",
    }


STUDY = Study(
    name="lab_batch_size",
    title="The batch size, measured",
    lead="Each sentence of the lecture note on the batch size, tested by runs on real images: an "
    "effect, an interval over seeds, and the verdict of a rule that was fixed before the data was "
    "seen.",
    description="Measure what the lecture note says about the batch size, and write a report.",
    arms=shared_arms,
    claims=CLAIMS,
    presets=PRESETS,
    sections=sections,
    facts=facts,
    papers={keskar_f1.STUDY.name: keskar_f1.STUDY},
    default_model="mlp",
    default_dataset="fashion_mnist_subset",
)
