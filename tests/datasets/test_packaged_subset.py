"""The subsets of Fashion-MNIST and MNIST that ship with the package."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from make_subset import make_subset

from dlip_reg.datasets import sources

FULL_SETS = os.environ.get("DLIP_DATA_DIR")


# Images of each class in the two splits, SHA-256 of the arrays, the most bytes, and parts of the
# licence says.
RELEASED = {
    "fashion_mnist": (
        *(1_200, 400, "3fcf3eb076a3395a2b87fb3de4dc060f70e05fbe2a8c0023f370cb3b0fc423c6"),
        *(8_000_000, "MIT License", "Copyright (c) 2017 Zalando SE"),
    ),
    "mnist": (
        *(500, 200, "48e4aba5c08f4ca7d39689b05ae4dd36acbbc4ba41fbf2615984f0e13f007836"),
        *(2_000_000, "Attribution-Share Alike 3.0", "Yann LeCun and\nCorinna Cortes hold"),
    ),
}


def packaged(name: str) -> Path:
    return sources.PACKAGED_FOLDER / f"{name}_subset.npz"


@pytest.mark.parametrize("name", RELEASED)
def test_packaged_arrays_are_the_released_ones_and_their_licence_is_beside_them(name):
    train, test, sha256, most, licence, holder = RELEASED[name]
    with np.load(packaged(name), allow_pickle=False) as archive:
        digest = hashlib.sha256()
        for key in ("x_train", "y_train", "x_test", "y_test"):
            assert archive[key].dtype == np.uint8
            digest.update(archive[key])
        assert archive["x_train"].shape == (10 * train, 28, 28)
        assert archive["x_test"].shape == (10 * test, 28, 28)
    assert digest.hexdigest() == sha256
    assert packaged(name).stat().st_size <= most
    notice = packaged(name).with_name(f"{name}_LICENSE.txt").read_text()
    assert licence in notice and holder in notice


@pytest.mark.skipif(not FULL_SETS, reason="DLIP_DATA_DIR names no full sets")
@pytest.mark.parametrize("name", RELEASED)
def test_packaged_images_are_those_the_seed_draws_from_the_full_set(tmp_path, name):
    make_subset(name, Path(FULL_SETS) / f"{name}.npz", tmp_path / "again.npz")
    with np.load(packaged(name)) as held, np.load(tmp_path / "again.npz") as again:
        for key in ("x_train", "y_train", "x_test", "y_test"):
            np.testing.assert_array_equal(held[key], again[key])
    assert [path.name for path in tmp_path.iterdir()] == ["again.npz"]
