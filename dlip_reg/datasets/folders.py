"""Your own data sets: a folder of PNG and JPEG images with one subfolder for each class."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlip_reg.checks import is_whole
from dlip_reg.datasets.arrays import Source, checked_source
from dlip_reg.datasets.errors import DataError, DatasetArgumentError
from dlip_reg.extras import require_extra

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_SIZE = 28  # as in MNIST and Fashion-MNIST
LARGEST_SIZE = 4096
TEST_SHARE = 6  # one image in six is for testing
_ENDINGS = (".png", ".jpg", ".jpeg")
_LISTED = 10

# The name and the files of each class; a changed file has another time or size.
_Classes = tuple[tuple[str, tuple[tuple[Path, tuple[int, int]], ...]], ...]


def read_folder(folder: Path, size: int | None = None, skip_unreadable: bool = False) -> Source:
    """The images of a folder, read once per process and state of the folder.

    The classes are the subfolders, sorted by name. Files with other endings than .png, .jpg and
    .jpeg, hidden files (.DS_Store, ._x.png) and hidden folders are ignored. An image is turned as
    its EXIF orientation says, put on white where it is transparent, reduced to 8 bits by dropping
    the lower bits, and resized without regard to its aspect ratio. The images have one channel if
    in every one of them the three channels are equal after that, and else three.

    The test images are a sixth of the different images of each class, at least one: those with the
    smallest SHA-256 of the file, and their copies in other classes. So they depend on neither seed,
    file names nor size, and no copy of a test image is a training image. Of files of one class with
    the same content only the first is read.

    Args:
        folder: The folder.
        size: Height and width of the images in pixels; None is 28.
        skip_unreadable: Leave unreadable images out with a warning instead of raising an error.

    Returns:
        The arrays, in the order of class and file name. The arrays of a JPEG image, and so the
        fingerprint, may differ between versions of Pillow.

    Raises:
        DatasetArgumentError: The size is not accepted.
        DataError: The folder or one of its images cannot be used.
        MissingExtraError: Pillow is not installed.
    """
    require_extra("labs", "A folder of images", "PIL")
    if size is not None and not (is_whole(size) and 1 <= size <= LARGEST_SIZE):
        raise DatasetArgumentError(
            f"size must be a whole number of pixels from 1 to {LARGEST_SIZE}, not {size!r}."
        )
    try:
        classes = _list(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror or error}).") from error
    return _read(folder, classes, int(size or DEFAULT_SIZE), skip_unreadable)


def _list(folder: Path) -> _Classes:
    subfolders = sorted(
        (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")),
        key=lambda path: path.name,
    )
    if len(subfolders) < 2:
        raise DataError(
            f"{folder} has fewer than two subfolders ({len(subfolders)}): one subfolder of PNG or "
            "JPEG images for each class is expected, two or more."
        )
    classes = []
    for subfolder in subfolders:
        # By name, for Windows sorts paths without regard to capital letters.
        files = sorted(subfolder.iterdir(), key=lambda path: path.name)
        images = [path for path in files if _is_image(path)]
        if not images:
            raise DataError(
                f"{folder} has no images in the class {subfolder.name}: PNG or JPEG images in each "
                "subfolder are expected."
            )
        deeper = {path.parent for path in subfolder.glob("*/**/*") if _is_image(path)}
        within = [path.relative_to(folder) for path in sorted(deeper)]
        if nested := [path for path in within if not any(p.startswith(".") for p in path.parts)]:
            raise DataError(
                f"{folder} has images in {nested[0].as_posix()}: they are expected directly in the "
                "subfolder of their class."
            )
        # A link to nothing counts as a file that cannot be read.
        stats = [path.stat() if path.exists() else path.lstat() for path in images]
        states = [(stat.st_mtime_ns, stat.st_size) for stat in stats]
        classes.append((subfolder.name, tuple(zip(images, states, strict=True))))
    return tuple(classes)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _ENDINGS and not path.name.startswith(".") and not path.is_dir()


@lru_cache(maxsize=2)
def _read(folder: Path, classes: _Classes, size: int, skip_unreadable: bool) -> Source:
    images, labels, unreadable, left_out, copies = [], [], [], [], 0
    contents: list[bytes] = []
    chosen: set[bytes] = set()  # of all classes: a file may have a copy in another one
    for label, (name, files) in enumerate(classes):
        digests: dict[bytes, None] = {}
        for path, _ in files:
            try:
                if not path.is_file():  # reading a pipe would wait for ever
                    raise FileNotFoundError
                content = path.read_bytes()
                digest = hashlib.sha256(content).digest()
                if digest in digests:  # or validation could have images that are trained on
                    copies += 1
                    continue
                images.append(np.asarray(_decode(content, size)))
            except MemoryError:
                raise
            except Exception:  # Pillow and zlib raise many types for damaged files
                unreadable.append(str(path.relative_to(folder)))
                continue
            digests[digest] = None
        different = sorted(digests)
        if len(different) < 3 and (skip_unreadable or not unreadable):
            lost = f"; {len(unreadable)} more cannot be read" if unreadable else ""
            raise DataError(
                f"The class {name} in {folder} has too few different images ({len(different)}"
                f"{lost}): three or more are expected, to train, validate and test on."
            )
        chosen.update(different[: max(1, len(different) // TEST_SHARE)])
        labels += [label] * len(digests)
        contents += digests
    count = sum(len(files) for _, files in classes)
    if unreadable:
        more = f" and {len(unreadable) - _LISTED} more" if len(unreadable) > _LISTED else ""
        listed = ", ".join(unreadable[:_LISTED]) + more
        what = f"{len(unreadable)} of {count} images in {folder} cannot be read as PNG or JPEG"
        if not skip_unreadable:
            raise DataError(
                f"{what} ({listed}): remove or replace them, or name the folder readable:PATH to "
                "leave them out."
            )
        left_out.append(f"{what} and are left out: {listed}.")
    if copies:
        left_out.append(
            f"{copies} of {count} images in {folder} are copies of others of their class and are "
            "left out."
        )
    pixels = np.stack(images)
    if (pixels == pixels[..., :1]).all():  # grey
        pixels = pixels[..., :1]
    is_test = np.array([digest in chosen for digest in contents])
    source = checked_source(
        str(folder),
        {
            "x_train": pixels[~is_test],
            "y_train": np.array(labels)[~is_test],
            "x_test": pixels[is_test],
            "y_test": np.array(labels)[is_test],
        },
        tuple(name for name, _ in classes),
    )
    return replace(source, left_out=" ".join(left_out))


def _decode(content: bytes, size: int) -> Image:
    """The image in a file as 8-bit RGB of `size` x `size` pixels."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as opened:
        # Large JPEG files are decoded at a fraction of their size, still three times ours or more.
        opened.draft(None, (3 * size, 3 * size))
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip
        levels = np.asarray(image)
        levels = np.where(levels == image.info.get("transparency"), 0xFFFF, levels)
        image = Image.fromarray((levels >> 8).astype(np.uint8))
    elif "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
