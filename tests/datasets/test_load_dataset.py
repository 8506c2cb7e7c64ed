"""The splits and their standardisation, on the packaged subset and on a set with uneven classes."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from dlip_reg.datasets import Dataset, DatasetArgumentError, as_grey, load_dataset

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


def test_whole_test_split_is_the_same_for_every_seed_and_training_size(load_uneven):
    first, other = load_uneven(seed=0), load_uneven(seed=9, n_train=20, n_validation=30)
    assert numbers(first.x_test, first) == numbers(other.x_test, other)
    np.testing.assert_array_equal(first.y_test, other.y_test)
    assert len(first.y_test) == sum(UNEVEN)


def test_test_images_are_drawn_anew_by_every_seed_and_by_nothing_else(load_uneven):
    first, other = (load_uneven(seed=seed, n_test=50) for seed in (0, 1))
    again = load_uneven(seed=0, n_test=50, n_train=20, n_validation=30)
    larger = load_uneven(seed=0, n_test=51)
    drawn = numbers(first.x_test, first)
    assert len(set(drawn)) == 50
    assert numbers(again.x_test, again) == drawn
    assert numbers(larger.x_test, larger)[:50] == drawn
    assert set(numbers(other.x_test, other)) != set(drawn)


def test_over_many_seeds_every_test_image_is_drawn_as_often_as_its_class_share_says(load_uneven):
    draws = [load_uneven(seed=seed, n_test=100) for seed in range(200)]
    counts = np.bincount(
        np.concatenate([numbers(draw.x_test, draw) for draw in draws]), minlength=sum(UNEVEN)
    )
    labels = load_uneven().y_test[np.argsort(numbers(load_uneven().x_test, load_uneven()))]
    for label in range(10):
        own = counts[labels == label]
        share = own.mean() / 200
        # Binomial with 200 draws: 5 standard deviations, for 300 images.
        spread = 5 * (200 * share * (1 - share)) ** 0.5
        assert np.all(np.abs(own - 200 * share) <= spread + 1e-9)


def test_test_draw_is_independent_of_the_training_draw(tmp_path):
    # Two pools of the same images in the same order: one stream of random numbers for both would
    # draw the same ones from each.
    labels = np.arange(200) % 10
    images = np.zeros((200, 28, 28), np.uint8)
    images[:, 0, 1] = np.arange(200)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    shared = []
    for seed in range(50):
        data = load_dataset("mnist", tmp_path, seed=seed, n_validation=100, n_test=100)
        sets = [set(numbers(x, data)) for x in (data.x_validation, data.x_test)]
        shared.append(len(sets[0] & sets[1]))
    # Of 20 images of a class 10 are drawn twice: 5 in common with variance 25 / 19, ten classes.
    assert abs(np.mean(shared) - 50) <= 5 * (10 * 25 / 19 / 50) ** 0.5


def test_random_labels_are_uniform_for_training_alone(load_uneven):
    true, random = load_dataset(seed=3), load_dataset(seed=3, random_labels=True)
    for split in ("x_train", "x_validation", "y_validation", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(random, split), getattr(true, split))
    assert random.y_train.dtype == true.y_train.dtype
    n = len(true.y_train)
    # Chi-squared with 9 and 99 degrees of freedom: beyond these once in a million draws.
    counts = np.bincount(random.y_train, minlength=10)
    assert np.sum((counts - n / 10) ** 2 / (n / 10)) < 45
    pairs = np.bincount(random.y_train * 10 + true.y_train, minlength=100)
    assert np.sum((pairs - n / 100) ** 2 / (n / 100)) < 175
    # However uneven the true ones are.
    drawn = load_uneven(random_labels=True).y_train
    n = len(drawn)
    assert np.sum((np.bincount(drawn, minlength=10) - n / 10) ** 2 / (n / 10)) < 45


def test_random_labels_repeat_by_seed_and_stay_with_their_images(load_uneven):
    first, other = (load_uneven(seed=seed, random_labels=True) for seed in (0, 1))
    again = load_uneven(seed=0, random_labels=True, n_train=50)
    np.testing.assert_array_equal(again.y_train, first.y_train[:50])
    assert not np.array_equal(other.y_train, first.y_train)


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
    data = load_dataset(n_train=500, n_validation=100, n_test=100, seed=2)
    for images, own in ((data.x_train, True), (data.x_validation, False), (data.x_test, False)):
        pixels = (images.astype(np.float64) * data.std + data.mean) * 255
        np.testing.assert_allclose(pixels, pixels.round(), atol=1e-4)  # 8-bit pixels in float32
        # Pixels as float32 carry 7 digits, the reported statistics come from exact sums of
        # integers. Other images have other statistics, which would have been seen.
        exact = pixels.round().astype(int) / 255
        assert (exact.mean() == pytest.approx(data.mean[0], rel=1e-6)) == own
        assert (exact.std() == pytest.approx(data.std[0], rel=1e-6)) == own
    standardized = data.x_train.astype(np.float64)
    np.testing.assert_allclose(standardized.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(standardized.std(), 1, rtol=1e-6)


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


def test_grey_images_in_three_channels_are_the_same_in_each(load_uneven):
    data = load_uneven(n_train=40)
    repeated = as_grey(data)
    assert repeated.input_shape == (28, 28, 3)
    assert repeated.mean == data.mean * 3 and repeated.std == data.std * 3
    assert repeated.fingerprint == data.fingerprint
    for split in ("x_train", "x_validation", "x_test"):
        for channel in range(3):
            np.testing.assert_array_equal(
                getattr(repeated, split)[..., channel], getattr(data, split)[..., 0]
            )
    np.testing.assert_allclose(as_grey(repeated).x_test, repeated.x_test, atol=1e-5)


def test_coloured_images_become_their_brightness(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3)).astype(np.uint8)
    arrays = {"x_train": pixels, "x_test": pixels, "y_train": np.arange(30) % 2}
    np.savez(tmp_path / "own.npz", **arrays, y_test=arrays["y_train"])
    grey = as_grey(load_dataset(f"file:{tmp_path / 'own.npz'}"))
    assert grey.x_train.std() == pytest.approx(1, rel=1e-5)
    assert grey.x_train.mean() == pytest.approx(0, abs=1e-5)
    found = grey.x_test * np.asarray(grey.std) + np.asarray(grey.mean)
    for channel in range(3):  # Pillow rounds the luma to a level of 256
        pillow = [np.asarray(Image.fromarray(image).convert("L")) for image in pixels]
        levels = np.sort(255 * found[..., channel], axis=0)
        np.testing.assert_allclose(levels, np.sort(pillow, axis=0), atol=1)


def test_constant_images_cannot_be_standardised(tmp_path):
    labels = np.arange(40) % 10
    black = np.zeros((40, 28, 28), np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=black, y_train=labels, x_test=black, y_test=labels)
    with pytest.raises(ValueError, match="constant"):
        load_dataset("mnist", tmp_path)


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
        ({"seed": True}, "seed must be .*, not True"),
        ({"random_labels": "no"}, "random_labels must be True or False, not 'no'"),
        ({"skip_unreadable": 0}, "skip_unreadable must be True or False, not 0"),
    ],
)
def test_impossible_requests_say_what_there_is(options, expected):
    with pytest.raises(DatasetArgumentError, match=expected):
        load_dataset(**options)


def test_validation_must_leave_each_class_something_to_train_on(load_uneven):
    with pytest.raises(ValueError, match="no training image of class 0"):
        load_uneven(n_validation=250)
