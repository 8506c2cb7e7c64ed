"""What the claims on the batch size train: each size at its own best rate, and the size's speed.

With the same seed, all batch sizes have the same initial weights, data and order of examples. The
network has no batch normalization, with which the loss itself would depend on the batch size.

An arm's name is its group and its batch size, such as "rates/8".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import attrgetter

from dlip_reg.evidence.paired import LOG_RATIO, Values, log_ratio
from dlip_reg.experiments.selection import lowest_loss
from dlip_reg.regularization import Regularization
from dlip_reg.studies.runs import Runs, Trials
from dlip_reg.studies.study import Arm, Chosen, Claim, Preset, Setting, Tuning
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec
from dlip_reg.training.throughput import ThroughputSpec

# Four-fold steps, common to all batch sizes; the search for each size extends them as needed.
LEARNING_RATES = (0.005, 0.02, 0.08, 0.32)
_STEP = 4.0
_MOST_EXTENSIONS = 3
BATCH_NORM = Regularization(batch_norm=True)
# Of the lab's own perceptron, small enough for some hundred runs in minutes.
HIDDEN = (64, 32)

ratio_claim = functools.partial(
    Claim,
    unit=LOG_RATIO,
    smallest_effect=0.1,
    smallest_effect_source="about ten per cent: less is hardly noticed in practice",
)


@dataclass(frozen=True, kw_only=True)
class BatchSizePreset(Preset):
    """How large the lab is.

    Args:
        batch_sizes: The mini-batches in rising order: multiples of the first and divisors of
            `n_train`, so that an epoch sees every image once. The full batch is added to them.
        epochs, n_train, n_validation, n_test: Of each run (`n_test` None: all test images).
        sharp_sizes: The batch sizes whose sharpness is measured, the last one a tenth of the images
            (Keskar et al. 2017).
        sharp_epochs, patience: These runs stop when the training loss has not improved for
            `patience` epochs, after `sharp_epochs` at the latest.

    Raises:
        ValueError: Fewer than two batch sizes, or sizes that do not divide.
    """

    batch_sizes: tuple[int, ...]
    epochs: int
    n_train: int
    n_validation: int
    n_test: int | None = None
    sharp_sizes: tuple[int, ...]
    sharp_epochs: int
    patience: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.batch_sizes) < 2:
            raise ValueError(f"There must be at least two batch sizes, not {self.batch_sizes!r}.")
        smallest = self.batch_sizes[0]
        for size in self.batch_sizes:
            if self.n_train % size or size % smallest:
                raise ValueError(
                    f"Batch sizes must divide {self.n_train} and be multiples of {smallest}, "
                    f"not {size}."
                )

    @property
    def few(self) -> tuple[int, ...]:
        """The smallest, the middle and the largest mini-batch."""
        sizes = self.batch_sizes
        return tuple(dict.fromkeys((sizes[0], sizes[len(sizes) // 2], sizes[-1])))


def base(setting: Setting) -> RunSpec:
    """A run by plain SGD, without a batch size and a learning rate of its own yet."""
    preset = setting.preset
    return RunSpec(
        model=setting.model,
        data=setting.data(preset.n_train, preset.n_validation, preset.n_test),
        builder={"hidden": HIDDEN} if setting.model == "mlp" else {},
        optimizer="sgd",
        epochs=preset.epochs,
    )


def candidates(setting: Setting, sizes: Sequence[int]) -> list[RunSpec]:
    """The common grid of learning rates at each of `sizes`."""
    run = base(setting)
    return [
        replace(run, batch_size=size, learning_rate=rate)
        for size in sizes
        for rate in LEARNING_RATES
    ]


def extend(trials: Trials) -> list[RunSpec]:
    """Further rates for one batch size: beyond the grid, or two-fold steps next to the best.

    While the best rate is at an end of those tried, four-fold steps beyond it, three at most; then
    the rates half and twice as large as the best.
    """
    best, rates = lowest_loss(trials), sorted(spec.learning_rate for spec in trials)
    refined = any(high / low < 0.75 * _STEP for low, high in pairwise(rates))
    if best is None or refined:
        return []
    factors = [1 / 2, 2]
    if len(rates) < len(LEARNING_RATES) + _MOST_EXTENSIONS:
        if best.learning_rate == rates[0]:
            factors = [1 / _STEP]
        elif best.learning_rate == rates[-1]:
            factors = [_STEP]
    return [replace(best, learning_rate=rounded(best.learning_rate * f)) for f in factors]


def rounded(rate: float) -> float:
    """A rate with three digits: it is shown to people, and the same from either side."""
    return float(f"{rate:.3g}")


def rate_arms(setting: Setting) -> list[Arm]:
    """Each batch size, the full batch last, at its own best rate: "rates/SIZE"."""
    sizes = (*setting.preset.batch_sizes, setting.preset.n_train)
    expected = len(LEARNING_RATES) + 2

    def arm(size: int) -> Arm:
        name = f"rates/{size}"
        tuning = Tuning(candidates(setting, [size]), lowest_loss, extend, expected)
        spec = functools.partial(measured, name)
        return Arm(name, spec, tuning, label=f"batch {size:,} at its best learning rate")

    return [arm(size) for size in sizes]


def measured(name: str, chosen: Chosen) -> RunSpec:
    """The run chosen for the arm `name`, measured through training and on test images."""
    return replace(chosen[name], measures=("curves", "test"))


def speed_arms(setting: Setting) -> list[Arm]:
    """Examples per second at single examples, mini-batches and the full batch."""
    preset = setting.preset
    return [
        Arm(
            f"throughput/{size}",
            ThroughputSpec(replace(base(setting), batch_size=size)),
            timed=True,
        )
        for size in dict.fromkeys((1, *preset.batch_sizes, preset.n_train))
    ]


def shared_arms(setting: Setting) -> list[Arm]:
    """The arms that several claims read."""
    return [*rate_arms(setting), *speed_arms(setting)]


def measure(name: str) -> Callable[[Record], float | None]:
    """Read a measure of a record."""
    return attrgetter(f"measures.{name}")


def by_size(
    runs: Runs, group: str, read: str | Callable[[Record], float | None]
) -> dict[int, Values]:
    """Batch size -> one value per seed, of the arms "GROUP/SIZE"; `read` may name a measure."""
    reader = measure(read) if isinstance(read, str) else read
    return {size: runs.values(f"{group}/{size}", reader) for size in runs.tree(group)}


def between(values: Mapping[int, Values], first: int, second: int) -> Values:
    """The log-ratio of the values at two batch sizes, by seed."""
    return log_ratio(values[first], values[second])
