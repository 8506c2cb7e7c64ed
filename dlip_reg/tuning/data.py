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

ARRAYS = "arrays"  # the name of data that the caller brought along


@dataclass(frozen=True)
class NamedData:
    """A data set that every worker loads by its name; a seed draws its own split, as in the labs.

    `data_dir` is where full data sets lie on each machine, `fingerprint` that of the whole set.
    """

    spec: DataSpec
    data_dir: str | None
    fingerprint: str

    @classmethod
    def of(
        cls,
        spec: DataSpec,
        data_dir: str | None,
        input_shape: tuple[int, ...] | None,
        classes: int | None,
    ) -> NamedData:
        """The data set, for a model of that shape and number of classes, where they are known.

        ValueError for a model that does not fit, and as `load_dataset`.
        """
        info = dataset_info(spec.name, data_dir)
        shape = (*info.input_shape[:-1], 3) if spec.colour else info.input_shape
        _check_shape(input_shape, shape, spec.name)
        if classes not in (None, info.classes):
            raise ValueError(
                f"The model has {classes} classes, but {spec.name} has {info.classes}."
            )
        return cls(spec, data_dir, info.fingerprint)

    def load(self, seed: int) -> Dataset:
        """The data as an execution of that seed sees it."""
        from dlip_reg.experiments.worker import load

        return load(self.spec, self.data_dir, seed)


@dataclass(frozen=True)
class ArrayData:
    """The caller's own arrays, in a file that every worker can read; the same for all seeds.

    `classes` is None where nobody but the caller's own builder knows.
    """

    path: Path
    fingerprint: str
    classes: int | None

    spec = DataSpec(ARRAYS)

    @classmethod
    def of(
        cls,
        folder: Path,
        x: Any,
        y: Any,
        validation: Any,
        input_shape: tuple[int, ...] | None,
        classes: int | None,
    ) -> tuple[ArrayData, dict[str, np.ndarray]]:
        """What stands for the arrays once they are saved, and the arrays.

        ValueError unless there are finite images and as many whole-numbered labels in both splits,
        of one shape and, where they are known, of the model's `input_shape` and `classes`.
        """
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            raise ValueError("The search needs validation_data=(x, y).")
        arrays = {}
        for name, (images, labels) in {"train": (x, y), "validation": validation}.items():
            images, labels = np.asarray(images), np.asarray(labels)
            _check_split(name, images, labels, classes)
            _check_shape(input_shape or arrays.get("x_train", images).shape[1:],
                         images.shape[1:], f"the {name} split")  # fmt: skip
            arrays[f"x_{name}"] = images.astype(np.float32, copy=False)
            arrays[f"y_{name}"] = labels.astype(np.int32, copy=False)
        digest = hashlib.sha256()
        for name, array in arrays.items():
            digest.update(f"{name}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return cls(folder / "data.npz", digest.hexdigest(), classes), arrays

    def save(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the arrays, whole or not at all, unless they are there."""
        if self.path.exists():
            return
        with Staged() as staged, staged.temporary(self.path).open("wb") as file:
            np.savez(file, **arrays)  # not through memory: they may be large

    def load(self, seed: int) -> Dataset:
        """The arrays; FileNotFoundError on a machine that does not see the search's folder."""
        return _load(self)


@functools.lru_cache(maxsize=1)
def _load(data: ArrayData) -> Dataset:
    with np.load(data.path) as file:
        arrays = dict(file)
    x = arrays["x_train"]
    return Dataset(
        name=ARRAYS,
        **arrays,
        x_test=x[:0],
        y_test=arrays["y_train"][:0],
        classes=data.classes or int(arrays["y_train"].max()) + 1,
        input_shape=x.shape[1:],
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
        most = "" if classes is None else f" to {classes - 1}, for the model has {classes} classes"
        raise ValueError(f"The {name} labels must be from 0{most or ' on'}, not {low} to {high}.")


def _check_shape(expected: tuple[int, ...] | None, shape: tuple[int, ...], name: str) -> None:
    if expected is not None and tuple(expected) != tuple(shape):
        raise ValueError(
            f"The images of {name} have the shape {tuple(shape)}, where the model takes "
            f"{tuple(expected)}."
        )
