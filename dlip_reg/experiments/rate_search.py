"""Learning rates tried batch size by batch size, and the runs of many sizes and seeds in one stage.

What these generators yield, and are sent, is what an experiment's steps do; the same specification
with every seed makes one cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dlip_reg.experiments.experiment import Record
from dlip_reg.experiments.selection import lowest_loss
from dlip_reg.training.specification import RunSpec

BySeed = Mapping[int, Record | None]  # None where the run gave no record

# Four-fold steps, common to all batch sizes; each size's own search goes on from here.
LEARNING_RATES = (0.005, 0.02, 0.08, 0.32)
_STEP = 4.0
_MOST_EXTENSIONS = 3


@dataclass(frozen=True)
class Tuned:
    """One batch size's search for its learning rate, and its runs at the best one.

    `trials`: learning rate -> seed -> record. `rate` is the best of them (see `lowest_loss`), and
    `finals` are the runs at it, watched in full.
    """

    trials: Mapping[float, BySeed]
    rate: float | None
    finals: BySeed


def search(base: RunSpec, sizes: Iterable[int], seeds: Sequence[int]):
    """Size -> Tuned without finals, each size searched on its own.

    The common grid first; then on by four-fold steps while the best rate is at an edge; then the
    two-fold steps on either side of the best.
    """
    sizes = list(sizes)
    trials = yield from try_rates(base, [(s, r) for s in sizes for r in LEARNING_RATES], seeds)

    def best(size: int) -> float | None:
        return lowest_loss({rate: of.values() for rate, of in trials[size].items()})

    def more(wanted: Iterable[tuple[int, float]]):
        found = yield from try_rates(base, list(wanted), seeds)
        for size in found:
            trials[size] |= found[size]

    for _ in range(_MOST_EXTENSIONS):
        beyond = []
        for size in sizes:
            rate, tried = best(size), trials[size]
            if rate == min(tried):
                beyond.append((size, _rounded(rate / _STEP)))
            elif rate == max(tried):
                beyond.append((size, _rounded(rate * _STEP)))
        if not beyond:
            break
        yield from more(beyond)
    yield from more(
        (size, _rounded(rate * factor))
        for size in sizes
        if (rate := best(size)) is not None
        for factor in (_STEP**-0.5, _STEP**0.5)
    )
    return {
        size: Tuned(dict(sorted(trials[size].items())), best(size), dict.fromkeys(seeds))
        for size in sizes
    }


def try_rates(base: RunSpec, wanted: Sequence[tuple[int, float]], seeds: Sequence[int]):
    """Size -> rate -> seed -> record of the wanted (size, rate), with every seed."""
    specs = {
        (size, rate, seed): replace(base, batch_size=size, learning_rate=rate, seed=seed)
        for size, rate in wanted
        for seed in seeds
    }
    records = yield list(specs.values())
    trials: dict[int, dict[float, dict[int, Record | None]]] = {}
    for (size, rate, seed), spec in specs.items():
        trials.setdefault(size, {}).setdefault(rate, {})[seed] = records.get(spec)
    return trials


def run_cells(cells: Mapping[str, Mapping[int, RunSpec]], seeds: Sequence[int]):
    """Arm -> batch size -> seed -> record of one run for each arm and size, all in one stage."""
    specs = {
        arm: {size: {seed: replace(run, seed=seed) for seed in seeds} for size, run in runs.items()}
        for arm, runs in cells.items()
    }
    records = yield [
        spec
        for of_arm in specs.values()
        for of_size in of_arm.values()
        for spec in of_size.values()
    ]
    return {
        arm: {size: found(by_seed, records) for size, by_seed in of_arm.items()}
        for arm, of_arm in specs.items()
    }


def found(specs: Mapping[int, object], records: Mapping) -> dict[int, Record | None]:
    """Seed -> record, None where there is none."""
    return {seed: records.get(spec) for seed, spec in specs.items()}


def _rounded(rate: float) -> float:
    # Three digits: rates are shown to people, and come from either side as the same number.
    return float(f"{rate:.3g}")
