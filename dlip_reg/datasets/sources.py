"""Where the raw arrays of a named data set come from, and the checks they must pass."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

PACKAGED = Path(__file__).with_name("packaged") / "fashion_mnist_subset.npz"
# Of the arrays, not of the file: zip archives of equal arrays differ by their time stamps.
PACKAGED_FINGERPRINT = "3ac660ec310dd4c6932e5fd0a8a315804fc6283a20128c29baf4ccfc9429c11a"

CLASSES = 10
IMAGE_SHAPES = {
    "fashion_mnist_subset": (28, 28, 1),
    "fashion_mnist": (28, 28, 1),
    "mnist": (28, 28, 1),
    "cifar10": (32, 32, 3),
}
_KEYS = ("x_train", "y_train", "x_test", "y_test")
# What keras.datasets leaves under KERAS_HOME/datasets for each set.
_KERAS_FILES = {
    "fashion_mnist": "fashion-mnist",
    "mnist": "mnist.npz",
    "cifar10": "cifar-10-batches-py-target*",
}


class DataError(ValueError):
    """A data set that is missing, unreadable or not what its name promises."""


@dataclass(frozen=True, eq=False)
class Source:
    """A whole data set as published: read-only arrays and the identity of their content.

    Images are uint8 (n, height, width, channels), labels int32 (n,). `fingerprint` is the hex
    SHA-256 of the four arrays in this form, so the same data from another file or from
    `keras.datasets` has the same fingerprint.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    fingerprint: str


def load_source(name: str, data_dir: str | os.PathLike | None = None) -> Source:
    """The raw arrays of `name`, read once per process and file.

    `fashion_mnist_subset` ships with the package. The others come from `NAME.npz` in `data_dir`
    or else in the folder that the environment variable DLIP_DATA_DIR names, or, with neither
    given, from `keras.datasets`. Raises ValueError for an unknown name, `DataError` for data that
    is missing, damaged or of another form than `NAME` has.
    """
    if name not in IMAGE_SHAPES:
        raise ValueError(f"Unknown data set {name!r}; known are {', '.join(IMAGE_SHAPES)}.")
    if name == "fashion_mnist_subset":
        return _packaged()
    folder = data_dir or os.environ.get("DLIP_DATA_DIR")
    if not folder:
        return _from_keras(name)
    return read_npz(Path(folder).expanduser().absolute() / f"{name}.npz", IMAGE_SHAPES[name])


def read_npz(path: Path, image_shape: tuple[int, int, int]) -> Source:
    """The checked content of an .npz file with x_train, y_train, x_test and y_test.

    Raises `DataError` if the file cannot be read or holds anything but images of `image_shape`.
    """
    try:
        changed = path.stat()
        return _read_npz(path, image_shape, changed.st_mtime_ns, changed.st_size)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}): put {path.name} there, name its "
            "folder with --data-dir or DLIP_DATA_DIR, or use fashion_mnist_subset, which needs no "
            "file."
        ) from error


# The time and size of the file are in the key so that a file changed meanwhile is read again.
@lru_cache(maxsize=2)
def _read_npz(path: Path, image_shape: tuple[int, int, int], mtime_ns: int, size: int) -> Source:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [key for key in _KEYS if key not in archive.files]
            arrays = {key: archive[key] for key in _KEYS if key not in missing}
    except OSError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen types for damaged bytes
        raise DataError(
            f"{path} is truncated, altered or no .npz file of plain arrays "
            f"({type(error).__name__}): fetch it again."
        ) from error
    if missing:
        raise DataError(
            f"{path} lacks {', '.join(missing)}: the arrays {', '.join(_KEYS)} are expected."
        )
    return _checked(str(path), arrays, image_shape)


@lru_cache(maxsize=1)
def _packaged() -> Source:
    advice = "the packaged data is missing or altered, so install dlip_reg again"
    try:
        source = read_npz(PACKAGED, IMAGE_SHAPES["fashion_mnist_subset"])
    except DataError as error:
        raise DataError(f"{PACKAGED} cannot be used: {advice}.") from error
    if source.fingerprint != PACKAGED_FINGERPRINT:
        raise DataError(f"{PACKAGED} is not the file that was released: {advice}.")
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
    arrays = dict(zip(_KEYS, (x_train, y_train, x_test, y_test), strict=True))
    return _checked(f"keras.datasets.{name}", arrays, IMAGE_SHAPES[name])


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


def _checked(
    origin: str, arrays: dict[str, np.ndarray], image_shape: tuple[int, int, int]
) -> Source:
    digest = hashlib.sha256()
    checked = {}
    for split, least in (("train", 2), ("test", 1)):  # a training class must bear a validation part
        images = _checked_images(origin, f"x_{split}", arrays[f"x_{split}"], image_shape)
        labels = _checked_labels(origin, f"y_{split}", arrays[f"y_{split}"], least)
        if len(images) != len(labels):
            raise DataError(
                f"{origin} has {len(images)} images in x_{split} but {len(labels)} labels in "
                f"y_{split}: one label for each image is expected."
            )
        checked |= {f"x_{split}": images, f"y_{split}": labels}
    for key, array in checked.items():
        array.flags.writeable = False
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array)
    return Source(**checked, fingerprint=digest.hexdigest())


def _checked_images(
    origin: str, key: str, images: np.ndarray, image_shape: tuple[int, int, int]
) -> np.ndarray:
    accepted = [image_shape] if image_shape[2] > 1 else [image_shape[:2], image_shape]
    if images.dtype != np.uint8:
        raise DataError(f"{origin} has {key} of type {images.dtype}: uint8 is expected.")
    if images.shape[1:] not in accepted:
        expected = " or ".join(f"(n, {', '.join(map(str, shape))})" for shape in accepted)
        raise DataError(f"{origin} has {key} of shape {images.shape}: {expected} is expected.")
    return np.ascontiguousarray(images).reshape(-1, *image_shape)


def _checked_labels(origin: str, key: str, labels: np.ndarray, least: int) -> np.ndarray:
    if labels.dtype.kind not in "iu":
        raise DataError(f"{origin} has {key} of type {labels.dtype}: integers are expected.")
    if labels.ndim not in (1, 2) or labels.shape[1:] not in ((), (1,)):
        raise DataError(f"{origin} has {key} of shape {labels.shape}: (n,) or (n, 1) is expected.")
    labels = labels.ravel()
    if labels.size and not (labels.min() >= 0 and labels.max() < CLASSES):
        raise DataError(
            f"{origin} has labels from {labels.min()} to {labels.max()} in {key}: "
            f"0 to {CLASSES - 1} are expected."
        )
    counts = np.bincount(labels.astype(np.intp), minlength=CLASSES)
    if counts.min() < least:
        raise DataError(
            f"{origin} has {counts.min()} images of class {counts.argmin()} in {key}: "
            f"{least} or more of each of the {CLASSES} classes are expected."
        )
    return labels.astype("<i4")
