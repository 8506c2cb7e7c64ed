"""Where full sets come from: NAME.npz in a folder or keras.datasets; and what is refused."""

import gzip
import io
import os
import socket
import struct
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from dlip_reg.datasets import DataError, dataset_info, load_dataset, sources

FULL_SETS = os.environ.get("DLIP_DATA_DIR")


@pytest.fixture(autouse=True)
def no_folder_given(monkeypatch):
    monkeypatch.delenv("DLIP_DATA_DIR", raising=False)


def small_arrays(image_shape=(28, 28), n_train=40, n_test=20, classes=10):
    generator = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", n_train), ("test", n_test)):
        arrays[f"x_{split}"] = generator.integers(0, 256, (n, *image_shape), np.uint8)
        arrays[f"y_{split}"] = np.arange(n, dtype=np.uint8) % classes
    return arrays


def write(folder, name="mnist", **arrays):
    path = folder / f"{name}.npz"
    np.savez(path, **arrays)
    return path


def refusal(path, load, *arguments, match=None):
    """The sentence by which data is refused; it names the file."""
    with pytest.raises(DataError, match=match) as caught:
        load(*arguments)
    message = str(caught.value)
    assert str(path) in message
    assert message.endswith(".") and "\n" not in message
    return message


# NAME.npz in a folder


@pytest.mark.parametrize(
    ("name", "image_shape", "classes"),
    [
        ("mnist", (28, 28), 10), ("fashion_mnist", (28, 28, 1), 10), ("cifar10", (32, 32, 3), 10),
        ("cifar10", (64, 64), 3), ("mnist", (64, 48, 1), 3), ("cifar10", (64, 64, 3), 3),
    ],
)  # fmt: skip
def test_images_of_any_size_get_a_channel_axis_and_keep_their_classes(
    tmp_path, name, image_shape, classes
):
    path = write(tmp_path, name, **small_arrays(image_shape, 40, 20, classes))
    by_name, by_path = load_dataset(name, tmp_path), load_dataset(f"file:{path}")
    info, shape = dataset_info(f"file:{path}"), (*image_shape, 1)[:3]
    for data in (by_name, by_path):
        assert (data.classes, data.input_shape) == (info.classes, info.input_shape)
        assert (data.classes, data.input_shape) == (classes, shape)
        for split in ("train", "validation", "test"):
            x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
            assert (x.shape, x.dtype, y.dtype) == ((len(y), *shape), np.float32, np.int32)
            assert set(y) == set(range(classes))
        assert (len(data.y_train) + len(data.y_validation), len(data.y_test)) == (40, 20)
    assert by_path.class_names is None
    assert by_name.fingerprint == by_path.fingerprint == info.fingerprint
    np.testing.assert_array_equal(by_name.x_train, by_path.x_train)


def test_folder_comes_from_the_argument_before_the_environment(tmp_path, monkeypatch):
    folders = [tmp_path / "argument", tmp_path / "environment"]
    fingerprints = []
    for n_train, folder in zip((40, 50), folders, strict=True):
        folder.mkdir()
        write(folder, **small_arrays(n_train=n_train))
        fingerprints.append(dataset_info("mnist", folder).fingerprint)
    monkeypatch.setenv("DLIP_DATA_DIR", str(folders[1]))
    assert dataset_info("mnist", folders[0]).fingerprint == fingerprints[0]
    assert dataset_info("mnist").fingerprint == fingerprints[1]


def test_what_is_no_file_is_named_and_not_downloaded(tmp_path, monkeypatch):
    def download(name):
        raise AssertionError("A folder was given, so nothing may be downloaded.")

    monkeypatch.setattr(sources, "_from_keras", download)
    missing = tmp_path / "cifar10.npz"
    refusal(missing, load_dataset, "cifar10", tmp_path, match="cannot be read")
    file, folder = tmp_path / "file", tmp_path / "mnist.npz"
    file.touch()
    folder.mkdir()
    refusal(file / "mnist.npz", load_dataset, "mnist", file, match="cannot be read")
    refusal(folder, load_dataset, "mnist", tmp_path, match="cannot be read")
    own = tmp_path / "mine.npz"
    assert "--data-dir" not in refusal(own, load_dataset, f"file:{own}", match="cannot be read")
    monkeypatch.setenv("DLIP_DATA_DIR", str(tmp_path))
    refusal(missing, load_dataset, "cifar10", match="--data-dir")


class Bomb:
    """Unpickled, it writes a file: the arrays of an untrusted .npz must never be unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def without(key):
    return lambda arrays: arrays.pop(key)


def put(key, change):
    return lambda arrays: arrays.update({key: change(arrays[key])})


def with_label(key, value):
    def change(arrays):
        arrays[key] = arrays[key].astype(np.int64)
        arrays[key][-1] = value

    return change


BROKEN = {
    "no labels": (without("y_train"), "lacks y_train"),
    "float images": (put("x_train", lambda x: x / 255), "float64: uint8"),
    "wide images": (put("x_test", lambda x: x.astype(np.int16)), "int16: uint8"),
    "another size": (put("x_train", lambda x: x[:, :14, :14]), r"\(20, 28, 28\): \(n, 14, 14\)"),
    "test unlike training": (put("x_test", lambda x: x[:, :, :27]), r"\(20, 28, 27\)"),
    "colour": (put("x_train", lambda x: np.stack([x] * 3, -1)), r"28, 28\): \(n, 28, 28, 3\)"),
    "two channels": (put("x_train", lambda x: np.stack([x] * 2, -1)), r"\(40, 28, 28, 2\)"),
    "empty images": (put("x_train", lambda x: x[:, :0]), r"\(40, 0, 28\)"),
    "flat images": (put("x_train", lambda x: x.reshape(40, -1)), r"\(40, 784\)"),
    "one number": (put("x_train", lambda x: x[0, 0, 0]), r"shape \(\)"),
    "no images": (put("x_test", lambda x: x[:0]), "0 images in x_test but 20 labels"),
    "nothing at all": (
        lambda arrays: arrays.update(x_test=arrays["x_test"][:0], y_test=arrays["y_test"][:0]),
        "0 values from 0 to 0 in y_test: each of 0 to 9 is expected",
    ),
    "too few labels": (put("y_train", lambda y: y[:-1]), "40 images in x_train but 39 labels"),
    "one-hot labels": (put("y_train", lambda y: np.eye(10, dtype=int)[y]), r"\(40, 10\)"),
    "float labels": (put("y_train", lambda y: y.astype(float)), "float64: integers"),
    "labels from 1": (put("y_train", lambda y: y + 1), "10 values from 1 to 10 in y_train"),
    "label above": (with_label("y_test", 10), "0 to 10 in y_test"),
    "label below": (with_label("y_train", -1), "-1 to 9 in y_train"),
    "huge label": (with_label("y_train", 2**40), "in y_train"),
    "no class 9": (put("y_test", lambda y: np.where(y == 9, 8, y)), "from 0 to 8 in y_test"),
    "one image of class 0": (
        put("y_train", lambda y: np.where((y == 0) & (np.arange(40) > 0), 1, y)),
        "1 images of class 0 in y_train: 2 or more",
    ),
    "one class": (put("y_train", lambda y: y * 0), "from 0 to 0 in y_train"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_content_is_refused_in_one_sentence(tmp_path, case):
    change, expected = BROKEN[case]
    arrays = small_arrays()
    change(arrays)
    refusal(write(tmp_path, **arrays), load_dataset, "mnist", tmp_path, match=expected)


def test_labels_may_be_a_column_of_any_integer_type(tmp_path):
    arrays = small_arrays()
    plain = dataset_info("mnist", write(tmp_path, **arrays).parent).fingerprint
    arrays["y_train"] = arrays["y_train"].astype(">i8")[:, None]
    assert dataset_info("mnist", write(tmp_path, **arrays).parent).fingerprint == plain


def test_pickled_objects_are_not_executed(tmp_path):
    mark = tmp_path / "executed"
    arrays = small_arrays() | {"x_train": np.array([Bomb(mark)], object)}
    path = write(tmp_path, **arrays)
    with pytest.raises(DataError, match="plain arrays"):
        load_dataset("mnist", tmp_path)
    assert not mark.exists()
    with np.load(path, allow_pickle=True) as archive:  # the bomb is live
        assert archive["x_train"].size
    assert mark.exists()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>Please log in</html>",
        b"\x80\x05N.",
        b"\x93NUMPY\x01\x00",
        b"PK\x03\x04",
        npy(np.zeros((40, 28, 28), np.uint8)),
    ],
    ids=["empty", "page", "pickle", "half a header", "half an archive", "one array"],
)
def test_a_file_that_is_no_npz_is_refused(tmp_path, content):
    path = tmp_path / "mnist.npz"
    path.write_bytes(content)
    refusal(path, load_dataset, "mnist", tmp_path, match="truncated, altered or no")


def test_every_truncated_or_altered_copy_is_refused_or_harmless(tmp_path):
    original = write(tmp_path, **small_arrays())
    whole = original.read_bytes()
    fingerprint = dataset_info("mnist", tmp_path).fingerprint
    path = tmp_path / "copy.npz"
    generator = np.random.default_rng(1)
    for length in generator.integers(0, len(whole), 40):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            sources.read_npz(path)
    # The last 600 bytes are the archive's directory, where a changed byte does the oddest things.
    directory = range(len(whole) - 600, len(whole), 3)
    refused = 0
    for position in [*generator.integers(0, len(whole), 60), *directory]:
        altered = bytearray(whole)
        altered[position] ^= 0xFF
        path.write_bytes(altered)
        os.utime(path, ns=(0, int(position)))  # a time of its own for each copy
        try:
            # A changed time stamp in the archive is not damage; any changed number would be.
            assert sources.read_npz(path).fingerprint == fingerprint
        except DataError:
            refusal(path, sources.read_npz, path)
            refused += 1
    assert refused > 100


# Identity and the cache


def test_fingerprint_follows_content_and_nothing_else(tmp_path):
    arrays = small_arrays()
    fingerprint = dataset_info("mnist", write(tmp_path, **arrays).parent).fingerprint
    other = tmp_path / "other"
    other.mkdir()
    np.savez_compressed(other / "mnist.npz", **dict(reversed(arrays.items())))
    assert dataset_info("mnist", other).fingerprint == fingerprint
    for seed, n_train in ((0, 10), (7, 30)):
        data = load_dataset("mnist", tmp_path, seed=seed, n_train=n_train)
        assert data.fingerprint == fingerprint

    seen = {fingerprint}
    for key in arrays:
        changed = {name: array.copy() for name, array in arrays.items()}
        changed[key].flat[0] += 1
        seen.add(dataset_info("mnist", write(other, **changed).parent).fingerprint)
    assert len(seen) == 5


def test_a_file_is_read_once_for_many_seeds_and_again_when_it_changes(tmp_path, monkeypatch):
    reads = []
    load = np.load
    monkeypatch.setattr(
        np, "load", lambda *args, **options: reads.append(1) or load(*args, **options)
    )
    path = write(tmp_path, **small_arrays())
    for seed in range(3):
        load_dataset("mnist", tmp_path, seed=seed)
    assert len(reads) == 1
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError):
        load_dataset("mnist", tmp_path)


def test_raw_arrays_are_read_only_and_a_callers_changes_stay_its_own(tmp_path):
    write(tmp_path, **small_arrays())
    raw = sources.dataset_info("mnist", tmp_path)
    for array in (raw.x_train, raw.y_train, raw.x_test, raw.y_test):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    data = load_dataset("mnist", tmp_path)
    kept = data.x_test.copy()
    data.x_test[:] = 0
    data.y_test[:] = 0
    np.testing.assert_array_equal(load_dataset("mnist", tmp_path).x_test, kept)


# keras.datasets


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """The only way out is a port that refuses connections, and Keras' cache is in `tmp_path`."""
    with closing(socket.socket()) as unheard:
        unheard.bind(("127.0.0.1", 0))  # bound and never listening
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{unheard.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "")
        monkeypatch.setattr("keras.src.backend.config.keras_home", lambda: str(tmp_path))
        sources._from_keras.cache_clear()
        yield
        sources._from_keras.cache_clear()


def idx(array):
    """`array` as the gzipped IDX file that Fashion-MNIST is published in."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes())


def test_without_network_keras_cache_is_used(tmp_path, offline):
    arrays = small_arrays()
    fashion = tmp_path / "datasets" / "fashion-mnist"
    fashion.mkdir(parents=True)
    for split, prefix in (("train", "train"), ("test", "t10k")):
        (fashion / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx(arrays[f"y_{split}"]))
        (fashion / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx(arrays[f"x_{split}"]))
    # What a download that was killed leaves.
    digits = tmp_path / "datasets" / "mnist.npz"
    digits.write_bytes(b"PK\x03\x04 and no more")

    assert load_dataset("fashion_mnist").x_train.shape == (30, 28, 28, 1)
    for name in ("mnist", "cifar10"):
        refused = refusal(f"keras.datasets could not provide {name}", load_dataset, name)
        advice = ("interrupted download", "--data-dir", "DLIP_DATA_DIR", "fashion_mnist_subset")
        assert all(words in refused for words in (f"{name}.npz", *advice))


# The full sets, where they are at hand


@pytest.mark.skipif(not FULL_SETS, reason="DLIP_DATA_DIR names no full sets")
@pytest.mark.parametrize(
    "name, n_train, mean, std",
    [
        # The figures published for the whole training sets; ours leave the validation images out.
        ("mnist", 50_000, (0.1307,), (0.3081,)),
        ("fashion_mnist", 50_000, (0.2860,), (0.3530,)),
        ("cifar10", 41_667, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ],
)
def test_full_sets_have_their_published_sizes_and_statistics(name, n_train, mean, std):
    data = load_dataset(name, FULL_SETS, n_test=10_000)
    assert data.x_train.shape == (n_train, *data.input_shape)
    np.testing.assert_allclose(data.mean, mean, atol=0.003)
    np.testing.assert_allclose(data.std, std, atol=0.003)
