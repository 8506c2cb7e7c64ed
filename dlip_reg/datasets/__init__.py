"""Image data by name or your own, ready to train on: checked, split by seed, standardised.

Needs NumPy only; Pillow is imported when a folder of images is read, `keras.datasets` when a full
set is asked for and no folder is given.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace

import numpy as np

from dlip_reg.checks import require_bool
from dlip_reg.datasets.arrays import Source
from dlip_reg.datasets.errors import DataError, DatasetArgumentError
from dlip_reg.datasets.names import DATASET_NAMES, check_dataset_name
from dlip_reg.datasets.sources import dataset_info
from dlip_reg.datasets.splits import draw_labels, draw_splits

__all__ = [
    "DATASET_NAMES",
    "DataError",
    "Dataset",
    "DatasetArgumentError",
    "Source",
    "as_grey",
    "check_dataset_name",
    "dataset_info",
    "load_dataset",
]

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training, validation and test split of one data set.

    Images are float32 (n, height, width, channels), labels int32 (n,) from 0 to `classes` - 1.
    An image is (pixels / 255 - `mean`) / `std`, with one mean and one standard deviation for each
    channel, those of the chosen training images alone. `fingerprint` is the hex SHA-256 of the
    whole set the splits were drawn from; it depends on neither seed nor sizes. `class_names` are
    in the order of the labels, None where the labels have no names.
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
    class_names: tuple[str, ...] | None = None


def load_dataset(
    name: str = "fashion_mnist_subset",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    n_train: int | None = None,
    n_validation: int | None = None,
    n_test: int | None = None,
    seed: int = 0,
    random_labels: bool = False,
    size: int | None = None,
    skip_unreadable: bool = False,
) -> Dataset:
    """Load a data set with training, validation and test splits drawn by a seed.

    The draws are stratified: every split has the classes in the proportions of the whole. The
    validation split does not depend on `n_train`, and a larger `n_train` adds images to those of a
    smaller one. The test images come from the test pool of the data set, which shares no image with
    the other splits (in your own "file:PATH.npz" this is not checked). With `n_test` they are drawn
    anew for every seed, independently of the training images, so an interval over seeds holds for
    the population that the test pool was drawn from and not for one test set.

    A folder of images has one subfolder for each class, which holds PNG or JPEG files of any size.
    A fixed sixth of the different images of each class (at least one) is the test pool. See
    `dlip_reg.datasets.folders.read_folder` for how images are converted.

    Args:
        name: "fashion_mnist_subset" or "mnist_subset" (both packaged), another of `DATASET_NAMES`,
            "folder:PATH" for a folder of images, "readable:PATH" for the same with
            `skip_unreadable`, or "file:PATH.npz" for arrays x_train, y_train, x_test and y_test:
            uint8 images (n, height, width) or (n, height, width, channels) with 1 or 3 channels,
            and labels from 0 to the number of classes - 1, two training images and one test image
            or more of each class. A relative path starts at the working directory.
        data_dir: The folder where `NAME.npz` lies for the other `DATASET_NAMES`; it may hold any
            number of classes and any size, as in "file:PATH.npz". The default is the folder named
            by the environment variable DLIP_DATA_DIR, or else the download of `keras.datasets`.
        n_train: Number of training images; by default all that validation leaves.
        n_validation: Number of validation images; by default a sixth.
        n_test: Number of test images; by default all, in an order that no seed changes.
        seed: Whole number from 0 to 2**32 - 1 that decides all draws.
        random_labels: Replace the training labels by labels drawn uniformly by the seed; the
            validation and test labels stay true (Zhang et al. 2017, "Understanding deep learning
            requires rethinking generalization"). The label of an image does not depend on
            `n_train`.
        size: For a folder of images: their height and width in pixels after resizing; by default
            28.
        skip_unreadable: For a folder of images: leave unreadable files out, with a warning that
            lists them.

    Returns:
        The splits.

    Raises:
        DatasetArgumentError: The name is unknown, or a size, seed or option is not accepted.
        DataError: The data is missing, damaged or of another form than expected.
    """
    try:
        require_bool("random_labels", random_labels)
        require_bool("skip_unreadable", skip_unreadable)
    except ValueError as error:
        raise DatasetArgumentError(str(error)) from None
    source = dataset_info(name, data_dir, size=size, skip_unreadable=skip_unreadable)
    if source.left_out:
        warnings.warn(source.left_out, stacklevel=2)
    train, validation, test = draw_splits(name, source, seed, n_train, n_validation, n_test)
    mean, std = _statistics(source.x_train[train])
    if not all(std):
        raise DataError(
            f"The {len(train)} training images of {name} are constant in a channel: "
            "images that vary are needed to standardise."
        )
    labels = draw_labels(source, seed) if random_labels else source.y_train
    return Dataset(
        name=name,
        x_train=_scaled(source.x_train[train], mean, std),
        y_train=labels[train],
        x_validation=_scaled(source.x_train[validation], mean, std),
        y_validation=source.y_train[validation],
        x_test=_scaled(source.x_test[test], mean, std),
        y_test=source.y_test[test],
        mean=mean,
        std=std,
        classes=source.classes,
        input_shape=source.input_shape,
        class_names=source.class_names,
        fingerprint=source.fingerprint,
    )


def as_grey(data: Dataset) -> Dataset:
    """Return the same data as grey images in three channels.

    Of coloured images their luma is left (ITU-R BT.601), standardised by the training split.
    """
    splits = [data.x_train, data.x_validation, data.x_test]
    mean, std = data.mean, data.std
    if data.input_shape[-1] == 3:
        weights = np.multiply(_LUMA, std).astype(np.float32)
        splits = [images @ weights[:, None] for images in splits]
        centre, spread = (float(f(splits[0], dtype=np.float64)) for f in (np.mean, np.std))
        for grey in splits:
            grey -= centre
            grey /= spread
        mean, std = (float(np.dot(_LUMA, mean)) + centre,), (spread,)
    train, validation, test = (np.repeat(images, 3, axis=-1) for images in splits)
    return replace(
        data,
        x_train=train,
        x_validation=validation,
        x_test=test,
        input_shape=(*data.input_shape[:-1], 3),
        mean=mean * 3,
        std=std * 3,
    )


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


def _scaled(images: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    # In place: a full colour set takes 600 MB as float32.
    scaled = images.astype(np.float32)
    scaled /= 255
    scaled -= np.asarray(mean, np.float32)
    scaled /= np.asarray(std, np.float32)
    return scaled
