"""Runs of the batch-size study that are made up, in the shape of real ones."""

import math

import numpy as np
from fake_records import fake_runs

from dlip_reg.studies.batch_size import STUDY
from dlip_reg.studies.batch_size.arms import BatchSizePreset
from dlip_reg.studies.judging import judge_claim
from dlip_reg.training.interpolation import ALPHAS, POSITIONS, SURFACE, InterpolationSpec
from dlip_reg.training.records import make_record
from dlip_reg.training.rescaling import FACTORS, RescalingSpec
from dlip_reg.training.throughput import ThroughputSpec

STANDARD = BatchSizePreset(
    seeds=5, batch_sizes=(8, 16, 32, 64, 128, 256), epochs=15, n_train=1280,
    n_validation=2000, sharp_sizes=(8, 16, 32, 64, 128), sharp_epochs=60,
)  # fmt: skip
QUICK = BatchSizePreset(
    seeds=3, batch_sizes=(8, 32, 128), epochs=10, n_train=1280, n_validation=1000,
    sharp_sizes=(8, 32, 128), sharp_epochs=30,
)  # fmt: skip
DIVERGES_AT = 0.5


def runs(preset=STANDARD, claims=None, spoil=lambda spec, record: record):
    """The runs that `claims` (default: all) read, each record passed through `spoil`."""
    return fake_runs(STUDY, preset, lambda spec: spoil(spec, record_of(spec)), claims=claims)


def sections(runs, claims=STUDY.claims):
    """The report's sections on these claims."""
    return STUDY.sections(runs, [judge_claim(claim, runs, family=7) for claim in claims])


def record_of(spec):
    parts = {
        InterpolationSpec: interpolation,
        RescalingSpec: rescaling,
        ThroughputSpec: throughput,
    }.get(type(spec), training)(spec)
    return make_record(spec, "", parts.pop("finished", True), **parts)


def training(spec):
    rng = np.random.default_rng([spec.seed, spec.batch_size])
    steps = spec.data.n_train // spec.batch_size
    epochs = np.arange(spec.epochs + 1)
    rate = spec.learning_rate * (50 if spec.optimizer == "adam" else 1)
    progress = 40 * rate / (1 + 2 * rate) * epochs * steps / 160
    wobble = rng.normal(0, 0.05)
    train = 0.05 + 2.6 * np.exp(-np.sqrt(progress) + wobble)
    train[0] = 2.65
    validation = train + 0.35 + 0.05 * np.sqrt(progress)
    lost = spec.learning_rate > DIVERGES_AT * (1 + 0.05 * (spec.seed % 1000))
    if lost:
        epochs, train, validation = epochs[:3], [2.65, 9.0, None], [2.65, 12.0, None]
    else:
        train, validation = train.tolist(), validation.tolist()
    accuracy = None if lost else float(0.86 - 0.06 * validation[-1] + rng.normal(0, 0.004))
    sharp = math.exp(rng.normal(0, 0.3)) * spec.batch_size**0.5
    measures = {
        "train_loss": train[-1],
        "val_loss": validation[-1],
        "val_accuracy": accuracy,
        "test_accuracy": accuracy,
        "recalibrated_test_accuracy": accuracy and accuracy + 0.02,
        "lambda_max": 3 * sharp,
        "sam_sharpness": 0.1 * sharp,
        "adaptive_sharpness": 0.05,
        "keskar_1e_3": 4 * sharp,
        "keskar_5e_4": 2 * sharp,
        "keskar_subspace_1e_3": 0.4 * sharp,
        "keskar_subspace_5e_4": 0.2 * sharp,
    }
    at = list(range(0, spec.epochs + 1, max(1, spec.epochs // 5)))
    stability = [
        {
            "epoch": epoch,
            "step": epoch * steps,
            "lambda_max": 20 * (1 + epoch) ** 0.3,
            "lambda_max_lr_half": 10 * (1 + epoch) ** 0.3 * spec.learning_rate,
        }
        for epoch in at
    ]
    none = [None] * len(train)
    columns = ("clean_accuracy", "clean_val_accuracy", "penalty", "keras_loss")
    curves = {"epoch": epochs.tolist(), "clean_loss": train, "clean_val_loss": validation}
    return {
        "finished": not lost,
        "measures": {} if lost else measures,
        "curves": curves | dict.fromkeys(columns, none),
        "stability": stability,
    }


def interpolation(spec):
    rng = np.random.default_rng(spec.seed)
    alpha, position = np.array(ALPHAS), np.array(POSITIONS)
    ends = {}
    line = {"alpha": list(ALPHAS)}
    for split, gap in (("training", 0.01), ("test", 0.6)):
        loss = gap + 3 * (alpha * (1 - alpha)) ** 2 * math.exp(rng.normal(0, 0.1))
        line[split] = {"loss": loss.tolist(), "accuracy": np.exp(-0.3 * loss).tolist()}
    for name, width in (("first", 1.0), ("second", 3.0)):
        loss = 0.01 + width * position**2 * math.exp(rng.normal(0, 0.1))
        ends[name] = {"loss": loss.tolist(), "accuracy": np.exp(-0.5 * loss).tolist()}
    across, up = np.meshgrid(SURFACE, SURFACE, indexing="ij")
    surfaces = {
        "position": list(SURFACE),
        "first": (0.01 + across**2 + 0.5 * up**2).tolist(),
        "second": (0.01 + 5 * across**2 + 2 * up**2).tolist(),
    }
    return {
        "line": line,
        "filter_normalised": {"position": list(POSITIONS), **ends},
        "surfaces": surfaces if spec.surfaces else None,
    }


def rescaling(spec):
    rows = [
        {
            "factor": factor,
            "loss": 0.61,
            "accuracy": 0.8,
            "lambda_max": 20 * (factor**2 + factor**-2),
            "keskar_1e_3": 10 * (factor + 1 / factor),
            "sam_sharpness": 0.1 * (factor + 1 / factor),
            "adaptive_sharpness": 0.05,
        }
        for factor in FACTORS
    ]
    return {"rescaled": rows}


def throughput(spec):
    size = spec.run.batch_size
    rng = np.random.default_rng([spec.seed, size])
    rate = size / (0.0005 + 0.0001 * size) * math.exp(rng.normal(0, 0.03))
    return {"measures": {"examples_per_second": rate, "busy_cores": 1.2}}
