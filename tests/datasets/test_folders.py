"""Folders of your own images: what is read, how it is converted and split, what is refused."""

import hashlib
import os
import shutil
import warnings
from pathlib import PurePath

import numpy as np
import pytest
from PIL import Image

from dlip_reg.datasets import (
    DataError,
    DatasetArgumentError,
    dataset_info,
    folders,
    load_dataset,
)
from dlip_reg.training import DataSpec, worker


def noise(seed, shape=(20, 20), low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, shape, np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def save_classes(root, count, image, names="ab", ending="png", **options):
    """Save `image(name, number)` for so many images of each class."""
    for name in names:
        for i in range(count):
            save(root / name / f"{i}.{ending}", image(name, i), **options)


@pytest.fixture
def folder(tmp_path):
    """Grey images of three classes: 24 cats, 12 dogs and 6 eels."""
    root = tmp_path / "pets"
    for start, (name, count) in enumerate((("eel", 6), ("cat", 24), ("dog", 12))):
        for i in range(count):
            save(root / name / f"{i:02}.png", noise(100 * start + i))
    return root


def load(folder, **options):
    return load_dataset(f"folder:{folder}", **options)


def pixels_of(images, data):
    """Standardised images as 8-bit pixels."""
    return np.rint((images * np.float32(data.std) + np.float32(data.mean)) * 255).astype(np.uint8)


def info(folder, **options):
    return dataset_info(f"folder:{folder}", **options)


def plain(folder):
    """Every image of a folder, training pool first, as uint8."""
    source = dataset_info(f"folder:{folder}")
    return np.concatenate([source.x_train, source.x_test])


# What is read


def test_subfolders_are_the_classes_in_order_of_their_names(folder):
    data = load(folder, seed=1)
    assert data.class_names == ("cat", "dog", "eel")
    assert data.classes == 3
    assert data.input_shape == (28, 28, 1)
    assert data.name == f"folder:{folder}"
    # A sixth of each class is for testing, and a sixth of the others for validation.
    assert np.bincount(data.y_test).tolist() == [4, 2, 1]
    assert len(data.y_validation) == 35 // 6
    assert len(data.y_train) + len(data.y_validation) == 35


def test_images_are_in_the_order_of_their_names_on_every_system(tmp_path, monkeypatch):
    """Windows compares paths without regard to capital letters."""
    for name in "xy":
        for number, file in enumerate(("Z.png", "a.png", "B.png", "c.png")):
            save(tmp_path / name / file, noise(10 * ord(name) + number))
    here = dataset_info(f"folder:{tmp_path}").fingerprint
    folders._read.cache_clear()
    monkeypatch.setattr(PurePath, "__lt__", lambda a, b: str(a).lower() < str(b).lower())
    assert dataset_info(f"folder:{tmp_path}").fingerprint == here


def test_images_keep_the_label_of_their_subfolder(tmp_path):
    values = {"a": 10, "b": 100, "c": 200}
    save_classes(tmp_path, 8, lambda name, i: np.full((9, 9), values[name] + i, np.uint8), "abc")
    data = load(tmp_path)
    for split in ("train", "validation", "test"):
        pixels = pixels_of(getattr(data, f"x_{split}"), data)[:, 0, 0, 0]
        expected = np.searchsorted([100, 200], pixels, side="right")
        assert getattr(data, f"y_{split}").tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("size", "shape"), [(None, (28, 28)), (16, (16, 16)), (np.int64(30), (30, 30))]
)
def test_images_of_any_size_are_resized_to_the_asked_size(tmp_path, size, shape):
    def half_white(name, i):
        height, width = [(28, 28), (200, 10), (1, 1), (64, 100)][i]
        pixels = np.zeros((height, width), np.uint8)
        pixels[height // 2 :] = 255 - i - 10 * (name == "b")
        return pixels

    save_classes(tmp_path, 4, half_white)
    data = load(tmp_path, size=size, n_validation=2)
    assert data.input_shape == (*shape, 1)
    assert pixels_of(data.x_train, data)[:, -1].mean(axis=(1, 2)).min() > 0.9 * 255
    found = info(tmp_path, size=size)
    assert (found.input_shape, found.fingerprint) == (data.input_shape, data.fingerprint)


def test_hidden_files_and_other_endings_are_ignored(folder):
    before = info(folder).fingerprint
    for name in (".DS_Store", "._x.png", "notes.txt", "x.gif", "x.png.part"):
        (folder / "cat" / name).write_bytes(b"no image")
        (folder / name).write_bytes(b"no image")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / "cat" / "deeper.png").mkdir()
    for place in (".thumbnails", "x/.thumbnails", ".thumbnails/x"):
        save(folder / "cat" / place / "1.png", noise(0))
    assert info(folder).fingerprint == before


def test_upper_case_endings_and_jpeg_are_read(tmp_path):
    endings = ("png", "PNG", "jpg", "JPG", "jpeg", "Jpeg")
    for number, ending in enumerate(endings):
        folders = {"a": 2 * number, "b": 2 * number + 1}
        for name, seed in folders.items():
            save(tmp_path / name / f"{number}.{ending}", noise(seed))
    assert len(plain(tmp_path)) == 12


@pytest.mark.parametrize("side", [90, 900])
def test_large_jpeg_is_decoded_as_the_whole_image_would_be(tmp_path, side):
    rows, columns = 9 * np.mgrid[0:side, 0 : side * 4 // 3] / side

    def wave(name, i):
        values = 127 + 100 * np.sin(rows + i) * np.cos(columns / 1.3 + ord(name))
        return values.astype(np.uint8)

    save_classes(tmp_path, 3, wave, ending="jpg", quality=95)
    pixels = dataset_info(f"folder:{tmp_path}").x_test[0, ..., 0].astype(int)
    originals = [Image.open(path).resize((28, 28), 2) for path in (tmp_path / "a").iterdir()]
    nearest = min(np.abs(np.asarray(image).astype(int) - pixels).max() for image in originals)
    assert nearest <= 4  # of 255


# Colour


def test_one_channel_if_every_image_is_grey_and_three_if_one_is_not(folder):
    grey = plain(folder)
    assert grey.shape[-1] == 1
    path = folder / "cat" / "00.png"
    save(path, np.asarray(Image.open(path).convert("RGB")))  # grey in three channels is grey
    assert info(folder).input_shape == (28, 28, 1)
    save(path, noise(0, (20, 20, 3)))
    assert info(folder).input_shape == (28, 28, 3)


PALETTE = Image.new("P", (8, 8), 1)
PALETTE.putpalette([0, 0, 0, 9, 8, 7])
# The image, how it is saved, and its colour.
KINDS = {
    "black and white": (Image.new("1", (8, 8), 1), {}, (255,) * 3),
    "grey with alpha": (Image.new("LA", (8, 8), (0, 51)), {}, (204,) * 3),
    "colour with alpha": (Image.new("RGBA", (8, 8), (255, 0, 0, 51)), {}, (255, 204, 204)),
    "transparent": (Image.new("RGBA", (8, 8), (9, 9, 9, 0)), {}, (255,) * 3),
    "16 bits": (Image.fromarray(np.full((8, 8), 0x80FF, np.uint16)), {}, (128,) * 3),
    "transparent 16 bits": (
        Image.fromarray(np.full((8, 8), 0x80FF, np.uint16)),
        {"transparency": 0x80FF},
        (255,) * 3,
    ),
    "palette": (Image.new("RGB", (8, 8), (10, 20, 30)).quantize(4), {}, (10, 20, 30)),
    "transparent palette": (PALETTE, {"transparency": 1}, (255,) * 3),
    "CMYK": (Image.new("CMYK", (8, 8), (0, 255, 0, 0)), {"format": "JPEG"}, (255, 0, 255)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_becomes_8_bits_on_white(tmp_path, kind):
    image, options, expected = KINDS[kind]
    save_classes(tmp_path, 4, lambda name, i: Image.new("RGB", (8, 8), (1, i, ord(name))))
    path = save(tmp_path / "a" / "kind.png", image, **options)
    assert Image.open(path).mode not in ("L", "RGB")
    assert list(expected) in plain(tmp_path)[:, 3, 3].tolist()


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_exif_orientation_is_respected(tmp_path, ending):
    def upper_half_bright(name, i):
        pixels = np.zeros((16, 16), np.uint8)
        pixels[:8] = 250 - i - 3 * (name == "b")
        return pixels

    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise to view
    save_classes(tmp_path, 3, upper_half_bright, ending=ending, exif=exif)
    for image in plain(tmp_path)[..., 0]:
        assert image[:, -10:].min() > 200
        assert image[:, :10].max() < 50


# Splits


def test_test_pool_depends_on_neither_seed_options_nor_file_names(folder):
    by_pixels = {np.asarray(Image.open(path)).tobytes(): path for path in folder.rglob("*.png")}

    def test_files(**options):
        data = load(folder, size=20, **options)
        return {by_pixels[image.tobytes()] for image in pixels_of(data.x_test, data)}

    first = test_files(seed=0)
    assert test_files(seed=7, n_train=10, n_validation=5) == first
    for name in ("cat", "dog", "eel"):
        files = sorted(path for path in by_pixels.values() if path.parent.name == name)
        files.sort(key=lambda path: hashlib.sha256(path.read_bytes()).digest())
        assert set(files[: len(files) // 6]) == {path for path in first if path.parent.name == name}


def test_no_copy_of_a_test_image_is_a_training_image(folder):
    for path in sorted(folder.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    shutil.copy(folder / "eel" / "00.png", folder / "eel" / "third.png")

    def pools():
        source = dataset_info(f"folder:{folder}")
        return ({image.tobytes() for image in images} for images in (source.x_train, source.x_test))

    training, test = pools()
    assert not training & test
    assert len(test) == 4 + 2 + 1
    for path in (folder / "cat").glob("??.png"):
        shutil.copy(path, folder / "dog" / f"cat {path.name}")  # a file in two classes
    training, test = pools()
    assert not training & test and len(test) > 4 + 2 + 1


def test_copies_within_a_class_are_left_out_so_that_none_is_trained_and_validated_on(folder):
    for path in (folder / "eel").glob("*.png"):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    with pytest.warns(UserWarning, match="6 of 48 images .* copies of others of their class"):
        data = load(folder)
    images = [*pixels_of(data.x_train, data), *pixels_of(data.x_validation, data)]
    assert len(images) == len({image.tobytes() for image in images}) == 42 - 7


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX pipes")
def test_a_pipe_is_no_image_and_is_not_waited_for(folder):
    os.mkfifo(folder / "eel" / "pipe.png")
    with pytest.raises(DataError, match=r"1 of 43 images .* \(eel/pipe.png\)"):
        load(folder)


def test_three_different_images_of_a_class_are_enough(tmp_path):
    save_classes(tmp_path, 3, lambda name, i: noise(ord(name) + 10 * i))
    data = load(tmp_path)
    for labels in (data.y_train, data.y_validation, data.y_test):
        assert sorted(labels.tolist()) == [0, 1]


# The cache


def test_folder_is_read_once_and_again_when_a_file_changes(folder, monkeypatch):
    opened = []
    monkeypatch.setattr(
        Image, "open", lambda *a, _open=Image.open, **k: opened.append(1) or _open(*a, **k)
    )
    for seed in range(3):
        load(folder, seed=seed)
    assert len(opened) == 42
    fingerprints = {info(folder).fingerprint}

    path = folder / "cat" / "00.png"
    save(path, noise(999))
    os.utime(path, ns=(0, 1))
    fingerprints.add(info(folder).fingerprint)
    save(folder / "cat" / "new.png", noise(1000))
    fingerprints.add(info(folder).fingerprint)
    path.unlink()
    fingerprints.add(info(folder).fingerprint)
    fingerprints.add(info(folder, size=29).fingerprint)
    assert len(fingerprints) == 5


def test_fingerprint_is_that_of_the_pixels(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    fingerprint = info(folder).fingerprint
    assert info(other).fingerprint == fingerprint
    source = dataset_info(f"folder:{folder}")
    arrays = {key: getattr(source, key) for key in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(tmp_path / "same.npz", **arrays)
    assert dataset_info(f"file:{tmp_path / 'same.npz'}").fingerprint == fingerprint


# What is refused


def refusal(folder, **options):
    with pytest.raises(DataError) as caught:
        load(folder, **options)
    message = str(caught.value)
    assert str(folder) in message
    assert message.endswith(".") and "\n" not in message
    return message


def test_folders_of_another_form_are_refused(tmp_path, folder):
    assert "cannot be read (No such file or directory)" in refusal(tmp_path / "nowhere")
    assert "cannot be read (Not a directory)" in refusal(folder / "cat" / "00.png")
    assert "subfolders (0): one subfolder" in refusal(folder / "cat")
    assert "subfolders (1): one subfolder" in refusal(tmp_path)
    (folder / "yak").mkdir()
    assert "no images in the class yak:" in refusal(folder)
    (folder / "yak").rmdir()
    for place in ("young", "young/small"):  # the second below a folder without images
        save(folder / "eel" / place / "1.png", noise(0))
        assert f"images in eel/{place}: they are expected directly" in refusal(folder)
        (folder / "eel" / place / "1.png").unlink()
    for name in ("dog", "eel"):
        shutil.rmtree(folder / name)
    assert "subfolders (1): one subfolder" in refusal(folder)


def test_class_with_too_few_different_images_is_named(folder):
    for i in range(2, 6):
        shutil.copy(folder / "eel" / "00.png", folder / "eel" / f"{i:02}.png")
    assert "The class eel" in (message := refusal(folder))
    assert "(2)" in message


def test_unreadable_images_are_listed_in_one_error(folder):
    whole = (folder / "cat" / "00.png").read_bytes()
    for i in range(9):
        (folder / "cat" / f"{i:02}.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog" / "00.png").write_bytes(b"")
    (folder / "dog" / "01.png").write_bytes(b"<html>Please log in</html>")
    Image.fromarray(noise(0)).save(folder / "dog" / "02.png", "GIF")
    message = refusal(folder)
    assert message.startswith("12 of 42 images")
    assert "cat/00.png" in message.replace(os.sep, "/")
    assert message.count(".png") == 10 and "and 2 more" in message
    assert "readable:PATH" in message


@pytest.mark.parametrize(
    ("form", "options"), [("folder", {"skip_unreadable": True}), ("readable", {})]
)
def test_unreadable_images_are_left_out_with_one_warning_if_asked(folder, form, options):
    (folder / "dog" / "00.png").write_bytes(b"broken")
    name = f"{form}:{folder}"
    with pytest.warns(UserWarning, match=r"1 of 42 images .* left out: dog.00.png") as caught:
        data = load_dataset(name, **options)
    assert len(caught) == 1
    assert len(data.y_train) + len(data.y_validation) + len(data.y_test) == 41
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        worker.load(DataSpec(f"readable:{folder}"), None, seed=0)  # the main process says it
    (folder / "dog" / "00.png").unlink()
    assert info(folder).fingerprint == data.fingerprint


def test_a_class_needs_three_readable_images(folder):
    for path in sorted((folder / "eel").iterdir())[2:]:
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match=r"different images \(2; 4 more cannot be read\)"):
        load(folder, skip_unreadable=True)


@pytest.mark.parametrize("size", [0, 28.0, True, (28, 28), "large", 10**9])
def test_sizes_of_another_form_are_refused(folder, size):
    with pytest.raises(DatasetArgumentError, match="size must be"):
        load(folder, size=size)


@pytest.mark.parametrize("options", [{"size": 28}, {"skip_unreadable": True}])
def test_options_for_folders_are_refused_for_other_data(options):
    with pytest.raises(DatasetArgumentError, match="apply to folder:PATH"):
        load_dataset(**options)
