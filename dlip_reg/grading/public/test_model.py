"""Task 1, the network: what `build_model` builds, by what it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlip_reg.grading.errors import Rejected
from dlip_reg.grading.probes.draws import random_weights
from dlip_reg.grading.public.answers import require
from dlip_reg.grading.public.expected import (
    CONV,
    DENSE,
    WIDTHS,
    kernel_shapes,
    logits,
    require_kernels,
)

_SAVED = {"file": bytes, "logits": np.ndarray, "penalty": float}

SHAPES = [(8, 8, 2), (8, 12, 1), (12, 8, 3), (8, 8, 4)]


def draw_task(rng: np.random.Generator, examples: int = 8) -> dict[str, Any]:
    """What every probe of a model takes: image shape, classes, a seed for weights, images."""
    shape = SHAPES[rng.integers(len(SHAPES))]
    return {
        "shape": list(shape),
        "classes": int(rng.integers(3, 7)),
        "seed": int(rng.integers(2**31)),
        "x": rng.normal(size=(examples, *shape)).astype(np.float32),
    }


def measured(student: Any, probe: str, task: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What the probe finds in the model that the submission builds for the task: one that leaves
    the submission's process as data and is made again in a process with no submission."""
    asked = {name: value for name, value in task.items() if name != "seed"}
    config = require(student.run("model.built", **asked), str)
    return student.rebuild(f"model.{probe}", config=config, seed=task["seed"], x=task["x"], **more)


def draw_strength(rng: np.random.Generator) -> float:
    """A regularizer's strength, from 0.003 to 0.1."""
    return float(10 ** rng.uniform(-2.5, -1))


def logit_gaps(outputs: np.ndarray) -> np.ndarray:
    """How far each logit lies above the last, (n, classes - 1), for logits or their softmax.

    A softmax too many is marked once, by `test_logits`; it leaves these gaps as they are.
    """
    if np.all(outputs >= 0) and close(outputs.sum(axis=1), np.ones(len(outputs))):
        outputs = np.log(np.maximum(outputs, 1e-30))
    return outputs[:, :-1] - outputs[:, -1:]


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal up to the rounding of float32 through a few layers."""
    return a.shape == b.shape and bool(np.abs(a - b).max() <= 1e-3 * max(1, np.abs(b).max()))


@pytest.fixture(scope="module")
def penalised(student, rng):
    """A model with L2 on its convolutions and L1 + L2 on its dense layers."""
    task = draw_task(rng) | {
        "options": {
            "conv_kernel_regularizer": {"l2": draw_strength(rng)},
            "dense_kernel_regularizer": {"l1": draw_strength(rng), "l2": draw_strength(rng)},
        }
    }
    built = student.run("model.built_and_penalised", **task)
    said = require(built, {"config": str, "penalty": float})
    given = {"config": said["config"], "seed": task["seed"], "x": task["x"]}
    return task, student.rebuild("model.penalised", **given) | {"said": said["penalty"]}


@pytest.fixture(scope="module")
def normalised(student, rng):
    """A model with batch normalization and L2 on its dense layers alone."""
    options = {"batch_norm": True, "dense_kernel_regularizer": {"l2": draw_strength(rng)}}
    task = draw_task(rng) | {"options": options}
    return task, measured(student, "normalised", task)


@pytest.fixture(scope="module")
def conv_dropped(student, rng):
    """A model with dropout and L2 on its convolutions alone, at weights that show every drop.

    conv1 gives ones, conv2 copies conv1's first map, and half the first logit is the mean over
    all pixels: 1 without dropout, and a pixel that is kept twice is scaled twice. The others are 0.
    """
    task = draw_task(rng, examples=40)
    weights = _zeros(task)
    weights["conv1/bias"][:] = 1
    weights["conv2/kernel"][1, 1, 0, :] = 1
    weights["dense1/kernel"][:, 0] = 1 / len(weights["dense1/kernel"])
    weights["logits/kernel"][0, 0] = 2  # at 1, the outputs 1, 0, 0 would look like a softmax
    task["options"] = {
        "conv_dropout": float(rng.uniform(0.25, 0.4)),
        "conv_kernel_regularizer": {"l2": draw_strength(rng)},
    }
    return task, measured(student, "dropped", task, weights=weights)


@pytest.fixture(scope="module")
def dense_dropped(student, rng):
    """A model with dropout on its dense layers alone; half the first logit is the mean of 32."""
    task = draw_task(rng, examples=40)
    weights = _zeros(task)
    weights["dense1/bias"][:] = 1
    weights["logits/kernel"][:, 0] = 2 / WIDTHS["dense1"]
    task["options"] = {"dense_dropout": float(rng.choice([0.2, 0.3, 0.4, 0.6, 0.7]))}
    return task, measured(student, "dropped", task, weights=weights)


@pytest.fixture(scope="module")
def saved(student, rng):
    """A model with everything in it: what it gives where it was made, and its file elsewhere."""
    options = {
        "batch_norm": True,
        "conv_dropout": 0.2,
        "dense_dropout": 0.5,
        "conv_kernel_regularizer": {"l1": draw_strength(rng)},
        "dense_kernel_regularizer": {"l2": draw_strength(rng)},
    }
    task = draw_task(rng) | {"options": options}
    facts = require(student.run("model.saved", **task), _SAVED)
    loaded = student.rebuild("model.loaded", file=facts.pop("file"), x=task["x"])
    return task, facts, loaded


@pytest.mark.public
@pytest.mark.points(1)
def test_logits(penalised):
    """The network gives logits: conv1, conv2, dense1 and logits, ReLUs and pools between."""
    task, facts = penalised
    outputs = facts["logits"]
    _require_outputs(task, outputs)
    assert not close(outputs.sum(axis=1), np.ones(len(outputs))), (
        "The outputs of each image add up to 1: the model must end in logits, with no softmax "
        "(the loss applies it, from_logits=True)."
    )
    require_kernels(facts["weights"], task["shape"], task["classes"])
    expected = logits(facts["weights"], task["x"])
    assert close(outputs, expected), (
        f"At random weights the first image's logits are {_few(outputs)}, expected "
        f"{_few(expected)}: is it conv1, ReLU, pool, conv2, ReLU, pool, flatten, dense1, ReLU, "
        "logits, with padding 'same' and pools of 2?"
    )


@pytest.mark.public
@pytest.mark.points(2)
def test_penalties(penalised, credit):
    """Each kernel's penalty has the value that its regularizer gives, at random weights."""
    task, facts = penalised
    require_kernels(facts["weights"], task["shape"], task["classes"])
    said, total = facts["said"], facts["penalty"]
    assert np.isclose(said, total, rtol=1e-3), (
        f"Where your code runs the model's losses add up to {said:.4g}, in a model made again from "
        f"its configuration to {total:.4g}: a regularizer that is set after its layer is built is "
        "not applied."
    )
    options = task["options"]
    conv, dense = options["conv_kernel_regularizer"], options["dense_kernel_regularizer"]
    for names, own, other in ((CONV, conv, dense), (DENSE, dense, conv)):
        faults = [_penalty_fault(facts, name, own, other) for name in names]
        credit.check(1 / 2, not any(faults), " ".join(filter(None, faults)))


@pytest.mark.public
@pytest.mark.points(2)
def test_moving_statistics(normalised, credit):
    """Batch normalization's moving averages move in training, by momentum 0.9, and only there."""
    _, facts = normalised
    start, after_inference, first, second = _statistics(facts)
    absent = _without_statistics(facts)
    assert start.size, "With batch_norm=True the model has no moving statistics."
    moved = bool(np.all(first != after_inference))
    kept = bool(np.all(after_inference == start))
    credit.check(
        1 / 2,
        moved and kept and not absent,
        f"There is no batch normalization after {', '.join(absent)}."
        if absent
        else "The moving statistics do not move when the model is called with training=True: is "
        "trainable=False set on a layer?"
        if not moved
        else "The moving statistics move when the model is called with training=False.",
    )
    # Over one batch the statistics s are the same twice, so m - s shrinks by the momentum.
    momentum = float(np.median((second - first) / (first - after_inference))) if moved else np.nan
    credit.check(
        1 / 2,
        abs(momentum - 0.9) < 0.01,
        f"A training step keeps {momentum:.2f} of the moving average, expected 0.90 "
        "(Keras' default is 0.99; in PyTorch's sense 0.9 would be 0.1)."
        if moved
        else "So there is no momentum to measure.",
    )


@pytest.mark.public
@pytest.mark.points(2)
def test_normalisation(normalised, credit):
    """Conv - BN - ReLU: by the batch's statistics in training, by the moving ones in inference."""
    task, facts = normalised
    weights, x = facts["weights"], task["x"]
    require_kernels(weights, task["shape"], task["classes"])
    _require_outputs(task, facts["training"], facts["inference"])
    absent = _without_statistics(facts)
    orders = (False, True)
    training, swapped = (
        logit_gaps(logits(weights, x, training=True, norm_last=last)) for last in orders
    )
    inference = [logit_gaps(logits(weights, x, norm_last=last)) for last in orders]
    got = logit_gaps(facts["training"])
    credit.check(
        1 / 2,
        close(got, training) and not absent,
        "In training the outputs are those of BN after the ReLU, expected before it: Conv - BN - "
        "ReLU."
        if close(got, swapped)
        else "In training the outputs are those of the moving statistics, expected the batch's: "
        "is trainable=False set on a layer?"
        if any(close(got, other) for other in inference)
        else f"In training the first image's logits, above its last, are {_few(got)}, expected "
        f"{_few(training)}: "
        "is BN there after each of conv1, conv2 and dense1, before its ReLU, and not after logits?",
    )
    got = logit_gaps(facts["inference"])
    credit.check(
        1 / 2,
        any(close(got, expected) for expected in inference),
        "In inference the outputs are those of the batch's own statistics, expected the moving "
        "averages: is it a layer that goes by the mode it is called in?"
        if close(got, training) or close(got, swapped)
        else f"In inference the first image's logits, above its last, are {_few(got)}, expected "
        f"{_few(inference[0])}.",
    )


@pytest.mark.public
@pytest.mark.points(3)
def test_dropout(conv_dropped, dense_dropped, credit):
    """Dropout is on in training and off in inference, at the rates asked for, and where."""
    models = [facts for _, facts in (conv_dropped, dense_dropped)]
    for task, facts in (conv_dropped, dense_dropped):
        _require_outputs(task, facts["inference"], *facts["training"])
    on = any(not np.array_equal(*facts["training"]) for facts in models)
    off = all(np.allclose(_first_gap(facts["inference"]), 1, atol=1e-3) for facts in models)
    credit.check(
        1 / 3,
        on and off,
        "Dropout is still on in inference: is it a layer that goes by the mode it is called in?"
        if not off
        else "Two calls with training=True give the same outputs: nothing is dropped.",
    )
    credit.check(1 / 3, *_conv_rate_verdict(*conv_dropped))
    credit.check(1 / 3, *_dense_rate_verdict(*dense_dropped))


@pytest.mark.public
@pytest.mark.points(2)
def test_save_and_load(saved, credit):
    """A saved model loads where its code is not known, with the same outputs and penalty."""
    task, facts, loaded = saved
    weights = loaded["weights"]
    require_kernels(weights, task["shape"], task["classes"])
    drawn = random_weights({path: value.shape for path, value in weights.items()}, task["seed"])
    kept = all(np.allclose(weights[path], drawn[path]) for path in drawn)
    credit.check(
        1 / 2,
        kept and close(loaded["logits"], facts["logits"]),
        "The loaded model's outputs differ." if kept else "The loaded model's weights differ.",
    )
    same = bool(np.isclose(loaded["penalty"], facts["penalty"], rtol=1e-4))
    credit.check(
        1 / 2, same and facts["penalty"] > 0, "The loaded model has another penalty, or none."
    )


def _conv_rate_verdict(task: dict, facts: dict) -> tuple[bool, str]:
    rate = task["options"]["conv_dropout"]
    scale = 1 / (1 - rate)
    means = _first_gap(np.concatenate(facts["training"]))
    pixels = kernel_shapes(task["shape"], task["classes"])["dense1"][0]
    found = means.max()  # at small rates all pixels of some image are kept
    # Each mean is over a whole number of kept pixels, each scaled by both dropouts.
    right = found > 0 and _whole(means * pixels / scale**2)
    hint = "is it behind conv1 and conv2, and nowhere else?"
    if _whole(means * pixels * rate**2):
        hint = "Keras' rate is the share dropped, the p of Srivastava et al. the share kept."
    elif np.isclose(found, scale, rtol=1e-3):
        hint = "it is behind one of conv1 and conv2 only."
    return right, (
        f"With conv_dropout {rate:.3f} the image with most units kept is scaled by {found:.3f}, "
        f"expected 1 / (1 - {rate:.3f})^2 = {scale**2:.3f} for two dropouts: {hint}"
    )


def _dense_rate_verdict(task: dict, facts: dict) -> tuple[bool, str]:
    rate = task["options"]["dense_dropout"]
    means = _first_gap(np.concatenate(facts["training"]))
    # Each mean is over a whole number of kept units, each scaled by 1 / (1 - rate).
    kept = 32 * means * (1 - rate)
    spread = np.sqrt(32 * rate * (1 - rate) / len(kept))
    right = _whole(kept) and abs(kept.mean() - 32 * (1 - rate)) < 5 * spread
    # Scaled units keep the mean of 1; so the variance alone tells the share dropped.
    variance = 32 * float(means.var())
    dropped = variance / (1 + variance)
    hint = (
        "Keras' rate is the share dropped, the p of Srivastava et al. the share kept."
        if _whole(32 * means * rate)
        else "the logits themselves must not be dropped."
        if np.any(means == 0)
        else "is it behind dense1's ReLU, once, and nowhere else?"
    )
    return right, (
        f"With dense_dropout {rate:.2f} about {dropped:.2f} of dense1's units seem to be dropped: "
        f"{hint}"
    )


def _first_gap(outputs: np.ndarray) -> np.ndarray:
    return logit_gaps(outputs)[:, 0] / 2


def _whole(values: np.ndarray) -> bool:
    return bool(np.abs(values - np.round(values)).max() < 1e-2)


def _penalty_fault(facts: dict, name: str, own: dict, other: dict) -> str:
    """What is wrong with a kernel's penalty; empty if nothing is."""
    kernel, got = facts["weights"][f"{name}/kernel"], facts["penalties"][f"{name}/kernel"]
    expected = _penalty(kernel, **own)
    if np.isclose(got, expected, rtol=1e-3):
        return ""
    terms = " + ".join(f"{n} * sum {'|w|' if n == 'l1' else 'w^2'}" for n in own)
    hints = {
        0.0: "is the regularizer handed to this layer, as its kernel_regularizer?",
        expected / 2: f"is it applied as {terms}, with no half?",
        expected / kernel.size: "the penalty is a sum over the weights, not their mean.",
        _penalty(kernel, **other): "are the regularizers of conv and dense layers swapped?",
    }
    if len(own) > 1:
        hints |= {_penalty(kernel, **{n: own[n]}): f"that is the part of {n} alone." for n in own}
    hint = next((h for value, h in hints.items() if np.isclose(got, value, rtol=1e-3)), None)
    hint = hint or f"is it applied as {terms}?"
    return f"{name}'s penalty is {got:.4g}, expected {expected:.4g}: {hint}"


def _penalty(kernel: np.ndarray, l1: float = 0.0, l2: float = 0.0) -> float:
    return float(l1 * np.abs(kernel).sum() + l2 * np.square(kernel).sum())


def _zeros(task: dict) -> dict[str, np.ndarray]:
    kernels = kernel_shapes(task["shape"], task["classes"])
    zeros = {f"{name}/kernel": np.zeros(shape) for name, shape in kernels.items()}
    return zeros | {f"{name}/bias": np.zeros(shape[-1]) for name, shape in kernels.items()}


def _without_statistics(facts: dict) -> list[str]:
    """The layers that no batch normalization follows; it is known by its width."""
    widths = {value.size for value in facts["statistics"][0].values()}
    return [f"{name} ({width} units)" for name, width in WIDTHS.items() if width not in widths]


def _require_outputs(task: dict, *outputs: np.ndarray) -> None:
    expected = (len(task["x"]), task["classes"])
    for output in outputs:
        assert output.shape == expected, (
            f"The output for {expected[0]} images and {expected[1]} classes has the shape "
            f"{output.shape}, expected {expected}."
        )


def _statistics(facts: dict) -> list[np.ndarray]:
    """All moving statistics in a row, (numbers,), for each of the four moments."""
    moments = [
        np.concatenate([np.ravel(value) for value in values.values()] or [np.zeros(0)])
        for values in facts["statistics"]
    ]
    if [moment.shape for moment in moments] != [moments[0].shape] * 4:
        raise Rejected("Moving statistics have come or gone.")
    return moments


def _few(outputs: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in outputs.ravel()[:3]) + ", ..."
