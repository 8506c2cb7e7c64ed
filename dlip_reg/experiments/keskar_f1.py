"""The network F1 of Keskar et al. 2017, trained with small and with large batches on full MNIST."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dlip_reg.experiments.experiment import Experiment, Steps
from dlip_reg.experiments.rate_search import run_cells
from dlip_reg.regularization import Regularization
from dlip_reg.training.specification import DataSpec, RunSpec

SMALL, LARGE = 256, 5999  # a tenth of the training images (section 2.1)
# What the paper prints, (mean, standard deviation or None): test accuracy in % (table 2), sharpness
# in full space (table 3) and in 100 random dimensions (table 4).
PAPER: dict[int, dict[str, tuple[float, float | None]]] = {
    SMALL: {
        "test_accuracy": (98.03, None),
        "keskar_1e-3": (1.23, 0.83),
        "keskar_5e-4": (0.61, None),
        "keskar_subspace_1e-3": (0.11, None),
    },
    LARGE: {
        "test_accuracy": (97.81, None),
        "keskar_1e-3": (205.14, 69.52),
        "keskar_5e-4": (42.90, None),
        "keskar_subspace_1e-3": (9.22, None),
    },
}


@dataclass(frozen=True)
class Preset:
    """The paper check's one size: 5 seeds of each batch size, `epochs` at most.

    Training stops when the loss over the training images has not improved by 1e-4 nats for
    `patience` epochs.
    """

    seeds: int
    duration: str
    epochs: int
    patience: int
    # All but one of each class: the runs never look at validation images.
    n_train: int = 59_990
    n_validation: int = 10
    n_test: int | None = None


def experiments(preset: Preset, model: str, dataset: str) -> list[Experiment]:
    """One experiment, "f1"."""
    run = RunSpec(
        model=model,
        data=DataSpec(dataset, preset.n_train, preset.n_validation, preset.n_test),
        regularization=Regularization(batch_norm=True),
        builder={"hidden": [512] * 5} if model == "mlp" else {},
        optimizer="adam",
        epochs=preset.epochs,
        patience=preset.patience,
        measures=("test", "keskar", "recalibrated"),
    )
    seeds = range(preset.seeds)
    steps = functools.partial(_steps, run, seeds)
    return [Experiment("f1", "Keskar's network F1", 2 * preset.seeds, steps)]


def _steps(run: RunSpec, seeds: Sequence[int]) -> Steps:
    """Outcome: batch size -> seed -> record."""
    runs = {size: replace(run, batch_size=size) for size in (SMALL, LARGE)}
    return (yield from run_cells({"f1": runs}, seeds))["f1"]
