"""The Fashion-MNIST subset that ships with the package."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from dlip_reg.datasets import DataError, load_dataset, sources
from dlip_reg.datasets.make_subset import draw_subset, make_subset

FULL_SETS = os.environ.get("DLIP_DATA_DIR")


def test_packaged_arrays_are_the_released_ones():
    with np.load(sources.PACKAGED, allow_pickle=False) as archive:
        digest = hashlib.sha256()
        for key in ("x_train", "y_train", "x_test", "y_test"):
            assert archive[key].dtype == np.uint8
            digest.update(archive[key])
        assert archive["x_train"].shape == (12_000, 28, 28)
        assert archive["x_test"].shape == (4_000, 28, 28)
        assert np.bincount(archive["y_train"]).tolist() == [1_200] * 10
        assert np.bincount(archive["y_test"]).tolist() == [400] * 10
    assert digest.hexdigest() == "3fcf3eb076a3395a2b87fb3de4dc060f70e05fbe2a8c0023f370cb3b0fc423c6"


def test_packaged_file_is_small_and_its_licence_is_beside_it():
    assert sources.PACKAGED.stat().st_size <= 8_000_000
    notice = sources.PACKAGED.with_name("fashion_mnist_LICENSE.txt").read_text()
    assert "MIT License" in notice
    assert "Copyright (c) 2017 Zalando SE, https://tech.zalando.com" in notice


@pytest.mark.skipif(not FULL_SETS, reason="DLIP_DATA_DIR names no full sets")
def test_packaged_images_are_those_the_seed_draws_from_the_full_set(tmp_path):
    make_subset(Path(FULL_SETS) / "fashion_mnist.npz", tmp_path / "again.npz")
    with np.load(sources.PACKAGED) as packaged, np.load(tmp_path / "again.npz") as again:
        for key in ("x_train", "y_train", "x_test", "y_test"):
            np.testing.assert_array_equal(packaged[key], again[key])
    assert [path.name for path in tmp_path.iterdir()] == ["again.npz"]


def test_subset_takes_its_images_from_the_full_set_with_their_labels(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    full = {}
    for split in ("train", "test"):
        full[f"x_{split}"] = generator.integers(0, 256, (100, 28, 28), np.uint8)
        full[f"y_{split}"] = np.arange(100) % 10
    path = tmp_path / "fashion_mnist.npz"
    np.savez(path, **full)
    monkeypatch.setattr("dlip_reg.datasets.make_subset.PER_CLASS", {"train": 3, "test": 2})
    subset = draw_subset(sources.read_npz(path, (28, 28, 1)))
    for split, per_class in (("train", 3), ("test", 2)):
        pairs = zip(full[f"x_{split}"], full[f"y_{split}"], strict=True)
        labels = {image.tobytes(): label for image, label in pairs}
        drawn = subset[f"x_{split}"]
        assert len({image.tobytes() for image in drawn}) == 10 * per_class  # none twice
        assert [labels[image.tobytes()] for image in drawn] == subset[f"y_{split}"].tolist()
        assert np.bincount(subset[f"y_{split}"]).tolist() == [per_class] * 10


@pytest.mark.parametrize("damage", ["one pixel", "truncated", "missing"])
def test_altered_packaged_file_asks_for_a_new_installation(tmp_path, monkeypatch, damage):
    copy = tmp_path / "fashion_mnist_subset.npz"
    if damage == "one pixel":
        with np.load(sources.PACKAGED) as archive:
            arrays = dict(archive)
        arrays["x_test"][0, 0, 0] ^= 1
        np.savez(copy, **arrays)
    elif damage == "truncated":
        copy.write_bytes(sources.PACKAGED.read_bytes()[:-1000])
    monkeypatch.setattr(sources, "PACKAGED", copy)
    sources._packaged.cache_clear()
    with pytest.raises(DataError, match="install dlip_reg again") as caught:
        load_dataset()
    assert str(copy) in str(caught.value)
