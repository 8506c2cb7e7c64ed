"""Marks tasks 2 to 4: the public tests of losses and sharpness, and those that only staff see."""

import numpy as np
import pytest

from dlip_reg.grading.public.answers import require, same
from dlip_reg.grading.public.test_training import *  # noqa: F403
from dlip_reg.grading.public.test_training import CURVE, LOSS, SHARPNESS, sharpness_of


@pytest.mark.points(1, task=LOSS)
def test_uneven_batches(cleaned):
    """Every example counts alike, whatever the batch size, and the model stays as it was."""
    results, (expected, _), changed = cleaned
    losses = [loss for loss, _ in results]
    assert all(same(loss, expected) for loss in losses), (
        f"With batches of 24, 8 and 11 the clean loss of 24 examples is {losses}, "
        f"expected {expected}."
    )
    assert not changed, f"After measuring, training ends in other {', '.join(changed)}."


@pytest.mark.points(2, task=CURVE)
def test_training_is_left_unchanged(fits):
    """A fit with the recorder ends in the same weights, optimizer, averages and seeds."""
    recorded, expected, changed = fits
    history = recorded["history"]
    # Also one that measures when an epoch begins, and so is a step late, has measured.
    last = {name: history[name][-1] for name in expected if history.get(name)}
    assert any(same(last[name], true) for name in last for true in expected[name][1:]), (
        "The recorder has found nothing that is true of the fit: so it is none."
    )
    assert not changed, (
        f"After a fit with the recorder, training ends in other {', '.join(changed)}."
    )


@pytest.mark.points(2, task=SHARPNESS)
def test_sharpness_of_other_surfaces(student, rng, credit):
    """With its sign; from a random start, and also where the loss is linear in a weight."""
    deep = -float(rng.uniform(5, 20))
    case, saddle = sharpness_of(student, rng, [deep, *(-deep * rng.uniform(0, 0.1, 7))])
    credit.check(
        1 / 2,
        same(saddle, deep) and _unmoved(student, rng, case),
        "The leading eigenvalue is negative, or the weights were not put back.",
    )
    # A vector of ones is orthogonal to the leading eigenvector, and to the last bit: of 16 weights
    # and whole numbers, all sums are exact.
    top = float(rng.integers(10, 20))
    leading = rng.permutation(np.repeat([0.25, -0.25], 8))
    case = {
        "hessian": np.eye(16) + (top - 1) * np.outer(leading, leading),
        "shapes": [[2, 4], [8]],
        "values": rng.normal(size=16),
    }
    case, hidden = sharpness_of(student, rng, [1.0] * 8, **case)
    unmoved = _unmoved(student, rng, case)
    steep = float(rng.uniform(5, 20))
    eigenvalues = [steep, *(steep * rng.uniform(0, 0.1, 7))]
    _, linear = sharpness_of(student, rng, eigenvalues, slope=rng.normal(size=3))
    credit.check(
        1 / 2,
        same(hidden, top) and unmoved and same(linear, steep),
        "The start is not random, or the loss is linear in a weight.",
    )


def _unmoved(student, rng, case):
    """Whether the weights are where they were: by the sharpness, there, of another surface."""
    values = case["values"]
    top = float(rng.uniform(5, 20))
    leading = rng.normal(size=len(values))
    expected = top * np.outer(leading, leading) / (leading @ leading)
    # So large that a weight moved by 0.001 shows.
    cubic = 30 * top * rng.uniform(0.5, 1, len(values))
    hessian = expected - np.diag(cubic * values)
    got = require(student.run("training.sharpness_again", hessian=hessian, cubic=cubic), float)
    return same(got, top)


@pytest.mark.points(1, task=SHARPNESS)
def test_sharpness_of_softmax_regression(student, rng):
    """A Keras model's sharpness is the closed form's, for softmax regression."""
    second = kernel_alone = top = 1.0
    # 16 iterations are to be enough, and the kernel's own block of the Hessian is not.
    while second > 0.4 * top or kernel_alone > 0.95 * top:
        x, y = rng.normal((2, 0, 0), (2, 0.5, 0.5), size=(20, 3)), rng.integers(4, size=20)
        kernel, bias = rng.normal(size=(3, 4)), rng.normal(size=4)
        hessian = _softmax_hessian(x @ kernel + bias, x)
        second, top = np.linalg.eigvalsh(hessian)[-2:]
        kernel_alone = np.linalg.eigvalsh(hessian[: kernel.size, : kernel.size])[-1]
    task = {"kernel": kernel, "bias": bias, "x": x, "y": y, "iterations": 16}
    got = require(student.run("training.regression", **task), float)
    assert abs(got - top) < 0.01 * top, f"The sharpness is {got:.4f}, expected {top:.4f}."


def _softmax_hessian(logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The mean over the examples of (diag p - p p') x (x 1)(x 1)', p the softmax."""
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    extended = np.column_stack([x, np.ones(len(x))])
    parts = [
        np.kron(np.outer(a, a), np.diag(p) - np.outer(p, p))
        for a, p in zip(extended, shares, strict=True)
    ]
    return np.mean(parts, axis=0)
