"""A search's results as rows of tables, and the best trial as a line of Python."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial

from dlip_reg.regularization import Regularization
from dlip_reg.training.model_functions import is_function
from dlip_reg.tuning.builders import unwrapped
from dlip_reg.tuning.execution_record import ExecutionCurve
from dlip_reg.tuning.hypermodel import RegularizationHyperModel
from dlip_reg.tuning.tuner import ParallelTuner


def trials_in_order(tuner: ParallelTuner) -> list[Trial]:
    """All trials in the order they were begun."""
    return sorted(tuner.oracle.trials.values(), key=lambda trial: int(trial.trial_id))


def trial_rows(tuner: ParallelTuner) -> list[dict[str, Any]]:
    """One row a trial, in the order they were begun: status, score, values, and error if it failed.

    `score` is the mean over executions after `epochs` epochs, `score_sd` their standard deviation;
    a strength that is absent is 0. Nothing in them depends on when or how fast a trial ran.
    """
    rows = []
    for trial in trials_in_order(tuner):
        values = trial.hyperparameters.values
        scores = scores_of(tuner, trial)
        rows.append(
            {
                "trial": int(trial.trial_id),
                "status": trial.status.lower(),
                "score": trial.score,
                "score_sd": _deviation(scores),
                "epochs": epochs_of(trial),
                **values_of(tuner.hypermodel, trial.hyperparameters),
                **{name: value for name, value in values.items() if name.startswith("tuner/")},
                "error": _first_line(trial.message or ""),
            }
        )
    return rows


def execution_rows(tuner: ParallelTuner) -> list[dict[str, Any]]:
    """One row an execution, by trial and seed: its score, and what it ended with."""
    objective = tuner.oracle.objective.name
    rows = []
    for trial in trials_in_order(tuner):
        for record in tuner.executions(trial):
            rows.append(
                {
                    "trial": int(trial.trial_id),
                    "seed": record.seed,
                    "id": record.id,
                    "status": record.status,
                    "score": getattr(record.curve, objective)[-1],
                    "val_loss": record.measures.val_loss,
                    "val_accuracy": record.measures.val_accuracy,
                    "epochs": len(record.curve.epoch),
                    "best_epoch": _best_epoch(record.curve, tuner.oracle.objective),
                    **values_of(tuner.hypermodel, trial.hyperparameters),
                }
            )
    return rows


def scores_of(tuner: ParallelTuner, trial: Trial) -> list[float]:
    """The score of every execution of a completed trial, by seed; none for another trial."""
    name = tuner.oracle.objective.name
    return list(trial.metrics.get_history(name)[-1].value) if trial.metrics.exists(name) else []


def epochs_of(trial: Trial) -> int | None:
    """After how many epochs a completed trial has its score; None for another trial."""
    return None if trial.score is None else trial.best_step


def best_json(tuner: ParallelTuner) -> dict[str, Any] | None:
    """Return the best trial: values, strengths, scores, and `python`, which rebuilds its model.

    None if no trial has a score.
    """
    best = tuner.oracle.get_best_trials(1)
    if not best:
        return None
    hp = best[0].hyperparameters
    strengths = tuner.hypermodel.regularization(hp)
    return {
        "trial": int(best[0].trial_id),
        "objective": tuner.oracle.objective.name,
        "score": best[0].score,
        "scores": scores_of(tuner, best[0]),
        "epochs": epochs_of(best[0]),
        "hyperparameters": dict(hp.values),
        "regularization": strengths.to_json(),
        "learning_rate": tuner.hypermodel.learning_rate(hp),
        "python": python_line(tuner.hypermodel, strengths),
    }


def python_line(
    hypermodel: RegularizationHyperModel, strengths: Regularization, name: str = "model"
) -> str:
    """One line of Python, its imports included, after which `name` is the model, not compiled."""
    default = Regularization()
    parts = ", ".join(
        f"{field.name}={getattr(strengths, field.name)!r}"
        for field in fields(strengths)
        if getattr(strengths, field.name) != getattr(default, field.name)
    )
    value = f"Regularization({parts})"
    imports = "from dlip_reg.regularization import Regularization"
    if isinstance(hypermodel.model, str) and is_function(hypermodel.model):
        module, function = hypermodel.model.split(":")
        imports = f"from {module} import {function}"
        imports += "; from dlip_reg.regularization import Regularization"
        used = sorted(strengths.options_in_use())
        call = (
            f"{function}(input_shape={tuple(hypermodel.input_shape)!r}, "
            f"classes={hypermodel.classes!r}, **{hypermodel.builder!r}, "
            f"**{{k: v for k, v in {value}.builder_options().items() if k in {used!r}}})"
        )
    elif isinstance(hypermodel.model, str):
        imports += f"; from dlip_reg.models import {hypermodel.model}"
        options = f"**{value}.builder_options()"
        if hypermodel.builder:
            options += f", **{hypermodel.builder!r}"
        shape = tuple(hypermodel.input_shape)
        call = f"{hypermodel.model}({shape!r}, {hypermodel.classes!r}, {options})"
    else:
        function, arguments, keywords = unwrapped(hypermodel.model)
        parts = [*map(repr, arguments), value, *(f"{k}={v!r}" for k, v in keywords.items())]
        imports += f"; from {function.__module__} import {function.__qualname__.partition('.')[0]}"
        call = f"{function.__qualname__}({', '.join(parts)})"
    return f"{imports}; {name} = {call}"


def values_of(
    hypermodel: RegularizationHyperModel, hp: keras_tuner.HyperParameters
) -> Mapping[str, Any]:
    """What a trial searched, by name; a strength that is absent is 0."""
    values = hp.values
    found = {"batch_norm": values["batch_norm"]} if "batch_norm" in values else {}
    return found | {name: values.get(name, 0.0) for name in hypermodel.space.names}


def _best_epoch(curve: ExecutionCurve, objective: keras_tuner.Objective) -> int | None:
    """The epoch that keras-tuner itself would have chosen."""
    scores = getattr(curve, objective.name)
    pairs = [p for p in zip(scores, curve.epoch, strict=True) if p[0] is not None]
    sign = -1 if objective.direction == "max" else 1
    return min(pairs, key=lambda pair: (sign * pair[0], pair[1]))[1] if pairs else None


def _deviation(values: list[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def _first_line(text: str) -> str:
    return text.partition("\n")[0].strip()
