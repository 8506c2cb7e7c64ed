"""The configuration of a search, which must agree between the sessions in its folder."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import keras_tuner

from dlip_reg.training.identity import TRAINING_VERSION
from dlip_reg.tuning.builders import model_name
from dlip_reg.tuning.hypermodel import RegularizationHyperModel
from dlip_reg.tuning.oracles import is_adaptive

EXECUTIONS = "executions_per_trial"
_SETTINGS = ("max_epochs", "factor", "num_initial_points", "alpha", "beta")


def configuration(
    oracle: keras_tuner.Oracle, hypermodel: RegularizationHyperModel, executions: int
) -> dict[str, Any]:
    """Return the configuration of a search, without its data and training."""
    state = oracle.get_state()
    return {
        "search": type(oracle).__name__,
        "objective": oracle.objective.name,
        "oracle_seed": oracle.seed,
        **{name: str(state[name]) for name in _SETTINGS if name in state},
        "space": hypermodel.space.to_json(),
        # The proposals of an adaptive oracle depend on them.
        **({EXECUTIONS: executions} if is_adaptive(oracle) else {}),
        "model": model_name(hypermodel.model),
        "input_shape": hypermodel.input_shape,
        "classes": hypermodel.classes,
        "training": TRAINING_VERSION,
        **{name: version(name) for name in ("tensorflow", "keras", "keras-tuner")},
    }
