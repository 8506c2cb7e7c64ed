"""The note's seventeen statements on batch normalization: `STUDY`, one module for each subject.

Each measurement pairs by seed: the same initial weights where shapes allow, the same data split and
the same order of examples. A module has claims that share runs, with their arms, measurements and
figures.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dlip_reg.studies import Claim, Study
from dlip_reg.studies.batch_norm import (
    deep,
    dropout,
    easier,
    input_shift,
    landscape,
    learning_rates,
    less_l2,
    noise,
)
from dlip_reg.studies.batch_norm.arms import BATCH_SIZE, DECAY, NETS, BatchNormPreset, shared_arms
from dlip_reg.studies.drawing import methods
from dlip_reg.studies.papers import ioffe_fig1

PRESETS = {
    "quick": BatchNormPreset(
        minutes=2.7, run_seconds=1.35,
        seeds=3, tuning_seeds=1, epochs=5, n_train=400, n_validation=250, n_test=1000,
        rates=(0.03, 0.1, 0.3, 1.0, 3.0), start_rates=(0.03, 0.1, 0.3), speeds=(1, 3, 12),
        dropout_rates=(0.1, 0.3, 0.5), dropout_epochs=8, dropout_curve=(0.0, 0.2, 0.5),
        strengths=(1e-4, 3e-3, 3e-2), deep_epochs=8, n_deep=250, deep_rates=(0.05, 0.2),
        deep_scales=(1, 2), matched_images=512, matched_epochs=10,
        matched_rates=(0.05, 0.1, 0.2, 0.4), noise_epochs=8, noise_test_images=500,
    ),
    "standard": BatchNormPreset(minutes=21, run_seconds=1.56),
    "full": BatchNormPreset(
        tuning_seeds=5, epochs=20, n_train=3600, n_validation=1000, n_test=4000,
        rates=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        start_rates=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0), dropout_epochs=30,
        dropout_curve=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
        strengths=(1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2), deep_epochs=20, n_deep=2000,
    ),
}  # fmt: skip

CLAIMS: Sequence[Claim] = (
    *landscape.CLAIMS,
    easier.claim,
    learning_rates.large_rate,
    learning_rates.fast_decay,
    dropout.no_dropout,
    dropout.with_dropout,
    dropout.less_dropout,
    less_l2.claim,
    deep.vanishing,
    deep.exploding,
    landscape.INTERNAL_SHIFT,
    landscape.INDEPENDENCE,
    deep.bounded,
    input_shift.claim,
    noise.claim,
)


@methods
def facts(preset: BatchNormPreset) -> Mapping[str, Any]:
    """How the numbers were measured.

    Training: {n_train:,} images, {epochs} epochs of plain SGD in batches of {batch_size}, the
    learning rate decaying to {decay:g} % of itself

    Tried by all networks: {n_rates} learning rates, at {n_start_scales} scales of the initial
    weights {n_start_rates}, {n_dropout_rates} dropout rates, {n_strengths} strengths of L2

    Runs with dropout: {dropout_epochs} epochs

    Deep networks: {n_deep:,} images, {deep_epochs} epochs, {n_deep_rates} learning rates

    Matched loss: {matched_images:,} images, {matched_epochs} epochs at constant learning rates,
    compared at {levels} nats

    Validation and test: {n_validation:,} and {n_test:,} images, drawn by seed; accuracies where
    training was stopped are on at most 1,000 test images
    """
    tried = {f"n_{name}": len(x) for name, x in vars(preset).items() if isinstance(x, tuple)}
    levels = [f"{level:g}" for level in preset.matched_levels]
    return {**tried, "batch_size": BATCH_SIZE, "decay": 100 * DECAY, "levels": levels}


STUDY = Study(
    name="lab_batch_norm",
    title="Batch normalization, measured",
    lead="Each sentence of the lecture note on batch normalization, tested by runs on real images: "
    "an effect, an interval over seeds, controls, and the verdict of a rule that was fixed before "
    "the data was seen.",
    description="Measure what the lecture note says about batch normalization, and write a report.",
    arms=shared_arms,
    claims=CLAIMS,
    presets=PRESETS,
    sections=dropout.with_or_without,
    styled_first=(*NETS.values(), *input_shift.RE_ESTIMATED.values()),
    facts=facts,
    papers={ioffe_fig1.STUDY.name: ioffe_fig1.STUDY},
    default_model="lenet5",
    default_dataset="fashion_mnist_subset",
)
