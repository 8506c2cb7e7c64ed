"""Runs of the regularization study that are made up, so that what it measures is known.

The training loss falls exponentially, at a speed of the arm's own; the gap and all statistics are
linear in the log of the loss. So their values at a matched loss do not depend on the speed.
"""

import functools
import math
from dataclasses import replace

from fake_records import MadeUpLab, number_of

from dlip_reg.studies.regularization import STUDY
from dlip_reg.studies.regularization.arms import RegularizationPreset
from dlip_reg.training.records import Measures, make_record

PRESET = RegularizationPreset(
    seeds=5, tuning_seeds=2, strengths=3, side=3, epochs=8, n_train=1000, n_validation=1000,
    n_test=1000, label_images=100, label_epochs=60, sharpness_seeds=1,
)  # fmt: skip
START = math.log(10)  # the loss of guessing

# Known answers, by method; "none" is 0.
GAP = {"dropout": -0.12, "l1": -0.06, "l2": -0.09}  # nats per nat of training loss gained
FITS = {"dropout": math.log(3), "l1": math.log(1.5), "l2": math.log(2)}  # random over true labels
POINTS = {"dropout": 0.03, "l1": 0.01, "l2": 0.02}  # test accuracy
DISTANCE = -0.8  # of the log-distance, per unit of dropout rate
ACTIVATIONS, L1_HOYER, L2_HOYER, L2_SIZE = 0.2, 0.3, 0.05, -0.4
BEST_CONV, BEST_DENSE = 1e-3, 1e-2  # L2 strengths
ILL_MATCHED = 0.04  # test accuracy lost by a convolution strength above the dense one


def method_of(spec):
    regularization = spec.regularization
    if regularization.dense_dropout >= 0.1:
        return "dropout"
    for name in ("l1", "l2"):
        if getattr(regularization, f"dense_{name}") > 1e-6:
            return name
    return "none"


def speed_of(spec):
    """Nats of log-loss an epoch."""
    usual = 1e-3 if spec.optimizer == "adam" else 0.05
    slowed = {"none": 1.0, "dropout": 0.8, "l1": 0.7, "l2": 0.9}[method_of(spec)]
    return slowed * min(0.5, max(0.15, 0.25 * spec.learning_rate / usual))


def noise(spec, scale):
    """The same for all arms of a seed: paired differences are exact but for `wobble`."""
    return scale * math.sin(1 + spec.seed)


def wobble(spec):
    """Of the run itself, and tiny: values that are the same with every seed decide late."""
    return 1e-8 * math.sin(number_of(spec))


def validation_accuracy(spec):
    """Highest at learning rates of 1e-3 (Adam) and 0.05, and at known strengths."""
    usual = 1e-3 if spec.optimizer == "adam" else 0.05
    score = 0.9 - 0.001 * math.log(spec.learning_rate / usual) ** 2
    if method_of(spec) == "l2":
        strengths = {"conv_l2": BEST_CONV, "dense_l2": BEST_DENSE}
        score -= sum(
            0.005 * math.log(getattr(spec.regularization, name) / best) ** 2
            for name, best in strengths.items()
        )
    return score + noise(spec, 0.01)


@functools.cache
def record_of(spec):
    method, speed = method_of(spec), speed_of(spec)
    rate = spec.regularization.dense_dropout
    more = spec.data.n_train > PRESET.n_train  # more images, and as many more steps an epoch
    speed *= 3 if more else 1
    gained = [speed * epoch for epoch in range(spec.epochs + 1)]
    own = wobble(spec)
    gap = 0.2 + GAP.get(method, 0.0) - 0.1 * more + own
    loss = [START * math.exp(-nats) for nats in gained]
    test_loss = [a + gap * nats for a, nats in zip(loss, gained, strict=True)]
    slower = math.exp(FITS.get(method, 0.0) + own) if spec.data.random_labels else 1.0
    accuracy = [1 - 0.9 * math.exp(-nats / slower) for nats in gained]
    nothing = [None] * len(gained)
    test_accuracy = 0.8 + POINTS.get(method, 0.0) + noise(spec, 0.02) + own
    if spec.regularization.conv_l2 > spec.regularization.dense_l2:
        test_accuracy -= ILL_MATCHED
    tested = "test" in spec.measures
    parts = {
        "measures": {
            "val_accuracy": validation_accuracy(spec),
            "val_loss": 0.5,
            "test_accuracy": test_accuracy if tested else None,
            "pruned_accuracy": test_accuracy - 0.01,
        },
        "curves": {
            "epoch": list(range(len(gained))),
            "clean_loss": loss,
            "clean_accuracy": accuracy,
            "clean_val_loss": test_loss,
            "clean_val_accuracy": accuracy,
            "penalty": nothing,
            "keras_loss": nothing,
            "clean_test_loss": test_loss if tested else [],
            "clean_test_accuracy": [test_accuracy] * len(gained) if tested else [],
        },
    }
    if "weights" in spec.measures:
        parts["weights"] = {
            "threshold": 0.05,
            "edges": [-1.0, 0.0, 1.0],
            "rows": [weight_row(spec, method, rate, epoch, nats, epoch in (0, spec.epochs))
                     for epoch, nats in enumerate(gained)],
        }  # fmt: skip
    return make_record(spec, "", True, **parts)


def weight_row(spec, method, rate, epoch, gained, with_histogram):
    own = wobble(spec)
    hoyer = 0.2 + own + 0.01 * gained + {"l1": L1_HOYER, "l2": L2_HOYER}.get(method, 0.0)
    size = math.exp(own - 0.05 * gained + (L2_SIZE if method == "l2" else 0.0))
    # One layer is scaled up and the other one down by the same factor, which must not matter.
    factor = 1 + spec.learning_rate
    kernels = [
        {
            "layer": kind, "kind": kind, "size": 10, "rms": size * f, "max": 3 * size * f,
            "near_zero": hoyer / 2, "hoyer": hoyer,
            "distance": epoch and math.exp(own + DISTANCE * rate + 0.3 * gained) * f,
            "histogram": [0, 4, 6, 0] if with_histogram else None,
        }
        for kind, f in (("conv", factor), ("dense", 1 / factor))
    ]  # fmt: skip
    activations = [
        {
            "layer": "relu", "stage": kind, "kind": kind, "size": 10, "mean": 0.1,
            "near_zero": 0.5, "dead": 0.1,
            "hoyer": 0.3 + own + 0.02 * gained + (ACTIVATIONS if method == "dropout" else 0.0),
        }
        for kind in ("conv", "dense")
    ]  # fmt: skip
    kinds = {"conv": None, "dense": None}
    return {"epoch": epoch, "layers": kernels, "kinds": kinds, "activations": activations}


def diverged(record):
    return replace(record, status="diverged", measures=Measures(), curves=None, weights=None)


LAB = MadeUpLab(
    STUDY, PRESET, record_of, diverged, is_treated=lambda spec: method_of(spec) != "none",
    read_as_trials=("l2_", "none"),
)  # fmt: skip
