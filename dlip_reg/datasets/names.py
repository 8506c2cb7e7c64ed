"""The names under which data sets are loaded; needs neither NumPy, Pillow nor TensorFlow."""

from __future__ import annotations

from pathlib import Path

from dlip_reg.datasets.errors import DatasetArgumentError

# The first two ship with the package.
DATASET_NAMES = ("fashion_mnist_subset", "mnist_subset", "fashion_mnist", "mnist", "cifar10")


# How names of folders of images begin; the second leaves out files that cannot be read.
FOLDERS = ("folder:", "readable:")


def form_and_path(name: str) -> tuple[str, str]:
    """("folder", PATH) for "folder:PATH", and so for the other forms; ("", "") for a plain name."""
    form, _, path = name.partition(":")
    is_path = (name.startswith(FOLDERS) and path) or (form == "file" and path.endswith(".npz"))
    return (form, path) if is_path else ("", "")


def absolute_name(name: str) -> str:
    """`name` with the path in it made absolute: workers may have another working directory."""
    form, path = form_and_path(name)
    return f"{form}:{Path(path).expanduser().absolute()}" if form else name


def check_dataset_name(name: str) -> str:
    """Return `name` if it is a data set name, for use as an argument parser's type.

    Args:
        name: The text to check; the path in it is not looked at.

    Returns:
        `name`, unchanged.

    Raises:
        DatasetArgumentError: It is none of `DATASET_NAMES`, "folder:PATH", "readable:PATH" and
            "file:PATH.npz".
    """
    if not isinstance(name, str) or not (name in DATASET_NAMES or form_and_path(name)[0]):
        raise DatasetArgumentError(
            f"Unknown data set {name!r}: use {', '.join(DATASET_NAMES)}, folder:PATH for a folder "
            "of images with one subfolder for each class, readable:PATH for the same without files "
            "that cannot be read, or file:PATH.npz for arrays."
        )
    return name
