"""The raw arrays of a data set, and the checks that they must pass."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlip_reg.datasets.errors import DataError

KEYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True, eq=False)
class Source:
    """A whole data set before it is split: read-only arrays and the identity of their content.

    Images are uint8 (n, height, width, channels), labels int32 (n,) from 0 to `classes` - 1.
    `fingerprint` is the hex SHA-256 of the four arrays in this form, so it does not depend on the
    file or library that they come from. `class_names` is None where the labels have no names.
    `left_out` says which files were left out, and why; else it is "".
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    fingerprint: str
    class_names: tuple[str, ...] | None = None
    left_out: str = ""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The (height, width, channels) of an image."""
        _, height, width, channels = self.x_train.shape
        return height, width, channels


def checked_source(
    origin: str, arrays: Mapping[str, np.ndarray], class_names: tuple[str, ...] | None = None
) -> Source:
    """The data set of four arrays.

    Args:
        origin: Where the arrays come from, for error messages.
        arrays: Images and labels under the names in `KEYS`. Images are uint8 (n, height, width) or
            (n, height, width, channels) with 1 or 3 channels, labels integers (n,) or (n, 1).
        class_names: The names of the classes in the order of the labels.

    Returns:
        The checked arrays; every class has two training images and one test image or more.

    Raises:
        DataError: The arrays are of another form.
    """
    shape: tuple[int, ...] = ()  # of an image, and the number of classes: not known yet
    classes = 0
    checked: dict[str, Any] = {}
    # One training image of each class is for training and one for validation.
    for split, least in (("train", 2), ("test", 1)):
        images = _checked_images(origin, f"x_{split}", arrays[f"x_{split}"], shape)
        labels = _checked_labels(origin, f"y_{split}", arrays[f"y_{split}"], classes, least)
        if len(images) != len(labels):
            raise DataError(
                f"{origin} has {len(images)} images in x_{split} but {len(labels)} labels in "
                f"y_{split}: one label for each image is expected."
            )
        shape, classes = images.shape[1:], classes or int(labels.max()) + 1
        checked |= {f"x_{split}": images, f"y_{split}": labels}
    digest = hashlib.sha256()
    for key, array in checked.items():
        array.flags.writeable = False
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return Source(
        **checked, classes=classes, fingerprint=digest.hexdigest(), class_names=class_names
    )


def _checked_images(
    origin: str, key: str, images: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """The images as (n, height, width, channels); of that `shape`, where it is known."""
    if images.dtype != np.uint8:
        raise DataError(
            f"{origin} has {key} of type {images.dtype}: uint8 is expected, from 0 to 255."
        )
    own = (*images.shape[1:], 1)[:3]
    is_image = images.ndim in (3, 4) and min(own) > 0 and own[2] in (1, 3)
    if not is_image or own != (shape or own):
        expected = "(n, height, width), (n, height, width, 1) or (n, height, width, 3)"
        if shape:
            sides = shape if shape[2] > 1 else shape[:2]
            expected = f"(n, {', '.join(map(str, sides))}), as in x_train,"
        raise DataError(f"{origin} has {key} of shape {images.shape}: {expected} is expected.")
    return np.ascontiguousarray(images).reshape(-1, *own)


def _checked_labels(
    origin: str, key: str, labels: np.ndarray, classes: int, least: int
) -> np.ndarray:
    """The labels as int32 (n,), with `least` images or more of each of the classes."""
    if labels.dtype.kind not in "iu":
        raise DataError(
            f"{origin} has {key} of type {labels.dtype}: integers are expected, the numbers of "
            "classes from 0."
        )
    if labels.ndim not in (1, 2) or labels.shape[1:] not in ((), (1,)):
        raise DataError(f"{origin} has {key} of shape {labels.shape}: (n,) or (n, 1) is expected.")
    present, counts = np.unique(labels, return_counts=True)
    classes = classes or max(len(present), 2)
    if present.tolist() != list(range(classes)):
        first, last = (present[0], present[-1]) if len(present) else (0, 0)
        raise DataError(
            f"{origin} has labels of {len(present)} values from {first} to {last} in {key}: each "
            f"of 0 to {classes - 1} is expected."
        )
    if counts.min() < least:
        raise DataError(
            f"{origin} has {counts.min()} images of class {counts.argmin()} in {key}: "
            f"{least} or more of each of the {classes} classes are expected."
        )
    return labels.ravel().astype("<i4")
