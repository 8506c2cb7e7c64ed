"""Task 1, the network: what `build_model` builds, by what it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from expected import (
    CONV,
    DENSE,
    WIDTHS,
    first_means,
    kernel_shapes,
    logits,
    penalty,
    require_kernels,
)
from probes.draws import random_weights

from dlip_reg.grading.answers import EACH, close, fault, require, same
from dlip_reg.grading.errors import RejectedError

NETWORK = "1. The network"
SHAPES = [(8, 8, 2), (8, 12, 1), (12, 8, 3), (8, 8, 4)]
LAYER_OF_THE_MODE = "is it a layer that goes by the mode it is called in?"
TRAINABLE = "is trainable=False set on a layer?"
SHARE = "Keras' rate is the share dropped, the p of Srivastava et al. the share kept."
_NORMALISED = 1e-2  # room for any usual epsilon of batch normalization
_VALUES = {EACH: np.ndarray}
_MEASURED = {
    "weights": _VALUES,
    "inference": np.ndarray,
    "training": (np.ndarray, np.ndarray),
    "statistics": (_VALUES,) * 4,
    "penalties": {EACH: float},
    "rest": float,
}


def draw_task(rng: np.random.Generator, examples: int = 8, **options: Any) -> dict[str, Any]:
    """What every probe of a model takes: image shape, classes, a seed for weights, images, and the
    options of `build_model`, regularizers by their strengths."""
    shape = SHAPES[rng.integers(len(SHAPES))]
    return {
        "shape": list(shape),
        "classes": int(rng.integers(3, 7)),
        "seed": int(rng.integers(2**31)),
        "x": rng.normal(size=(examples, *shape)).astype(np.float32),
        "options": options,
    }


def draw_strengths(rng: np.random.Generator, *names: str) -> dict[str, float]:
    """A regularizer's strengths, from 0.003 to 0.1."""
    return {name: float(10 ** rng.uniform(-2.5, -1)) for name in names}


def measured(student: Any, task: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The task, and what the model does that the submission builds for it, at random weights."""
    facts = task | require(student.run("model.measured", **task, **more), _MEASURED)
    require_drawn(facts)
    return facts


def require_drawn(facts: dict[str, Any]) -> None:
    """AssertionError unless the kernels are those of the task, and all weights as they were set."""
    weights = facts["weights"]
    require_kernels(weights, facts["shape"], facts["classes"])
    drawn = random_weights({name: value.shape for name, value in weights.items()}, facts["seed"])
    changed = [name for name in weights if not np.allclose(weights[name], drawn[name])]
    assert not changed, f"Values that {', '.join(changed)} was given do not stay."


def logit_gaps(outputs: np.ndarray) -> np.ndarray:
    """How far each logit lies above the last, (n, classes - 1), for logits or their softmax.

    A softmax too many is marked once, by `test_logits`; it leaves these gaps as they are.
    """
    if np.all(outputs >= 0) and close(outputs.sum(axis=1), np.ones(len(outputs))):
        outputs = np.log(np.maximum(outputs, 1e-30))
    return outputs[:, :-1] - outputs[:, -1:]


@pytest.fixture(scope="module")
def penalised(student, rng):
    """A model with L2 on its convolutions and L1 + L2 on its dense layers."""
    conv, dense = draw_strengths(rng, "l2"), draw_strengths(rng, "l1", "l2")
    task = draw_task(rng, conv_kernel_regularizer=conv, dense_kernel_regularizer=dense)
    return measured(student, task)


@pytest.fixture(scope="module")
def normalised(student, rng):
    """A model with batch normalization and L2 on its dense layers alone."""
    dense = draw_strengths(rng, "l2")
    return measured(student, draw_task(rng, batch_norm=True, dense_kernel_regularizer=dense))


@pytest.fixture(scope="module")
def conv_dropped(student, rng):
    """A model with dropout and L2 on its convolutions alone, at weights that show every drop.

    Half the first logit is the mean over all pixels (see `_means`): 1 without dropout, and a pixel
    that is kept twice is scaled twice. The others are 0.
    """
    rate, conv = float(rng.uniform(0.25, 0.4)), draw_strengths(rng, "l2")
    task = draw_task(rng, examples=40, conv_dropout=rate, conv_kernel_regularizer=conv)
    weights = _means(task)
    weights["logits/kernel"][0, 0] = 2  # at 1, the outputs 1, 0, 0 would look like a softmax
    return measured(student, task, weights=weights)


@pytest.fixture(scope="module")
def dense_dropped(student, rng):
    """A model with dropout on its dense layers alone; half the first logit is the mean of 32, each
    of which is 1 unless something before it is dropped."""
    # Not 0.2: a share of 0.8 dropped looks like it, each unit kept then counting for four.
    rate = float(rng.choice([0.3, 0.4, 0.6, 0.7]))
    task = draw_task(rng, examples=40, dense_dropout=rate)
    weights = _means(task)
    weights["logits/kernel"][:, 0] = 2 / WIDTHS["dense1"]
    return measured(student, task, weights=weights)


@pytest.fixture(scope="module")
def saved(student, rng):
    """A model with everything in it: what it gives where it was made, and its file elsewhere."""
    task = draw_task(
        rng,
        batch_norm=True,
        conv_dropout=0.2,
        dense_dropout=0.5,
        conv_kernel_regularizer=draw_strengths(rng, "l1"),
        dense_kernel_regularizer=draw_strengths(rng, "l2"),
    )
    form = {"file": bytes, "weights": _VALUES, "logits": np.ndarray, "penalty": float}
    facts = task | require(student.run("model.saved", **task), form)
    require_drawn(facts)
    return facts, student.rebuild("model.loaded", file=facts["file"], x=task["x"])


@pytest.mark.public
@pytest.mark.points(1, task=NETWORK)
def test_logits(penalised):
    """The network gives logits: conv1, conv2, dense1 and logits, ReLUs and pools between."""
    outputs = penalised["inference"]
    _require_outputs(penalised, outputs)
    assert not close(outputs.sum(axis=1), np.ones(len(outputs))), (
        "The outputs of each image add up to 1: the model must end in logits, with no softmax "
        "(the loss applies it, from_logits=True)."
    )
    expected = logits(penalised["weights"], penalised["x"])
    assert close(outputs, expected), (
        f"At random weights the first image's logits are {_few(outputs)}, expected "
        f"{_few(expected)}: is it conv1, ReLU, pool, conv2, ReLU, pool, flatten, dense1, ReLU, "
        "logits, with padding 'same' and pools of 2?"
    )


@pytest.mark.public
@pytest.mark.points(2, task=NETWORK)
def test_penalties(penalised, credit):
    """Each kernel's penalty has the value that its regularizer gives, at random weights."""
    conv, dense = (penalised["options"][f"{kind}_kernel_regularizer"] for kind in ("conv", "dense"))
    for names, own, other in ((CONV, conv, dense), (DENSE, dense, conv)):
        faults = [_penalty_fault(penalised, name, own, other) for name in names]
        credit.check(1 / 2, not any(faults), " ".join(filter(None, faults)))


def _penalty_fault(facts: dict, name: str, own: dict, other: dict) -> str:
    """What is wrong with a kernel's penalty; empty if nothing is."""
    kernel = facts["weights"][f"{name}/kernel"]
    expected = penalty(kernel, **own)
    terms = " + ".join(f"{n} * sum {'|w|' if n == 'l1' else 'w^2'}" for n in own)
    mistakes = {
        "is the regularizer handed to this layer, as its kernel_regularizer? One that is set "
        "after the layer is built is not applied.": 0.0,
        f"is it applied as {terms}, with no half?": expected / 2,
        "the penalty is a sum over the weights, not their mean.": expected / kernel.size,
        "are the regularizers of conv and dense layers swapped?": penalty(kernel, **other),
    } | {f"that is the part of {n} alone.": penalty(kernel, **{n: own[n]}) for n in own}
    got = facts["penalties"].get(f"{name}/kernel", 0.0)
    return fault(f"{name}'s penalty", got, expected, mistakes, f"is it applied as {terms}?")


@pytest.mark.public
@pytest.mark.points(2, task=NETWORK)
def test_moving_statistics(normalised, credit):
    """Batch normalization's moving averages move in training, by momentum 0.9, and only there."""
    start, after_inference, first, second = _statistics(normalised)
    assert start.size, "With batch_norm=True the model has no moving statistics."
    moved = bool(np.all(first != after_inference)) and _tracks_the_batch(normalised)
    absent = _without_statistics(normalised)
    if absent:
        wrong = f"There is no batch normalization after {', '.join(absent)}."
    elif not moved:
        wrong = (
            f"The moving statistics do not move when the model is called with training=True: "
            f"{TRAINABLE}"
        )
    else:
        wrong = "The moving statistics move when the model is called with training=False."
    kept = bool(np.all(after_inference == start))
    credit.check(1 / 2, moved and kept and not absent, wrong)
    if not moved:
        credit.check(1 / 2, False, "So there is no momentum to measure.")
        return
    # Over one batch the statistics s are the same twice, so m - s shrinks by the momentum.
    momentum = float(np.median((second - first) / (first - after_inference)))
    credit.check(
        1 / 2,
        abs(momentum - 0.9) < 0.01,
        f"A training step keeps {momentum:.2f} of the moving average, expected 0.90 "
        "(Keras' default is 0.99; in PyTorch's sense 0.9 would be 0.1).",
    )


@pytest.mark.public
@pytest.mark.points(2, task=NETWORK)
def test_normalisation(normalised, credit):
    """Conv - BN - ReLU: by the batch's statistics in training, by the moving ones in inference."""
    weights, x = normalised["weights"], normalised["x"]
    _require_outputs(normalised, normalised["inference"], *normalised["training"])
    training, swapped, inference, swapped_inference = (
        logit_gaps(logits(weights, x, training=training, norm_last=norm_last))
        for training in (True, False)
        for norm_last in (False, True)
    )
    got = logit_gaps(normalised["training"][0])
    if close(got, swapped, _NORMALISED):
        wrong = (
            "In training the outputs are those of BN after the ReLU, expected before it: Conv - BN "
            "- ReLU."
        )
    elif close(got, inference, _NORMALISED) or close(got, swapped_inference, _NORMALISED):
        wrong = (
            "In training the outputs are those of the moving statistics, expected the batch's: "
            f"{TRAINABLE}"
        )
    else:
        wrong = (
            f"In training the first image's logits, above its last, are {_few(got)}, expected "
            f"{_few(training)}: is BN there after each of conv1, conv2 and dense1, before its "
            "ReLU, and not after logits?"
        )
    absent = _without_statistics(normalised)
    credit.check(1 / 2, close(got, training, _NORMALISED) and not absent, wrong)
    got = logit_gaps(normalised["inference"])
    if close(got, training, _NORMALISED) or close(got, swapped, _NORMALISED):
        wrong = (
            "In inference the outputs are those of the batch's own statistics, expected the moving "
            f"averages: {LAYER_OF_THE_MODE}"
        )
    else:
        wrong = (
            f"In inference the first image's logits, above its last, are {_few(got)}, expected "
            f"{_few(inference)}."
        )
    right = (inference, swapped_inference)
    credit.check(1 / 2, any(close(got, each, _NORMALISED) for each in right), wrong)


@pytest.mark.public
@pytest.mark.points(3, task=NETWORK)
def test_dropout(conv_dropped, dense_dropped, credit):
    """Dropout is on in training and off in inference, at the rates asked for, and where."""
    models = (conv_dropped, dense_dropped)
    for facts in models:
        _require_outputs(facts, facts["inference"], *facts["training"])
    on = any(not np.array_equal(*facts["training"]) for facts in models)
    off = all(np.allclose(_first_gap(facts["inference"]), 1, atol=1e-3) for facts in models)
    credit.check(
        1 / 3,
        on and off,
        f"Dropout is still on in inference: {LAYER_OF_THE_MODE}"
        if not off
        else "Two calls with training=True give the same outputs: nothing is dropped.",
    )
    credit.check(1 / 3, *_conv_rate_verdict(conv_dropped))
    credit.check(1 / 3, *_dense_rate_verdict(dense_dropped))


def _conv_rate_verdict(facts: dict) -> tuple[bool, str]:
    """Whether the convolutions' dropout is right, and what is said where it is not."""
    rate = facts["options"]["conv_dropout"]
    scale = 1 / (1 - rate)
    means = _first_gap(np.concatenate(facts["training"]))
    pixels = kernel_shapes(facts["shape"], facts["classes"])["dense1"][0]
    found = means.max()  # at small rates all pixels of some image are kept
    hint = "is it behind conv1 and conv2, and nowhere else?"
    if _whole(means * pixels * rate**2):
        hint = SHARE
    elif same(found, scale):
        hint = "it is behind one of conv1 and conv2 only."
    # Each mean is over a whole number of kept pixels, each scaled by both dropouts.
    return found > 0 and _whole(means * pixels / scale**2), (
        f"With conv_dropout {rate:.3f} the image with most units kept is scaled by {found:.3f}, "
        f"expected 1 / (1 - {rate:.3f})^2 = {scale**2:.3f} for two dropouts: {hint}"
    )


def _dense_rate_verdict(facts: dict) -> tuple[bool, str]:
    """The same of the dense layer's."""
    rate = facts["options"]["dense_dropout"]
    means = _first_gap(np.concatenate(facts["training"]))
    # Each mean is over a whole number of kept units, each scaled by 1 / (1 - rate).
    kept = 32 * means * (1 - rate)
    spread = np.sqrt(32 * rate * (1 - rate) / len(kept))
    # Scaled units keep the mean of 1; so the variance alone tells the share dropped.
    variance = 32 * float(means.var())
    hint = "is it behind dense1's ReLU, once, and nowhere else?"
    if _whole(32 * means * rate):
        hint = SHARE
    elif np.any(means == 0):
        hint = "the logits themselves must not be dropped."
    return _whole(kept) and abs(kept.mean() - 32 * (1 - rate)) < 5 * spread, (
        f"With dense_dropout {rate:.2f} about {variance / (1 + variance):.2f} of dense1's units "
        f"seem to be dropped: {hint}"
    )


@pytest.mark.public
@pytest.mark.points(2, task=NETWORK)
def test_save_and_load(saved, credit):
    """A saved model loads where its code is not known, with the same outputs and penalty."""
    facts, loaded = saved
    require_kernels(loaded["weights"], facts["shape"], facts["classes"])
    kernels = [f"{name}/kernel" for name in CONV + DENSE]
    kept = all(np.allclose(loaded["weights"][k], facts["weights"][k]) for k in kernels)
    credit.check(
        1 / 2,
        kept and close(loaded["logits"], facts["logits"]),
        "The loaded model's outputs differ." if kept else "The loaded model's weights differ.",
    )
    right = same(loaded["penalty"], facts["penalty"], rtol=1e-4) and facts["penalty"] > 0
    credit.check(1 / 2, right, "The loaded model has another penalty, or none.")


def _first_gap(outputs: np.ndarray) -> np.ndarray:
    return logit_gaps(outputs)[:, 0] / 2


def _whole(values: np.ndarray) -> bool:
    return bool(np.abs(values - np.round(values)).max() < 1e-2)


def _means(task: dict) -> dict[str, np.ndarray]:
    """Weights by which conv1 gives ones, conv2 copies conv1's first map, and each unit of dense1 is
    the mean of them all; the logits are zero."""
    kernels = kernel_shapes(task["shape"], task["classes"])
    weights = {f"{name}/kernel": np.zeros(shape) for name, shape in kernels.items()}
    weights |= {f"{name}/bias": np.zeros(shape[-1]) for name, shape in kernels.items()}
    weights["conv1/bias"][:] = 1
    weights["conv2/kernel"][1, 1, 0, :] = 1
    weights["dense1/kernel"][:] = 1 / len(weights["dense1/kernel"])
    return weights


def _without_statistics(facts: dict) -> list[str]:
    """The layers that no batch normalization follows; it is known by its width."""
    widths = {value.size for value in facts["statistics"][0].values()}
    return [f"{name} ({width} units)" for name, width in WIDTHS.items() if width not in widths]


def _require_outputs(facts: dict, *outputs: np.ndarray) -> None:
    expected = (len(facts["x"]), facts["classes"])
    for output in outputs:
        assert output.shape == expected, (
            f"The output for {expected[0]} images and {expected[1]} classes has the shape "
            f"{output.shape}, expected {expected}."
        )


def _tracks_the_batch(facts: dict) -> bool:
    """Whether conv1's moving mean went towards the batch's, before or after the ReLU."""
    before, after = (
        next((v for n, v in facts["statistics"][at].items() if _is_mean_of(n, v, "conv1")), None)
        for at in (1, 2)
    )
    if before is None or after is None:
        return True  # said elsewhere: there is no batch normalization
    step = after - before
    ways = [mean - before for mean in first_means(facts["weights"], facts["x"])]
    expected = [np.median(step / way) * way for way in ways]
    return any(np.abs(step - e).max() < _NORMALISED * np.abs(e).max() for e in expected)


def _is_mean_of(name: str, value: np.ndarray, layer: str) -> bool:
    return name.endswith("moving_mean") and value.shape == (WIDTHS[layer],)


def _statistics(facts: dict) -> list[np.ndarray]:
    """All moving statistics in a row, (numbers,), for each of the four moments."""
    moments = [
        np.concatenate([np.zeros(0), *(np.ravel(value) for value in values.values())])
        for values in facts["statistics"]
    ]
    if [moment.shape for moment in moments] != [moments[0].shape] * 4:
        raise RejectedError("Moving statistics have come or gone.")
    return moments


def _few(outputs: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in outputs.ravel()[:3]) + ", ..."


### BEGIN HIDDEN TESTS
@pytest.mark.points(2, task=NETWORK)
def test_penalised_weights(penalised, normalised, conv_dropped, credit):
    """Nothing but kernels is penalised, and each option leaves the other kind of layer alone."""
    models = (penalised, normalised, conv_dropped)
    assert any(_penalises_squares(facts) for facts in models), (
        "No kernel is penalised, whatever the options: so there is nothing to leave alone."
    )
    rest = [facts["rest"] for facts in models]
    credit.check(1 / 2, rest == [0, 0, 0], "More than kernels is penalised.")
    strays = [
        name
        for facts, names in ((normalised, CONV), (conv_dropped, DENSE))
        for name in names
        if facts["penalties"].get(f"{name}/kernel") != 0
    ]
    credit.check(1 / 2, not strays, f"The other kind's regularizer is on {', '.join(strays)}.")


def _penalises_squares(facts: dict) -> bool:
    """Whether the penalties of both convolutions, or of both dense layers, are of one L2."""
    strengths = [
        facts["penalties"].get(f"{name}/kernel", 0.0)
        / np.square(facts["weights"][f"{name}/kernel"]).sum()
        for name in CONV + DENSE
    ]
    return any(a > 0 and same(a, b) for a, b in (strengths[:2], strengths[2:]))


@pytest.mark.points(1, task=NETWORK)
def test_no_bias_before_batch_norm(penalised, normalised):
    """A bias that batch normalization would subtract again is left out; else there is one."""
    with_bn, without = normalised["weights"], penalised["weights"]
    idle = [name for name in WIDTHS if f"{name}/bias" in with_bn]
    assert not idle, f"With batch_norm there is a bias in {', '.join(idle)}."
    gone = [name for name in CONV + DENSE if f"{name}/bias" not in without]
    assert not gone, f"Without batch_norm there is no bias in {', '.join(gone)}."
    assert "logits/bias" in with_bn, "The logits' bias has no BN behind it: it stays."


### END HIDDEN TESTS
