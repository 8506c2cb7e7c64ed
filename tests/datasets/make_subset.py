"""Draws the packaged subsets from the full sets; for maintenance only.

    python tests/datasets/make_subset.py NAME FULL.npz OUT.npz

NAME is one of `SUBSETS`. Each run writes the same arrays (the archive's bytes differ in time
stamps).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlip_reg.datasets.arrays import Source
from dlip_reg.datasets.sources import read_npz


@dataclass(frozen=True)
class Subset:
    """How many images of each class a packaged subset has, and the seed that draws them."""

    seed: int
    train: int
    test: int


# The seeds are the years in which the sets were published.
SUBSETS = {
    "fashion_mnist": Subset(seed=2017, train=1200, test=400),
    "mnist": Subset(seed=1998, train=500, test=200),
}


def draw_subset(full: Source, subset: Subset) -> dict[str, np.ndarray]:
    """Draw images of each class without repetition, in the order the full set has them.

    Args:
        full: The full set, with images of one channel.
        subset: How many to draw.

    Returns:
        x_train and x_test, uint8 (n, height, width), and y_train and y_test, uint8 (n,).
    """
    generator = np.random.RandomState(subset.seed)  # its stream is the same in all NumPy versions
    drawn = {}
    for split in ("train", "test"):
        labels = getattr(full, f"y_{split}")
        of_classes = [
            generator.permutation(np.flatnonzero(labels == label))[: getattr(subset, split)]
            for label in range(full.classes)
        ]
        indices = np.sort(np.concatenate(of_classes))
        drawn[f"x_{split}"] = getattr(full, f"x_{split}")[indices, :, :, 0]
        drawn[f"y_{split}"] = labels[indices].astype(np.uint8)
    return drawn


def make_subset(name: str, full: Path, out: Path) -> None:
    """Write the packaged subset of the full set in `full` to `out`, whole or not at all.

    Raises:
        DataError: `full` is not an archive of that set.
    """
    subset = draw_subset(read_npz(full), SUBSETS[name])
    part = out.with_name(out.name + ".part")
    with part.open("wb") as file:
        np.savez_compressed(file, **subset)
    part.replace(out)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in SUBSETS:
        sys.exit("Usage: python tests/datasets/make_subset.py NAME FULL.npz OUT.npz")
    make_subset(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
