"""Train one specification and return its record; see `dlip_reg.training.records`."""

from __future__ import annotations

import keras
import numpy as np

from callbacks import Sparsity
from callbacks.evaluation import clean_metrics
from callbacks.layers import kernel_layers
from dlip_reg.clean_loss import penalty
from dlip_reg.curvature import recalibrate_batch_norm
from dlip_reg.datasets import Dataset
from dlip_reg.training import probes
from dlip_reg.training.endings import check, endings, preserve_weights
from dlip_reg.training.fitting import compiled, fit
from dlip_reg.training.records import Record, make_record
from dlip_reg.training.specification import RunSpec


def train(spec: RunSpec, dataset: Dataset) -> Record:
    """Train what a specification describes, and record what it asks to measure.

    The same specification and data give the same record, bit for bit, in every process set up by
    `configure_process` on one machine, whatever ran in it before.

    Args:
        spec: The run.
        dataset: The data that `spec.data` describes, as `load_dataset` gives it.

    Returns:
        The record of the run.

    Raises:
        ValueError: The model cannot be built, or the data does not fit what is to be measured.
    """
    check(spec, dataset)
    model = compiled(spec, dataset)
    recorders = probes.recorders(spec, dataset, model)
    history = fit(model, spec, dataset, recorders.values())
    # What fit itself reports: penalty included, dropout on, and averaged over an epoch's weights.
    keras_loss = [float(loss) for loss in history.history["loss"]]
    measures = _measures(spec, dataset, model)
    # The weights, too: ReLU makes 0 of NaN, and so the loss of a broken net can be a number.
    numbers = [keras_loss, list(measures.values()), *model.get_weights()]
    finished = all(np.isfinite(array).all() for array in numbers)
    parts = probes.parts(recorders, keras_loss)
    if "curvature" in parts:
        measures |= {name: parts["curvature"][-1][name] for name in probes.CURVATURE}
    if "recalibrated" in spec.measures:
        measures |= _recalibrated_measures(spec, dataset, model, finished)
    if "weights" in recorders:
        measures["pruned_accuracy"] = _pruned_accuracy(spec, dataset, model, recorders["weights"])
    if finished:  # other weights may be NaN
        more, ended = endings(spec, dataset, model)
        measures |= more
        parts |= ended
    return make_record(spec, dataset.fingerprint, finished, measures=measures, **parts)


def _measures(spec: RunSpec, dataset: Dataset, model: keras.Model) -> dict[str, float]:
    splits = {"val": (dataset.x_validation, dataset.y_validation)}
    if "curves" in spec.measures:
        splits["train"] = (dataset.x_train, dataset.y_train)
    if "test" in spec.measures:
        splits["test"] = (dataset.x_test, dataset.y_test)
    measures = {
        f"{split}_{name}": value
        for split, (x, y) in splits.items()
        for name, value in clean_metrics(model, x, y).items()
    }
    return {**measures, "penalty": float(penalty(model))}


def _recalibrated_measures(
    spec: RunSpec, dataset: Dataset, model: keras.Model, finished: bool
) -> dict[str, float]:
    """The measures with batch-norm statistics re-estimated on the training images.

    Moving ones lag behind the weights where an epoch has few steps.
    """
    with preserve_weights(model):
        if finished:
            recalibrate_batch_norm(model, dataset.x_train)
        measures = _measures(spec, dataset, model)
    del measures["penalty"]
    return {f"recalibrated_{name}": value for name, value in measures.items()}


def _pruned_accuracy(
    spec: RunSpec, dataset: Dataset, model: keras.Model, sparsity: Sparsity
) -> float:
    """The accuracy without the weights that the recorder counts as near zero at the end."""
    with preserve_weights(model):
        layers = kernel_layers(model)
        for row in sparsity.rows[-1]["layers"]:
            kernel = layers[row["layer"]][1].kernel
            weights = kernel.numpy()
            kernel.assign(np.where(np.abs(weights) < sparsity.threshold * row["rms"], 0, weights))
        if "test" in spec.measures:
            return clean_metrics(model, dataset.x_test, dataset.y_test)["accuracy"]
        return clean_metrics(model, dataset.x_validation, dataset.y_validation)["accuracy"]
