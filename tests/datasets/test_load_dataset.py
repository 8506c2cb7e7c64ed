"""The splits and their standardisation, on the packaged subset and on a set with uneven classes."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from dlip_reg.datasets import Dataset, in_colour, load_dataset

UNEVEN = [2, 5, 40, 3, 60, 10, 4, 90, 6, 80]  # images of each class


@pytest.fixture(scope="module")
def uneven_folder(tmp_path_factory):
    """A folder with an mnist.npz of uneven classes whose images carry their own number."""
    folder = tmp_path_factory.mktemp("uneven")
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), UNEVEN))
    images = np.zeros((len(labels), 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(len(labels)), 256)
    np.savez(
        folder / "mnist.npz", x_train=images, y_train=labels, x_test=images[::-1], y_test=labels
    )
    return folder


@pytest.fixture
def load_uneven(uneven_folder):
    return lambda **options: load_dataset("mnist", uneven_folder, **options)


def numbers(images, data):
    """The numbers the images of the uneven set carry, whatever the standardisation."""
    pixels = np.rint((images * np.float32(data.std) + np.float32(data.mean)) * 255).astype(int)
    return (pixels[:, 0, 0, 0] * 256 + pixels[:, 0, 1, 0]).tolist()


def test_packaged_set_is_the_default_with_a_sixth_for_validation():
    data = load_dataset()
    assert isinstance(data, Dataset)
    assert data.name == "fashion_mnist_subset"
    assert data.x_train.shape == (10_000, 28, 28, 1)
    assert data.x_validation.shape == (2_000, 28, 28, 1)
    assert data.x_test.shape == (4_000, 28, 28, 1)
    for labels, per_class in ((data.y_train, 1_000), (data.y_validation, 200), (data.y_test, 400)):
        assert np.bincount(labels).tolist() == [per_class] * 10


def test_splits_are_disjoint_and_together_the_whole(load_uneven):
    data = load_uneven(n_validation=50)
    train, validation = numbers(data.x_train, data), numbers(data.x_validation, data)
    assert sorted(train + validation) == list(range(sum(UNEVEN)))


def test_images_keep_their_labels(load_uneven, uneven_folder):
    data = load_uneven(seed=4)
    with np.load(uneven_folder / "mnist.npz") as archive:
        labels = archive["y_train"]
    assert labels[numbers(data.x_train, data)].tolist() == data.y_train.tolist()
    assert labels[numbers(data.x_validation, data)].tolist() == data.y_validation.tolist()
    # In the test images of this set the numbers run backwards.
    assert labels[::-1][numbers(data.x_test, data)].tolist() == data.y_test.tolist()


def test_same_seed_same_splits_other_seed_others(load_uneven):
    first, again, other = (load_uneven(seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.x_train, again.x_train)
    np.testing.assert_array_equal(first.x_validation, again.x_validation)
    assert set(numbers(first.x_validation, first)) != set(numbers(other.x_validation, other))


@pytest.mark.parametrize("sizes", [{}, {"n_test": 25}])
def test_test_split_is_the_same_for_every_seed_and_training_size(load_uneven, sizes):
    first = load_uneven(seed=0, **sizes, standardize=False)
    other = load_uneven(seed=9, n_train=20, n_validation=30, **sizes, standardize=False)
    np.testing.assert_array_equal(first.x_test, other.x_test)
    np.testing.assert_array_equal(first.y_test, other.y_test)


def test_larger_training_split_adds_images_and_leaves_validation_alone(load_uneven):
    loads = [load_uneven(n_train=n, n_validation=40, seed=3) for n in (10, 11, 50, 200, 260)]
    for small, large in pairwise(loads):
        carried = numbers(large.x_train, large)
        assert carried[: len(small.x_train)] == numbers(small.x_train, small)
        assert numbers(small.x_validation, small) == numbers(large.x_validation, large)


@pytest.mark.parametrize("n", [10, 37, 120])
def test_every_split_has_every_class_in_proportion(load_uneven, n):
    data = load_uneven(n_train=n, n_validation=n, n_test=n, seed=5)
    whole = np.array(UNEVEN)
    rest = whole - np.bincount(data.y_validation)
    for labels, counts in ((data.y_train, rest), (data.y_validation, whole), (data.y_test, whole)):
        chosen = np.bincount(labels, minlength=10)
        share = counts / counts.sum()
        assert chosen.min() >= 1
        # At most the one image too many that each class begins with, and for these at most ten
        # images the classes wait in proportion.
        assert np.all(chosen <= n * share + 1)
        assert np.all(chosen >= (n - 10) * share)


def test_standardisation_uses_the_chosen_training_images_alone():
    options = {"n_train": 500, "n_validation": 100, "n_test": 100, "seed": 2}
    data = load_dataset(**options)
    plain = load_dataset(**options, standardize=False)
    assert (plain.mean, plain.std) == ((0.0,), (1.0,))
    assert plain.x_train.min() == 0
    assert plain.x_train.max() == 1
    exact = plain.x_train.astype(np.float64)
    # Pixels as float32 carry 7 digits, the reported statistics come from exact sums of integers.
    np.testing.assert_allclose(data.mean, exact.mean(), rtol=1e-6)
    np.testing.assert_allclose(data.std, exact.std(), rtol=1e-6)
    standardized = data.x_train.astype(np.float64)
    np.testing.assert_allclose(standardized.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(standardized.std(), 1, rtol=1e-6)
    for split in ("x_validation", "x_test"):
        expected = (getattr(plain, split).astype(np.float64) - exact.mean()) / exact.std()
        np.testing.assert_allclose(getattr(data, split), expected, atol=1e-5)
        assert abs(expected.mean()) > 1e-4  # so their own statistics would have been seen


def test_colour_is_standardised_channel_by_channel(tmp_path):
    generator = np.random.default_rng(0)
    highest = np.array([50, 120, 255])
    arrays = {}
    for split, n in (("train", 60), ("test", 20)):
        arrays[f"x_{split}"] = generator.integers(0, highest, (n, 32, 32, 3)).astype(np.uint8)
        arrays[f"y_{split}"] = np.arange(n) % 10
    np.savez(tmp_path / "cifar10.npz", **arrays)
    data = load_dataset("cifar10", tmp_path)
    assert data.mean[0] < data.mean[1] < data.mean[2]
    channels = data.x_train.astype(np.float64)
    # Rounding of float32 pixels, averaged over 51,200 of them.
    np.testing.assert_allclose(channels.mean(axis=(0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(channels.std(axis=(0, 1, 2)), 1, rtol=1e-6)


def test_grey_images_in_colour_have_three_channels_alike(load_uneven):
    data = load_uneven(n_train=40)
    coloured = in_colour(data)
    assert coloured.input_shape == (28, 28, 3)
    assert coloured.mean == data.mean * 3 and coloured.std == data.std * 3
    assert coloured.fingerprint == data.fingerprint
    for split in ("x_train", "x_validation", "x_test"):
        for channel in range(3):
            np.testing.assert_array_equal(
                getattr(coloured, split)[..., channel], getattr(data, split)[..., 0]
            )
    assert in_colour(coloured) is coloured


def test_images_of_two_channels_cannot_be_put_in_colour(load_uneven):
    with pytest.raises(ValueError, match="not of 2"):
        in_colour(replace(load_uneven(), input_shape=(28, 28, 2)))


def test_constant_images_cannot_be_standardised(tmp_path):
    labels = np.arange(40) % 10
    black = np.zeros((40, 28, 28), np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=black, y_train=labels, x_test=black, y_test=labels)
    with pytest.raises(ValueError, match="constant"):
        load_dataset("mnist", tmp_path)
    assert not load_dataset("mnist", tmp_path, standardize=False).x_train.any()


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"n_train": 10_001}, "10 .* to 10000 .* beside 2000 for validation"),
        ({"n_train": 9}, "n_train must be .* from 10"),
        ({"n_train": 0}, "n_train"),
        ({"n_train": True}, "n_train .* not True"),
        ({"n_train": 100.0}, "n_train .* whole number"),
        ({"n_train": "many"}, "not 'many'"),
        ({"n_validation": 0}, "n_validation must be .* from 10"),
        ({"n_validation": 12_000}, "to 11990"),
        ({"n_validation": 11_900, "n_train": 101}, "to 100"),
        ({"n_test": 4_001}, "to 4000"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**32}, "seed must be"),
        ({"seed": 0.5}, "seed must be"),
    ],
)
def test_impossible_requests_say_what_there_is(options, expected):
    with pytest.raises(ValueError, match=expected):
        load_dataset(**options)


def test_validation_must_leave_each_class_something_to_train_on(load_uneven):
    with pytest.raises(ValueError, match="no training image of class 0"):
        load_uneven(n_validation=250)
