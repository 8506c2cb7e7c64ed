"""Searches over the L2 strengths of convolution and dense layers, separate and tied.

Both kinds of search have the same range, oracle, number of trials and seeds. Of Hyperband's trials
only those that trained all epochs are compared, because an accuracy after fewer epochs depends on
more than the strength.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from dlip_reg.datasets import dataset_info
from dlip_reg.experiments.executors import Workers
from dlip_reg.studies.regularization.arms import L2_RANGE
from dlip_reg.training.specification import DataSpec, RunSpec
from dlip_reg.tuning.hyperband import size

if TYPE_CHECKING:
    from dlip_reg.tuning.tuner import ParallelTuner


@dataclass(frozen=True)
class Preset:
    """How large the lab is.

    Args:
        seeds: The seeds of each trial, and of the final runs.
        trials: The trials of each search (see `Search.trials`).
        epochs, n_train, n_validation, n_test, batch_size, learning_rate: Of each run.
        minutes: What one separate and one tied random search take on two cores with the default
            model and data.
        folds, racing: As in `ParallelTuner`.
    """

    seeds: int
    trials: int
    epochs: int
    n_train: int
    n_validation: int
    minutes: float
    n_test: int | None = None
    batch_size: int = 32
    learning_rate: float = 2e-3
    folds: int | None = None
    racing: bool = False

    # What a `StudyPart` reads: one look at all seeds, which are not those of the searches.
    tuning_seeds = 0

    @property
    def executions(self) -> int:
        """The executions of each trial."""
        return self.seeds * (self.folds or 1)

    @property
    def looks(self) -> tuple[int]:
        """The number of seeds after which the claim is judged."""
        return (self.seeds,)

    def run(self, model: str, dataset: str) -> RunSpec:
        """Return the run that all executions are variations of: without any penalty."""
        return RunSpec(
            model=model,
            data=DataSpec(dataset, self.n_train, self.n_validation, self.n_test),
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            epochs=self.epochs,
        )


@dataclass(frozen=True)
class Search:
    """One search: the kind of its oracle, and whether both kinds of layers share a strength."""

    kind: str
    tied: bool

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.kind}_{'tied' if self.tied else 'separate'}"

    @property
    def label(self) -> str:
        """Its name in reports."""
        return self.name.replace("_", ", ")

    def trials(self, preset: Preset) -> int:
        """Return the number of trials, which is the same whether separate or tied.

        A grid has the largest square number that the preset allows, at least 4. Hyperband has
        complete brackets, and so it may have more than the preset's.
        """
        if self.kind == "hyperband":
            return size(preset.trials, preset.epochs).trials
        return _side(preset) ** 2 if self.kind == "grid" else preset.trials

    def trainings(self, preset: Preset) -> float:
        """Return the cost for each seed, in trainings of all epochs."""
        if self.kind == "hyperband":
            return size(preset.trials, preset.epochs).epochs / preset.epochs
        return self.trials(preset)

    def tuner(
        self,
        preset: Preset,
        run: RunSpec,
        workers: Workers,
        directory: Path,
        data_dir: str | None = None,
    ) -> ParallelTuner:
        """Return the tuner in its folder below `directory`; `data_dir` holds full data sets."""
        from dlip_reg.tuning.hypermodel import RegularizationHyperModel
        from dlip_reg.tuning.oracles import make_oracle
        from dlip_reg.tuning.tuner import ParallelTuner

        points = self.trials(preset) if self.tied else _side(preset)
        data = dataset_info(run.data.name, data_dir)
        hypermodel = RegularizationHyperModel(
            run.model,
            data.input_shape,
            data.classes,
            optimizer=run.optimizer,
            l1=None,
            l2=L2_RANGE,
            dropout=None,
            tied=self.tied,
            none=False,
            points=points if self.kind == "grid" else None,
            learning_rate=preset.learning_rate,
        )
        return ParallelTuner(
            make_oracle(self.kind, max_trials=self.trials(preset), max_epochs=preset.epochs),
            hypermodel,
            executions_per_trial=preset.seeds,
            folds=preset.folds,
            racing=preset.racing,
            workers=workers,
            directory=directory,
            project_name=self.name,
        )


def failure_causes(tuner: ParallelTuner) -> list[str]:
    """Return why trials failed: each cause once, without its seeds."""
    lines = [part for t in tuner.failed_trials() for part in (t.message or "").split("; seed ")]
    return sorted({line.split(": ", 1)[-1].rstrip(".") for line in lines})


def best_ratios(tuner: ParallelTuner, epochs: int) -> list[float]:
    """Return log10 of the best convolution strength over the best dense one, with each seed.

    The best trial is the most accurate, on average over folds, of those that trained all `epochs`
    with that seed.
    """
    from dlip_reg.tuning.results import execution_rows

    by_seed: dict[int, dict[int, list[dict[str, Any]]]] = {}
    for row in execution_rows(tuner):
        if row["epochs"] == epochs and row["status"] == "finished":
            by_seed.setdefault(row["seed"], {}).setdefault(row["trial"], []).append(row)

    def order(rows: list[dict[str, Any]]) -> tuple[int, float, float]:
        means = [fmean(row[name] for row in rows) for name in ("val_accuracy", "val_loss")]
        return len(rows), means[0], -means[1]  # a race may have left out folds

    best = [max(trials.values(), key=order)[0] for _, trials in sorted(by_seed.items())]
    return [math.log10(row["conv_l2"] / row["dense_l2"]) for row in best]


def trials_to_draw(tuner: ParallelTuner, epochs: int) -> list[dict[str, Any]]:
    """Return the trials as the figures accept them, in the order in which they were begun."""
    from dlip_reg.tuning.oracles import scores_of
    from dlip_reg.tuning.results import values_of

    found = []
    for trial in tuner.oracle.trials.values():
        values = trial.hyperparameters.values
        last, first = values.get("tuner/epochs", epochs), values.get("tuner/initial_epoch", 0)
        found.append(
            {
                "strengths": dict(values_of(tuner.hypermodel, trial.hyperparameters)),
                "scores": scores_of(tuner.oracle, trial),
                "whole": last == epochs,
                "cost": (last - first) / epochs,
            }
        )
    return found


def _side(preset: Preset) -> int:
    return max(2, math.isqrt(preset.trials))
