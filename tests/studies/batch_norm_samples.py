"""Runs of the batch normalization study that are made up, in the shape of real ones."""

import base64
import functools
import json
import math
from dataclasses import replace

import numpy as np
from fake_records import MadeUpLab, number_of

from dlip_reg.studies.batch_norm import STUDY
from dlip_reg.studies.batch_norm.arms import BatchNormPreset
from dlip_reg.training.records import Measures, make_record

STANDARD = BatchNormPreset(
    seeds=5, epochs=10, n_train=1000, n_validation=500, n_test=1000,
    rates=(0.03, 0.1, 0.3, 1.0, 3.0, 10.0), start_rates=(0.03, 0.1, 0.3),
    speeds=(1, 2, 4, 8, 12), dropout_rates=(0.1, 0.2, 0.3, 0.5), dropout_epochs=12,
    dropout_curve=(0.0, 0.1, 0.3, 0.5), strengths=(1e-4, 1e-3, 1e-2, 1e-1),
    deep_epochs=10, n_deep=500, deep_rates=(0.1, 0.3),
)  # fmt: skip
TWENTY = replace(STANDARD, seeds=20)
QUICK = replace(
    STANDARD, seeds=3, epochs=6, n_train=500, n_test=500, rates=(0.1, 1.0, 10.0),
    start_rates=(0.1, 0.3), speeds=(1, 4, 12), dropout_rates=(0.1, 0.3), dropout_epochs=6,
    dropout_curve=(0.0, 0.1, 0.5), strengths=(1e-3, 1e-2, 1e-1), deep_epochs=4, n_deep=200,
)  # fmt: skip
VARIANTS = ("grey", "tinted", "inverted", "dimmed")
REGAINED = {"grey": 0.0, "tinted": 0.1, "inverted": 0.05, "dimmed": 0.6}  # on the same kind
NOISE = 0.003  # standard deviation of an accuracy over runs
BEST_RATE = {"plain": 0.1, "placebo": 0.1, "bn": 0.3}
LARGEST_RATE = {"plain": 0.25, "placebo": 0.25, "bn": 5.0}
DECAY_COST = {"plain": 0.04, "placebo": 0.04, "bn": 0.01}
BEST_DROPOUT = {"plain": 0.35, "placebo": 0.35, "bn": 0.15}
L2_GAIN = {"plain": 0.03, "placebo": 0.03, "bn": 0.0}


def net_of(spec):
    """Which of the three networks it is."""
    if spec.model.endswith(":scale_and_shift"):
        return "placebo"
    return "bn" if spec.regularization.batch_norm else "plain"


def start_of(builder):
    """The scale of the initial weights over those of He et al. 2015."""
    initializer = builder.get("kernel_initializer")
    config = initializer["config"] if isinstance(initializer, dict) else {}
    return math.sqrt(config.get("scale", 2) / 2)


def final_accuracy(spec):
    """The accuracy at the end of training without chance; None of a run that diverges."""
    net, builder = net_of(spec), json.loads(spec.builder)
    if spec.batch_size == 60:  # the network of Ioffe & Szegedy 2015
        return 0.8
    if "hidden" in builder:
        depth, scale = len(builder["hidden"]), start_of(builder)
        if builder.get("activation") == "sigmoid":
            return 0.5 if depth < 5 else 0.7 if net == "bn" else 0.1
        return 0.6 if net == "bn" else 0.4 if scale == 1 else 0.1 if scale < 1 else None
    if spec.learning_rate > LARGEST_RATE[net]:
        return None
    own = spec.regularization
    final = 0.8 + 0.03 * math.log(spec.data.n_train / 1000)
    final -= 0.02 * math.log(spec.learning_rate / BEST_RATE[net]) ** 2
    final -= DECAY_COST[net] * math.log(spec.schedule.speed) ** 2
    final -= 1.0 * ((own.dense_dropout - BEST_DROPOUT[net]) ** 2 - BEST_DROPOUT[net] ** 2)
    if own.dense_l2 > 1e-5:
        final += L2_GAIN[net] - 0.004 * math.log(own.dense_l2 / 1e-3) ** 2
    return final


@functools.cache
def record_of(spec):
    """What was asked for and no more; batch norm trains at larger learning rates."""
    net = net_of(spec)
    rng = np.random.default_rng([spec.seed, ["plain", "bn", "placebo"].index(net)])
    normed = net == "bn"
    found = final_accuracy(spec)
    finished = found is not None
    # Noise of the run itself, the same however often it is made.
    own = np.random.default_rng([spec.seed, number_of(spec)])
    final = (found if finished else 0.1) + own.normal(0, NOISE)
    epochs = np.arange(spec.epochs + 1)
    share = 1 - np.exp(-epochs * (2.0 if normed else 0.9))
    accuracy = 0.1 + (final - 0.1) * share
    start = start_of(json.loads(spec.builder))
    speed = 1.5 if normed else 1 / (1 + abs(math.log(start)))
    if "landscape" not in spec.measures:
        speed *= np.exp(own.normal(0, 0.03))
    train = 2.3 * np.exp(-0.35 * epochs * speed)
    steps = spec.data.n_train // spec.batch_size
    at = [{"epoch": int(e), "step": int(e) * steps} for e in epochs]
    validation = train + (0.02 - 0.005 * normed) * epochs
    tested = "test" in spec.measures
    parts = {
        "curves": lambda: {
            **{"epoch": epochs.tolist(), "clean_loss": train.tolist()},
            **dict.fromkeys(("clean_accuracy", "penalty", "keras_loss"), ()),
            "clean_val_loss": validation.tolist(),
            "clean_val_accuracy": accuracy.tolist(),
            "clean_test_loss": validation.tolist() if tested else (),
            "clean_test_accuracy": accuracy.tolist() if tested else (),
        },
        "landscape": lambda: [row | landscape(rng, normed) for row in at],
        "percentiles": lambda: [row | percentiles(rng, normed, i) for i, row in enumerate(at)],
        "flow": lambda: [row | flow(rng, spec) for row in (at[0], at[len(at) // 2], at[-1])],
        "colours": lambda: [colours(rng, normed, variant) for variant in VARIANTS],
        "batch_noise": lambda: [
            {
                "batch_size": size,
                "relative_variance": float(0.8 / size * np.exp(rng.normal(0, 0.1))),
            }
            for size in (4, 8, 16, 32, 64, 128, 256)
        ],
    }
    measures = {"val_accuracy": float(accuracy[-1]), "val_loss": 0.5} if finished else {}
    if tested and finished:
        measures["test_accuracy"] = measures["val_accuracy"]
    made = {name: make() for name, make in parts.items() if name in spec.measures}
    if spec.loss_levels and finished:
        made["levels"] = levels(rng, spec)
    return make_record(spec, "", finished, measures=measures, **made)


def landscape(rng, normed):
    level = np.exp(rng.normal(0, 0.1)) * (0.4 if normed else 1)
    return {
        "loss_low": 0.5 * level, "loss_high": 1.1 * level, "loss_range": 0.6 * level,
        "gradient_distance_low": 0.2 * level, "gradient_distance_high": 2.2 * level,
        "gradient_distance_range": 2 * level, "effective_beta": 9 * level,
        "step_lengths": (), "losses": (), "gradient_distances": (),
    }  # fmt: skip


def level_row(level, step, loss=None, scale=1.0, change=0.02, drift=0.5, gap=0.2, rate=0.1):
    """A row of a run at a level, or with the level None at the end of training.

    Along the gradient the loss is a quadratic with curvature `scale` / `rate`.
    """
    loss = loss or level or 0.1
    multiples, norm = (0.5, 1.0, 2.0, 4.0), 2.0
    bends = [multiple * scale for multiple in multiples]  # step times curvature
    return {
        "level": level, "step": step, "loss": loss,
        "landscape": {
            "rate": rate, "weight_norm": 20.0, "gradient_norm": norm, "multiples": multiples,
            "losses": [
                loss - m * rate * norm**2 * (1 - bend / 2)
                for m, bend in zip(multiples, bends, strict=True)
            ],
            "gradient_distances": [bend * norm for bend in bends],
            "cosines": [1 - min(2.0, 0.1 * bend) for bend in bends],
        },
        "independence": [
            {"layer": name, "cosine": 1 - change, "decrease": 0.01} for name in ("conv2", "logits")
        ],
        "activations": [{"layer": "conv1_act", "distance": drift, "spread": 1.0, "gained": 0.2}],
        "gap": {"train_loss": loss, "test_loss": loss + gap},
    }  # fmt: skip


def levels(rng, spec):
    """Batch norm is flatter and its gap falls with the noise of small ghost batches."""
    normed = spec.regularization.batch_norm or "ghost" in spec.model
    size = json.loads(spec.builder).get("ghost_size", 32)
    rows = []
    for i, level in enumerate((*spec.loss_levels, None)):
        row = level_row(
            level, 20 * (i + 1), 0.96 * level if level else 0.1,
            scale=(0.4 if normed else 1.0) * np.exp(rng.normal(0, 0.1)),
            change=0.02 * np.exp(rng.normal(0, 0.1)), drift=0.5 * np.exp(rng.normal(0, 0.1)),
            gap=0.2 - 0.3 / size + rng.normal(0, 0.01), rate=spec.learning_rate,
        )  # fmt: skip
        if i == 0:
            row["activations"][0] |= dict.fromkeys(("distance", "spread", "gained"))
        rows.append(row)
    return rows


def percentiles(rng, normed, index):
    middle, spread = (rng.normal(0, 0.05), 1.0) if normed else (0.4 * index, 0.1 + 0.2 * index)
    levels = [middle + spread * z for z in (-1.0, 0.0, 1.0)]
    drift = float((0.03 if normed else 0.4) * np.exp(rng.normal(0, 0.2)))
    return {
        "units": [{"unit": 0, "percentiles": levels, "drift": drift if index else None}],
        **dict.fromkeys(("activation_p15", "activation_p50", "activation_p85")),
        "activation_drift": drift if index else None,
        "activation_peak": float((4 if normed else 5) * np.exp(rng.normal(0, 0.1))),
    }


def flow(rng, spec):
    """Without batch norm a sigmoid quarters the gradient, and too large weights multiply it."""
    builder, normed = json.loads(spec.builder), spec.regularization.batch_norm
    depth = len(builder["hidden"])
    vanishes = builder.get("activation") == "sigmoid" and depth > 5
    per_layer = 1.1 if normed else 0.25 if vanishes else 1.0
    norms = [float(per_layer**i * np.exp(rng.normal(0, 0.1))) for i in range(depth, -1, -1)]
    names = [*(f"dense{i + 1}" for i in range(depth)), "logits"]
    return {
        "gradient_norm": float(np.linalg.norm(norms)),
        "gradient_first_over_last": norms[0] / norms[-1],
        "gradient_growth": None,
        "layers": [
            {"layer": name, "kind": "dense", "norm": norm, "rms": None}
            for name, norm in zip(names, norms, strict=True)
        ],
    }


def colours(rng, normed, variant):
    at_grey = {"grey": 0.84, "tinted": 0.6, "inverted": 0.08, "dimmed": 0.15}
    accuracy = at_grey[variant] + rng.normal(0, 0.01)
    pixels = np.full((4, 28, 28, 3), 40 * VARIANTS.index(variant), np.uint8)
    return {
        "variant": variant,
        "accuracy": float(accuracy),
        "recalibrated_accuracy": float(accuracy + REGAINED[variant]) if normed else None,
        "source_recalibrated_accuracy": float(accuracy) if normed else None,
        "samples": {"shape": pixels.shape, "pixels": base64.b64encode(pixels.tobytes()).decode()},
    }


def diverged(record):
    return replace(record, status="diverged", measures=Measures())


LAB = MadeUpLab(
    STUDY, STANDARD, record_of, diverged, is_treated=lambda spec: net_of(spec) == "bn",
    small=QUICK, read_as_trials=("bn", "plain", "placebo"),
)  # fmt: skip
