"""The batch normalization lab's runs: every question with and without batch norm, seed by seed.

The lab's own net is trained by plain SGD whose learning rate falls exponentially to a twentieth.
First of all both arms, without ("plain") and with batch norm ("bn"), try the same learning rates;
what comes after runs at the rate whose validation accuracy, averaged over the seeds, was best for
the arm itself, or, where "the same rate" is the point, for the plain net. Deep nets and the
sigmoid net of Ioffe & Szegedy 2015 are perceptrons of their own, whatever the lab's net is.

An outcome is a tree of dicts: arm, then what was varied, then seed -> record (None where the run
gave none). See each experiment for its tree.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlip_reg.experiments.experiment import Experiment, Record, Spec, Steps
from dlip_reg.experiments.ioffe_fig1 import ARMS, sigmoid_experiment
from dlip_reg.experiments.selection import most_accurate
from dlip_reg.regularization import Regularization
from dlip_reg.training.specification import DataSpec, RunSpec, Schedule

BATCH_SIZE = 32
DECAY = 0.05
FASTER = 6.0  # Ioffe & Szegedy 2015, section 4.2.1
DEPTH, WIDTH = 20, 100
SHALLOW = 5
DEEP_RATE = 0.1
# He et al. 2015 start ReLU nets at a variance of 2 / fan-in, which keeps signals as they are.
TOO_LARGE = 3.0
# Of L2, two to a decade, at every preset: where weak strengths all do alike, the smoothed best one
# depends on where the grid begins. At the strongest both nets are well past their best.
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


@dataclass(frozen=True)
class Preset:
    """How large the lab is, and how long that takes on two cores with the default model and data.

    `rates`, `dropout_rates` and `strengths` (L2) are what both arms try; the number of images and
    `epochs` are those of the lab's own net, `deep_epochs` and `sigmoid_epochs` those of the
    perceptrons, which see `n_deep` and `n_sigmoid` training images. Small differences of accuracy
    and loss are measured on `repeats` times as many seeds as the rest, strengths of L2 on
    `l2_repeats` times as many.
    """

    seeds: int
    duration: str
    epochs: int
    n_train: int
    n_validation: int
    rates: tuple[float, ...]
    dropout_rates: tuple[float, ...]
    deep_epochs: int
    sigmoid_epochs: int
    n_test: int | None = None
    strengths: tuple[float, ...] = STRENGTHS
    repeats: int = 1
    l2_repeats: int = 1
    n_deep: int = 1000
    n_sigmoid: int = 3000


def experiments(preset: Preset, model: str, dataset: str) -> list[Experiment]:
    """All experiments of the lab, for a net of `model` on `dataset`."""
    return BatchNormLab(model, dataset, preset).experiments()


@dataclass(frozen=True)
class BatchNormLab:
    """All experiments of the lab on one model and data set."""

    model: str
    dataset: str
    preset: Preset

    def experiments(self) -> list[Experiment]:
        """By the claims' order; all but three begin with the runs of "rates"."""
        p = self.preset
        many = p.seeds * p.repeats
        grid = p.seeds * len(ARMS) * len(p.rates)
        sizes: dict[str, tuple[str, int, Callable[[], Steps]]] = {
            "same_rate": ("the same net and learning rate", grid + 2 * p.seeds, self._same_rate),
            "gaps": ("gaps at the same learning rate", grid + 2 * (many - p.seeds), self._gaps),
            "rates": ("learning rates", grid, self._rates),
            "fast_decay": ("decay of the learning rate", grid + 4 * many, self._fast_decay),
            "dropout": (
                "batch norm × dropout",
                grid + 2 * p.seeds * len(p.dropout_rates) + 4 * many,
                self._dropout,
            ),
            "l2": (
                "strengths of L2",
                grid + 2 * p.seeds * p.l2_repeats * len(p.strengths),
                self._l2,
            ),
            "deep": (f"{DEPTH} sigmoid layers", 2 * p.seeds, self._deep),
            "too_large": ("weights that start too large", 6 * p.seeds, self._too_large),
            "colours": ("grey images, coloured tests", grid + 2 * p.seeds, self._colours),
        }
        data = DataSpec(self.dataset, p.n_sigmoid, p.n_validation)
        return [
            *(Experiment(name, *how) for name, how in sizes.items()),
            sigmoid_experiment(data, p.sigmoid_epochs, p.seeds),
        ]

    def _rates(self) -> Steps:
        """Arm -> learning rate -> seed."""
        return _run(
            {arm: {rate: self._by_seed(arm, rate) for rate in self.preset.rates} for arm in ARMS}
        )

    def _best_rates(self) -> Generator[list[Spec], Mapping[Spec, Record], dict[str, float | None]]:
        grid = yield from self._rates()
        return {arm: most_accurate_of(grid[arm]) for arm in ARMS}

    def _same_rate(self) -> Steps:
        """Arm -> seed, both at the learning rate that is the plain net's best."""
        rate = (yield from self._best_rates())["plain"]
        watched = ("curves", "landscape", "percentiles", "shift")
        # Without batch norm an example's companions are nothing to it.
        measures = {"plain": watched, "bn": (*watched, "companions")}
        return (
            yield from _run({arm: self._by_seed(arm, rate, measures=measures[arm]) for arm in ARMS})
        )

    def _gaps(self) -> Steps:
        """Arm -> seed, both at the learning rate that is the plain net's best; many seeds."""
        rate = (yield from self._best_rates())["plain"]
        return (
            yield from _run({arm: self._by_seed(arm, rate, self.preset.repeats) for arm in ARMS})
        )

    def _fast_decay(self) -> Steps:
        """Arm -> how many times faster the learning rate falls -> seed; many seeds."""
        rates = yield from self._best_rates()
        return (
            yield from _run(
                {
                    arm: {
                        speed: self._final(arm, rates[arm], schedule=Schedule(DECAY, speed=speed))
                        for speed in (1.0, FASTER)
                    }
                    for arm in ARMS
                }
            )
        )

    def _dropout(self) -> Steps:
        """Arm -> "without" and "with" dropout, at the rate best for the arm -> seed; many seeds."""
        rates = yield from self._best_rates()
        stage = yield from _run(
            {
                "tried": {
                    arm: {
                        share: self._by_seed(arm, rates[arm], measures=(), dense_dropout=share)
                        for share in self.preset.dropout_rates
                    }
                    for arm in ARMS
                },
                "without": {arm: self._final(arm, rates[arm]) for arm in ARMS},
            }
        )
        shares = {arm: most_accurate_of(tried) for arm, tried in stage["tried"].items()}
        dropped = yield from _run(
            {
                arm: self._final(
                    arm, None if share is None else rates[arm], dense_dropout=share or 0.0
                )
                for arm, share in shares.items()
            }
        )
        return {arm: {"without": stage["without"][arm], "with": dropped[arm]} for arm in ARMS}

    def _l2(self) -> Steps:
        """Arm -> strength -> seed; several times as many seeds."""
        rates = yield from self._best_rates()
        return (
            yield from _run(
                {
                    arm: {
                        strength: self._by_seed(
                            arm,
                            rates[arm],
                            self.preset.l2_repeats,
                            measures=(),
                            conv_l2=strength,
                            dense_l2=strength,
                        )
                        for strength in self.preset.strengths
                    }
                    for arm in ARMS
                }
            )
        )

    def _colours(self) -> Steps:
        """Arm -> seed."""
        rates = yield from self._best_rates()
        return (
            yield from _run(
                {
                    arm: self._by_seed(arm, rates[arm], colour=True, measures=("colours",))
                    for arm in ARMS
                }
            )
        )

    def _deep(self) -> Steps:
        """Arm -> seed."""
        measures = ("curves", "flow", "percentiles")
        builder = {"activation": "sigmoid", "kernel_initializer": "glorot_normal"}
        return _run({arm: self._perceptrons(arm, DEPTH, builder, measures) for arm in ARMS})

    def _too_large(self) -> Steps:
        """Arm ("well_scaled" beside the two: plain, started as He et al. do) -> depth -> seed."""
        scales = {"plain": TOO_LARGE, "bn": TOO_LARGE, "well_scaled": 1.0}
        return _run(
            {
                arm: {
                    depth: self._perceptrons(
                        "bn" if arm == "bn" else "plain",
                        depth,
                        {
                            "kernel_initializer": {
                                "class_name": "VarianceScaling",
                                "config": {"scale": 2 * scale},
                            }
                        },
                        ("flow", "percentiles"),
                    )
                    for depth in (SHALLOW, DEPTH)
                }
                for arm, scale in scales.items()
            }
        )

    def _final(self, arm: str, rate: float | None, **changes: Any) -> dict[int, RunSpec | None]:
        """Runs that see the test split, with many seeds."""
        return self._by_seed(arm, rate, self.preset.repeats, measures=("curves", "test"), **changes)

    def _by_seed(
        self,
        arm: str,
        rate: float | None,
        repeats: int = 1,
        *,
        schedule: Schedule = Schedule(DECAY),  # noqa: B008 - it is frozen
        colour: bool = False,
        measures: Sequence[str] = ("curves",),
        **regularization: float,
    ) -> dict[int, RunSpec | None]:
        """The lab's own net with each seed; None where no learning rate could be chosen."""
        p = self.preset
        return {
            seed: None
            if rate is None
            else RunSpec(
                model=self.model,
                data=DataSpec(self.dataset, p.n_train, p.n_validation, p.n_test, colour),
                regularization=Regularization(batch_norm=ARMS[arm], **regularization),
                optimizer="sgd",
                learning_rate=rate,
                schedule=schedule,
                batch_size=BATCH_SIZE,
                epochs=p.epochs,
                seed=seed,
                measures=tuple(measures),
            )
            for seed in range(p.seeds * repeats)
        }

    def _perceptrons(
        self, arm: str, depth: int, builder: Mapping[str, Any], measures: Sequence[str]
    ) -> dict[int, RunSpec]:
        p = self.preset
        return {
            seed: RunSpec(
                model="mlp",
                data=DataSpec(self.dataset, p.n_deep, p.n_validation),
                regularization=Regularization(batch_norm=ARMS[arm]),
                builder={"hidden": [WIDTH] * depth, **builder},
                optimizer="sgd",
                learning_rate=DEEP_RATE,
                batch_size=BATCH_SIZE,
                epochs=p.deep_epochs,
                seed=seed,
                measures=tuple(measures),
            )
            for seed in range(p.seeds)
        }


def most_accurate_of(grid: Mapping[float, Mapping[int, Record | None]]) -> float | None:
    """Of the values tried, each with runs by seed, the `most_accurate`."""
    return most_accurate({value: by_seed.values() for value, by_seed in grid.items()})


def _run(tree: Mapping[Any, Any]) -> Steps:
    """One stage: run all specifications of a tree, and give their records in its place."""
    records = yield list(_leaves(tree))
    return _gathered(tree, records)


def _leaves(tree: Any) -> Generator[Spec]:
    if isinstance(tree, Mapping):
        for branch in tree.values():
            yield from _leaves(branch)
    elif tree is not None:
        yield tree


def _gathered(tree: Any, records: Mapping[Spec, Record]) -> Any:
    if isinstance(tree, Mapping):
        return {key: _gathered(branch, records) for key, branch in tree.items()}
    return None if tree is None else records.get(tree)
