"""One search of L2 strengths, with `dlip_reg.tuning`: its size, its best trial, what to draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from dlip_reg.datasets import dataset_info
from dlip_reg.regularization import L2_RANGE
from dlip_reg.studies.workspace import UsageError
from dlip_reg.training.specification import RunSpec

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


class Search:
    """One search: the kind of its oracle, and whether both kinds of layers share a strength.

    Attributes:
        name: The name of its folder.
        label: Its name in reports.
        trials: The number of trials, which is the same whether separate or tied. A grid has the
            largest square number that the preset allows, at least 4. Hyperband has complete
            brackets, and so it may have more than the preset's.
        trainings: The cost for each seed, in trainings of all epochs.
        tuner: The search itself, once `open` was called.
        best: The best trial, as in best.json; None if no trial has a score.
    """

    tuner: ParallelTuner
    best: dict[str, Any] | None = None

    def __init__(self, kind: str, tied: bool, preset: Preset, run: RunSpec) -> None:
        from dlip_reg.tuning.oracles import hyperband_size

        self.kind, self.tied, self.preset, self.run = kind, tied, preset, run
        layout = "tied" if tied else "separate"
        self.name, self.label = f"{kind}_{layout}", f"{kind}, {layout}"
        self._side = max(2, math.isqrt(preset.trials))
        self.trials = self._side**2 if kind == "grid" else preset.trials
        self.trainings: float = self.trials
        if kind == "hyperband":
            size = hyperband_size(preset.trials, preset.epochs)
            self.trials, self.trainings = size.trials, size.epochs / preset.epochs

    def open(self, workers: Any, directory: Path, data_dir: str | None = None) -> None:
        """Make the tuner in its folder below `directory`; `data_dir` holds full data sets.

        Raises:
            UsageError: The folder holds more trials, which would not be the same budget.
        """
        from dlip_reg.tuning import ParallelTuner, RegularizationHyperModel, make_oracle

        preset, run = self.preset, self.run
        points = self.trials if self.tied else self._side
        data = dataset_info(run.data.name, data_dir, size=run.data.size)
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
        self.tuner = ParallelTuner(
            make_oracle(self.kind, max_trials=self.trials, max_epochs=preset.epochs),
            hypermodel,
            executions_per_trial=preset.seeds,
            folds=preset.folds,
            racing=preset.racing,
            workers=workers,
            directory=directory,
            project_name=self.name,
        )
        if (held := len(self.tuner.oracle.trials)) > self.trials:
            raise UsageError(
                f"{self.tuner.project_dir} holds {held} trials already; give --max-trials {held} "
                "or more, or another --out."
            )

    def left(self) -> float:
        """Return how many trainings of all epochs, for each seed, an earlier session has left."""
        done = 0.0
        for trial, drawn in zip(
            self.tuner.oracle.trials.values(), self.trials_to_draw(), strict=True
        ):
            made = len(self.tuner.executions(trial)) / self.preset.executions
            done += drawn["cost"] * (made if trial.status == "RUNNING" else 1)
        return max(self.trainings - done, 0.0)

    def failure_causes(self) -> list[str]:
        """Return why trials failed: each cause once, without its seeds."""
        messages = [trial.message or "" for trial in self.tuner.failed_trials()]
        lines = [line for message in messages for line in message.split("; seed ")]
        return sorted({line.split(": ", 1)[-1].rstrip(".") for line in lines})

    def best_ratios(self) -> list[float]:
        """Return log10 of the best convolution strength over the best dense one, with each seed.

        The best trial is the most accurate, on average over folds, of those that trained all epochs
        with that seed: after fewer epochs an accuracy depends on more than the strength.
        """
        from dlip_reg.tuning.results import execution_rows

        by_seed: dict[int, dict[int, list[dict[str, Any]]]] = {}
        for row in execution_rows(self.tuner):
            if row["epochs"] == self.preset.epochs and row["status"] == "finished":
                by_seed.setdefault(row["seed"], {}).setdefault(row["trial"], []).append(row)

        def order(rows: list[dict[str, Any]]) -> tuple[int, float, float]:
            means = [fmean(row[name] for row in rows) for name in ("val_accuracy", "val_loss")]
            return len(rows), means[0], -means[1]  # a race may have left out folds

        best = [max(trials.values(), key=order)[0] for _, trials in sorted(by_seed.items())]
        return [math.log10(row["conv_l2"] / row["dense_l2"]) for row in best]

    def trials_to_draw(self) -> list[dict[str, Any]]:
        """Return the trials as the figures accept them, in the order in which they were begun."""
        from dlip_reg.tuning.oracles import scores_of
        from dlip_reg.tuning.results import values_of

        found, epochs = [], self.preset.epochs
        for trial in self.tuner.oracle.trials.values():
            values = trial.hyperparameters.values
            last, first = values.get("tuner/epochs", epochs), values.get("tuner/initial_epoch", 0)
            found.append(
                {
                    "strengths": dict(values_of(self.tuner.hypermodel, trial.hyperparameters)),
                    "scores": scores_of(self.tuner.oracle, trial),
                    "whole": last == epochs,
                    "cost": (last - first) / epochs,
                }
            )
        return found
