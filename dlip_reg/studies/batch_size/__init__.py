"""The note's seven statements on the batch size: `STUDY`, one module for claims that share runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlip_reg.studies.batch_size import (
    flat_sharp,
    learning_rates,
    linear_scaling,
    parallel,
    small_better,
    speed,
)
from dlip_reg.studies.batch_size.arms import RACE_LOSS, BatchSizePreset
from dlip_reg.studies.papers import keskar_f1
from dlip_reg.studies.study import Claim, Setting, Study

# Few images and a small perceptron: the full batch is one of the sizes and needs many updates.
PRESETS = {
    "quick": BatchSizePreset(
        minutes=2.5, run_seconds=1.13,
        seeds=3, tuning_seeds=1, batch_sizes=(16, 64, 256), n_train=1280, n_validation=1000,
        n_test=1000, long_epochs=15, long_updates=1000, sharp_sizes=(16, 128),
    ),
    "standard": BatchSizePreset(
        minutes=15, run_seconds=1.35, seeds=20, tuning_seeds=2, batch_sizes=(8, 32, 128),
        n_train=2560, n_validation=1000, n_test=2000, sharp_sizes=(8, 256),
    ),
    "full": BatchSizePreset(
        seeds=20, tuning_seeds=5, batch_sizes=(8, 16, 32, 64, 128, 256), n_train=5120,
        n_validation=2000, n_test=2000, sharp_sizes=(8, 512),
    ),
}  # fmt: skip

CLAIMS: Sequence[Claim] = (
    speed.FASTER_THAN_FULL,
    parallel.CLAIM,
    small_better.CLAIM,
    flat_sharp.CLAIM,
    learning_rates.CLAIM,
    linear_scaling.CLAIM,
    speed.LARGE_FASTER,
)


def facts(setting: Setting) -> Mapping[str, str]:
    """How the numbers were measured."""
    preset = setting.preset
    sizes = ", ".join(f"{size:,}" for size in preset.batch_sizes)
    return {
        "Batch sizes": f"{sizes} and all {preset.n_train:,} training images",
        "Training": f"{preset.n_train:,} images, plain SGD; sharpness: Adam, to a training loss of "
        f"{preset.sharp_loss:g} nats",
        "Learning rates": "for each batch size on its own, at the lowest point of a quadratic in "
        f"ln rate fitted to the tuning runs: of the time to a training loss of {RACE_LOSS:g} nats, "
        "or of the lowest validation loss",
        "Validation": f"{preset.n_validation:,} images, drawn by seed",
    }


STUDY = Study(
    name="lab_batch_size",
    title="The batch size, measured",
    lead="Each sentence of the lecture note on the batch size, tested by runs on real images: an "
    "effect, an interval over seeds, controls, and the verdict of a rule that was fixed before the "
    "data was seen.",
    description="Measure what the lecture note says about the batch size, and write a report.",
    arms=learning_rates.shared_arms,
    claims=CLAIMS,
    presets=PRESETS,
    facts=facts,
    papers={keskar_f1.STUDY.name: keskar_f1.STUDY},
    default_model="mlp",
    default_dataset="fashion_mnist_subset",
)
