"""Runs of the batch-size study that are made up, so that what it measures is known.

Losses depend on the examples seen and on how far the learning rate is from a rate of the batch
size's own, `BASE_RATE` * (batch / 8) ** power.
"""

import functools
import math
from dataclasses import replace

from fake_records import MadeUpLab

from dlip_reg.studies.batch_size import STUDY
from dlip_reg.studies.batch_size.arms import BatchSizePreset
from dlip_reg.training.records import Curves, Measures, make_record
from dlip_reg.training.specification import InterpolationSpec, RunSpec, ThroughputSpec

PRESET = BatchSizePreset(
    seeds=5, tuning_seeds=2, batch_sizes=(8, 32, 128), n_train=2560, n_validation=1000, n_test=1000,
    long_epochs=12, sharp_sizes=(8, 256),
)  # fmt: skip
BASE_RATE = 0.08
START = math.log(10)
SHARPER = math.log(4)  # large over small batch
POINTS_PER_DECADE = -1.5
TWO_THREADS = 1.6


def wobble(spec, scale):
    """Of the seed and the batch size, so that paired differences vary a little."""
    return scale * math.sin(1 + spec.seed + 7 * spec.batch_size)


@functools.cache
def record_of(spec, power=1.0):
    if isinstance(spec, ThroughputSpec):
        size = spec.run.batch_size
        threads = TWO_THREADS if spec.threads == 2 and size > 1 else 1
        rate = (
            threads
            * size
            / (5e-4 + 1e-6 * size)
            * (1 + 0.01 * math.sin(spec.seed + size + threads))
        )
        return make_record(spec, "", True, measures={"examples_per_second": rate})
    if isinstance(spec, InterpolationSpec):
        return make_record(spec, "", True)
    usual = {"adam": 0.02, "momentum": 0.1}.get(spec.optimizer, 1.0) * BASE_RATE
    best = usual * (min(spec.batch_size, 128) / 8) ** power * math.exp(wobble(spec, 0.02))
    off = math.log(spec.learning_rate / best)
    speed = 0.35 * math.exp(-0.15 * off**2)
    if spec.batch_size == spec.data.n_train:
        speed /= 50
    losses = [START * math.exp(-speed * epoch) for epoch in range(spec.epochs + 1)]
    if spec.stop_loss is not None:
        reached = next((i for i, loss in enumerate(losses) if loss <= spec.stop_loss), None)
        losses = losses[: reached + 1] if reached is not None else losses
    validation = [loss + 0.4 + 0.05 * off**2 for loss in losses]
    accuracy = 0.8 + 0.01 * POINTS_PER_DECADE * math.log10(spec.batch_size) + wobble(spec, 1e-3)
    none = [None] * len(losses)
    sharp = math.exp(SHARPER if spec.batch_size == 256 else 0.0) * math.exp(wobble(spec, 0.05))
    rows = []
    if "minimizer" in spec.measures and losses[-1] <= spec.stop_loss:
        names = ("lambda_max", "adaptive_sharpness", "keskar_1e_3", "keskar_5e_4")
        rows = [
            # Sharpness grows with the loss, which matching has to remove.
            {"epoch": epoch, "clean_loss": losses[epoch], "sam_sharpness": 1.0}
            | dict.fromkeys(names, sharp * losses[epoch])
            for epoch in (len(losses) - 2, len(losses) - 1)
        ]
    curves = {
        "epoch": list(range(len(losses))),
        "clean_loss": losses,
        "clean_val_loss": validation,
        "clean_test_loss": losses,
        "clean_test_accuracy": [accuracy] * len(losses),
    }
    columns = ("clean_accuracy", "clean_val_accuracy", "penalty", "keras_loss")
    measures = {"val_loss": validation[-1], "test_accuracy": accuracy}
    curves |= dict.fromkeys(columns, none)
    return make_record(spec, "", True, measures=measures, curves=curves, minimizer=rows)


def diverged(record):
    """The record of the same run, had it diverged in its first epoch."""
    none = (None, None)
    curves = Curves((0, 1), (START, None), none, (START, None), none, none, none)
    return replace(record, status="diverged", curves=curves, measures=Measures(), minimizer=())


def trains_large_batches(spec):
    return isinstance(spec, RunSpec) and spec.batch_size > 8


# Its claims need whole groups of arms, of which measures read some.
LAB = MadeUpLab(
    STUDY, PRESET, record_of, diverged, trains_large_batches, "mlp", read_as_trials=("",)
)
