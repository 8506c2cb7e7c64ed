"""The batch-size lab's runs: rates found by search, sizes at one rate, scaled rates, sharpness.

The outcomes are dicts by batch size and then by seed (see each `_..._steps`). The same seed means
the same initial weights, data and order of examples at every batch size. The net has no batch
normalization, which would make the loss itself depend on the batch size; where nets with it are
run, they stand beside.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dlip_reg.experiments.experiment import Experiment, Steps
from dlip_reg.experiments.rate_search import (
    LEARNING_RATES,
    found,
    run_cells,
    search,
    try_rates,
)
from dlip_reg.experiments.selection import lowest_loss
from dlip_reg.regularization import Regularization
from dlip_reg.training.interpolation import InterpolationSpec
from dlip_reg.training.rescaling import RescalingSpec
from dlip_reg.training.specification import DataSpec, RunSpec, Schedule
from dlip_reg.training.throughput import ThroughputSpec

WARMUP_EPOCHS = 5  # Goyal et al. 2017, section 2.2
# Adam's default, at every batch size, as in Keskar et al. 2017.
ADAM_RATE = 1e-3
BATCH_NORM = Regularization(batch_norm=True)
KERAS_MOMENTUM = 0.99  # of BatchNormalization's moving statistics; the builders' own is 0.9
# Of the lab's own perceptron, small enough for some hundred runs in minutes.
HIDDEN = (64, 32)
_EQUAL_UPDATES_EPOCHS = 2  # of the smallest batch; the others make as many updates
_FULL_BATCH_EPOCHS = 10  # times those of the others: it makes one update an epoch


@dataclass(frozen=True)
class Preset:
    """How large the lab is, and how long that takes on two cores with the default model and data.

    `batch_sizes` are the mini-batches, in rising order, multiples of the first and divisors of
    `n_train`: an epoch sees every image once at any of them. The full batch comes on top.
    `sharp_sizes` are those whose sharpness is measured, the last one a tenth of the images (Keskar
    et al. 2017); these runs stop when the training loss has not improved by 1e-4 nats for
    `patience` epochs, after `sharp_epochs` at the latest. ValueError for sizes that don't divide.
    """

    seeds: int
    duration: str
    batch_sizes: tuple[int, ...]
    epochs: int
    n_train: int
    n_validation: int
    sharp_sizes: tuple[int, ...]
    sharp_epochs: int
    n_test: int | None = None
    patience: int = 10

    def __post_init__(self) -> None:
        smallest = self.batch_sizes[0]
        for size in self.batch_sizes:
            if self.n_train % size or size % smallest:
                raise ValueError(
                    f"Batch sizes must divide {self.n_train} and be multiples of {smallest}, "
                    f"not {size}."
                )


def experiments(preset: Preset, model: str, dataset: str) -> list[Experiment]:
    """The lab's experiments, in the order of the report."""
    base = RunSpec(
        model=model,
        data=DataSpec(dataset, preset.n_train, preset.n_validation, preset.n_test),
        builder={"hidden": HIDDEN} if model == "mlp" else {},
        optimizer="sgd",
        epochs=preset.epochs,
    )
    sizes, few = len(preset.batch_sizes), len(few_of(preset.batch_sizes))
    grid = len(LEARNING_RATES)
    tried = grid + 2  # and the two rates next to the best
    # One seed's runs, as if no search went on beyond the grid.
    table = {
        "rates": ("each batch size at its best rate", (sizes + 1) * (tried + 1), _rates_steps),
        "one_rate": ("batch sizes at one rate", sizes * (grid + 1) + 3 * few, _one_rate_steps),
        "scaling": ("rates scaled with the batch", tried + 3 * sizes - 2, _scaling_steps),
        "sharpness": ("sharpness by Adam", len(preset.sharp_sizes) + 4, _sharpness_steps),
        "stability": ("sharpness through training by SGD", 3 * (tried + 1), _stability_steps),
        "throughput": ("examples per second", sizes + 2, _throughput_steps),
    }
    return [
        Experiment(
            name,
            label,
            preset.seeds * runs,
            functools.partial(steps, preset, base, range(preset.seeds)),
            timed=name == "throughput",
        )
        for name, (label, runs, steps) in table.items()
    ]


def few_of(sizes: Sequence[int]) -> tuple[int, ...]:
    """The smallest, the middle and the largest."""
    return tuple(dict.fromkeys((sizes[0], sizes[len(sizes) // 2], sizes[-1])))


def _rates_steps(preset: Preset, base: RunSpec, seeds: Sequence[int]) -> Steps:
    """Outcome: batch size, the full batch last -> Tuned."""
    tuned = yield from search(base, (*preset.batch_sizes, preset.n_train), seeds)
    at_best = {
        size: replace(base, batch_size=size, learning_rate=own.rate, measures=("curves", "test"))
        for size, own in tuned.items()
        if own.rate is not None
    }
    finals = (yield from run_cells({"finals": at_best}, seeds))["finals"]
    return {
        size: replace(own, finals=finals[size]) if size in finals else own
        for size, own in tuned.items()
    }


def _one_rate_steps(preset: Preset, base: RunSpec, seeds: Sequence[int]) -> Steps:
    """Outcome: "equal epochs", "equal updates", "batch norm", "keras momentum" -> batch size ->
    seed -> record.

    The one rate is that of the common grid with the lowest validation loss, averaged over all
    mini-batch sizes and seeds: no size is favoured. The nets with batch normalization train for
    equal epochs; at Keras' own momentum they have the same weights and other moving statistics.
    """
    sizes = preset.batch_sizes
    trials = yield from try_rates(base, [(s, r) for s in sizes for r in LEARNING_RATES], seeds)
    rate = lowest_loss(
        {
            rate: [record for size in sizes for record in trials[size][rate].values()]
            for rate in LEARNING_RATES
        }
    )
    if rate is None:
        names = ("equal epochs", "equal updates", "batch norm", "keras momentum")
        return {name: {} for name in names}
    run = replace(base, learning_rate=rate, measures=("curves", "test"))
    normalised = replace(
        run, regularization=BATCH_NORM, measures=("curves", "test", "recalibrated")
    )
    few = few_of(sizes)
    return (
        yield from run_cells(
            {
                "equal epochs": {size: replace(run, batch_size=size) for size in sizes},
                "equal updates": {
                    size: replace(
                        run, batch_size=size, epochs=_EQUAL_UPDATES_EPOCHS * size // sizes[0]
                    )
                    for size in few
                },
                "batch norm": {size: replace(normalised, batch_size=size) for size in few},
                "keras momentum": {
                    size: replace(
                        run,
                        regularization=BATCH_NORM,
                        builder=json.loads(run.builder) | {"batch_norm_momentum": KERAS_MOMENTUM},
                        batch_size=size,
                        measures=("test",),
                    )
                    for size in few
                },
            },
            seeds,
        )
    )


def _scaling_steps(preset: Preset, base: RunSpec, seeds: Sequence[int]) -> Steps:
    """Outcome: "unscaled", "scaled", "scaled, warm-up" -> batch size -> seed -> record.

    The base is the smallest mini-batch at its own best rate, the same run in every arm; a batch k
    times as large runs at that rate and at k times it.
    """
    sizes = preset.batch_sizes
    best = (yield from search(base, sizes[:1], seeds))[sizes[0]].rate
    if best is None:
        return {"unscaled": {}, "scaled": {}, "scaled, warm-up": {}}
    unscaled = {
        size: replace(base, batch_size=size, learning_rate=best, measures=("curves", "test"))
        for size in sizes
    }
    scaled = {
        size: replace(run, learning_rate=best * (size // sizes[0]))
        for size, run in unscaled.items()
    }
    epochs = max(1, min(WARMUP_EPOCHS, preset.epochs // 3))
    warmed = {
        size: replace(run, schedule=Schedule(warmup_epochs=epochs, warmup_from=sizes[0] / size))
        if size > sizes[0]
        else run
        for size, run in scaled.items()
    }
    return (
        yield from run_cells(
            {"unscaled": unscaled, "scaled": scaled, "scaled, warm-up": warmed}, seeds
        )
    )


def _sharpness_steps(preset: Preset, base: RunSpec, seeds: Sequence[int]) -> Steps:
    """Outcome: "plain", "batch norm" -> batch size -> seed -> record; "between" (the smallest and
    the largest batch, InterpolationSpec) and "rescaled" (the smallest, RescalingSpec) -> seed ->
    record.

    Adam at one rate until the training loss stops improving, as in Keskar et al. 2017; measured at
    the weights of the lowest loss.
    """
    run = replace(
        base,
        optimizer="adam",
        learning_rate=ADAM_RATE,
        epochs=preset.sharp_epochs,
        patience=preset.patience,
    )
    ends = small, large = preset.sharp_sizes[0], preset.sharp_sizes[-1]
    watched = replace(run, measures=("curves", "test", "curvature", "keskar"))
    normalised = replace(
        run, regularization=BATCH_NORM, measures=("curves", "test", "keskar", "recalibrated")
    )
    outcome = yield from run_cells(
        {
            "plain": {size: replace(watched, batch_size=size) for size in preset.sharp_sizes},
            "batch norm": {size: replace(normalised, batch_size=size) for size in ends},
        },
        seeds,
    )
    between = {
        seed: InterpolationSpec(
            replace(run, batch_size=small, seed=seed),
            replace(run, batch_size=large, seed=seed),
            surfaces=seed == seeds[0],  # one pair of pictures is enough to look at
        )
        for seed in seeds
    }
    rescaled = {seed: RescalingSpec(spec.first) for seed, spec in between.items()}
    records = yield [*between.values(), *rescaled.values()]
    return {**outcome, "between": found(between, records), "rescaled": found(rescaled, records)}


def _stability_steps(preset: Preset, base: RunSpec, seeds: Sequence[int]) -> Steps:
    """Outcome: batch size (smallest, middle, full) -> seed -> record with "stability".

    Plain SGD, each at its best rate.
    """
    sizes = (*few_of(preset.batch_sizes)[:2], preset.n_train)
    tuned = yield from search(base, sizes, seeds)
    runs = {
        size: replace(
            base,
            batch_size=size,
            learning_rate=own.rate,
            epochs=preset.epochs * (_FULL_BATCH_EPOCHS if size == preset.n_train else 1),
            measures=("stability",),
        )
        for size, own in tuned.items()
        if own.rate is not None
    }
    return (yield from run_cells({"sgd": runs}, seeds))["sgd"]


def _throughput_steps(preset: Preset, base: RunSpec, seeds: Sequence[int]) -> Steps:
    """Outcome: batch size (1, the mini-batches, the full batch) -> repetition -> record."""
    specs = {
        size: {seed: ThroughputSpec(replace(base, batch_size=size, seed=seed)) for seed in seeds}
        for size in dict.fromkeys((1, *preset.batch_sizes, preset.n_train))
    }
    records = yield [spec for of_size in specs.values() for spec in of_size.values()]
    return {size: found(of_size, records) for size, of_size in specs.items()}
