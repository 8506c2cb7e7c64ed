"""Runs of the batch normalization study that are made up, in the shape of real ones."""

import base64
import json

import numpy as np
from fake_records import fake_runs

from dlip_reg.studies.batch_norm import CLAIMS, STUDY
from dlip_reg.studies.batch_norm.arms import BatchNormPreset
from dlip_reg.studies.judging import judge_claim
from dlip_reg.training.records import make_record

STANDARD = BatchNormPreset(
    seeds=5, epochs=10, n_train=2000, n_validation=1000,
    rates=(0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0), dropout_rates=(0.1, 0.2, 0.4),
    deep_epochs=10, sigmoid_epochs=12,
)  # fmt: skip
QUICK = BatchNormPreset(
    seeds=3, epochs=6, n_train=1000, n_validation=500, rates=(0.1, 1.0, 10.0),
    dropout_rates=(0.1, 0.3), strengths=(1e-3, 1e-2, 1e-1), deep_epochs=4, sigmoid_epochs=5,
)  # fmt: skip
VARIANTS = ("grey", "tinted", "inverted")
REGAINED = {"grey": 0.0, "tinted": 0.1, "inverted": -0.05}  # by re-estimated statistics


def runs(preset=STANDARD, claims=None, spoil=lambda spec, record: record):
    """The runs of some claims (default: all), each record passed through `spoil`."""
    chosen = [claim for claim in CLAIMS if claims is None or claim.id in claims]
    return fake_runs(STUDY, preset, lambda spec: spoil(spec, record_of(spec)), claims=chosen)


def judged(runs, claims=None):
    """The results of some claims (default: all)."""
    chosen = [claim for claim in CLAIMS if claims is None or claim.id in claims]
    return [judge_claim(claim, runs, len(CLAIMS)) for claim in chosen]


def sections(runs, claims=None):
    """The report's sections."""
    return STUDY.sections(runs, judged(runs, claims))


def record_of(spec):
    """What was asked for and no more; batch norm trains at ten times the learning rate."""
    rng = np.random.default_rng([spec.seed, int(spec.regularization.batch_norm)])
    normed = spec.regularization.batch_norm
    best, edge = (0.5, 8.0) if normed else (0.12, 0.9)
    badness = 0.03 * np.log(spec.learning_rate / best) ** 2
    strength = spec.regularization.dense_l2
    if strength:
        badness += 0.004 * np.log(strength / (0.02 if normed else 0.002)) ** 2
    if spec.regularization.dense_dropout:
        badness += (-0.006 if normed else 0.012) * (1 + rng.normal(0, 0.2))
    final = 0.84 + 0.01 * normed - badness + rng.normal(0, 0.003)
    epochs = np.arange(spec.epochs + 1)
    share = 1 - np.exp(-epochs * (2.0 if normed else 0.9))
    accuracy = 0.1 + (final - 0.1) * share
    train = 2.3 * np.exp(-0.35 * epochs * (1.5 if normed else 1))
    steps = spec.data.n_train // spec.batch_size
    at = [{"epoch": int(e), "step": int(e) * steps} for e in epochs]
    parts = {
        "curves": lambda: {
            **{"epoch": epochs.tolist(), "clean_loss": train.tolist()},
            **dict.fromkeys(("clean_accuracy", "penalty", "keras_loss"), ()),
            "clean_val_loss": (train + (0.02 - 0.005 * normed) * epochs).tolist(),
            "clean_val_accuracy": accuracy.tolist(),
        },
        "landscape": lambda: [row | landscape(rng, normed) for row in at],
        "shift": lambda: [row | shift(rng, normed) for row in at],
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
    finished = spec.learning_rate <= edge
    measures = {"val_accuracy": float(accuracy[-1]), "val_loss": 0.5} if finished else {}
    if "test" in spec.measures and finished:
        measures["test_accuracy"] = measures["val_accuracy"]
    made = {name: make() for name, make in parts.items() if name in spec.measures}
    return make_record(spec, "", finished, measures=measures, **made)


def landscape(rng, normed):
    level = np.exp(rng.normal(0, 0.1)) * (0.4 if normed else 1)
    return {
        "loss_low": 0.5 * level, "loss_high": 1.1 * level, "loss_range": 0.6 * level,
        "gradient_distance_low": 0.2 * level, "gradient_distance_high": 2.2 * level,
        "gradient_distance_range": 2 * level, "effective_beta": 9 * level,
        "step_lengths": (), "losses": (), "gradient_distances": (),
    }  # fmt: skip


def shift(rng, normed):
    change = float(np.exp(rng.normal(0, 0.1)) * (0.5 if normed else 0.6))
    return {
        "shift_distance": change, "shift_relative": change, "shift_cosine": 1 - change / 2,
        "layers": (),
    }  # fmt: skip


def percentiles(rng, normed, index):
    middle, spread = (rng.normal(0, 0.05), 1.0) if normed else (0.4 * index, 0.1 + 0.2 * index)
    levels = [middle + spread * z for z in (-1.0, 0.0, 1.0)]
    drift = float((0.03 if normed else 0.4) * np.exp(rng.normal(0, 0.2)))
    return {
        "units": [{"unit": 0, "percentiles": levels, "drift": drift if index else None}],
        **dict.fromkeys(("activation_p15", "activation_p50", "activation_p85")),
        "activation_drift": drift if index else None,
        "activation_largest": float((6 if normed else 9) * np.exp(rng.normal(0, 0.1))),
    }


def flow(rng, spec):
    """Without batch norm a sigmoid quarters the gradient, and too large weights multiply it."""
    builder, normed = json.loads(spec.builder), spec.regularization.batch_norm
    depth = len(builder["hidden"])
    per_layer = 1.1 if normed else 0.25 if builder.get("activation") == "sigmoid" else 1.0
    too_large = '"scale": 6' in spec.builder and not normed
    norms = [
        float((1.7**depth if too_large else 1.0) * per_layer**i * np.exp(rng.normal(0, 0.1)))
        for i in range(depth, -1, -1)
    ]
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
    accuracy = {"grey": 0.84, "tinted": 0.6, "inverted": 0.08}[variant] + rng.normal(0, 0.01)
    pixels = np.full((4, 28, 28, 3), 40 * VARIANTS.index(variant), np.uint8)
    return {
        "variant": variant,
        "accuracy": float(accuracy),
        "recalibrated_accuracy": float(accuracy + REGAINED[variant]) if normed else None,
        "samples": {"shape": pixels.shape, "pixels": base64.b64encode(pixels.tobytes()).decode()},
    }
