"""What the claims on the batch size share: the preset, the network, and the runs that are timed.

With the same seed, all batch sizes have the same initial weights, data and order of examples. The
network has no batch normalization, with which the loss itself would depend on the batch size.

An arm's name is its group and its batch size, such as "race/8".
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from dlip_reg.evidence import crossing
from dlip_reg.studies import Arm, Arms, Preset, Setting
from dlip_reg.studies.batch_size.fits import LEARNING_RATES, tuned
from dlip_reg.studies.runs import curves_of, known, spec_of
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec, ThroughputSpec

# Of the lab's own perceptron, small enough for some hundred runs in minutes.
HIDDEN = (64, 32)
# The preset training loss, in nats: a fraction of the ln 10 of guessing, and far from 0, where the
# time to a loss depends on single images.
RACE_LOSS = 0.3
# Halfway between the rates of the grid: the control's search has no candidate in common.
SHIFTED_RATES = tuple(float(f"{rate * math.sqrt(3):.3g}") for rate in LEARNING_RATES)
RACE, AGAIN = "race", "again"


@dataclass(frozen=True, kw_only=True)
class BatchSizePreset(Preset):
    """How large the lab is; by default the standard preset.

    Args:
        batch_sizes: The mini-batches in rising order: multiples of the first and divisors of
            `n_train`, so that an epoch sees every image once.
        n_train, n_validation, n_test: Of each run.
        epochs: Of the runs over a grid of learning rates.
        least_epochs: After how many epochs of the smallest batch the sizes are compared at equal
            updates; a divisor of `epochs`.
        race_epochs, full_epochs: The most that a mini-batch and the full batch have to reach the
            preset training loss.
        long_epochs, long_updates: Of the runs that go on until the validation loss has stopped
            falling: at least so many epochs, and at least so many updates.
        sharp_sizes: The small and the large batch whose sharpness is compared, the large one a
            tenth of the images (Keskar et al. 2017).
        sharp_loss, sharp_epochs: The training loss at which sharpness is measured, and the most
            epochs to reach it.

    Raises:
        ValueError: Fewer than two batch sizes, or sizes that do not divide.
    """

    batch_sizes: tuple[int, ...] = (8, 32, 128)
    n_train: int = 2560
    n_validation: int = 1000
    n_test: int = 2000
    epochs: int = 8
    least_epochs: int = 2
    race_epochs: int = 60
    full_epochs: int = 600
    long_epochs: int = 30
    long_updates: int = 2000
    sharp_sizes: tuple[int, int] = (8, 256)
    sharp_loss: float = 0.1
    sharp_epochs: int = 150

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = self.batch_sizes
        if len(sizes) < 2 or any(self.n_train % size or size % sizes[0] for size in sizes):
            raise ValueError(
                f"batch_sizes must be two or more divisors of n_train, {self.n_train}, that are "
                f"multiples of the first, not {sizes!r}."
            )


def base(setting: Setting) -> RunSpec:
    """A run by plain SGD, without a batch size and a learning rate of its own yet."""
    preset = setting.preset
    return RunSpec(
        model=setting.model,
        data=setting.data(preset.n_train, preset.n_validation, preset.n_test),
        builder={"hidden": HIDDEN} if setting.model == "mlp" else {},
        optimizer="sgd",
        epochs=preset.epochs,
        measures=("curves",),
    )


def race_arms(setting: Setting) -> Arms:
    """Each batch size at the rate that takes it fastest to the preset loss, and its speed.

    "race/SIZE", the full batch last; "again/SIZE": the largest mini-batch with another search;
    "throughput/GROUP/SIZE": how fast this machine trains with that batch size.
    """
    preset = setting.preset
    for size in (*preset.batch_sizes, preset.n_train):
        full = size == preset.n_train
        run = replace(
            base(setting),
            batch_size=size,
            stop_loss=RACE_LOSS,
            epochs=preset.full_epochs if full else preset.race_epochs,
        )
        for group, rates in ((RACE, LEARNING_RATES), (AGAIN, SHIFTED_RATES)):
            if group == RACE or size == preset.batch_sizes[-1]:
                label = f"batch {size:,} at its best rate" + ", tuned again" * (group == AGAIN)
                yield tuned(f"{group}/{size}", run, cost_to_loss, rates, label=label)
                timing = ThroughputSpec(run, seconds=0.3, repetition=int(group == AGAIN))
                yield Arm(f"throughput/{group}/{size}", timing, timed=True)


def epochs_to_loss(record: Record) -> float:
    """Epochs to the run's `stop_loss`, between two of them; infinite if it does not get there."""
    reached = crossing(curves_of(record).clean_loss, known(spec_of(record).stop_loss))
    return math.inf if math.isnan(reached) else reached


def cost_to_loss(record: Record) -> float:
    """What a rate is tuned for: the epochs to the loss, or more than all of them without it.

    Of the runs that do not get there the one with the lowest loss is the best.
    """
    reached = epochs_to_loss(record)
    if math.isfinite(reached):
        return reached
    losses = [loss for loss in curves_of(record).clean_loss if loss is not None]
    return spec_of(record).epochs * min(losses) / known(spec_of(record).stop_loss)


def listed(sizes: Iterable[int]) -> str:
    """Batch sizes as words: "8, 1,280"."""
    return ", ".join(f"{size:,}" for size in sizes)
