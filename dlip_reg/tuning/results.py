"""A search's results as rows of tables, and the best trial as a line of Python."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import keras_tuner

from dlip_reg.regularization import Regularization
from dlip_reg.training.model_functions import is_function
from dlip_reg.tuning.hypermodel import RegularizationHyperModel
from dlip_reg.tuning.oracles import scores_of
from dlip_reg.tuning.tuner import ParallelTuner


def trial_rows(tuner: ParallelTuner) -> list[dict[str, Any]]:
    """One row a trial, in the order they were begun: status, score, values, and error if it failed.

    `score` is the mean over `executions` after `epochs` epochs (of a trial that a race stopped, the
    mean that is expected over all of them), `score_sd` their standard deviation; a strength that is
    absent is 0. Nothing in them depends on when or how fast a trial ran, but for
    which trials a race stopped.
    """
    rows = []
    for trial in tuner.oracle.trials.values():
        scores = scores_of(tuner.oracle, trial)
        values = trial.hyperparameters.values.items()
        row = {
            "trial": int(trial.trial_id),
            "status": trial.status.lower(),
            "score": trial.score,
            "score_sd": statistics.stdev(scores) if len(scores) > 1 else None,
            "executions": len(scores),
            "epochs": trial.best_step if scores else None,
        }
        row |= _columns(row, values_of(tuner.hypermodel, trial.hyperparameters))
        row |= {name: value for name, value in values if name.startswith("tuner/")}
        rows.append({**row, "error": (trial.message or "").partition("\n")[0].strip()})
    return rows


def execution_rows(tuner: ParallelTuner) -> list[dict[str, Any]]:
    """One row an execution, by trial, seed and fold: its score, and the last values of its curves.

    `ParallelTuner.executions` has the whole curves.
    """
    rows = []
    for trial in tuner.oracle.trials.values():
        for record in tuner.executions(trial):
            row = {
                "trial": int(trial.trial_id),
                "seed": record.seed,
                **({"fold": record.fold} if tuner.folds else {}),
                "id": record.id,
                "status": record.status,
                "score": record.score,
                "epochs": record.epochs,
                **{n: c[-1] for n, c in record.curve.items() if not n.startswith("clean_")},
                # In place of Keras' own, which have the penalty in them.
                **{n[6:]: c[-1] for n, c in record.curve.items() if n.startswith("clean_")},
            }
            values = values_of(tuner.hypermodel, trial.hyperparameters)
            rows.append(row | _columns(row, values))
    return rows


def _columns(row: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of hyperparameters by columns; "hp_loss" for "loss" where the row has a loss."""
    return {f"hp_{name}" if name in row else name: value for name, value in values.items()}


def best_json(tuner: ParallelTuner) -> dict[str, Any] | None:
    """Return the best trial: values, strengths, scores, and `python`, which rebuilds a named model.

    None if no trial has a score.
    """
    best = tuner.oracle.get_best_trials(1)
    if not best:
        return None
    hp = best[0].hyperparameters
    hypermodel = tuner.hypermodel
    strengths = hypermodel.regularization(hp)
    return {
        "trial": int(best[0].trial_id),
        "objective": tuner.oracle.objective.name,
        "score": best[0].score,
        "scores": scores_of(tuner.oracle, best[0]),
        "epochs": best[0].best_step,
        "hyperparameters": dict(hp.values),
        "regularization": strengths.to_json(),
        "learning_rate": hypermodel.learning_rate(hp),
        "python": _python_line(hypermodel, strengths),
    }


def _python_line(hypermodel: RegularizationHyperModel, strengths: Regularization) -> str:
    """One line of Python, its imports included, after which `model` is the model, not compiled.

    "" for a model without a name.
    """
    if not isinstance(hypermodel.model, str):
        return ""
    changed = {
        field.name: value
        for field in fields(strengths)
        if (value := getattr(strengths, field.name)) != field.default
    }
    parts = ", ".join(f"{name}={value!r}" for name, value in changed.items())
    options = f"Regularization({parts}).builder_options()"
    module, function = "dlip_reg.models", hypermodel.model
    if is_function(function):  # which need not accept the options that are not used
        module, function = function.split(":")
        used = sorted(strengths.options_in_use())
        options = f"{{k: v for k, v in {options}.items() if k in {used!r}}}"
    shape = f"input_shape={hypermodel.input_shape!r}, classes={hypermodel.classes!r}"
    return (
        f"from {module} import {function}; from dlip_reg.regularization import Regularization; "
        f"model = {function}({shape}, **{options})"
    )


def values_of(
    hypermodel: keras_tuner.HyperModel, hp: keras_tuner.HyperParameters
) -> Mapping[str, Any]:
    """What a trial searched, by name; a strength that is absent is 0."""
    if isinstance(hypermodel, RegularizationHyperModel):
        return hypermodel.searched(hp)
    return {name: value for name, value in hp.values.items() if not name.startswith("tuner/")}
