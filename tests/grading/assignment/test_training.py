"""Tasks 2 to 4: the clean loss, its curves, and the sharpness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from expected import Values, penalty, toy_losses
from probes.draws import CLASSES, FEATURES, TOY_SHAPES, random_weights

from dlip_reg.grading.answers import EACH, close, fault, require, same

LOSS, CURVE, SHARPNESS = "2. The clean loss", "3. The curve", "4. The sharpness"
_WEIGHTS = {EACH: np.ndarray}
_FIT = {"moments": [_WEIGHTS], "logs": [{EACH: float}], "history": {EACH: [float]}}


def draw_examples(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 5) and labels (n,)."""
    return rng.normal(size=(n, FEATURES)).astype(np.float32), rng.integers(CLASSES, size=n)


def toy_penalty(weights: Values, toy: dict[str, Any]) -> float:
    """L2 of the hidden kernel and L1 of that of the logits."""
    hidden = penalty(weights["hidden/kernel"], l2=toy["l2"])
    return hidden + penalty(weights["logits/kernel"], l1=toy["l1"])


def sharpness_of(
    student: Any, rng: np.random.Generator, eigenvalues: list[float], **changes: Any
) -> tuple[dict[str, Any], float]:
    """A loss 1/2 w'Hw with those eigenvalues, w over two variables of four weights each, and the
    submission's `sharpness` of it.

    A random start is nearly orthogonal to the leading eigenvector now and then: the next
    eigenvalue should be so small, a tenth of it, that 10 iterations are enough for any start in
    practice.
    """
    basis = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    case = {
        "hessian": basis * eigenvalues @ basis.T,
        "shapes": [[2, 2], [4]],
        "values": rng.normal(size=8),
        "slope": None,
        "iterations": 10,
        "seed": int(rng.integers(1000)),
    } | changes
    return case, require(student.run("training.quadratic", **case), float)


@pytest.fixture(scope="module")
def toy(rng):
    """The seed of a small network's weights and the strengths of its two penalties."""
    l1, l2 = (float(strength) for strength in 10 ** rng.uniform(-2.5, -1, 2))
    return {"l1": l1, "l2": l2, "seed": int(rng.integers(2**31))}


@pytest.fixture(scope="module")
def cleaned(student, rng, toy):
    """`clean_loss` of the small network, in whole batches and with a last one of 2 examples, and
    the mean cross-entropy that it should be."""
    x, y = draw_examples(rng, 24)
    losses = toy_losses(random_weights(TOY_SHAPES, toy["seed"]), x, y)
    # The examples of the last, smaller batch are hard ones: a mean of batch means shows.
    order = np.argsort(losses)
    task = {"toy": toy, "x": x[order], "y": y[order], "batch_sizes": [24, 8, 11]}
    results = require(student.run("training.clean_loss", **task), ((float, float),) * 3)
    found = {"results": results, "expected": losses.mean()}
    ### BEGIN HIDDEN TESTS
    student.rebuild("training.clean_loss", **task)
    found["changed"] = changes(student, rng)
    ### END HIDDEN TESTS
    return found


@pytest.fixture(scope="module")
def fits(student, rng, toy):
    """A fit with the submission's recorder, and the right curves: those of the same fit elsewhere
    and without it."""
    task = {"toy": toy, "epochs": 2}
    task |= {"train": draw_examples(rng, 24), "validation": draw_examples(rng, 10)}
    recorded = require(student.run("training.fit", **task), _FIT)
    alone = student.rebuild("training.fit", **task)
    curves = {
        "clean_loss": [float(toy_losses(w, *task["train"]).mean()) for w in alone["moments"]],
        "clean_val_loss": [
            float(toy_losses(w, *task["validation"]).mean()) for w in alone["moments"]
        ],
        "penalty": [toy_penalty(w, toy) for w in alone["moments"]],
    }
    found = {"recorded": recorded, "curves": curves}
    ### BEGIN HIDDEN TESTS
    found["changed"] = changes(student, rng)
    ### END HIDDEN TESTS
    return found


@pytest.mark.public
@pytest.mark.points(3, task=LOSS)
def test_clean_loss(cleaned, toy, credit):
    """The cross-entropy alone, in inference mode, and the penalty apart from it."""
    (loss, got_penalty), expected = cleaned["results"][0], cleaned["expected"]
    penalty = toy_penalty(random_weights(TOY_SHAPES, toy["seed"]), toy)
    mistakes = {
        "that is the cross-entropy plus the penalty, what Keras' evaluate reports.": expected
        + penalty,
        "that is the sum over the examples, not their mean.": expected * 24,
    }
    otherwise = (
        "is it the model's logits (from_logits=True) in inference mode (training=False), with no "
        "dropout and with batch normalization's moving averages?"
    )
    wrong = fault("The clean loss", loss, expected, mistakes, otherwise)
    credit.check(2 / 3, not wrong, wrong)
    wrong = fault("The penalty", got_penalty, penalty, {}, "is it the sum of all of model.losses?")
    credit.check(1 / 3, not wrong, wrong)


@pytest.mark.public
@pytest.mark.points(3, task=CURVE)
def test_curves(fits, credit):
    """LossCurves' history: clean losses and penalty before the first step and after each epoch."""
    recorded, expected = fits["recorded"], fits["curves"]
    history = recorded["history"]
    missing = [name for name in expected if name not in history]
    assert not missing, f"history has no {', '.join(missing)}; it has {', '.join(history)}."
    # A curve without its first point can still be right at the ends of the epochs.
    ends = [name for name in expected if not _alike(history[name][-2:], expected[name][1:])]
    name = (ends or ["penalty"])[0]
    credit.check(
        1 / 3,
        not ends,
        f"{name} after the two epochs is {_listed(history[name][-2:])}, expected "
        f"{_listed(expected[name][1:])}: the clean values of the weights at the epoch's end, not "
        "Keras' own loss and val_loss.",
    )
    begins = all(_alike(history[n][:1], expected[n][:1]) for n in expected)
    whole = all(len(history[n]) == 3 for n in expected)
    credit.check(
        1 / 3,
        begins and whole,
        f"In a fit of 2 epochs {name} is {_listed(history[name])}, expected 3 values that begin "
        f"with {expected[name][0]:.4f}: the curve begins before the first step.",
    )
    logged = {name: [row.get(name, np.nan) for row in recorded["logs"]] for name in expected}
    unlogged = [name for name in expected if not _alike(logged[name], history[name][-2:])]
    # A wrong value can be logged as it should be, but not if all of them are wrong.
    credit.check(
        1 / 3,
        not unlogged and any(_alike(logged[name], expected[name][1:]) for name in expected),
        f"{', '.join(unlogged)} did not reach the logs of a callback behind this one: add them in "
        "on_epoch_end with logs.update(...)."
        if unlogged
        else "Of what reached the logs nothing is right.",
    )


@pytest.mark.public
@pytest.mark.points(2, task=SHARPNESS)
def test_sharpness_of_a_bowl(student, rng):
    """The largest eigenvalue of a quadratic whose Hessian is known."""
    top = float(rng.uniform(5, 20))
    eigenvalues = [top, *(top * rng.uniform(0.02, 0.1, 7))]
    case, got = sharpness_of(student, rng, eigenvalues)
    hessian = case["hessian"]
    mistakes = {
        f"that is the largest of one variable alone, the {nth}: the vector goes over all of "
        "them.": np.linalg.eigvalsh(block).max()
        for nth, block in (("first", hessian[:4, :4]), ("second", hessian[4:, 4:]))
    } | {"that is the trace, the sum of all eigenvalues.": np.trace(hessian)}
    otherwise = "are 10 iterations made, each from the normalised product of the one before?"
    what = f"1/2 w'Hw with the largest eigenvalue {top:.4g}: the sharpness"
    wrong = fault(what, got, top, mistakes, otherwise)
    assert not wrong, wrong


def _alike(a: list[float], b: list[float]) -> bool:
    return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values) or "nothing"


### BEGIN HIDDEN TESTS
def changes(student: Any, rng: np.random.Generator) -> list[str]:
    """The weights and moving averages that differ after further training in the student's child
    and, beside it, where nothing was measured; ask both for the same model before.

    Up to rounding: a submission may choose other, deterministic kernels.
    """
    x, y = draw_examples(rng, 32)
    after = require(student.run("training.go_on", x=x, y=y), _WEIGHTS)
    expected = student.rebuild("training.go_on", x=x, y=y)
    return sorted(
        name
        for name in expected.keys() | after.keys()
        if name not in expected or name not in after or not close(after[name], expected[name])
    )


@pytest.mark.points(1, task=LOSS)
def test_uneven_batches(cleaned):
    """Every example counts alike, whatever the batch size, and the model stays as it was."""
    results, expected, changed = cleaned["results"], cleaned["expected"], cleaned["changed"]
    losses = [loss for loss, _ in results]
    assert all(same(loss, expected) for loss in losses), (
        f"With batches of 24, 8 and 11 the clean loss of 24 examples is {losses}, "
        f"expected {expected}."
    )
    assert not changed, f"After measuring, training ends in other {', '.join(changed)}."


@pytest.mark.points(2, task=CURVE)
def test_training_is_left_unchanged(fits):
    """A fit with the recorder ends in the same weights, optimizer, averages and seeds."""
    recorded, expected, changed = fits["recorded"], fits["curves"], fits["changed"]
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
    """Whether the weights are where they were, up to rounding: by where a step on another surface
    leads from there."""
    values, rate = case["values"], float(rng.uniform(0.1, 0.2))
    half = rng.normal(size=(len(values),) * 2)
    hessian = (half + half.T) / 2
    got = require(student.run("training.descend", hessian=hessian, rate=rate), np.ndarray)
    return close(got, values - rate * hessian @ values, rtol=1e-4)


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


### END HIDDEN TESTS
