"""Data sets of one's own: a folder of PNG and JPEG images with one subfolder for each class."""

from __future__ import annotations

import hashlib
import io
import operator
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlip_reg.datasets.arrays import Source, checked_source
from dlip_reg.datasets.errors import DataError, DatasetArgumentError
from dlip_reg.extras import require_extra

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_SIZE = 28  # as in MNIST and Fashion-MNIST
LARGEST_SIZE = 4096
TEST_SHARE = 6  # one image in six is for testing
_ENDINGS = (".png", ".jpg", ".jpeg")
_LAYOUT = "one subfolder of PNG or JPEG images for each class is expected"
_LISTED = 10


@dataclass(frozen=True)
class FolderOptions:
    """How the images of a folder are read.

    Args:
        size: Height and width of the images, an int for square ones; None is 28.
        colour: True for three channels, False for one; None for one if every image is grey.
        skip_unreadable: Leave unreadable images out with a warning instead of raising an error.

    Raises:
        DatasetArgumentError: A value has another form.
    """

    size: int | tuple[int, int] | None = None
    colour: bool | None = None
    skip_unreadable: bool = False

    def __post_init__(self) -> None:
        if self.colour not in (None, True, False):
            raise DatasetArgumentError(f"colour must be True, False or None, not {self.colour!r}.")
        if self.skip_unreadable not in (True, False):
            raise DatasetArgumentError(
                f"skip_unreadable must be True or False, not {self.skip_unreadable!r}."
            )
        if self.size is not None:
            object.__setattr__(self, "size", _pair(self.size))


@dataclass(frozen=True)
class _File:
    """An image file; a changed file has another time or size, and so is another `_File`."""

    label: int
    path: Path
    mtime_ns: int
    size: int


def read_folder(folder: Path, options: FolderOptions) -> Source:
    """The images of a folder, read once per process and state of the folder.

    The classes are the subfolders, sorted by name. Files with other endings than .png, .jpg and
    .jpeg, hidden files (.DS_Store, ._x.png) and hidden folders are ignored. An image is turned as
    its EXIF orientation says, put on white where it is transparent, reduced to 8 bits by dropping
    the lower bits, and resized to `options.size` without regard to its aspect ratio. An image is
    grey if its three channels are equal after that.

    The test images are a sixth of the different images of each class, at least one: those with the
    smallest SHA-256 of the file. So they depend on neither seed, file names nor options, and no
    copy of a test image is a training image.

    Args:
        folder: The folder.
        options: How its images are read.

    Returns:
        The arrays, in the order of class and file name. The arrays of a JPEG image, and so the
        fingerprint, may differ between versions of Pillow.

    Raises:
        DataError: The folder or one of its images cannot be used.
        MissingExtraError: Pillow is not installed.
    """
    require_extra("labs", "A folder of images", "PIL")
    try:
        class_names, files = _list(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror or error}).") from error
    return _read(folder, class_names, files, options)


def _list(folder: Path) -> tuple[tuple[str, ...], tuple[_File, ...]]:
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}: {_LAYOUT}.")
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    subfolders = sorted((path for path in visible if path.is_dir()), key=lambda path: path.name)
    names = tuple(path.name for path in subfolders)
    if not names:
        raise DataError(f"{folder} has no subfolders: {_LAYOUT}.")
    files, empty = [], []
    for label, subfolder in enumerate(subfolders):
        images = [path for path in sorted(subfolder.iterdir()) if _is_image(path)]
        if not images:
            empty.append(subfolder.name)
        stats = [path.stat() for path in images]
        files += [
            _File(label, path, stat.st_mtime_ns, stat.st_size)
            for path, stat in zip(images, stats, strict=True)
        ]
    if not files:
        raise DataError(f"{folder} has no images in its subfolders: {_LAYOUT}.")
    if len(names) == 1:
        raise DataError(f"{folder} has only the class {names[0]}: two or more are expected.")
    if empty:
        raise DataError(f"{folder} has no images in the class {_listed(empty)}: {_LAYOUT}.")
    return names, tuple(files)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _ENDINGS and not path.name.startswith(".") and not path.is_dir()


@lru_cache(maxsize=2)
def _read(
    folder: Path, class_names: tuple[str, ...], files: tuple[_File, ...], options: FolderOptions
) -> Source:
    size = options.size or (DEFAULT_SIZE, DEFAULT_SIZE)
    labels, images, digests, unreadable = [], [], [], []
    for file in files:
        try:
            content = file.path.read_bytes()
            image = _decode(content, size)
        except MemoryError:
            raise
        except Exception:  # Pillow and zlib raise many types for damaged files
            unreadable.append(str(file.path.relative_to(folder)))
            continue
        labels.append(file.label)
        images.append(image)
        digests.append(hashlib.sha256(content).digest())
    if unreadable:
        what = f"{len(unreadable)} of {len(files)} images in {folder} cannot be read as PNG or JPEG"
        if not options.skip_unreadable:
            raise DataError(
                f"{what} ({_listed(unreadable)}): remove or replace them, or load the data with "
                "skip_unreadable=True."
            )
        warnings.warn(f"{what} and are left out: {_listed(unreadable)}.", stacklevel=5)
    for label, name in enumerate(class_names):
        different = len({d for d, own in zip(digests, labels, strict=True) if own == label})
        if different < 3:
            raise DataError(
                f"The class {name} in {folder} has too few different images ({different}): three "
                "or more are expected, to train, validate and test on."
            )
    return _split(folder, class_names, images, np.array(labels), digests, options.colour)


def _split(
    folder: Path,
    class_names: tuple[str, ...],
    images: list[Image],
    labels: np.ndarray,
    digests: Sequence[bytes],
    colour: bool | None,
) -> Source:
    if colour is None:
        colour = not all(_is_grey(np.asarray(image)) for image in images)
    pixels = np.stack([np.asarray(image if colour else image.convert("L")) for image in images])
    in_test = np.zeros(len(labels), bool)
    for label in range(len(class_names)):
        members = np.flatnonzero(labels == label)
        different = sorted({digests[member] for member in members})
        chosen = set(different[: max(1, len(different) // TEST_SHARE)])
        in_test[members] = [digests[member] in chosen for member in members]
    arrays = {
        "x_train": pixels[~in_test],
        "y_train": labels[~in_test],
        "x_test": pixels[in_test],
        "y_test": labels[in_test],
    }
    return checked_source(str(folder), arrays, class_names=class_names)


def _decode(content: bytes, size: tuple[int, int]) -> Image:
    """The image in a file as 8-bit RGB of (height, width) `size`."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as opened:
        # Large JPEG files are decoded at a fraction of their size, still three times ours or more.
        opened.draft(None, (3 * max(size), 3 * max(size)))
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)


def _is_grey(pixels: np.ndarray) -> bool:
    return bool((pixels == pixels[..., :1]).all())


def _pair(size: Any) -> tuple[int, int]:
    sides = size if isinstance(size, tuple | list) else (size, size)
    try:
        pair = tuple(operator.index(side) for side in sides if not isinstance(side, bool))
    except TypeError:
        pair = ()
    if len(pair) != 2 or not all(1 <= side <= LARGEST_SIZE for side in pair):
        raise DatasetArgumentError(
            f"size must be a whole number of pixels from 1 to {LARGEST_SIZE} or two of them "
            f"(height, width), not {size!r}."
        )
    return pair


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
