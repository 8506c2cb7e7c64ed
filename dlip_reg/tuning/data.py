"""What the executions of a search train on: a named data set, or the caller's own arrays."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlip_reg.datasets import Dataset, dataset_info
from dlip_reg.files import Staged
from dlip_reg.training.specification import DataSpec

ARRAYS = "arrays"  # the name of data that the caller passed as arrays
Shape = tuple[int, ...]


@dataclass(frozen=True)
class SearchData:
    """Data that every worker loads by itself.

    Args:
        spec: The named data set; a seed draws its own split, as in the labs. Arrays have the name
            `ARRAYS` and are the same for all seeds.
        fingerprint: That of the whole set.
        source: The folder of full data sets on each machine, or the file of the arrays.
        classes: How many classes the arrays have; None where only the caller's builder knows.
    """

    spec: DataSpec
    fingerprint: str
    source: str | None
    classes: int | None = None

    def load(self, seed: int) -> Dataset:
        """Return the data as an execution of that seed uses it."""
        from dlip_reg.experiments.worker import load

        return (
            _load_arrays(self) if self.spec.name == ARRAYS else load(self.spec, self.source, seed)
        )


def named_data(
    spec: DataSpec, data_dir: str | None, input_shape: Shape | None, classes: int | None
) -> SearchData:
    """Return a named data set for a model of that shape and number of classes, where known.

    Raises:
        ValueError: The model does not fit, and as `load_dataset`.
    """
    info = dataset_info(spec.name, data_dir)
    shape = (*info.input_shape[:-1], 3) if spec.colour else info.input_shape
    _check_shape(input_shape, shape, spec.name)
    if classes not in (None, info.classes):
        raise ValueError(f"The model has {classes} classes, but {spec.name} has {info.classes}.")
    return SearchData(spec, info.fingerprint, data_dir)


def array_data(
    path: Path, x: Any, y: Any, validation: Any, input_shape: Shape | None, classes: int | None
) -> tuple[SearchData, dict[str, np.ndarray]]:
    """Return what stands for the arrays once they are saved in `path`, and the arrays.

    Raises:
        ValueError: Not finite images and as many whole-numbered labels in both splits, of one shape
            and, where they are known, of the model's `input_shape` and `classes`.
    """
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise ValueError("The search needs validation_data=(x, y).")
    arrays: dict[str, np.ndarray] = {}
    digest = hashlib.sha256()
    for name, (images, labels) in {"train": (x, y), "validation": validation}.items():
        images, labels = np.asarray(images), np.asarray(labels)
        _check_split(name, images, labels, classes)
        input_shape = input_shape or images.shape[1:]
        _check_shape(input_shape, images.shape[1:], f"the {name} split")
        arrays[f"x_{name}"] = images.astype(np.float32, copy=False)
        arrays[f"y_{name}"] = labels.astype(np.int32, copy=False)
    for name, array in arrays.items():
        digest.update(f"{name}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return SearchData(DataSpec(ARRAYS), digest.hexdigest(), str(path), classes), arrays


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays atomically, unless they are there."""
    if not path.exists():
        with Staged() as staged, staged.temporary(path).open("wb") as file:
            np.savez(file, **arrays)  # not through memory: they may be large


@functools.lru_cache(maxsize=1)
def _load_arrays(data: SearchData) -> Dataset:
    with np.load(data.source) as file:
        arrays = dict(file)
    return Dataset(
        name=ARRAYS,
        **arrays,
        x_test=arrays["x_train"][:0],
        y_test=arrays["y_train"][:0],
        classes=data.classes or int(arrays["y_train"].max()) + 1,
        input_shape=arrays["x_train"].shape[1:],
        fingerprint=data.fingerprint,
        mean=(0.0,),
        std=(1.0,),
    )


def _check_split(name: str, images: np.ndarray, labels: np.ndarray, classes: int | None) -> None:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"The {name} labels must be whole numbers, one an example.")
    if images.ndim < 2 or images.dtype.kind not in "biuf" or not np.isfinite(images).all():
        raise ValueError(f"The {name} examples must be an array of finite numbers, one a row.")
    if len(images) != len(labels) or not len(images):
        raise ValueError(
            f"The {name} split must have as many labels as examples and at least one, not "
            f"{len(images)} examples and {len(labels)} labels."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (classes is not None and high >= classes):
        most = (
            " on" if classes is None else f" to {classes - 1}, for the model has {classes} classes"
        )
        raise ValueError(f"The {name} labels must be from 0{most}, not {low} to {high}.")


def _check_shape(expected: Shape | None, shape: Shape, name: str) -> None:
    if expected is not None and tuple(expected) != tuple(shape):
        raise ValueError(
            f"The images of {name} have the shape {tuple(shape)}, where the model takes "
            f"{tuple(expected)}."
        )
