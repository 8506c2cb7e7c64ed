"""Checks of what papers printed: studies without claims, their numbers beside ours."""

from collections.abc import Sequence
from dataclasses import dataclass

from dlip_reg.evidence import t_interval
from dlip_reg.report.numbers import format_estimate
from dlip_reg.studies import Preset


@dataclass(frozen=True, kw_only=True)
class PaperPreset(Preset):
    """The one size of a check.

    Args:
        epochs: Of each run, or with `patience` the most.
        patience: Training stops when the loss over the training images has not improved for so many
            epochs.
        n_train, n_validation, n_test: Images; without `n_test` all test images.
    """

    epochs: int
    n_train: int
    n_validation: int
    n_test: int | None = None
    patience: int | None = None


def estimate(values: Sequence[float]) -> str:
    """The mean over seeds with its 95 % interval."""
    return format_estimate(*t_interval(values))
