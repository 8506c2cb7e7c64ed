"""The regularization lab's runs: methods, their trials, and the search that separates strengths.

Each method tries the same number of strengths, every one with every seed. The strength with the
best validation accuracy, averaged over the seeds, is the method's own; it is trained once more with
each seed, now measured in full and, for the only time, on the test set. The separate search over
(conv, dense) L2 strengths has as many trials as the tied one, which is the method "l2" itself: both
cover the same range.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dlip_reg.experiments.experiment import Experiment, Record, Spec, Steps
from dlip_reg.experiments.selection import most_accurate
from dlip_reg.regularization import Regularization
from dlip_reg.training.specification import MEASURES, DataSpec, RunSpec

# The ranges the strengths are searched in, in the sense of Keras (see Regularization): wide enough
# that one end hardly matters and the other ruins the net, so that the best lies between.
L1_RANGE = (2e-5, 2e-3)
L2_RANGE = (3e-4, 3e-2)
DROPOUT_RANGE = (0.1, 0.7)
# Beside a second regularizer the coarser grid of dropout rates leaves out the extremes.
COMBINED_DROPOUT_RANGE = (0.2, 0.5)
# The norm of a He-initialised unit's incoming weights is sqrt(2); Srivastava et al. 2014
# (appendix A.3) find the best bound between 3 and 4, for nets trained much longer.
MAX_NORM_RANGE = (1.0, 3.0)


@dataclass(frozen=True)
class Preset:
    """How large a lab is, and how long that takes on two cores with the default model and data.

    `trials` is a square number: a method of two strengths tries a square grid.
    """

    seeds: int
    trials: int
    epochs: int
    n_train: int
    n_validation: int
    duration: str
    n_test: int | None = None
    batch_size: int = 32
    # Twice Adam's default: it fits the few images in few epochs, and so overfits within minutes.
    learning_rate: float = 2e-3


@dataclass(frozen=True)
class Method:
    """A way to regularize, the strengths it is tried at, and what is measured at the best one."""

    name: str
    label: str
    trials: tuple[Regularization, ...]
    measures: tuple[str, ...] = (*MEASURES, "curvature")


@dataclass(frozen=True)
class Outcome:
    """What one method did with one seed: its trials, and the full record at the method's strength.

    `final` is None where that run failed or no trial of the method ended well.
    """

    trials: tuple[dict[str, Any], ...]
    final: dict[str, Any] | None

    @property
    def best(self) -> Regularization | None:
        """The strengths that were best on validation data with this seed alone."""
        return most_accurate(
            {
                Regularization.from_json(record["spec"]["regularization"]): [record]
                for record in self.trials
            }
        )


def methods(trials: int) -> dict[str, Method]:
    """The lab's methods with `trials` strengths each, by name, in the order of the figures.

    "none" has nothing to try and so one trial. ValueError for a number that is no square above 1.
    """
    side = math.isqrt(max(trials, 0))
    if side < 2 or side * side != trials:
        raise ValueError(f"trials must be a square number of 4 or more, not {trials}.")
    l1, l2 = _log_grid(L1_RANGE, trials), _log_grid(L2_RANGE, trials)
    rates = _grid(DROPOUT_RANGE, trials)
    few_rates = _grid(COMBINED_DROPOUT_RANGE, side)
    few_l2 = _log_grid(L2_RANGE, side)
    norms = _grid(MAX_NORM_RANGE, side)
    table = [
        Method("none", "none", (Regularization(),)),
        Method("dropout", "dropout", tuple(Regularization(dense_dropout=r) for r in rates)),
        Method("l1", "L1", tuple(Regularization(conv_l1=s, dense_l1=s) for s in l1)),
        Method("l2", "L2", tuple(Regularization(conv_l2=s, dense_l2=s) for s in l2)),
        Method(
            "dropout_l2",
            "dropout + L2",
            tuple(
                Regularization(dense_dropout=r, conv_l2=s, dense_l2=s)
                for r, s in itertools.product(few_rates, few_l2)
            ),
        ),
        Method(
            "dropout_max_norm",
            "dropout + max-norm",
            tuple(
                Regularization(dense_dropout=r, max_norm=c)
                for r, c in itertools.product(few_rates, norms)
            ),
        ),
        Method(
            "l2_separate",
            "L2, conv and dense apart",
            tuple(
                Regularization(conv_l2=c, dense_l2=d) for c, d in itertools.product(few_l2, few_l2)
            ),
            ("test",),  # only its accuracy is asked for
        ),
    ]
    return {method.name: method for method in table}


def experiments(preset: Preset, model: str, dataset: str) -> list[Experiment]:
    """One experiment for each method; its outcome is seed -> Outcome."""
    base = RunSpec(
        model=model,
        data=DataSpec(dataset, preset.n_train, preset.n_validation, preset.n_test),
        learning_rate=preset.learning_rate,
        batch_size=preset.batch_size,
        epochs=preset.epochs,
    )
    return [
        Experiment(
            method.name,
            method.label,
            preset.seeds * (len(method.trials) + 1),
            functools.partial(_steps, method, base, range(preset.seeds)),
        )
        for method in methods(preset.trials).values()
    ]


def _steps(method: Method, base: RunSpec, seeds: Sequence[int]) -> Steps:
    """Every trial with every seed, then the winner with every seed, measured in full."""
    candidates = {
        strengths: [replace(base, regularization=strengths, seed=seed) for seed in seeds]
        for strengths in method.trials
    }
    trials = yield [spec for specs in candidates.values() for spec in specs]
    own = most_accurate({key: map(trials.get, specs) for key, specs in candidates.items()})
    finals: Mapping[Spec, Record] = {}
    if own is not None:
        finals = yield [
            replace(base, regularization=own, seed=seed, measures=method.measures) for seed in seeds
        ]
    by_seed = {spec.seed: record for spec, record in finals.items()}
    return {
        seed: Outcome(
            tuple(record for spec, record in trials.items() if spec.seed == seed),
            by_seed.get(seed),
        )
        for seed in seeds
    }


def _grid(ends: tuple[float, float], n: int) -> list[float]:
    low, high = ends
    return [round(low + (high - low) * i / (n - 1), 4) for i in range(n)]


def _log_grid(ends: tuple[float, float], n: int) -> list[float]:
    low, high = ends
    # Three digits: the strengths are shown to people, and the ends and the middle must be the same
    # numbers in a fine grid and in a coarse one.
    return [float(f"{low * (high / low) ** (i / (n - 1)):.3g}") for i in range(n)]
