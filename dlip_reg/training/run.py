"""Train one specification and hand back its record.

A record is a plain dict that `json` writes and reads unchanged:

- `id`, `spec`: the run's identity and specification;
- `status`: "finished", or "diverged" when a loss or a weight became NaN or infinite, which is a
  result too;
- `measures`: flat numbers at the end of training (losses in nats, without penalty, in inference
  mode over the whole split; accuracies as shares), None where a number is not finite;
- `curves`: lists over epochs, epoch 0 being the untrained net (only if measured);
- `weights`: the rows of `callbacks.Sparsity` before and after training (only if measured).

Nothing in it depends on the machine's speed; seconds are kept elsewhere.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from callbacks import LossCurve, Sparsity
from callbacks.evaluation import clean_metrics, penalty
from dlip_reg.datasets import Dataset
from dlip_reg.models import get_builder
from dlip_reg.training.reuse import reusable
from dlip_reg.training.specification import RunSpec


def train(spec: RunSpec, dataset: Dataset) -> dict[str, Any]:
    """Train `spec` on `dataset` and return its record (see the module's docstring).

    The same specification and data give the same record, bit for bit, in every process set up by
    `configure_process` on one machine, whatever ran in it before.
    """
    steps = max(1, len(dataset.x_train) // spec.batch_size)
    model = _compiled_model(spec, dataset, steps)
    recorders: dict[str, keras.callbacks.Callback] = {}
    if "curves" in spec.measures:
        recorders["curves"] = LossCurve(
            (dataset.x_train, dataset.y_train), (dataset.x_validation, dataset.y_validation)
        )
    if "weights" in spec.measures:
        recorders["weights"] = Sparsity(probe=dataset.x_validation[:256], every_n_epochs=None)
    history = model.fit(
        _batches(spec, dataset, steps),
        epochs=spec.epochs,
        steps_per_epoch=steps,
        shuffle=False,  # the batches come in their order
        verbose=0,
        callbacks=[*recorders.values(), keras.callbacks.TerminateOnNaN()],
    )
    # What fit itself reports: penalty included, dropout on, and averaged over an epoch's weights.
    keras_loss = [float(loss) for loss in history.history["loss"]]
    measures = _measures(spec, dataset, model)
    # The weights, too: ReLU makes 0 of NaN, and so the loss of a broken net can be a number.
    finished = _is_finite([keras_loss, list(measures.values()), *model.get_weights()])
    if "weights" in recorders:
        # Last, for the net is not itself any more afterwards.
        _zero_small_weights(model, recorders["weights"])
        pruned = clean_metrics(model, dataset.x_validation, dataset.y_validation)
        measures["pruned_val_accuracy"] = pruned["accuracy"]
    record: dict[str, Any] = {
        "id": spec.identity(dataset.fingerprint),
        "spec": spec.to_json(),
        "status": "finished" if finished else "diverged",
        "measures": _without_nan(measures),
    }
    if "curves" in recorders:
        # For the comparison; it has no value before training.
        record["curves"] = _without_nan(
            {**recorders["curves"].history, "keras_loss": [None, *keras_loss]}
        )
    if "weights" in recorders:
        record["weights"] = {
            "threshold": recorders["weights"].threshold,
            "edges": recorders["weights"].edges,
            "rows": _without_nan(recorders["weights"].rows),
        }
    return record


def _compiled_model(spec: RunSpec, dataset: Dataset, steps: int) -> keras.Model:
    model = get_builder(spec.model)(
        input_shape=dataset.input_shape,
        classes=dataset.classes,
        **spec.regularization.builder_options(),
    )
    _draw_weights_and_masks(model, spec.seed)

    def compile(twin: keras.Model) -> None:
        twin.compile(
            optimizer=spec.optimizer,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            # A whole epoch per call: between two steps there is nothing for Python to do.
            steps_per_execution=steps,
            # On a CPU, XLA makes these nets slower.
            jit_compile=False,
        )

    model = reusable(model, compile, key=f"{spec.optimizer} {steps}")
    model.optimizer.learning_rate = spec.learning_rate
    return model


def _draw_weights_and_masks(model: keras.Model, seed: int) -> None:
    """Start every layer from a seed of its own, made of the run's seed and the layer's name.

    So the same seed starts every method at the same weights. The builders do the like, but from
    Python's global random state, and in a Dask worker other threads draw from that at any moment.
    """
    for layer in model.layers:
        own_seed = zlib.crc32(f"{seed}/{layer.name}".encode())
        if hasattr(layer, "kernel"):
            config = {**layer.kernel_initializer.get_config(), "seed": own_seed}
            initializer = type(layer.kernel_initializer).from_config(config)
            layer.kernel.assign(initializer(layer.kernel.shape))
        if hasattr(layer, "seed_generator"):
            layer.seed_generator.state.assign([own_seed, 0])


def _batches(spec: RunSpec, dataset: Dataset, steps: int) -> tf.data.Dataset:
    """All the run's batches: one permutation an epoch, drawn from the seed alone.

    The order is the same for every method, and does not depend on what ran before. Where the batch
    size does not divide the split, each epoch leaves out a different few images.
    """
    size = min(spec.batch_size, len(dataset.x_train))
    generator = np.random.default_rng(spec.seed)
    order = np.concatenate(
        [
            generator.permutation(len(dataset.x_train))[: steps * size].reshape(steps, size)
            for _ in range(spec.epochs)
        ]
    )
    images, labels = tf.constant(dataset.x_train), tf.constant(dataset.y_train)
    batches = tf.data.Dataset.from_tensor_slices(order).map(
        lambda index: (tf.gather(images, index), tf.gather(labels, index))
    )
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    return batches.prefetch(2).with_options(options)


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
