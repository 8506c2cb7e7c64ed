"""Measure what the lecture note says about batch normalization, and write a report.

python labs/lab_batch_norm.py                        the standard preset
python labs/lab_batch_norm.py --preset quick         a first look
python labs/lab_batch_norm.py --list-claims          what is measured
python labs/lab_batch_norm.py --paper ioffe-fig1 --data-dir FOLDER
                                                     Ioffe & Szegedy 2015, figure 1, full MNIST
"""

from __future__ import annotations

import sys

from front_door import Lab, main

from dlip_reg.claims.batch_norm import CLAIMS
from dlip_reg.experiments import batch_norm, ioffe_fig1
from dlip_reg.experiments.batch_norm import DECAY, Preset

PRESETS = {
    "quick": Preset(
        3,
        "2 minutes",
        epochs=6,
        n_train=1000,
        n_validation=1000,
        rates=(0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        dropout_rates=(0.1, 0.3),
        deep_epochs=6,
        sigmoid_epochs=15,
    ),
    "standard": Preset(
        5,
        "12 minutes",
        epochs=10,
        n_train=2000,
        n_validation=2000,
        rates=(0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
        dropout_rates=(0.1, 0.3),
        deep_epochs=10,
        sigmoid_epochs=30,
        repeats=4,
        l2_repeats=2,
    ),
    "full": Preset(
        10,
        "1 day (estimated)",
        epochs=20,
        n_train=8000,
        n_validation=2000,
        rates=(0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0),
        dropout_rates=(0.05, 0.1, 0.2, 0.3, 0.5),
        deep_epochs=20,
        sigmoid_epochs=60,
        n_deep=8000,
        n_sigmoid=8000,
    ),
}


def sections(outcomes, labels, judged):
    """The report's; imports what draws."""
    from dlip_reg.report.batch_norm import batch_norm_sections

    return batch_norm_sections(outcomes, judged)


def facts(preset: Preset) -> dict[str, str]:
    """How the numbers came about."""
    return {
        "Seeds": str(preset.seeds)
        + (
            f"; {preset.seeds * preset.repeats} for small differences of accuracy and loss, "
            f"{preset.seeds * preset.l2_repeats} for strengths of L2"
            if preset.repeats > 1
            else ""
        ),
        "Training": f"{preset.n_train:,} images, {preset.epochs} epochs of plain SGD in batches of "
        f"{batch_norm.BATCH_SIZE}, the learning rate falling to {100 * DECAY:g} % of itself",
        "Tried by both nets": f"{len(preset.rates)} learning rates, {len(preset.dropout_rates)} "
        f"dropout rates, {len(preset.strengths)} strengths of L2, with every seed",
        "Deep nets": f"{preset.n_deep:,} images, {preset.deep_epochs} epochs",
        "Sigmoid net": f"{preset.n_sigmoid:,} images, {preset.sigmoid_epochs} epochs",
        "Validation": f"{preset.n_validation:,} images, drawn by seed",
    }


def paper_sections(outcomes, labels, judged):
    """The paper check's; imports what draws."""
    from dlip_reg.report.ioffe_fig1 import ioffe_fig1_sections

    return ioffe_fig1_sections(outcomes)


def paper_facts(preset: ioffe_fig1.Preset) -> dict[str, str]:
    """How the paper check's numbers came about."""
    steps = preset.epochs * (preset.n_train // ioffe_fig1.BATCH_SIZE)
    return {
        "Seeds": str(preset.seeds),
        "Network": "3 hidden layers of 100 sigmoids, with and without batch normalization",
        "Training": f"{preset.n_train:,} images, {steps:,} steps in batches of "
        f"{ioffe_fig1.BATCH_SIZE}, plain SGD at {ioffe_fig1.LEARNING_RATE:g}",
        "Weights": f"Gaussian of standard deviation {ioffe_fig1.STANDARD_DEVIATION:g} about 0",
    }


IOFFE_FIG1 = Lab(
    name="ioffe-fig1",
    title="Ioffe & Szegedy 2015, figure 1, run again",
    lead="Batch normalization keeps the inputs of a sigmoid still while the net learns: the "
    "paper's own network on the paper's own data, its finding beside ours.",
    presets={"paper": ioffe_fig1.Preset(5, "5 minutes")},
    claims=(),
    experiments=ioffe_fig1.experiments,
    sections=paper_sections,
    facts=paper_facts,
    default_model="mlp",
    default_dataset="mnist",
)

LAB = Lab(
    name="lab_batch_norm",
    title="Batch normalization, measured",
    lead="Each sentence of the lecture note on batch normalization, held against runs on real "
    "images: an effect, an interval over seeds, and the verdict of a rule that was fixed before "
    "the data was seen.",
    description=__doc__.splitlines()[0],
    presets=PRESETS,
    claims=CLAIMS,
    experiments=batch_norm.experiments,
    sections=sections,
    facts=facts,
    papers={IOFFE_FIG1.name: IOFFE_FIG1},
)

if __name__ == "__main__":
    sys.exit(main(LAB))
