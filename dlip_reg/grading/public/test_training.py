"""Tasks 2 to 4: the clean loss, its curves, and the sharpness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlip_reg.grading.public.answers import EACH, require
from dlip_reg.grading.public.expected import Values, cross_entropy

_STATE = {EACH: np.ndarray}
_RECORDED = {"state": _STATE, "logs": [{EACH: float}], "history": {EACH: [float]}}
SHARPNESS = {"sharpness": float, "values": [np.ndarray]}

FEATURES, UNITS, CLASSES = 5, 6, 3
_EPSILON = 1e-3  # Keras' for batch normalization


def draw_toy(rng: np.random.Generator) -> dict[str, Any]:
    """Weights of the probes' Dense - BN - ReLU - dropout - logits, its two strengths, a seed."""
    sizes = {
        "hidden/kernel": (FEATURES, UNITS),
        "bn/beta": UNITS,
        "bn/moving_mean": UNITS,
        "logits/kernel": (UNITS, CLASSES),
        "logits/bias": CLASSES,
    }
    weights = {path: rng.normal(size=size) for path, size in sizes.items()}
    for name in ("gamma", "moving_variance"):
        weights[f"bn/{name}"] = rng.uniform(0.5, 1.5, UNITS)
    l1, l2 = (float(strength) for strength in 10 ** rng.uniform(-2.5, -1, 2))
    return {"weights": weights, "l1": l1, "l2": l2, "seed": int(rng.integers(2**31))}


def draw_examples(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 5) and labels (n,)."""
    return rng.normal(size=(n, FEATURES)).astype(np.float32), rng.integers(CLASSES, size=n)


def toy_losses(weights: Values, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Each example's cross-entropy in inference mode."""
    centred = x @ weights["hidden/kernel"] - weights["bn/moving_mean"]
    normal = centred / np.sqrt(weights["bn/moving_variance"] + _EPSILON)
    hidden = np.maximum(normal * weights["bn/gamma"] + weights["bn/beta"], 0)
    return cross_entropy(hidden @ weights["logits/kernel"] + weights["logits/bias"], y)


def toy_penalty(weights: Values, l1: float, l2: float) -> float:
    """L2 of the hidden kernel and L1 of that of the logits."""
    l2_part = l2 * np.square(weights["hidden/kernel"]).sum()
    return float(l2_part + l1 * np.abs(weights["logits/kernel"]).sum())


def draw_quadratic(
    rng: np.random.Generator, eigenvalues: list[float], **changes: Any
) -> dict[str, Any]:
    """A loss 1/2 w'Hw with those eigenvalues, w over two variables of four weights each.

    A random start is nearly orthogonal to the leading eigenvector now and then: the next
    eigenvalue should be so small, a tenth of it, that 10 iterations are enough for any start in
    practice.
    """
    basis = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    return {
        "hessian": basis * eigenvalues @ basis.T,
        "shapes": [[2, 2], [4]],
        "values": rng.normal(size=8),
        "slope": None,
        "iterations": 10,
        "seed": int(rng.integers(1000)),
    } | changes


def sharpnesses(student: Any, cases: list[dict]) -> list[dict]:
    """What `sharpness` gives for each of these quadratics."""
    return require(student.run("training.quadratics", cases=cases), (SHARPNESS,) * len(cases))


def same(a: float, b: float) -> bool:
    """Equal to 1 in 1,000: float32 over a few layers, with room for another order of sums."""
    return bool(np.isclose(a, b, rtol=1e-3, atol=1e-5))


@pytest.fixture(scope="module")
def fitted(student, rng):
    """The toy network and a fit of it with nothing that measures, as a submission leaves it."""
    task = draw_toy(rng) | {"train": draw_examples(rng, 24), "epochs": 2}
    return task, student.rebuild("training.unrecorded", **task)


def _toy_of(task: dict[str, Any]) -> dict[str, Any]:
    return {name: task[name] for name in ("weights", "l1", "l2", "seed")}


@pytest.fixture(scope="module")
def cleaned(student, rng, fitted):
    """`clean_loss` of the toy network, in whole batches and with a last one of 2 examples."""
    x, y = draw_examples(rng, 24)
    # The examples of the last, smaller batch are hard ones: a mean of batch means shows.
    task = _toy_of(fitted[0]) | {"x": x, "y": y, "batch_sizes": [24, 8, 11]}
    losses = toy_losses(task["weights"], x, y)
    order = np.argsort(losses)
    task["x"], task["y"] = x[order], y[order]
    form = {"results": ((float, float),) * len(task["batch_sizes"]), "after": _STATE}
    return task, require(student.run("training.clean_loss", **task), form)


@pytest.fixture(scope="module")
def recorded(student, rng, fitted):
    """The same fit with the recorder."""
    task = fitted[0] | {"validation": draw_examples(rng, 10)}
    return task, require(student.run("training.recorded", **task), _RECORDED)


def true_curves(task: dict[str, Any], moments: list[Values]) -> dict[str, list[float]]:
    """What a recorder has to find at each of these moments."""
    return {
        "clean_loss": [float(toy_losses(w, *task["train"]).mean()) for w in moments],
        "clean_val_loss": [float(toy_losses(w, *task["validation"]).mean()) for w in moments],
        "penalty": [toy_penalty(w, task["l1"], task["l2"]) for w in moments],
    }


@pytest.mark.public
@pytest.mark.points(3)
def test_clean_loss(cleaned, credit):
    """The cross-entropy alone, in inference mode, and the penalty apart from it."""
    task, facts = cleaned
    expected = toy_losses(task["weights"], task["x"], task["y"]).mean()
    penalty = toy_penalty(task["weights"], task["l1"], task["l2"])
    loss, got_penalty = facts["results"][0]
    if same(loss, expected + penalty):
        hint = "that is the cross-entropy plus the penalty, what Keras' evaluate reports."
    elif same(loss, expected * len(task["x"])):
        hint = "that is the sum over the examples, not their mean."
    else:
        hint = (
            "is it the model's logits (from_logits=True) in inference mode (training=False), with "
            "no dropout and with batch normalization's moving averages?"
        )
    credit.check(
        2 / 3,
        same(loss, expected),
        f"The clean loss is {loss:.4f}, expected {expected:.4f}: {hint}",
    )
    credit.check(
        1 / 3,
        same(got_penalty, penalty),
        f"The penalty is {got_penalty:.4f}, expected {penalty:.4f}: is it the sum of all of "
        "model.losses?",
    )


@pytest.mark.public
@pytest.mark.points(3)
def test_curves(recorded, fitted, credit):
    """LossCurves' history: clean losses and penalty before the first step and after each epoch."""
    task, facts = recorded
    history, expected = facts["history"], true_curves(task, fitted[1]["moments"])
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
    logged = {name: [row.get(name, np.nan) for row in facts["logs"]] for name in expected}
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
@pytest.mark.points(2)
def test_sharpness_of_a_bowl(student, rng):
    """The largest eigenvalue of a quadratic whose Hessian is known."""
    top = float(rng.uniform(5, 20))
    eigenvalues = [top, *(top * rng.uniform(0.02, 0.1, 7))]
    case = draw_quadratic(rng, eigenvalues)
    (facts,) = sharpnesses(student, [case])
    got = facts["sharpness"]
    blocks = [case["hessian"][:4, :4], case["hessian"][4:, 4:]]
    alone = [float(np.linalg.eigvalsh(block).max()) for block in blocks]
    hint = "are 10 iterations made, each from the normalised product of the one before?"
    if any(same(got, value) for value in alone):
        hint = "that is the largest of one variable alone: the vector goes over all of them."
    elif same(got, np.trace(case["hessian"])):
        hint = "that is the trace, the sum of all eigenvalues."
    assert same(got, top), (
        f"1/2 w'Hw with the largest eigenvalue {top:.4f} has the sharpness {got:.4f}: {hint}"
    )


def _alike(a: list[float], b: list[float]) -> bool:
    return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values) or "nothing"
