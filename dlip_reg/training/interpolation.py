"""Train two nets and measure the loss between them and around them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from dlip_reg.curvature import (
    LossFunction,
    Reestimated,
    along_line,
    filter_normalised,
    interpolation,
    plane,
    random_direction,
)
from dlip_reg.curvature.batch_norm import batch_norm_layers
from dlip_reg.datasets import Dataset
from dlip_reg.training.fitting import trained
from dlip_reg.training.records import Record, make_record
from dlip_reg.training.specification import InterpolationSpec

# Keskar et al. 2017, figure 3, go from -1 to 2, the ends at 0 and 1.
ALPHAS = tuple(np.linspace(-1, 2, 25).tolist())
# In units of the filters' own norms: at -1 every filter that the step runs against is gone.
POSITIONS = tuple(np.linspace(-1, 1, 21).tolist())
SURFACE = tuple(np.linspace(-1, 1, 17).tolist())
_SURFACE_IMAGES = 512


def interpolate(spec: InterpolationSpec, dataset: Dataset) -> Record:
    """Train both networks, measure, and return the record.

    Its `measures` are loss and accuracy of either end on training and test images. Its parts are

    - `line`: on the straight line through both (Keskar et al. 2017, section 2.2.1);
    - `filter_normalised`: on training images, from either network towards the other, the
      direction's filters rescaled to the norms of the network's own (Li et al. 2018, section 4), so
      that large weights alone do not make a valley look flat;
    - `surfaces`: on up to 512 training images over two random filter-normalised directions, the
      same draws for both; None if not asked for.

    Batch normalization has its statistics re-estimated on the training images at every point. If a
    weight of either network is not finite, nothing is measured.
    """
    weights = []
    for run in (spec.first, spec.second):
        model = trained(run, dataset)
        weights.append(model.get_weights())  # the next run may train the same model
    if not all(np.isfinite(array).all() for end in weights for array in end):
        return make_record(spec, dataset.fingerprint, finished=False)

    train, test = (dataset.x_train, dataset.y_train), (dataset.x_test, dataset.y_test)
    training = _functions(model, *train, data=dataset)
    splits = {"training": training, "test": _functions(model, *test, data=dataset)}
    few, _ = _functions(model, *(array[:_SURFACE_IMAGES] for array in train), data=dataset)
    ends = []
    for end in weights:
        model.set_weights(end)
        ends.append(training[0].parameters())
    line: dict[str, Any] = {"alpha": ALPHAS}
    for name, functions in splits.items():
        values = (interpolation(function, *ends, ALPHAS).tolist() for function in functions)
        line[name] = dict(zip(("loss", "accuracy"), values, strict=True))
    measures = {
        f"{end}_{split}_{quantity}": line[split][quantity][ALPHAS.index(alpha)]
        for end, alpha in (("first", 0.0), ("second", 1.0))
        for split in splits
        for quantity in ("loss", "accuracy")
    }
    around: dict[str, Any] = {"position": POSITIONS}
    surfaces: dict[str, Any] = {"position": SURFACE}
    for name, end, own, other in zip(("first", "second"), weights, ends, ends[::-1], strict=True):
        model.set_weights(end)
        step = filter_normalised(training[0], other - own)
        values = (along_line(function, step, POSITIONS).tolist() for function in training)
        around[name] = dict(zip(("loss", "accuracy"), values, strict=True))
        if spec.surfaces:
            directions = (random_direction(few, seed=seed) for seed in (0, 1))
            surfaces[name] = plane(few, *directions, SURFACE, SURFACE).tolist()
    return make_record(
        spec,
        dataset.fingerprint,
        finished=True,
        measures=measures,
        line=line,
        filter_normalised=around,
        surfaces=surfaces if spec.surfaces else None,
    )


def _functions(model: keras.Model, *split: np.ndarray, data: Dataset) -> tuple[Any, Any]:
    """Loss and accuracy over one split, as functions of the model's weights."""
    loss, accuracy = LossFunction(model, *split), LossFunction(model, *split, loss=_right)
    if batch_norm_layers(model):
        return Reestimated(loss, data.x_train), Reestimated(accuracy, data.x_train)
    return loss, accuracy


def _right(labels: Any, outputs: Any) -> Any:
    """1 for each example that is right, 0 for one that is not; NaN where an output is."""
    right = keras.metrics.sparse_categorical_accuracy(labels, outputs)
    unknown = keras.ops.any(keras.ops.isnan(outputs), axis=-1)
    return keras.ops.where(unknown, np.nan, right)
