"""The names under which data sets are loaded; needs neither NumPy, Pillow nor TensorFlow."""

from __future__ import annotations

from pathlib import Path

from dlip_reg.datasets.errors import DatasetArgumentError

# The first two ship with the package.
DATASET_NAMES = ("fashion_mnist_subset", "mnist_subset", "fashion_mnist", "mnist", "cifar10")
_FOLDER, _FILE = "folder:", "file:"


def folder_of(name: str) -> str | None:
    """The path in "folder:PATH"; None for any other name."""
    return name.removeprefix(_FOLDER) or None if name.startswith(_FOLDER) else None


def file_of(name: str) -> str | None:
    """The path in "file:PATH.npz"; None for any other name."""
    return name.removeprefix(_FILE) if name.startswith(_FILE) and name.endswith(".npz") else None


def absolute_name(name: str) -> str:
    """`name` with the path in it made absolute: workers may have another working directory."""
    for prefix, path in ((_FOLDER, folder_of(name)), (_FILE, file_of(name))):
        if path:
            return f"{prefix}{Path(path).expanduser().absolute()}"
    return name


def is_dataset_name(name: str) -> bool:
    """Whether `name` has the form of a data set name; the path in it is not looked at.

    Args:
        name: The text to check.

    Returns:
        True for one of `DATASET_NAMES`, "folder:PATH" and "file:PATH.npz".
    """
    return name in DATASET_NAMES or bool(folder_of(name) or file_of(name))


def check_dataset_name(name: str) -> str:
    """Return `name` if it is a data set name, for use as an argument parser's type.

    Args:
        name: The text to check.

    Returns:
        `name`, unchanged.

    Raises:
        DatasetArgumentError: `is_dataset_name` is False.
    """
    if not isinstance(name, str) or not is_dataset_name(name):
        raise DatasetArgumentError(
            f"Unknown data set {name!r}: use {', '.join(DATASET_NAMES)}, folder:PATH for a folder "
            "of images with one subfolder for each class, or file:PATH.npz for arrays."
        )
    return name
