"""How much a study measures, and on which model and data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dlip_reg.checks import optional, require_positive, require_whole
from dlip_reg.evidence.rule import LOOKS, looks_up_to
from dlip_reg.training.specification import DataSpec


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How much a study measures.

    Args:
        seeds: The most seeds to run: 5, 10 or 20, or fewer than 5 for estimates without verdicts.
        tuning_seeds: How many seeds each candidate of a tuned arm is tried with. The verdict never
            sees them.
        minutes: What the preset takes on two cores with the default model and data, as measured;
            None where it was not measured.
        run_seconds: What one of its first runs took there, to scale `minutes` to other machines.

    Raises:
        ValueError: A number of seeds at which no verdict is given, no tuning seed, or a time that
            is not a positive number.
    """

    seeds: int = LOOKS[-1]
    tuning_seeds: int = 2
    minutes: float | None = None
    run_seconds: float | None = None

    def __post_init__(self) -> None:
        require_whole("seeds", self.seeds)
        require_whole("tuning_seeds", self.tuning_seeds)
        for name in ("minutes", "run_seconds"):
            optional(require_positive)(name, getattr(self, name))
        if not (1 <= self.seeds < LOOKS[0] or self.seeds in LOOKS):
            raise ValueError(
                f"seeds must be {', '.join(map(str, LOOKS[:-1]))} or {LOOKS[-1]}, or fewer than "
                f"{LOOKS[0]} for estimates without verdicts, not {self.seeds!r}."
            )

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of seeds after which the claims are judged and the report is written."""
        return looks_up_to(self.seeds)


def total_minutes(presets: Iterable[Preset]) -> float | None:
    """What all take on the reference machine; None where one was not measured."""
    minutes = [preset.minutes for preset in presets]
    known = [number for number in minutes if number is not None]
    return sum(known) if len(known) == len(minutes) else None


@dataclass(frozen=True)
class Setting:
    """What a study is run on: the preset, the model, and the data set with the size of its images.

    `size` is None but for a folder of images that is not resized to the default.
    """

    preset: Any
    model: str
    dataset: str
    size: int | None = None

    @property
    def name(self) -> str:
        """The setting's name in tables: "mnist_subset × lenet5"."""
        return " × ".join(name for name in (self.dataset, self.model) if name)

    def data(
        self,
        n_train: int | None = None,
        n_validation: int | None = None,
        n_test: int | None = None,
        **options: Any,
    ) -> DataSpec:
        """So many images of each split of the data set.

        Args:
            n_train: How many training images; None for the default of `load_dataset`, as for the
                other sizes.
            n_validation: How many validation images.
            n_test: How many test images.
            **options: Further fields of `DataSpec`, such as `random_labels`.

        Returns:
            The data of a specification.
        """
        return DataSpec(self.dataset, n_train, n_validation, n_test, size=self.size, **options)
