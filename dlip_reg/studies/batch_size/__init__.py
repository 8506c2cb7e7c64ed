"""The note's seven statements on the batch size: `STUDY`, one module for claims that share runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from dlip_reg.studies.batch_size import (
    flat_sharp,
    learning_rates,
    linear_scaling,
    parallel,
    small_better,
    speed,
)
from dlip_reg.studies.batch_size.arms import RACE_LOSS, BatchSizePreset, listed
from dlip_reg.studies.drawing import methods
from dlip_reg.studies.papers import keskar_f1
from dlip_reg.studies.study import Claim, Study

# Few images and a small perceptron: the full batch is one of the sizes and needs many updates.
PRESETS = {
    "quick": BatchSizePreset(
        minutes=2, run_seconds=0.75,
        seeds=3, tuning_seeds=1, batch_sizes=(16, 64, 256), n_train=1280, n_test=1000,
        long_epochs=15, long_updates=1000, sharp_sizes=(16, 128),
    ),
    "standard": BatchSizePreset(minutes=10, run_seconds=0.8),
    "full": BatchSizePreset(
        tuning_seeds=5, batch_sizes=(8, 16, 32, 64, 128, 256), n_train=5120, n_validation=2000,
        sharp_sizes=(8, 512),
    ),
}  # fmt: skip

CLAIMS: Sequence[Claim] = (
    speed.faster_than_full,
    parallel.claim,
    small_better.claim,
    flat_sharp.claim,
    learning_rates.claim,
    linear_scaling.claim,
    speed.large_faster,
)


@methods
def facts(preset: BatchSizePreset) -> Mapping[str, Any]:
    """How the numbers were measured.

    Batch sizes: {sizes} and all {n_train:,} training images

    Training: {n_train:,} images, plain SGD; sharpness: Adam, to a training loss of {sharp_loss:g}
    nats

    Learning rates: for each batch size one of its own, the lowest point of a quadratic in ln rate
    that is fitted to the tuning runs: to the time to a training loss of {race_loss:g} nats, or to
    the lowest validation loss, as each claim says

    Validation: {n_validation:,} images, drawn by seed
    """
    return {"sizes": listed(preset.batch_sizes), "race_loss": RACE_LOSS}


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
