"""One function, many sharpnesses: a trained ReLU net rescaled so that nothing but sharpness moves.

TensorFlow is imported when the net is trained, so that a script which only plans runs stays light.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from dlip_reg.training.records import Record, make_record
from dlip_reg.training.specification import DerivedSpec, RunSpec

if TYPE_CHECKING:
    import keras

    from dlip_reg.datasets import Dataset

# Powers of two only move a float's exponent, so the rescaled net computes the very same numbers.
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
_IMAGES = 512


@dataclass(frozen=True)
class RescalingSpec(DerivedSpec):
    """A run whose trained net is rescaled: its last hidden layer by each of `FACTORS`."""

    kind: ClassVar[str] = "rescaling"

    run: RunSpec


def measure_rescaled(spec: RescalingSpec, dataset: Dataset) -> Record:
    """Train, rescale by every factor, and return the record.

    Its `rescaled` has a row for each factor: loss and accuracy on the test images, and sharpness on
    up to 512 training images. It is empty for a network that diverged, and for one whose last
    hidden layer `rescale` cannot rescale.
    """
    from callbacks.evaluation import clean_metrics
    from dlip_reg.training.fitting import apply_data_options, trained

    fingerprint = dataset.fingerprint
    dataset = apply_data_options(spec.run, dataset)
    model = trained(spec.run, dataset)
    weights = model.get_weights()
    finished = all(np.isfinite(array).all() for array in weights)
    rows = []
    if finished and rescalable_layers(model) is not None:
        for factor in FACTORS:
            model.set_weights(weights)
            rescale(model, factor)
            test = clean_metrics(model, dataset.x_test, dataset.y_test)
            rows.append({"factor": factor, **test, **_sharpness(model, dataset)})
    return make_record(spec, fingerprint, finished, rescaled=rows)


def rescalable_layers(model: keras.Model) -> tuple[keras.Layer, keras.Layer] | None:
    """The last hidden dense layer and the classifier, if plain ReLU is all that lies between them.

    Dropout, which does nothing in evaluation, may lie there, too. None otherwise.
    """
    import keras

    chain = []
    for layer in reversed(model.layers):
        if isinstance(layer, keras.layers.Dense):
            chain.append(layer)
            if len(chain) == 2:
                classifier, hidden = chain
                return hidden, classifier
            continue
        is_relu = isinstance(layer, keras.layers.Activation) and (
            layer.activation is keras.activations.relu
        )
        if not (is_relu or isinstance(layer, keras.layers.Dropout)):
            return None
    return None


def rescale(model: keras.Model, factor: float) -> None:
    """Multiply the last hidden layer by `factor` and divide the classifier's kernel by it.

    relu(a z) = a relu(z) for a > 0, so the net remains the same function (Dinh et al. 2017, "Sharp
    minima can generalize for deep nets", section 3). ValueError for a factor that is not above 0
    and for a model without such layers (see `rescalable_layers`).
    """
    layers = rescalable_layers(model)
    if layers is None:
        raise ValueError("The model must end in a dense ReLU layer and a dense classifier.")
    if not 0 < factor < math.inf:
        raise ValueError(f"factor must be a finite number above 0, not {factor!r}.")
    hidden, classifier = layers
    for weight in hidden.trainable_variables:  # its bias, too
        weight.assign(weight * factor)
    classifier.kernel.assign(classifier.kernel / factor)


def _sharpness(model: keras.Model, dataset: Dataset) -> dict[str, float]:
    from dlip_reg.curvature import (
        LossFunction,
        adaptive_sharpness,
        keskar_sharpness,
        sam_sharpness,
        top_eigenvalue,
    )

    few = slice(0, _IMAGES)
    function = LossFunction(
        model, dataset.x_train[few], dataset.y_train[few], batch_norm="batch", batch_size=_IMAGES
    )
    return {
        "lambda_max": top_eigenvalue(function.hessian_product, function.size).value,
        "keskar_1e_3": keskar_sharpness(function, 1e-3).value,
        "sam_sharpness": sam_sharpness(function).value,
        "adaptive_sharpness": adaptive_sharpness(function).value,
    }
