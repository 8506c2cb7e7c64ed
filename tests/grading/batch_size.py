"""Assignment: the batch size. 10 points, 6 of them in the public tests.

Replace each `raise NotImplementedError` by your solution. Names and arguments stay as they are.
Check yourself as often as you like:

    python -m dlip_reg.grading check submission.py
"""

import numpy as np


# Task 1 (2 points)
def updates(examples: int, batch_size: int, epochs: int) -> int:
    """The number of updates in a training; the last batch of an epoch may be smaller."""
    ### BEGIN SOLUTION
    return epochs * -(-examples // batch_size)
    ### END SOLUTION


# Task 2 (4 points)
def gradient_noise(gradients: np.ndarray, batch_size: int) -> float:
    """The expected squared distance of a mini-batch gradient from the gradient of all examples.

    `gradients` are those of the single examples, (n, d). A batch is drawn without replacement, so
    a batch of all n examples has no noise.
    """
    ### BEGIN SOLUTION
    n = len(gradients)
    return spread(gradients) / batch_size * (n - batch_size) / (n - 1)
    ### END SOLUTION


### BEGIN SOLUTION
def spread(gradients):
    """The trace of the covariance of the examples' gradients."""
    return float(np.sum(np.var(gradients, axis=0)))


### END SOLUTION
# Task 3 (2 points)
def noise_scale(gradients: np.ndarray) -> float:
    """The simple noise scale: the trace of the covariance of the examples' gradients, divided by
    the squared length of their mean (McCandlish et al. 2018, equation 2.9)."""
    ### BEGIN SOLUTION
    return spread(gradients) / float(np.sum(np.mean(gradients, axis=0) ** 2))
    ### END SOLUTION


# Task 4 (2 points)
def scaled_rate(base_rate: float, batch_size: int, base_batch_size: int, rule: str) -> float:
    """The learning rate for another batch size, by the rule "linear" or "square root"."""
    ### BEGIN SOLUTION
    ratio = batch_size / base_batch_size
    return base_rate * (ratio if rule == "linear" else ratio**0.5)
    ### END SOLUTION


### BEGIN TESTS
"""The batch size: updates, noise and learning rate."""

import numpy as np
import pytest

from dlip_reg.grading.answers import fault, number


def gradients_from(rng, n=12):
    return rng.normal(size=(n, 3)) + rng.normal(size=3)


def noise_of(gradients, batch_size, finite=True):
    n = len(gradients)
    correction = (n - batch_size) / (n - 1) if finite else 1
    return np.var(gradients, axis=0).sum() / batch_size * correction


@pytest.mark.public
@pytest.mark.points(2, task="1. The updates")
def test_updates(student, rng):
    """The number of updates, with a smaller last batch."""
    batch_size, epochs = (int(n) for n in rng.integers(5, 30, 2))
    examples = int(batch_size * rng.integers(3, 9) + rng.integers(1, batch_size))
    got = number(student.call("updates", examples, batch_size, epochs))
    whole = examples // batch_size * epochs
    hints = {"the last, smaller batch of an epoch is an update, too.": whole}
    what = f"With {examples} examples, batches of {batch_size} and {epochs} epochs, the number"
    wrong = fault(what, got, whole + epochs, hints, "is it batches an epoch, times epochs?")
    assert not wrong, wrong


@pytest.mark.public
@pytest.mark.points(2, task="2. The noise")
def test_noise_of_a_batch(student, rng):
    """The noise of a mini-batch's gradient."""
    gradients, batch_size = gradients_from(rng), int(rng.integers(2, 6))
    got = number(student.call("gradient_noise", gradients, batch_size))
    hints = {
        "drawn without replacement, the batch has less noise than with it.": noise_of(
            gradients, batch_size, finite=False
        ),
        "that is the noise of one example; a mean over the batch has less.": noise_of(gradients, 1),
    }
    wrong = fault(
        f"The noise of a batch of {batch_size} of 12 examples",
        got,
        noise_of(gradients, batch_size),
        hints,
        "is it the trace of the covariance, divided by the batch size and corrected?",
    )
    assert not wrong, wrong


### BEGIN HIDDEN TESTS
@pytest.mark.points(2, task="2. The noise")
def test_noise_of_all_and_of_one(student, rng):
    """A batch of all examples has no noise, and a batch of one the examples' own."""
    gradients = gradients_from(rng)
    all_of_them = number(student.call("gradient_noise", gradients, len(gradients)))
    one = number(student.call("gradient_noise", gradients, 1))
    assert abs(all_of_them) < 1e-9, f"A batch of all examples has the noise {all_of_them}."
    wrong = fault("The noise of one example", one, noise_of(gradients, 1), {}, "")
    assert not wrong, wrong


@pytest.mark.points(2, task="3. The noise scale")
def test_noise_scale(student, rng):
    """The simple noise scale."""
    gradients = gradients_from(rng)
    expected = np.var(gradients, axis=0).sum() / np.sum(gradients.mean(axis=0) ** 2)
    wrong = fault("The scale", number(student.call("noise_scale", gradients)), expected, {}, "")
    assert not wrong, wrong


### END HIDDEN TESTS
@pytest.mark.public
@pytest.mark.points(2, task="4. The learning rate")
def test_scaled_rate(student, rng, credit):
    """The linear and the square-root rule."""
    rate, ratio = float(rng.uniform(0.01, 0.1)), int(rng.choice([4, 9, 16]))
    linear, root = (
        number(student.call("scaled_rate", rate, 32 * ratio, 32, rule=rule))
        for rule in ("linear", "square root")
    )
    rules = {"that is the square-root rule.": rate * ratio**0.5}
    what = f"For a batch {ratio} times the base's the rate by the"
    wrong = fault(f"{what} linear rule", linear, rate * ratio, rules, "")
    credit.check(1 / 2, not wrong, wrong)
    wrong = fault(f"{what} square-root rule", root, rate * ratio**0.5, {}, "")
    credit.check(1 / 2, not wrong, wrong)


### END TESTS
