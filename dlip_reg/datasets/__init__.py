"""Named image data, ready to train on: checked, split by seed, standardised.

Needs NumPy only; `keras.datasets` is imported when a full set is asked for and no folder is given.
"""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass, replace

import numpy as np

from dlip_reg.datasets.sources import CLASSES, IMAGE_SHAPES, DataError, Source, load_source

__all__ = [
    "DATASET_NAMES",
    "DataError",
    "Dataset",
    "dataset_fingerprint",
    "in_colour",
    "load_dataset",
]

DATASET_NAMES = tuple(IMAGE_SHAPES)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training, validation and test split of one data set.

    Images are float32 (n, height, width, channels), labels int32 (n,) from 0 to `classes` - 1.
    An image is (pixels / 255 - `mean`) / `std`, with one mean and one standard deviation for each
    channel, those of the chosen training images alone. `fingerprint` is the hex SHA-256 of the
    whole set the splits were drawn from; it depends on neither seed nor sizes.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_validation: np.ndarray
    y_validation: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    input_shape: tuple[int, int, int]
    fingerprint: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load_dataset(
    name: str = "fashion_mnist_subset",
    data_dir: str | os.PathLike | None = None,
    *,
    n_train: int | None = None,
    n_validation: int | None = None,
    n_test: int | None = None,
    seed: int = 0,
    standardize: bool = True,
) -> Dataset:
    """A named data set with a seeded training and validation split and a fixed test split.

    `fashion_mnist_subset` ships with the package; the other `DATASET_NAMES` come from `NAME.npz`
    in `data_dir`, or else in the folder DLIP_DATA_DIR names, or else from `keras.datasets`.

    `seed` shuffles the training images; the first `n_validation` (default: a sixth) are the
    validation split, the next `n_train` (default: the rest) the training split, both with the
    classes in the proportions of the whole. So the validation split does not depend on `n_train`,
    and a larger `n_train` adds images to those of a smaller one. The test split, or its `n_test`
    images, is the same for every seed. `standardize=False` leaves pixels / 255.

    Raises ValueError for an unknown name or a size or seed that cannot be had, and its subclass
    `DataError` for data that is missing, damaged or of another form than expected.
    """
    source = load_source(name, data_dir)
    total = len(source.y_train)
    default = max(total // 6, CLASSES)
    n_validation = _size("n_validation", n_validation, default, total - CLASSES, name)
    left = total - n_validation
    n_train = _size("n_train", n_train, left, left, f"{name} beside {n_validation} for validation")
    n_test = _size("n_test", n_test, len(source.y_test), len(source.y_test), name)

    shuffled = _stratified(_generator(seed).permutation(total), source.y_train)
    validation, rest = np.split(shuffled, [n_validation])
    if lost := set(range(CLASSES)) - set(source.y_train[rest].tolist()):
        raise ValueError(
            f"n_validation={n_validation} leaves no training image of class {min(lost)} in {name}; "
            "a smaller n_validation is accepted."
        )
    train = _stratified(rest, source.y_train)[:n_train]
    test = _stratified(np.arange(len(source.y_test)), source.y_test)[:n_test]

    channels = source.x_train.shape[-1]
    mean, std = (0.0,) * channels, (1.0,) * channels
    if standardize:
        mean, std = _statistics(source.x_train[train])
        if not all(std):
            raise DataError(
                f"The {n_train} training images of {name} are constant in a channel: images that "
                "vary are needed to standardise."
            )
    return Dataset(
        name=name,
        **_split("train", source, "train", train, mean, std),
        **_split("validation", source, "train", validation, mean, std),
        **_split("test", source, "test", test, mean, std),
        classes=CLASSES,
        input_shape=source.x_train.shape[1:],
        fingerprint=source.fingerprint,
        mean=mean,
        std=std,
    )


def in_colour(data: Dataset) -> Dataset:
    """The same data in three channels: grey images repeated, coloured ones as they are.

    ValueError for images of neither one channel nor three.
    """
    channels = data.input_shape[-1]
    if channels == 3:
        return data
    if channels != 1:
        raise ValueError(f"Images of 1 or 3 channels can be put in colour, not of {channels}.")
    images = {
        name: np.repeat(getattr(data, name), 3, axis=-1)
        for name in ("x_train", "x_validation", "x_test")
    }
    input_shape = (*data.input_shape[:-1], 3)
    return replace(data, **images, input_shape=input_shape, mean=data.mean * 3, std=data.std * 3)


def dataset_fingerprint(name: str, data_dir: str | os.PathLike | None = None) -> str:
    """The hex SHA-256 that identifies the content of a named data set; errors as `load_dataset`."""
    return load_source(name, data_dir).fingerprint


def _size(option: str, value: int | None, default: int, available: int, where: str) -> int:
    if value is None:
        return default
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if isinstance(value, bool) or not CLASSES <= number <= available:
        raise ValueError(
            f"{option} must be a whole number from {CLASSES} (one image of each class) to "
            f"{available} (all there are in {where}), not {value!r}."
        )
    return number


def _generator(seed: int) -> np.random.RandomState:
    # RandomState, because NumPy promises its stream for all versions; Generator's may change.
    try:
        return np.random.RandomState(operator.index(seed))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"seed must be a whole number from 0 to 2**32 - 1, not {seed!r}."
        ) from error


def _stratified(indices: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`indices` reordered so that every beginning holds the classes in their proportions.

    The first image of each class comes first, so no beginning of `CLASSES` or more lacks a class.
    """
    position = np.empty(len(indices))
    chosen = labels[indices]
    for label in range(CLASSES):
        members = np.flatnonzero(chosen == label)
        position[members] = np.arange(len(members)) / len(members)
    return indices[np.argsort(position, kind="stable")]


def _statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    # Sums of integers: exact, hence the same for every order of the images and every machine.
    axes = (0, 1, 2)
    count = images[..., 0].size
    totals = images.sum(axis=axes, dtype=np.uint64).tolist()
    squares = np.square(images, dtype=np.uint16).sum(axis=axes, dtype=np.uint64).tolist()
    mean = tuple(total / count / 255 for total in totals)
    std = tuple(
        ((count * square - total**2) / count**2) ** 0.5 / 255
        for total, square in zip(totals, squares, strict=True)
    )
    return mean, std


def _split(
    split: str,
    source: Source,
    part: str,
    indices: np.ndarray,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> dict[str, np.ndarray]:
    # In place: a full colour set takes 600 MB as float32.
    images = getattr(source, f"x_{part}")[indices].astype(np.float32)
    images /= 255
    images -= np.float32(mean)
    images /= np.float32(std)
    return {f"x_{split}": images, f"y_{split}": getattr(source, f"y_{part}")[indices]}
