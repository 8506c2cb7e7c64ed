"""Where the raw arrays of a data set come from: the package, .npz files, `keras.datasets`."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from dlip_reg.datasets.arrays import KEYS, Source, checked_source
from dlip_reg.datasets.errors import DataError, DatasetArgumentError
from dlip_reg.datasets.folders import read_folder
from dlip_reg.datasets.names import DATASET_NAMES, FOLDERS, check_dataset_name, form_and_path
from dlip_reg.errors import useful_line

PACKAGED_FOLDER = Path(__file__).with_name("packaged")


def dataset_info(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    size: int | None = None,
    skip_unreadable: bool = False,
) -> Source:
    """Return a whole data set before it is split, read once per process and state of its files.

    Args:
        name: As for `load_dataset`, and so are the others.
        data_dir: The folder with NAME.npz.
        size: The height and width to which the images of "folder:PATH" are resized.
        skip_unreadable: Whether unreadable files in "folder:PATH" are left out.

    Raises:
        DatasetArgumentError: The name is unknown, the size is not accepted, or options for a folder
            of images are given for other data.
        DataError: The data is missing, damaged or of another form than expected.
    """
    form, path = form_and_path(check_dataset_name(name))
    if name.startswith(FOLDERS):
        return read_folder(_absolute(path), size, skip_unreadable or form == "readable")
    if size is not None or skip_unreadable:
        raise DatasetArgumentError(f"size and skip_unreadable apply to folder:PATH, not to {name}.")
    if form == "file":
        return read_npz(_absolute(path))
    if name.endswith("_subset"):
        return read_npz(PACKAGED_FOLDER / f"{name}.npz")
    data_dir = data_dir or os.environ.get("DLIP_DATA_DIR")
    return read_npz(_absolute(data_dir) / f"{name}.npz") if data_dir else _from_keras(name)


def read_npz(path: Path) -> Source:
    """The checked content of an .npz file with x_train, y_train, x_test and y_test.

    Raises:
        DataError: The file cannot be read or has another content.
    """
    try:
        changed = path.stat()
        return _read_npz(path, changed.st_mtime_ns, changed.st_size)
    except OSError as error:
        other = " name its folder with --data-dir or DLIP_DATA_DIR,"
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}): put {path.name} there,"
            f"{other if path.stem in DATASET_NAMES else ''} or use fashion_mnist_subset, which "
            "needs no file."
        ) from error


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(path).expanduser().absolute()


# The time and size of the file are in the key so that a file changed meanwhile is read again.
@lru_cache(maxsize=2)
def _read_npz(path: Path, mtime_ns: int, size: int) -> Source:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in KEYS if key in archive.files}
    except OSError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen types for damaged bytes
        raise DataError(
            f"{path} is truncated, altered or no .npz file of plain arrays "
            f"({type(error).__name__}): fetch it again."
        ) from error
    if missing := [key for key in KEYS if key not in arrays]:
        raise DataError(
            f"{path} lacks {', '.join(missing)}: the arrays {', '.join(KEYS)} are expected."
        )
    return checked_source(str(path), arrays)


@lru_cache(maxsize=2)
def _from_keras(name: str) -> Source:
    from keras import datasets

    try:
        training, test = getattr(datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception when a download fails
        reason = useful_line(error).rstrip(".")
        raise DataError(
            f"keras.datasets could not provide {name} ({reason}): connect to the network and "
            f"delete what an interrupted download left in ~/.keras/datasets, put {name}.npz into a "
            "folder and name it with --data-dir or DLIP_DATA_DIR, or use fashion_mnist_subset, "
            "which needs neither."
        ) from error
    arrays = dict(zip(KEYS, (*training, *test), strict=True))
    return checked_source(f"keras.datasets.{name}", arrays)
