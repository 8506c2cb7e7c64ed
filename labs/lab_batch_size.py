"""Measure what the lecture note says about the batch size, and write a report.

python labs/lab_batch_size.py                        the standard preset
python labs/lab_batch_size.py --preset quick         a first look
python labs/lab_batch_size.py --list-claims          what is measured
python labs/lab_batch_size.py --paper keskar-f1 --data-dir FOLDER
                                                     Keskar et al. 2017, network F1, full MNIST
"""

from __future__ import annotations

import sys

from front_door import Lab, main

from dlip_reg.claims.batch_size import CLAIMS
from dlip_reg.experiments import batch_size, keskar_f1
from dlip_reg.experiments.batch_size import Preset
from dlip_reg.training.specification import IMPROVEMENT

# Few images and a small perceptron: the full batch is one of the sizes and needs many updates.
PRESETS = {
    "quick": Preset(
        3,
        "2 minutes",
        batch_sizes=(8, 32, 128),
        epochs=10,
        n_train=1280,
        n_validation=1000,
        n_test=1000,
        sharp_sizes=(8, 128),
        sharp_epochs=300,
    ),
    "standard": Preset(
        5,
        "7 minutes",
        batch_sizes=(8, 16, 32, 64, 128, 256),
        epochs=15,
        n_train=2560,
        n_validation=2000,
        n_test=2000,
        sharp_sizes=(8, 32, 256),
        sharp_epochs=300,
    ),
    "full": Preset(
        10,
        "6 hours (estimated)",
        batch_sizes=(8, 16, 32, 64, 128, 256, 512, 1024),
        epochs=20,
        n_train=5120,
        n_validation=2000,
        sharp_sizes=(8, 16, 32, 64, 128, 256, 512),
        sharp_epochs=400,
    ),
}


def sections(outcomes, labels, judged):
    """The report's; imports what draws."""
    from dlip_reg.report.batch_size import batch_size_sections

    return batch_size_sections(outcomes)


def facts(preset: Preset) -> dict[str, str]:
    """How the numbers came about."""
    sizes = ", ".join(f"{size:,}" for size in preset.batch_sizes)
    return {
        "Seeds": str(preset.seeds),
        "Batch sizes": f"{sizes} and all {preset.n_train:,} training images",
        "Training": f"{preset.n_train:,} images, {preset.epochs} epochs of plain SGD; sharpness: "
        f"Adam at 0.001 until the loss stops improving (by {IMPROVEMENT:g} nats in "
        f"{preset.patience} epochs), {preset.sharp_epochs} epochs at most",
        "Learning rates": "for each batch size on its own, the rate of lowest validation loss",
        "Validation": f"{preset.n_validation:,} images, drawn by seed",
    }


def paper_sections(outcomes, labels, judged):
    """The paper check's; imports what draws."""
    from dlip_reg.report.keskar_f1 import keskar_f1_sections

    return keskar_f1_sections(outcomes)


def paper_facts(preset: keskar_f1.Preset) -> dict[str, str]:
    """How the paper check's numbers came about."""
    return {
        "Seeds": str(preset.seeds),
        "Network": "5 hidden layers of 512 with batch normalization and ReLU",
        "Training": f"{preset.n_train:,} images, Adam at 0.001, batches of {keskar_f1.SMALL} and "
        f"{keskar_f1.LARGE:,}, until the training loss has not improved by {IMPROVEMENT:g} nats "
        f"for {preset.patience} epochs, {preset.epochs} at most; at the weights of the lowest loss",
        "Sharpness": "on 10,000 training images, batch statistics over 1,000 each",
    }


KESKAR_F1 = Lab(
    name="keskar-f1",
    title="Keskar et al. 2017, network F1, run again",
    lead="Large batches end in sharp minimizers, small ones in flat ones: the paper's own network "
    "on the paper's own data, its numbers beside ours.",
    presets={
        "paper": keskar_f1.Preset(5, "30 minutes", epochs=200, patience=10),
    },
    claims=(),
    experiments=keskar_f1.experiments,
    sections=paper_sections,
    facts=paper_facts,
    default_model="mlp",
    default_dataset="mnist",
)

LAB = Lab(
    name="lab_batch_size",
    title="The batch size, measured",
    lead="Each sentence of the lecture note on the batch size, held against runs on real images: "
    "an effect, an interval over seeds, and the verdict of a rule that was fixed before the data "
    "was seen.",
    description=__doc__.splitlines()[0],
    presets=PRESETS,
    claims=CLAIMS,
    experiments=batch_size.experiments,
    sections=sections,
    facts=facts,
    default_model="mlp",
    papers={KESKAR_F1.name: KESKAR_F1},
)

if __name__ == "__main__":
    sys.exit(main(LAB))
