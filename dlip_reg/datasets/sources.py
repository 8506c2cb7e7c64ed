"""Where the raw arrays of a data set come from: the package, .npz files, `keras.datasets`."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from dlip_reg.datasets.arrays import KEYS, Source, checked_source
from dlip_reg.datasets.errors import DataError, DatasetArgumentError
from dlip_reg.datasets.folders import FolderOptions, read_folder
from dlip_reg.datasets.names import check_dataset_name, file_of, folder_of

PACKAGED_FOLDER = Path(__file__).with_name("packaged")
# Name -> fingerprint of the sets that ship with the package: of the arrays, not of the file, since
# zip archives of equal arrays differ by their time stamps.
PACKAGED = {
    "fashion_mnist_subset": "3ac660ec310dd4c6932e5fd0a8a315804fc6283a20128c29baf4ccfc9429c11a",
    "mnist_subset": "ba619e7e73d955e6e9890e74d9711b487a320da9a913db608b073823fbb649fd",
}

PUBLISHED_SHAPES = {
    "fashion_mnist_subset": (28, 28, 1),
    "mnist_subset": (28, 28, 1),
    "fashion_mnist": (28, 28, 1),
    "mnist": (28, 28, 1),
    "cifar10": (32, 32, 3),
}
# What keras.datasets leaves under KERAS_HOME/datasets for each set.
_KERAS_FILES = {
    "fashion_mnist": "fashion-mnist",
    "mnist": "mnist.npz",
    "cifar10": "cifar-10-batches-py-target*",
}


def load_source(
    name: str,
    data_dir: str | os.PathLike | None = None,
    options: FolderOptions | None = None,
) -> Source:
    """The raw arrays of a data set, read once per process and state of its files.

    Args:
        name: As for `dlip_reg.datasets.load_dataset`.
        data_dir: As for `dlip_reg.datasets.load_dataset`.
        options: How the images of "folder:PATH" are read.

    Returns:
        The checked arrays.

    Raises:
        DatasetArgumentError: The name is unknown, or options for a folder of images are given for
            other data.
        DataError: The data is missing, damaged or of another form than expected.
    """
    check_dataset_name(name)
    options = options or FolderOptions()
    if folder := folder_of(name):
        return read_folder(_absolute(folder), options)
    if options != FolderOptions():
        raise DatasetArgumentError(
            f"size, colour and skip_unreadable apply to folder:PATH, not to {name}."
        )
    if file := file_of(name):
        return read_npz(_absolute(file))
    if name in PACKAGED:
        return _packaged(name)
    data_dir = data_dir or os.environ.get("DLIP_DATA_DIR")
    return read_npz(_absolute(data_dir) / f"{name}.npz") if data_dir else _from_keras(name)


def read_npz(path: Path, published_shape: tuple[int, int, int] | None = None) -> Source:
    """The checked content of an .npz file with x_train, y_train, x_test and y_test.

    Args:
        path: The file.
        published_shape: (height, width, channels) that the images must have, with ten classes;
            None for any size and any number of classes.

    Returns:
        The arrays.

    Raises:
        DataError: The file cannot be read or has another content.
    """
    try:
        changed = path.stat()
        return _read_npz(path, published_shape, changed.st_mtime_ns, changed.st_size)
    except OSError as error:
        by_name = path.stem in PUBLISHED_SHAPES
        other = " name its folder with --data-dir or DLIP_DATA_DIR," if by_name else ""
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}): put {path.name} there,{other} or "
            "use fashion_mnist_subset, which needs no file."
        ) from error


def _absolute(path: str | os.PathLike) -> Path:
    return Path(path).expanduser().absolute()


# The time and size of the file are in the key so that a file changed meanwhile is read again.
@lru_cache(maxsize=2)
def _read_npz(
    path: Path, published_shape: tuple[int, int, int] | None, mtime_ns: int, size: int
) -> Source:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [key for key in KEYS if key not in archive.files]
            arrays = {key: archive[key] for key in KEYS if key not in missing}
    except OSError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen types for damaged bytes
        raise DataError(
            f"{path} is truncated, altered or no .npz file of plain arrays "
            f"({type(error).__name__}): fetch it again."
        ) from error
    if missing:
        raise DataError(
            f"{path} lacks {', '.join(missing)}: the arrays {', '.join(KEYS)} are expected."
        )
    return checked_source(str(path), arrays, published_shape)


@lru_cache(maxsize=len(PACKAGED))
def _packaged(name: str) -> Source:
    path = PACKAGED_FOLDER / f"{name}.npz"
    advice = "the packaged data is missing or altered, so install dlip_reg again"
    try:
        source = read_npz(path, PUBLISHED_SHAPES[name])
    except DataError as error:
        raise DataError(f"{path} cannot be used: {advice}.") from error
    if source.fingerprint != PACKAGED[name]:
        raise DataError(f"{path} is not the file that was released: {advice}.")
    return source


@lru_cache(maxsize=2)
def _from_keras(name: str) -> Source:
    from keras import datasets

    for last_try in (False, True):
        try:
            (x_train, y_train), (x_test, y_test) = getattr(datasets, name).load_data()
            break
        except MemoryError:
            raise
        except Exception as error:  # Keras raises a bare Exception when a download fails
            # A killed download leaves a part in the cache, which Keras would take for the whole.
            if _clear_keras_cache(name) and not last_try:
                continue
            reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
            raise DataError(
                f"keras.datasets could not provide {name} ({reason}): connect to the network, put "
                f"{name}.npz into a folder and name it with --data-dir or DLIP_DATA_DIR, or use "
                "fashion_mnist_subset, which needs neither."
            ) from error
    arrays = dict(zip(KEYS, (x_train, y_train, x_test, y_test), strict=True))
    return checked_source(f"keras.datasets.{name}", arrays, PUBLISHED_SHAPES[name])


def _clear_keras_cache(name: str) -> bool:
    """Removes what Keras keeps of `name`; True if there was anything."""
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    if not os.access(home, os.W_OK):  # where keras.utils.get_file turns to then
        home = Path("/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir()) / ".keras"
    found = list((home / "datasets").glob(_KERAS_FILES[name]))
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return bool(found)
