"""Tasks 5 to 7: the hypermodel, the learning rate, and what made the weights sparse."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from dlip_reg.grading.public.answers import EACH, require

STRENGTHS, RATES = ("conv_l2", "dense_l2"), ("conv_dropout", "dense_dropout")
SPACE = {
    **dict.fromkeys(STRENGTHS, (1e-06, 0.01, "log", None)),
    **dict.fromkeys(RATES, (0.0, 0.5, "linear", 0.1)),
    "learning_rate": (1e-4, 1e-2, "log", None),
}
STEPS = [0, 1, 7, 20, 40, 41, 1000]  # of a warm-up of 40
PAIRS = 10  # of records, for each regularizer

_RANGE = {"kind": str, "sampling": str} | dict.fromkeys(("min_value", "max_value", "step"), float)
_TUNED = {
    "space": {EACH: _RANGE},
    "config": str,
    "optimizer": str,
    "loss": float,
    "objective": (str, str),
}

Record = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def tuned(student, rng):
    """The hypermodel's space, and its model at one point of the space, measured elsewhere."""
    rates = rng.choice([0.1, 0.2, 0.3, 0.4], size=2, replace=False)
    task = {
        "values": {
            "conv_l2": float(10 ** rng.uniform(-5.5, -4)),
            "dense_l2": float(10 ** rng.uniform(-3.5, -2.1)),
            "learning_rate": float(10 ** rng.uniform(-3.9, -2.1)),
            **{name: float(rate) for name, rate in zip(RATES, rates, strict=True)},
        },
        "kernels": [rng.normal(size=(3, 3, 2, 4)), rng.normal(size=(4, 3))],
        "logits": rng.normal(size=(6, 3)).astype(np.float32),
        "labels": rng.integers(3, size=6),
    }
    facts = require(student.run("tuning.hypermodel", **task), _TUNED)
    given = {"config": facts["config"], "kernels": task["kernels"]}
    return task, facts | student.rebuild("tuning.strengths", **given)


def draw_case(rng: np.random.Generator, warmup_steps: int) -> dict[str, Any]:
    """A schedule for a batch 2 to 16 times the base batch."""
    base_batch_size = int(rng.choice([16, 32, 64]))
    return {
        "base_rate": float(rng.uniform(0.01, 0.1)),
        "batch_size": base_batch_size * int(rng.choice([2, 4, 8, 16])),
        "base_batch_size": base_batch_size,
        "warmup_steps": warmup_steps,
    }


@pytest.fixture(scope="module")
def scheduled(student, rng):
    """The rates at `STEPS` for a larger batch and for a smaller one, both with a warm-up of 40."""
    larger = draw_case(rng, warmup_steps=40)
    smaller = larger | {"batch_size": larger["base_batch_size"] // 4}
    cases = [larger, smaller]
    rates = student.run("tuning.schedule", cases=cases, steps=STEPS)
    return cases, require(rates, ((float,) * len(STEPS),) * len(cases))


@pytest.fixture(scope="module")
def diagnosed(student, rng):
    """What is said of ten pairs of records for each regularizer, in random order."""
    truths = rng.permutation([name for name in MAKERS for _ in range(PAIRS)]).tolist()
    pairs = [_pair(rng, MAKERS[truth]) for truth in truths]
    return truths, require(student.run("tuning.diagnoses", pairs=pairs), (str,) * len(pairs))


@pytest.mark.public
@pytest.mark.points(1)
def test_space(tuned):
    """The hyperparameters' names, ranges and sampling."""
    task, facts = tuned
    space = facts["space"]
    missing = [name for name in SPACE if name not in space]
    assert not missing, (
        f"There is no hyperparameter {', '.join(missing)}; there is {_names(space)}."
    )
    for name, (least, most, sampling, step) in SPACE.items():
        got = space[name]
        assert got["kind"] == "Float", f"{name} is a {got['kind']}, expected a Float."
        assert np.allclose((got["min_value"], got["max_value"]), (least, most)), (
            f"{name} goes from {got['min_value']} to {got['max_value']}, expected {least} to "
            f"{most}."
        )
        assert got["sampling"] == sampling, (
            f"{name} is sampled on a {got['sampling']} scale, expected {sampling}: over decades, "
            "nine tenths of a linear scale lie in the top one."
        )
        if step is not None:
            assert np.isclose(got["step"], step), (
                f"{name} has the step {got['step']}, expected {step}."
            )
    # A space is a few numbers that anybody can copy: it has to be the one that build searches.
    assert any(_arrived(task, facts)), (
        "Of the hyperparameters' values none reaches the model that build returns."
    )


@pytest.mark.public
@pytest.mark.points(2)
def test_strengths_arrive(tuned, credit):
    """Each strength and each rate reaches its own kind of layer, and no other."""
    task, facts = tuned
    values, faults = task["values"], []
    expected = _penalties(task)
    crossed = [
        values[name] * np.square(kernel).sum()
        for name, kernel in zip(STRENGTHS[::-1], task["kernels"], strict=True)
    ]
    for name, got, right, other in zip(
        ("conv_l2", "dense_l2"), facts["penalties"], expected, crossed, strict=True
    ):
        if not np.isclose(got, right, rtol=1e-3, atol=0):
            hint = (
                "that is the other strength's: are both called by one name, or swapped?"
                if np.isclose(got, other, rtol=1e-3, atol=0)
                else f"is {name} handed on as keras.regularizers.L2?"
            )
            faults.append(
                f"With {name} {values[name]:.3g} the penalty is {got:.3g}, "
                f"expected {right:.3g}: {hint}"
            )
    credit.check(1 / 2, not faults, " ".join(faults))
    faults = [
        f"With {name} {values[name]} the builder was given {facts['rates'][name]}."
        for name in RATES
        if not np.isclose(facts["rates"][name], values[name])
    ]
    credit.check(1 / 2, not faults, " ".join(faults))


@pytest.mark.public
@pytest.mark.points(2)
def test_schedule(scheduled, credit):
    """The rate grows with the batch, and a warm-up leads to it from the base rate."""
    cases, rates = scheduled
    case, called = cases[0], rates[0]
    base, target, end = case["base_rate"], scaled(case), called[-1]
    ratio = case["batch_size"] / case["base_batch_size"]
    hint = "is it base_rate * batch_size / base_batch_size?"
    if np.isclose(end, base * np.sqrt(ratio)):
        hint = "that is the square-root rule; the task asks for the linear one."
    elif np.isclose(end, base):
        hint = "that is the base rate, not scaled."
    elif end > target * 1.01:
        hint = "does it go on growing after the warm-up?"
    credit.check(
        1 / 2,
        all(np.allclose(r[-2:], scaled(c), rtol=1e-4) for c, r in zip(cases, rates, strict=True)),
        f"Long after the warm-up, for a batch {ratio:g} times the base's, the rate is {end:.4g}, "
        f"expected {target:.4g}: {hint}",
    )
    way = [_warmed_up(case, step, target) for step in STEPS[:-2]]
    faults = [i for i, rate in enumerate(way) if not np.isclose(called[i], rate, rtol=1e-4)]
    i = faults[0] if faults else 0
    credit.check(
        1 / 2,
        warms_up(case, called),
        f"At step {STEPS[i]} of a warm-up of 40 the rate is {called[i]:.4g}, expected "
        f"{way[i]:.4g}: by a constant amount a step, from the base rate {base:.4g} at step 0 to "
        f"{target:.4g} at step 40.",
    )


@pytest.mark.public
@pytest.mark.points(2)
def test_sparse_or_small(diagnosed, credit):
    """Weights made sparse by L1 are told from weights made small by L2."""
    truths, said = diagnosed
    for name, hint in (
        ("l1", "near zero is meant relative to the kernel's own size"),
        ("l2", "L2 shrinks all weights alike: smaller, but of the same shape"),
    ):
        judge_diagnoses(credit, name, truths, said, hint)


def judge_diagnoses(credit: Any, name: str, truths: list[str], said: list[str], hint: str) -> None:
    """A point if `name` is said where it is true, and nowhere else."""
    wrong = [(t, s) for t, s in zip(truths, said, strict=True) if (t == name) != (s == name)]
    shown = ", ".join(f"{s} for {t}" for t, s in sorted(set(wrong)))
    credit.check(
        1 / 2, not wrong, f"{name}: {len(wrong)} of {len(said)} pairs wrong ({shown}); {hint}."
    )


def _penalties(task: dict[str, Any]) -> list[float]:
    """What the kernels' penalties have to be."""
    return [
        task["values"][name] * float(np.square(kernel).sum())
        for name, kernel in zip(STRENGTHS, task["kernels"], strict=True)
    ]


def _arrived(task: dict[str, Any], facts: dict[str, Any]) -> list[bool]:
    """Which of the drawn strengths and rates the model has, wherever."""
    pairs = [(got, right) for got in facts["penalties"] for right in _penalties(task)]
    pairs += [(facts["rates"][name], task["values"][name]) for name in RATES]
    return [bool(np.isclose(got, right, rtol=1e-3, atol=0)) for got, right in pairs]


def scaled(case: dict[str, Any]) -> float:
    """The linear scaling rule (Goyal et al. 2017, section 2.1)."""
    return case["base_rate"] * case["batch_size"] / case["base_batch_size"]


def warms_up(case: dict[str, Any], rates: list[float]) -> bool:
    """Whether the rates at `STEPS` go to their end as a warm-up does; the end may be a wrong one,
    but not the rate that they begin with."""
    found = [
        np.allclose(rates[:-2], [_warmed_up(case, step, end) for step in STEPS[:-2]], rtol=1e-4)
        for end in (scaled(case), rates[-1])
        if not np.isclose(end, case["base_rate"])
    ]
    return any(found)


def _warmed_up(case: dict[str, Any], step: int, target: float) -> float:
    """Gradual warm-up from the base rate (Goyal et al. 2017, section 2.2)."""
    share = min(step / case["warmup_steps"], 1) if case["warmup_steps"] else 1
    return case["base_rate"] + share * (target - case["base_rate"])


def _plain(rng: np.random.Generator) -> Record:
    """A dense ReLU layer after training: normal weights, about half of the activations zero."""
    size = float(10 ** rng.uniform(-2, 0))
    inputs, units = int(rng.integers(30, 60)), int(rng.integers(20, 40))
    kernel = rng.normal(size=(inputs, units)) * size
    return {"kernel": kernel, "activations": _relu(rng, units, 0.5)}


def _relu(rng: np.random.Generator, units: int, zeros: float) -> np.ndarray:
    """Activations (100, units), of which a share is zero."""
    return np.abs(rng.normal(size=(100, units))) * (rng.random((100, units)) >= zeros)


def _by_l1(rng: np.random.Generator, plain: Record) -> Record:
    # Soft thresholding is what L1 does exactly where the inputs are uncorrelated (Tibshirani 1996);
    # gradient descent leaves its zeros a little off.
    kernel = plain["kernel"]
    size = np.sqrt(np.square(kernel).mean())
    threshold = rng.uniform(0.8, 1.5) * size
    noise = rng.normal(size=kernel.shape) * size * 1e-3
    shrunk = np.sign(kernel) * np.maximum(np.abs(kernel) - threshold, 0) + noise
    # Units that have lost their weights fall silent: activations become sparser, too.
    return {"kernel": shrunk, "activations": _relu(rng, kernel.shape[1], rng.uniform(0.5, 0.9))}


def _by_l2(rng: np.random.Generator, plain: Record) -> Record:
    # Ridge regression with uncorrelated inputs: every weight by the same factor.
    return _again(rng, plain, factor=10 ** rng.uniform(-2, -0.25))


def _by_dropout(rng: np.random.Generator, plain: Record) -> Record:
    kernel = _again(rng, plain, factor=rng.uniform(0.6, 1.2))["kernel"]
    return {"kernel": kernel, "activations": _relu(rng, kernel.shape[1], rng.uniform(0.75, 0.95))}


def _by_none(rng: np.random.Generator, plain: Record) -> Record:
    return _again(rng, plain, factor=rng.uniform(0.97, 1.03))


def _again(rng: np.random.Generator, plain: Record, factor: float) -> Record:
    kernel = plain["kernel"]
    noise = rng.normal(size=kernel.shape) * np.abs(kernel) * 0.05
    activations = _relu(rng, kernel.shape[1], 0.5)
    return {"kernel": factor * (kernel + noise), "activations": activations}


MAKERS: dict[str, Callable[[np.random.Generator, Record], Record]] = {
    "l1": _by_l1,
    "l2": _by_l2,
    "dropout": _by_dropout,
    "None": _by_none,
}


def _pair(rng: np.random.Generator, make: Callable) -> dict[str, Record]:
    plain = _plain(rng)
    return {"plain": plain, "regularized": make(rng, plain)}


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
