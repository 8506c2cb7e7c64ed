"""Measurements of one property of the trained network, at the end of a run.

Each leaves the network unchanged, and gives measures, a part of the record, or both:

- "keskar": measures `keskar_1e_3`, `keskar_5e_4`, and in a random subspace of 100 dimensions
  `keskar_subspace_1e_3`, `keskar_subspace_5e_4`; `keskar`, every search's own value and status;
- "colours": `colours`, of each variant of the test images their accuracy, that after the
  batch-norm statistics are re-estimated on validation images of the same variant and of the first
  one, and the first images themselves: `samples`, 8-bit pixels as base64 text and their shape;
- "batch_noise": `batch_noise`, for each batch size how much its batch-norm noise is.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from callbacks.evaluation import clean_metrics
from callbacks.layers import activation_inputs, activation_statistics
from dlip_reg.curvature import LossFunction, keskar_sharpness, recalibrate_batch_norm
from dlip_reg.curvature.batch_norm import batch_norm_layers
from dlip_reg.datasets import Dataset
from dlip_reg.training.specification import RunSpec

# Measures, and rows of the record.
_Ending = tuple[dict[str, float], list[dict[str, Any]]]

_EPSILONS = {"1e_3": 1e-3, "5e_4": 5e-4}
_SUBSPACE = 100
# Of Keskar's loss: how many images at most, and over how many the batch statistics are taken.
_KESKAR_IMAGES, _KESKAR_BATCH = 10_000, 1_000

_SAMPLES = 4

_BATCH_SIZES = (4, 8, 16, 32, 64, 128, 256)
_FIXED, _DRAWS = 16, 8


def check(spec: RunSpec, dataset: Dataset) -> None:
    """Check, before anything is trained, that the data is suitable for the measures.

    Raises:
        ValueError: It is not.
    """
    if "colours" in spec.measures and dataset.input_shape[-1] != 3:
        raise ValueError("colours needs images of three channels, such as DataSpec(grey=True)'s.")


def endings(
    spec: RunSpec, dataset: Dataset, model: keras.Model
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the measures and the parts of the record that the spec asks for."""
    measures: dict[str, float] = {}
    parts: dict[str, Any] = {}
    for name, measure in _ENDINGS.items():
        if name in spec.measures:
            more, parts[name] = measure(dataset, model)
            measures |= more
    return measures, parts


def _keskar(dataset: Dataset, model: keras.Model) -> _Ending:
    function = LossFunction(
        model,
        dataset.x_train[:_KESKAR_IMAGES],
        dataset.y_train[:_KESKAR_IMAGES],
        batch_norm="batch",
        batch_size=_KESKAR_BATCH,
    )
    measures, searches = {}, []
    for prefix, subspace in (("", None), ("subspace_", min(_SUBSPACE, function.size))):
        for name, epsilon in _EPSILONS.items():
            phi = keskar_sharpness(function, epsilon, subspace=subspace)
            measures[f"keskar_{prefix}{name}"] = phi.value
            searches += [
                {"epsilon": epsilon, "subspace": subspace, **vars(search)}
                for search in phi.searches
            ]
    return measures, searches


def _colours(dataset: Dataset, model: keras.Model) -> _Ending:
    rows = []
    for variant, repaint in _VARIANTS.items():
        test, unlabelled = (repaint(x, dataset) for x in (dataset.x_test, dataset.x_validation))
        row = {"variant": variant, "accuracy": _accuracy(model, test, dataset.y_test)}
        for name, images in (
            ("recalibrated_accuracy", unlabelled),
            ("source_recalibrated_accuracy", dataset.x_validation),
        ):
            row[name] = None
            if batch_norm_layers(model):
                with preserve_weights(model):
                    recalibrate_batch_norm(model, images)
                    row[name] = _accuracy(model, test, dataset.y_test)
        rows.append(row | {"samples": _samples(test[:_SAMPLES], dataset)})
    return {}, rows


def _accuracy(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    return clean_metrics(model, x, y)["accuracy"]


def _samples(images: np.ndarray, dataset: Dataset) -> dict[str, Any]:
    pixels = np.rint(255 * np.clip(_pixels(images, dataset), 0, 1)).astype(np.uint8)
    return {"shape": list(pixels.shape), "pixels": base64.b64encode(pixels.tobytes()).decode()}


def _grey(images: np.ndarray, dataset: Dataset) -> np.ndarray:
    return images


def _tinted(images: np.ndarray, dataset: Dataset) -> np.ndarray:
    """What is bright in an image gets one bright, saturated colour; black stays black."""
    hues = np.random.default_rng(0).uniform(0, 6, len(images))
    # The hue circle: channels are 0, 1 or in between, at least one of them 1 and one 0.
    tints = np.clip(np.abs((hues[:, None] + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return _from_pixels(_pixels(images, dataset) * tints[:, None, None, :], dataset)


def _inverted(images: np.ndarray, dataset: Dataset) -> np.ndarray:
    """White where it was black."""
    return _from_pixels(1 - _pixels(images, dataset), dataset)


def _dimmed(images: np.ndarray, dataset: Dataset) -> np.ndarray:
    """A quarter of the contrast, on a bright ground."""
    return _from_pixels(0.7 + 0.25 * _pixels(images, dataset), dataset)


_VARIANTS = {"grey": _grey, "tinted": _tinted, "inverted": _inverted, "dimmed": _dimmed}


def _pixels(images: np.ndarray, dataset: Dataset) -> np.ndarray:
    return images * np.asarray(dataset.std, np.float32) + np.asarray(dataset.mean, np.float32)


def _from_pixels(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    scaled = (pixels - np.asarray(dataset.mean, np.float32)) / np.asarray(dataset.std, np.float32)
    return scaled.astype(np.float32)


def _batch_noise(dataset: Dataset, model: keras.Model) -> _Ending:
    """Of some training images in batches of random others: noise over spread, by batch size."""
    hidden = activation_statistics(model, dataset.x_train[:1])
    if not hidden:
        return {}, []
    layer = hidden[-1]["layer"]
    generator = np.random.default_rng(0)
    fixed, others = np.split(np.arange(len(dataset.x_train)), [_FIXED])

    def inputs(image: int, others: np.ndarray) -> np.ndarray:
        batch = tf.constant(dataset.x_train[[image, *others]])
        return activation_inputs(model, layer, batch)[0][0].ravel()

    rows = []
    for size in _BATCH_SIZES:
        if size - 1 > len(others):
            break
        draws = [
            [inputs(i, generator.choice(others, size - 1, replace=False)) for i in fixed]
            for _ in range(_DRAWS)
        ]
        values = np.asarray(draws, np.float64)  # draw x image x unit
        noise = values.var(axis=0, ddof=1).mean()
        between = values.mean(axis=0).var(axis=0, ddof=1).mean()
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = float(np.divide(noise, between))
        rows.append({"batch_size": size, "relative_variance": relative})
    return {}, rows


_ENDINGS = {"keskar": _keskar, "colours": _colours, "batch_noise": _batch_noise}


@contextmanager
def preserve_weights(model: keras.Model) -> Iterator[None]:
    """Restore the model's weights and random states at the end of the block."""
    before = [(variable, variable.numpy()) for variable in model.variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)
