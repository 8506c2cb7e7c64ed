"""The sigmoid net of Ioffe & Szegedy 2015, section 4.1: in the lab at its size, and as they ran it.

3 hidden layers of 100 sigmoids, batches of 60, small Gaussian weights, with and without batch norm.
Neither the Gaussian's width nor the optimizer is in the paper: here plain SGD at one constant rate
for both nets.
"""

from __future__ import annotations

from dataclasses import dataclass

from dlip_reg.experiments.experiment import Experiment, Steps
from dlip_reg.regularization import Regularization
from dlip_reg.training.specification import DataSpec, RunSpec

ARMS = {"plain": False, "bn": True}
STANDARD_DEVIATION = 0.1
LEARNING_RATE = 0.5
BATCH_SIZE = 60


@dataclass(frozen=True)
class Preset:
    """The paper check's one size: 926 steps an epoch, 50,004 in all."""

    seeds: int
    duration: str
    epochs: int = 54
    n_train: int = 55_560
    n_validation: int = 4_440
    n_test: int | None = None


def experiments(preset: Preset, model: str, dataset: str) -> list[Experiment]:
    """One experiment, "sigmoid"."""
    data = DataSpec(dataset, preset.n_train, preset.n_validation, preset.n_test)
    return [sigmoid_experiment(data, preset.epochs, preset.seeds, model=model, test=True)]


def sigmoid_experiment(
    data: DataSpec, epochs: int, seeds: int, *, model: str = "mlp", test: bool = False
) -> Experiment:
    """Outcome: arm -> seed -> record, with "curves" and "percentiles"."""
    measures = ("curves", "percentiles", *(["test"] if test else []))
    builder = {
        "activation": "sigmoid",
        "kernel_initializer": {
            "class_name": "RandomNormal",
            "config": {"stddev": STANDARD_DEVIATION},
        },
        **({"hidden": [100] * 3} if model == "mlp" else {}),
    }
    specs = {
        arm: {
            seed: RunSpec(
                model=model,
                data=data,
                regularization=Regularization(batch_norm=batch_norm),
                builder=builder,
                optimizer="sgd",
                learning_rate=LEARNING_RATE,
                batch_size=BATCH_SIZE,
                epochs=epochs,
                seed=seed,
                measures=measures,
            )
            for seed in range(seeds)
        }
        for arm, batch_norm in ARMS.items()
    }

    def steps() -> Steps:
        records = yield [spec for by_seed in specs.values() for spec in by_seed.values()]
        return {
            arm: {seed: records.get(spec) for seed, spec in by_seed.items()}
            for arm, by_seed in specs.items()
        }

    return Experiment("sigmoid", "inputs of the last sigmoids", 2 * seeds, steps)
