"""Which images of a data set are for training, validation and testing; a seed decides."""

from __future__ import annotations

import numpy as np

from dlip_reg.checks import is_whole
from dlip_reg.datasets.arrays import Source
from dlip_reg.datasets.errors import DatasetArgumentError

# Streams of random numbers of one seed beside that of the training and validation draw.
_TEST_STREAM, _LABEL_STREAM = 1, 2


def draw_splits(
    name: str,
    source: Source,
    seed: int,
    n_train: int | None,
    n_validation: int | None,
    n_test: int | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stratified draws by seed; sizes, defaults and errors as in `dlip_reg.datasets.load_dataset`.

    The first `n_validation` of the shuffled training images are for validation and the next
    `n_train` for training. The test images are drawn with a stream of random numbers of their own.

    Returns:
        Indices of the training and the validation images into the training images of the source,
        and of the test images into its test images.
    """
    total, tests, least = len(source.y_train), len(source.y_test), source.classes

    def checked(option: str, value: int | None, default: int, most: int, where: str = name) -> int:
        value = default if value is None else value
        if not is_whole(value) or not least <= value <= most:
            raise DatasetArgumentError(
                f"{option} must be a whole number from {least} (one image of each class) to "
                f"{most} (all there are in {where}), not {value!r}."
            )
        return int(value)

    n_validation = checked("n_validation", n_validation, max(total // 6, least), total - least)
    left = total - n_validation
    beside = f"{name} beside {n_validation} for validation"
    n_train = checked("n_train", n_train, left, left, beside)
    shuffled = _stratified(_generator(seed).permutation(total), source.y_train, least)
    validation, rest = np.split(shuffled, [n_validation])
    if lost := set(range(least)) - set(source.y_train[rest].tolist()):
        raise DatasetArgumentError(
            f"n_validation={n_validation} leaves no training image of class {min(lost)} in {name}; "
            "a smaller n_validation is accepted."
        )
    pool = np.arange(tests)
    if n_test is not None:
        pool = _generator(seed, _TEST_STREAM).permutation(pool)
    n_test = checked("n_test", n_test, tests, tests)
    train = _stratified(rest, source.y_train, least)[:n_train]
    return train, validation, _stratified(pool, source.y_test, least)[:n_test]


def draw_labels(source: Source, seed: int) -> np.ndarray:
    """A label for each training image of the source, drawn uniformly and independently by seed."""
    generator = _generator(seed, _LABEL_STREAM)
    return generator.randint(source.classes, size=len(source.y_train), dtype=np.int32)


def _generator(seed: int, stream: int | None = None) -> np.random.RandomState:
    # RandomState, because NumPy promises its stream for all versions; Generator's may change.
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise DatasetArgumentError(
            f"seed must be a whole number from 0 to 2**32 - 1, not {seed!r}."
        )
    return np.random.RandomState(seed if stream is None else [seed, stream])


def _stratified(indices: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """`indices` reordered so that every beginning holds the classes in their proportions.

    The first image of each class comes first, so no beginning of `classes` or more lacks a class.
    """
    position = np.empty(len(indices))
    chosen = labels[indices]
    for label in range(classes):
        members = np.flatnonzero(chosen == label)
        position[members] = np.arange(len(members)) / len(members)
    return indices[np.argsort(position, kind="stable")]
