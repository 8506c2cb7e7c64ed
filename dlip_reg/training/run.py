"""Train one specification and return its record; see `dlip_reg.training.records`."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np

from callbacks import LossCurve, Sparsity
from callbacks.evaluation import clean_metrics, penalty
from callbacks.layers import kernel_layers
from dlip_reg.curvature import recalibrate_batch_norm
from dlip_reg.datasets import Dataset
from dlip_reg.training import levels, probes
from dlip_reg.training.endings import check, endings, preserve_weights
from dlip_reg.training.fitting import apply_data_options, compiled, fit
from dlip_reg.training.records import Record, make_record
from dlip_reg.training.specification import RunSpec

# A curve of the test loss takes as long as the training it watches; these are enough to draw it.
# The measures at the end are on all test images.
CURVE_TEST_IMAGES = 1000


def train(spec: RunSpec, dataset: Dataset) -> Record:
    """Train `spec` on `dataset` and return its record.

    The same specification and data give the same record, bit for bit, in every process set up by
    `configure_process` on one machine, whatever ran in it before.

    Raises:
        ValueError: The model cannot be built, or the data does not fit what is to be measured.
    """
    fingerprint, dataset = dataset.fingerprint, apply_data_options(spec, dataset)
    check(spec, dataset)
    model = compiled(spec, dataset)
    recorders = _recorders(spec, dataset)
    watching = probes.recorders(spec, dataset, model)
    at_levels = levels.recorders(spec, dataset)
    history = fit(model, spec, dataset, [*recorders.values(), *watching.values(), *at_levels])
    # What fit itself reports: penalty included, dropout on, and averaged over an epoch's weights.
    keras_loss = [float(loss) for loss in history.history["loss"]]
    measures = _measures(spec, dataset, model)
    # The weights, too: ReLU makes 0 of NaN, and so the loss of a broken net can be a number.
    finished = _is_finite([keras_loss, list(measures.values()), *model.get_weights()])
    parts = {name: probes.rows(recorder) for name, recorder in watching.items()}
    parts["levels"] = [row for recorder in at_levels for row in recorder.rows]
    measures |= probes.final_measures(parts)
    if "recalibrated" in spec.measures:
        measures |= _recalibrated_measures(spec, dataset, model, finished)
    more, ended = endings(spec, dataset, model, finished)
    measures |= more
    if "curves" in recorders:
        # For the comparison; it has no value before training.
        parts["curves"] = {**recorders["curves"].history, "keras_loss": [None, *keras_loss]}
    if "weights" in recorders:
        sparsity = recorders["weights"]
        with preserve_weights(model):
            _zero_small_weights(model, sparsity)
            split = "test" if "test" in spec.measures else "validation"
            images = getattr(dataset, f"x_{split}"), getattr(dataset, f"y_{split}")
            measures["pruned_accuracy"] = clean_metrics(model, *images)["accuracy"]
        parts["weights"] = {
            "threshold": sparsity.threshold,
            "edges": sparsity.edges,
            "rows": [
                {
                    "epoch": row["epoch"],
                    "layers": row["layers"],
                    "kinds": row["kinds"] or {},
                    "activations": row["activations"],
                }
                for row in sparsity.rows
            ],
        }
    return make_record(spec, fingerprint, finished, measures=measures, **parts, **ended)


def _recorders(spec: RunSpec, dataset: Dataset) -> dict[str, keras.callbacks.Callback]:
    recorders: dict[str, keras.callbacks.Callback] = {}
    if "curves" in spec.measures:
        test = None
        if "test" in spec.measures:
            test = dataset.x_test[:CURVE_TEST_IMAGES], dataset.y_test[:CURVE_TEST_IMAGES]
        recorders["curves"] = LossCurve(
            (dataset.x_train, dataset.y_train),
            (dataset.x_validation, dataset.y_validation),
            test=test,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    if "weights" in spec.measures:
        recorders["weights"] = Sparsity(probe=dataset.x_validation[:256])
    return recorders


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
    return {**measures, "penalty": penalty(model)}


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


def _zero_small_weights(model: keras.Model, sparsity: Sparsity) -> None:
    """Set to zero what the recorder counts as near zero at the end of training."""
    layers = kernel_layers(model)
    for row in sparsity.rows[-1]["layers"]:
        kernel = layers[row["layer"]][1].kernel
        weights = kernel.numpy()
        kernel.assign(np.where(np.abs(weights) < sparsity.threshold * row["rms"], 0, weights))


def _is_finite(arrays: Iterable) -> bool:
    return all(np.isfinite(array).all() for array in arrays)
