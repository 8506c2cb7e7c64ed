"""Draws the packaged Fashion-MNIST subset from the full set; for maintenance only.

    python -m dlip_reg.datasets.make_subset FULL.npz OUT.npz

Each run writes the same arrays (the archive's bytes differ in time stamps). If they change on
purpose, `PACKAGED_FINGERPRINT` in `dlip_reg.datasets.sources` changes with them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from dlip_reg.datasets.arrays import Source
from dlip_reg.datasets.sources import PUBLISHED_SHAPES, read_npz

SEED = 2017  # the year Fashion-MNIST was published
PER_CLASS = {"train": 1200, "test": 400}


def draw_subset(full: Source) -> dict[str, np.ndarray]:
    """1,200 training and 400 test images of each class, in the order the full set has them.

    Returns x_train (12000, 28, 28), y_train (12000,), x_test (4000, 28, 28) and y_test (4000,),
    all uint8.
    """
    generator = np.random.RandomState(SEED)  # its stream is the same in all versions of NumPy
    subset = {}
    for split, per_class in PER_CLASS.items():
        labels = getattr(full, f"y_{split}")
        drawn = [
            generator.permutation(np.flatnonzero(labels == label))[:per_class]
            for label in range(full.classes)
        ]
        indices = np.sort(np.concatenate(drawn))
        subset[f"x_{split}"] = getattr(full, f"x_{split}")[indices, :, :, 0]
        subset[f"y_{split}"] = labels[indices].astype(np.uint8)
    return subset


def make_subset(full: Path, out: Path) -> None:
    """Writes the subset of the full set in `full` to `out`, whole or not at all.

    Raises `DataError` if `full` is not a Fashion-MNIST archive.
    """
    subset = draw_subset(read_npz(full, PUBLISHED_SHAPES["fashion_mnist"]))
    part = out.with_name(out.name + ".part")
    with part.open("wb") as file:
        np.savez_compressed(file, **subset)
    part.replace(out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: python -m dlip_reg.datasets.make_subset FULL.npz OUT.npz")
    make_subset(Path(sys.argv[1]), Path(sys.argv[2]))
