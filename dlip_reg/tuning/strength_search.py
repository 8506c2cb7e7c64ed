"""The tuning lab's searches: L2 strengths of convolutions and dense layers, apart and tied.

Both cover the same range with the same oracle, number of trials and seeds. The winner of each, by
mean validation accuracy over the seeds, is trained once more with every seed and then looks at the
test set; so is the net without any penalty. Of Hyperband's trials those that trained all epochs are
compared and drawn: an accuracy after fewer epochs tells of other things than the strength.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlip_reg.datasets.sources import CLASSES, IMAGE_SHAPES
from dlip_reg.experiments.executors import Workers
from dlip_reg.experiments.experiment import Record, Spec
from dlip_reg.experiments.regularization import L2_RANGE, Outcome
from dlip_reg.regularization import Regularization
from dlip_reg.training.specification import DataSpec, RunSpec
from dlip_reg.tuning.hyperband import rounds, whole_runs
from dlip_reg.tuning.space import SearchSpace

if TYPE_CHECKING:
    from keras_tuner.engine.trial import Trial

    from dlip_reg.tuning.tuner import ParallelTuner

FINAL_MEASURES = ("curves", "test")


@dataclass(frozen=True)
class Preset:
    """How large the lab is, and how long that takes on two cores with the default model and data.

    `trials` are those that each search is to have (see `Search.trials`), `executions` the seeds of
    each trial. `minutes` are those of one random search apart and one tied; `measured` tells
    whether somebody has waited for them.
    """

    executions: int
    trials: int
    epochs: int
    n_train: int
    n_validation: int
    minutes: float
    measured: bool = False
    n_test: int | None = None
    batch_size: int = 32
    learning_rate: float = 2e-3

    def run(self, model: str, dataset: str) -> RunSpec:
        """The run that all executions are variations of: without any penalty."""
        return RunSpec(
            model=model,
            data=DataSpec(dataset, self.n_train, self.n_validation, self.n_test),
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            epochs=self.epochs,
        )


@dataclass(frozen=True)
class Search:
    """One search: with which kind of oracle, and whether both kinds of layers share a strength."""

    kind: str
    tied: bool

    @property
    def name(self) -> str:
        """That of its folder."""
        return f"{self.kind}_{'tied' if self.tied else 'separate'}"

    @property
    def label(self) -> str:
        """What people call it."""
        return f"{self.kind}, {'tied' if self.tied else 'apart'}"

    def trials(self, preset: Preset) -> int:
        """How many trials it has: apart or tied the same number.

        A grid has the largest square number that the preset allows, at least 4. Hyperband runs
        whole, and so may have more than the preset's.
        """
        if self.kind == "grid":
            return _side(preset) ** 2
        if self.kind == "hyperband":
            whole = sum(part.trials for part in rounds(preset.epochs))
            return whole * whole_runs(preset.trials, preset.epochs)
        return preset.trials

    def trainings(self, preset: Preset) -> float:
        """How many trainings of all epochs its trials cost each seed."""
        if self.kind != "hyperband":
            return self.trials(preset)
        parts = rounds(preset.epochs)
        epochs = sum(part.trials * (part.epochs - part.initial_epoch) for part in parts)
        return whole_runs(preset.trials, preset.epochs) * epochs / preset.epochs

    def space(self, preset: Preset) -> SearchSpace:
        """The range; for a grid with as many points as come to its trials."""
        points = None
        if self.kind == "grid":
            points = self.trials(preset) if self.tied else _side(preset)
        return SearchSpace(
            l1=None,
            l2=L2_RANGE,
            dropout=None,
            tied=self.tied,
            none=False,
            points=points,
            learning_rate=preset.learning_rate,
        )

    def tuner(
        self,
        preset: Preset,
        run: RunSpec,
        workers: Workers,
        directory: Path,
    ) -> ParallelTuner:
        """The tuner in its folder below `directory`."""
        from dlip_reg.tuning.hypermodel import RegularizationHyperModel
        from dlip_reg.tuning.oracles import make_oracle
        from dlip_reg.tuning.tuner import ParallelTuner

        space, shape = vars(self.space(preset)), IMAGE_SHAPES[run.data.name]
        return ParallelTuner(
            make_oracle(self.kind, max_trials=self.trials(preset), max_epochs=preset.epochs),
            RegularizationHyperModel(run.model, shape, CLASSES, optimizer=run.optimizer, **space),
            executions_per_trial=preset.executions,
            workers=workers,
            directory=directory,
            project_name=self.name,
        )


def finals(run: RunSpec, strengths: Regularization | None, seeds: int) -> list[RunSpec]:
    """The runs that look at the test set: of a winner, or none where there is none."""
    if strengths is None:
        return []
    run = replace(run, regularization=strengths, measures=FINAL_MEASURES)
    return [replace(run, seed=seed) for seed in range(seeds)]


def strengths_of(best: Mapping[str, Any] | None) -> Regularization | None:
    """Those of a winner, as `best_json` tells of it."""
    return None if best is None else Regularization.from_json(best["regularization"])


def errors(tuner: ParallelTuner) -> list[str]:
    """Why trials failed, each cause once, without the seeds that met it."""
    lines = [part for t in tuner.failed_trials() for part in (t.message or "").split("; seed ")]
    return sorted({line.split(": ", 1)[-1].rstrip(".") for line in lines})


def whole_trials(tuner: ParallelTuner, epochs: int) -> list[Trial]:
    """The completed trials that trained all `epochs`, in the order they were begun."""
    from dlip_reg.tuning.results import epochs_of, trials_in_order

    return [trial for trial in trials_in_order(tuner) if epochs_of(trial) == epochs]


def outcome(
    tuner: ParallelTuner, epochs: int, specs: Sequence[RunSpec], records: Mapping[Spec, Record]
) -> dict[int, Outcome]:
    """What the search did with each seed, as the claims read it."""
    by_seed = {spec.seed: records.get(spec) for spec in specs}
    trials: dict[int, list[Record]] = {n: [] for n in range(tuner.executions_per_trial)}
    for trial in whole_trials(tuner, epochs):
        for record in tuner.executions(trial):
            trials[record["spec"]["seed"]].append(record)
    return {seed: Outcome(tuple(found), by_seed.get(seed)) for seed, found in trials.items()}


def drawn(tuner: ParallelTuner, epochs: int) -> list[dict[str, Any]]:
    """The trials as the figures take them, in the order they were begun."""
    from dlip_reg.tuning.results import scores_of, trials_in_order, values_of

    found = []
    for trial in trials_in_order(tuner):
        values = trial.hyperparameters.values
        last, first = values.get("tuner/epochs", epochs), values.get("tuner/initial_epoch", 0)
        found.append(
            {
                "strengths": dict(values_of(tuner.hypermodel, trial.hyperparameters)),
                "scores": scores_of(tuner, trial),
                "whole": last == epochs,
                "cost": (last - first) / epochs,
            }
        )
    return found


def _side(preset: Preset) -> int:
    return max(2, math.isqrt(preset.trials))
