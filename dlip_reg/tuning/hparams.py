"""A search as TensorBoard's HParams plugin shows it."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api

from dlip_reg.tuning.results import trials_in_order
from dlip_reg.tuning.tuner import ParallelTuner


def write_hparams(tuner: ParallelTuner, folder: str | Path) -> Path:
    """Write every execution's curve and values below `folder`, one run each; returns the folder.

    Look at them with ``tensorboard --logdir FOLDER``. Writing again adds nothing to what is there:
    an execution whose folder exists is left out. OSError if the folder can't be written.
    """
    folder = Path(folder)
    objective = tuner.oracle.objective.name
    config = folder / "config"
    if not config.exists():
        with tf.summary.create_file_writer(str(config)).as_default():
            api.hparams_config(
                hparams=[api.HParam(name) for name in tuner.hypermodel.space.names],
                metrics=[api.Metric(objective)],
            )
    for trial in trials_in_order(tuner):
        for record in tuner.executions(trial):
            place = folder / f"trial_{trial.trial_id}" / f"execution_{record['spec']['seed']}"
            if place.exists():
                continue
            strengths = {
                name: trial.hyperparameters.values.get(name, 0.0)
                for name in tuner.hypermodel.space.names
            }
            with tf.summary.create_file_writer(str(place)).as_default():
                api.hparams(strengths, trial_id=f"{trial.trial_id}-{record['spec']['seed']}")
                curve = record["curve"]
                for index, epoch in enumerate(curve["epoch"]):
                    for name in curve:
                        if name != "epoch" and curve[name][index] is not None:
                            tf.summary.scalar(name, curve[name][index], step=epoch)
    return folder
