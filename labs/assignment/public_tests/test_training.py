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
