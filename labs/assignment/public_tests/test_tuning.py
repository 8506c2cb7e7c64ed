"""Tasks 5 to 7: the hypermodel, the learning rate, and what made the weights sparse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from expected import cross_entropy, penalty

from dlip_reg.grading.answers import EACH, fault, require, same

STRENGTHS, RATES = ("conv_l2", "dense_l2"), ("conv_dropout", "dense_dropout")
SPACE = {
    **dict.fromkeys(STRENGTHS, (1e-06, 0.01, "log", None)),
    **dict.fromkeys(RATES, (0.0, 0.5, "linear", 0.1)),
    "learning_rate": (1e-4, 1e-2, "log", None),
}
SEARCH, RATE, DIAGNOSIS = "5. The search", "6. The learning rate", "7. The diagnosis"
STEPS = [0, 1, 7, 20, 40, 41, 1000]  # of a warm-up of 40
PAIRS = 10  # of records, for each regularizer

_RANGE = {"kind": str, "sampling": str} | dict.fromkeys(("min_value", "max_value", "step"), float)
_TUNED = {
    "space": {EACH: _RANGE},
    "penalties": (float, float),
    "rates": dict.fromkeys(RATES, float),
    "learning_rate": float,
    "loss": float,
    "objective": (str, str),
}

# What each regularizer does to a record: the factor, from and to, by which it scales the weights
# (None: it makes them sparse), and the share of the activations that are zero, from and to. The
# hand-out states wider margins than these, and `draw_pair` keeps these exactly.
EFFECTS = {
    "l1": (None, (0.5, 0.9)),  # a unit that has lost its weights is silent
    "l2": ((0.01, 0.5), (0.46, 0.54)),  # ridge regression with uncorrelated inputs
    "dropout": ((0.7, 1.15), (0.8, 0.95)),
    "None": ((0.97, 1.03), (0.46, 0.54)),
}
PLAIN_ZEROS = (0.46, 0.54)
_L1_ZEROS = (0.65, 0.85)  # the share of weights that L1 brings to zero


@pytest.fixture(scope="module")
def tuned(student, rng):
    """The hypermodel's space, and its model at one point of the space."""
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
    return task | require(student.run("tuning.hypermodel", **task), _TUNED)


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
    truths = rng.permutation(list(EFFECTS) * PAIRS).tolist()
    pairs = [draw_pair(rng, *EFFECTS[truth]) for truth in truths]
    return truths, require(student.run("tuning.diagnoses", pairs=pairs), (str,) * len(pairs))


def draw_pair(
    rng: np.random.Generator, factor: tuple[float, float] | None, zeros: tuple[float, float]
) -> dict[str, dict[str, np.ndarray]]:
    """The records of a dense ReLU layer after training without a regularizer and with one."""
    shape = int(rng.integers(30, 60)), int(rng.integers(20, 40))
    plain, noise = rng.normal(size=(2, *shape))
    if factor is None:
        # Soft thresholding is what L1 does exactly where the inputs are uncorrelated (Tibshirani
        # 1996); gradient descent leaves its zeros a little off.
        threshold = np.quantile(np.abs(plain), rng.uniform(*_L1_ZEROS))
        shrunk = np.maximum(np.abs(plain) - threshold, 0)
        kernel = np.sign(plain) * shrunk + noise * 1e-3
    else:
        kernel = plain * (1 + 0.05 * noise)
        ratio = np.linalg.norm(plain) / np.linalg.norm(kernel)
        kernel *= ratio * np.exp(rng.uniform(*np.log(factor)))
    size = float(10 ** rng.uniform(-2, 0))
    return {
        "plain": {"kernel": plain * size, "activations": _activations(rng, shape[1], PLAIN_ZEROS)},
        "regularized": {
            "kernel": kernel * size,
            "activations": _activations(rng, shape[1], zeros),
        },
    }


def _activations(rng: np.random.Generator, units: int, zeros: tuple[float, float]) -> np.ndarray:
    """Activations (100, units), of which exactly a share drawn from `zeros` is zero."""
    values = 0.01 + np.abs(rng.normal(size=100 * units))
    values[: round(values.size * rng.uniform(*zeros))] = 0
    return rng.permutation(values).reshape(100, units)


@pytest.mark.public
@pytest.mark.points(1, task=SEARCH)
def test_space(tuned):
    """The hyperparameters' names, ranges and sampling."""
    space = tuned["space"]
    missing = [name for name in SPACE if name not in space]
    assert not missing, (
        f"There is no hyperparameter {', '.join(missing)}; there is {', '.join(space) or 'none'}."
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
    arrived = [same(got, right) for got in tuned["penalties"] for right in _penalties(tuned)]
    arrived += [same(tuned["rates"][name], tuned["values"][name]) for name in RATES]
    assert any(arrived), "Of the hyperparameters' values none reaches the model that build returns."


@pytest.mark.public
@pytest.mark.points(2, task=SEARCH)
def test_strengths_arrive(tuned, credit):
    """Each strength and each rate reaches its own kind of layer, and no other."""
    values, rates = tuned["values"], tuned["rates"]
    right, crossed = _penalties(tuned), _penalties(tuned, STRENGTHS[::-1])
    faults = [
        fault(
            f"With {name} {values[name]:.3g} the penalty",
            tuned["penalties"][i],
            right[i],
            {"that is the other strength's: are both called by one name, or swapped?": crossed[i]},
            f"is {name} handed on as keras.regularizers.L2?",
        )
        for i, name in enumerate(STRENGTHS)
    ]
    credit.check(1 / 2, not any(faults), " ".join(filter(None, faults)))
    faults = [
        f"With {name} {values[name]} the builder was given {rates[name]}."
        for name in RATES
        if not np.isclose(rates[name], values[name])
    ]
    credit.check(1 / 2, not faults, " ".join(faults))


def _penalties(tuned: dict[str, Any], names: tuple[str, ...] = STRENGTHS) -> list[float]:
    """The kernels' penalties by the strengths of these names."""
    return [
        penalty(kernel, l2=tuned["values"][name])
        for name, kernel in zip(names, tuned["kernels"], strict=True)
    ]


@pytest.mark.public
@pytest.mark.points(2, task=RATE)
def test_schedule(scheduled, credit):
    """The rate grows with the batch, and a warm-up leads to it from the base rate."""
    faults = [
        _end_fault(case, rate)
        for case, rates in zip(*scheduled, strict=True)
        for rate in rates[-2:]
    ]
    credit.check(1 / 2, not any(faults), next(filter(None, faults), ""))
    case, called = (both[0] for both in scheduled)
    base, target = case["base_rate"], scaled(case)
    way = warm_up(case, target)
    faults = [i for i, rate in enumerate(way) if not same(called[i], rate, rtol=1e-4)]
    i = faults[0] if faults else 0
    credit.check(
        1 / 2,
        warms_up(case, called),
        f"At step {STEPS[i]} of a warm-up of 40 the rate is {called[i]:.4g}, expected "
        f"{way[i]:.4g}: by a constant amount a step, from the base rate {base:.4g} at step 0 to "
        f"{target:.4g} at step 40.",
    )


def _end_fault(case: dict[str, Any], rate: float) -> str:
    """What is wrong with the rate after the warm-up; empty if nothing is."""
    base, ratio = case["base_rate"], case["batch_size"] / case["base_batch_size"]
    mistakes = {
        "that is the square-root rule; the task asks for the linear one.": base * np.sqrt(ratio),
        "that is the base rate, not scaled.": base,
    }
    otherwise = "is it base_rate * batch_size / base_batch_size?"
    if rate > scaled(case) * 1.01:
        otherwise = "does it go on growing after the warm-up?"
    what = f"Long after the warm-up, for a batch {ratio:g} times the base's, the rate"
    return fault(what, rate, scaled(case), mistakes, otherwise, rtol=1e-4)


@pytest.mark.public
@pytest.mark.points(2, task=DIAGNOSIS)
def test_sparse_or_small(diagnosed, credit):
    """Weights made sparse by L1 are distinguished from weights made small by L2."""
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


def scaled(case: dict[str, Any]) -> float:
    """The linear scaling rule (Goyal et al. 2017, section 2.1)."""
    return case["base_rate"] * case["batch_size"] / case["base_batch_size"]


def warms_up(case: dict[str, Any], rates: list[float]) -> bool:
    """Whether the rates at `STEPS` go to their end as a warm-up does; the end may be a wrong one,
    but not the rate that they begin with."""
    return any(
        np.allclose(rates[:-2], warm_up(case, end), rtol=1e-4)
        for end in (scaled(case), rates[-1])
        if not np.isclose(end, case["base_rate"])
    )


def warm_up(case: dict[str, Any], end: float) -> list[float]:
    """The rates of a warm-up to `end` (Goyal et al. 2017, section 2.2), but for the last steps."""
    whole = case["warmup_steps"]
    shares = [min(step / whole, 1) if whole else 1 for step in STEPS[:-2]]
    return [case["base_rate"] + share * (end - case["base_rate"]) for share in shares]
