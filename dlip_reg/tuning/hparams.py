"""A search as TensorBoard's HParams plugin shows it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api

from dlip_reg.tuning.results import trials_in_order, values_of
from dlip_reg.tuning.tuner import ParallelTuner


def write_hparams(tuner: ParallelTuner, folder: str | Path) -> Path:
    """Write every execution's curve and values below `folder`, one run each; returns the folder.

    Look at them with ``tensorboard --logdir FOLDER``. Writing again adds nothing to what is there:
    an execution whose folder exists is left out, for it is whole. OSError if the folder can't be
    written.
    """
    folder, space = Path(folder), tuner.hypermodel.space
    names = [*(["batch_norm"] if space.tune_batch_norm else []), *space.names]
    if not (folder / "config").exists():
        with _writer(folder / "config"):
            api.hparams_config(
                hparams=[api.HParam(name) for name in names],
                metrics=[api.Metric(tuner.oracle.objective.name)],
            )
    for trial in trials_in_order(tuner):
        for record in tuner.executions(trial):
            seed = record.seed
            place = folder / f"trial_{trial.trial_id}" / f"execution_{seed}"
            if place.exists():
                continue
            with _writer(place):
                values = values_of(tuner.hypermodel, trial.hyperparameters)
                api.hparams(dict(values), trial_id=f"{trial.trial_id}-{seed}")
                columns = dict(vars(record.curve))
                for index, epoch in enumerate(columns.pop("epoch")):
                    for name, column in columns.items():
                        if column[index] is not None:
                            tf.summary.scalar(name, column[index], step=epoch)
    return folder


@contextlib.contextmanager
def _writer(place: Path) -> Iterator[None]:
    """Summaries go to the folder `place`, which is there once they all are."""
    aside = place.with_name(f".{place.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    writer = tf.summary.create_file_writer(str(aside))
    with writer.as_default():
        yield
    writer.close()
    aside.rename(place)
