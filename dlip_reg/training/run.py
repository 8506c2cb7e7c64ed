"""Train one specification and hand back its record.

A record is a plain dict that `json` writes and reads unchanged:

- `id`, `spec`: the run's identity and specification;
- `status`: "finished", or "diverged" when a loss or a weight became NaN or infinite, which is a
  result too;
- `measures`: flat numbers at the end of training (losses in nats, without penalty, in inference
  mode over the whole split; accuracies as shares), None where a number is not finite;
- `curves`: lists over epochs, epoch 0 being the untrained net (only if measured);
- `weights`: the rows of `callbacks.Sparsity` before and after training (only if measured);
- what `probes` and `endings` tell of, each under its own name (only if measured).

Nothing in it depends on the machine's speed; seconds are kept elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from callbacks import LossCurve, Sparsity
from callbacks.evaluation import clean_metrics, penalty
from dlip_reg.curvature import recalibrate_batch_norm
from dlip_reg.datasets import Dataset
from dlip_reg.training import probes
from dlip_reg.training.endings import check, endings, put_back
from dlip_reg.training.fitting import compiled, fit, seen_by
from dlip_reg.training.specification import RunSpec


def train(spec: RunSpec, dataset: Dataset) -> dict[str, Any]:
    """Train `spec` on `dataset` and return its record (see the module's docstring).

    The same specification and data give the same record, bit for bit, in every process set up by
    `configure_process` on one machine, whatever ran in it before.
    """
    fingerprint, dataset = dataset.fingerprint, seen_by(spec, dataset)
    check(spec, dataset)
    model = compiled(spec, dataset)
    recorders = _recorders(spec, dataset)
    watching = probes.recorders(spec, dataset, model)
    history = fit(model, spec, dataset, [*recorders.values(), *watching.values()])
    # What fit itself reports: penalty included, dropout on, and averaged over an epoch's weights.
    keras_loss = [float(loss) for loss in history.history["loss"]]
    measures = _measures(spec, dataset, model)
    # The weights, too: ReLU makes 0 of NaN, and so the loss of a broken net can be a number.
    finished = _is_finite([keras_loss, list(measures.values()), *model.get_weights()])
    parts = {name: probes.rows(recorder) for name, recorder in watching.items()}
    measures |= probes.final_measures(parts)
    if "recalibrated" in spec.measures:
        measures |= _recalibrated_measures(spec, dataset, model, finished)
    more, ended = endings(spec, dataset, model, finished)
    measures |= more
    if "curves" in recorders:
        # For the comparison; it has no value before training.
        parts["curves"] = {**recorders["curves"].history, "keras_loss": [None, *keras_loss]}
    if "weights" in recorders:
        # Last, for the net is not itself any more afterwards.
        _zero_small_weights(model, recorders["weights"])
        pruned = clean_metrics(model, dataset.x_validation, dataset.y_validation)
        measures["pruned_val_accuracy"] = pruned["accuracy"]
        parts["weights"] = {
            "threshold": recorders["weights"].threshold,
            "edges": recorders["weights"].edges,
            "rows": recorders["weights"].rows,
        }
    return _without_nan(
        {
            "id": spec.identity(fingerprint),
            "spec": spec.to_json(),
            "status": "finished" if finished else "diverged",
            "measures": measures,
            **parts,
            **ended,
        }
    )


def _recorders(spec: RunSpec, dataset: Dataset) -> dict[str, keras.callbacks.Callback]:
    recorders: dict[str, keras.callbacks.Callback] = {}
    if "curves" in spec.measures:
        recorders["curves"] = LossCurve(
            (dataset.x_train, dataset.y_train), (dataset.x_validation, dataset.y_validation)
        )
    if "weights" in spec.measures:
        recorders["weights"] = Sparsity(probe=dataset.x_validation[:256], every_n_epochs=None)
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
    with put_back(model):
        if finished:
            recalibrate_batch_norm(model, dataset.x_train)
        measures = _measures(spec, dataset, model)
    del measures["penalty"]
    return {f"recalibrated_{name}": value for name, value in measures.items()}


def _zero_small_weights(model: keras.Model, sparsity: Sparsity) -> None:
    """Set to zero what the recorder counts as near zero at the end of training."""
    for row in sparsity.rows[0]["layers"]:
        kernel = model.get_layer(row["layer"]).kernel
        weights = kernel.numpy()
        kernel.assign(np.where(np.abs(weights) < sparsity.threshold * row["rms"], 0, weights))


def _is_finite(arrays: Iterable) -> bool:
    return all(np.isfinite(array).all() for array in arrays)


def _without_nan(value):
    """`value` with every number that JSON cannot hold replaced by None."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
