"""The note's seventeen statements on batch normalization: `STUDY`, one module for each subject.

Each measurement pairs by seed: the same initial weights where shapes allow, the same data split and
the same order of examples. A module has claims that share runs, with their arms, measurements and
figures.
"""

from collections.abc import Mapping, Sequence

from dlip_reg import report
from dlip_reg.evidence import ClaimResult
from dlip_reg.studies import Claim, Runs, Setting, Study
from dlip_reg.studies.batch_norm import (
    deep,
    dropout,
    easier,
    input_shift,
    landscape,
    layers,
    learning_rates,
    less_l2,
    noise,
)
from dlip_reg.studies.batch_norm.arms import BATCH_SIZE, DECAY, NETS, BatchNormPreset, shared_arms
from dlip_reg.studies.papers import ioffe_fig1

PRESETS = {
    "quick": BatchNormPreset(
        minutes=3.5, run_seconds=1.6,
        seeds=3, tuning_seeds=1, epochs=5, n_train=400, n_validation=250, n_test=1000,
        rates=(0.03, 0.1, 0.3, 1.0, 3.0), start_rates=(0.03, 0.1, 0.3), speeds=(1, 3, 12),
        dropout_rates=(0.1, 0.3, 0.5), dropout_epochs=8, dropout_curve=(0.0, 0.2, 0.5),
        strengths=(1e-4, 3e-3, 3e-2), deep_epochs=8, n_deep=250, deep_rates=(0.05, 0.2),
        deep_scales=(1, 2), matched_images=512, matched_epochs=10,
        matched_rates=(0.05, 0.1, 0.2, 0.4), noise_epochs=8, noise_test_images=500,
    ),
    "standard": BatchNormPreset(
        minutes=33, run_seconds=1.49,
        seeds=20, tuning_seeds=2, epochs=8, n_train=1000, n_validation=500, n_test=2000,
        rates=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        start_rates=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0), speeds=(1, 2, 4, 6, 8, 12),
        dropout_rates=(0.1, 0.2, 0.3, 0.5), dropout_epochs=12, dropout_curve=(0.0, 0.1, 0.3, 0.5),
        strengths=(1e-4, 1e-3, 3e-3, 1e-2, 3e-2), deep_epochs=8, n_deep=500,
        deep_rates=(0.03, 0.1, 0.3, 1.0),
    ),
    "full": BatchNormPreset(
        seeds=20, tuning_seeds=5, epochs=20, n_train=4000, n_validation=1000, n_test=4000,
        rates=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        start_rates=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0), speeds=(1, 2, 4, 6, 8, 12),
        dropout_rates=(0.1, 0.2, 0.3, 0.5), dropout_epochs=30,
        dropout_curve=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
        strengths=(1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2), deep_epochs=20, n_deep=2000,
        deep_rates=(0.03, 0.1, 0.3, 1.0),
    ),
}  # fmt: skip

CLAIMS: Sequence[Claim] = (
    *landscape.CLAIMS,
    easier.CLAIM,
    learning_rates.LARGE_RATE,
    learning_rates.FAST_DECAY,
    dropout.NO_DROPOUT,
    dropout.WITH_DROPOUT,
    dropout.LESS_DROPOUT,
    less_l2.CLAIM,
    deep.VANISHING,
    deep.EXPLODING,
    layers.INTERNAL_SHIFT,
    layers.INDEPENDENCE,
    deep.BOUNDED,
    input_shift.CLAIM,
    noise.CLAIM,
)


def sections(runs: Runs, claims: Sequence[ClaimResult]) -> "list[report.Section]":
    """The note's two sentences on dropout side by side; each claim draws its own figures."""
    both = dropout.section(claims)
    return [both] if both else []


def facts(setting: Setting) -> Mapping[str, str]:
    """How the numbers were measured."""
    preset = setting.preset
    return {
        "Training": f"{preset.n_train:,} images, {preset.epochs} epochs of plain SGD in batches of "
        f"{BATCH_SIZE}, the learning rate decaying to {100 * DECAY:g} % of itself",
        "Tried by all networks": f"{len(preset.rates)} learning rates, at "
        f"{len(preset.start_scales)} scales of the initial weights {len(preset.start_rates)}, "
        f"{len(preset.dropout_rates)} dropout rates, {len(preset.strengths)} strengths of L2",
        "Runs with dropout": f"{preset.dropout_epochs} epochs",
        "Deep networks": f"{preset.n_deep:,} images, {preset.deep_epochs} epochs, "
        f"{len(preset.deep_rates)} learning rates",
        "Matched loss": f"{preset.matched_images:,} images, {preset.matched_epochs} epochs at "
        "constant learning rates, compared at "
        f"{', '.join(f'{level:g}' for level in preset.matched_levels)} nats",
        "Validation and test": f"{preset.n_validation:,} and {preset.n_test:,} images, drawn "
        "by seed; accuracies where training was stopped are on the first 1,000 test images",
    }


STUDY = Study(
    name="lab_batch_norm",
    title="Batch normalization, measured",
    lead="Each sentence of the lecture note on batch normalization, tested by runs on real images: "
    "an effect, an interval over seeds, and the verdict of a rule that was fixed before the data "
    "was seen.",
    description="Measure what the lecture note says about batch normalization, and write a report.",
    arms=shared_arms,
    claims=CLAIMS,
    presets=PRESETS,
    sections=sections,
    styled_first=(*NETS.values(), *input_shift.RE_ESTIMATED.values()),
    facts=facts,
    papers={ioffe_fig1.STUDY.name: ioffe_fig1.STUDY},
    default_model="lenet5",
    default_dataset="fashion_mnist_subset",
)
