"""bs-linear-scaling: when the batch grows k times, multiply the learning rate by k."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import LOG_RATIO, Values, log_ratio, mean_of
from dlip_reg.studies.batch_size.arms import ratio_claim
from dlip_reg.studies.batch_size.curves import curve_distance, drawn_curves, listed, rate_of
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Chosen, Measurement, Part, Setting
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec, Schedule

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

WARMUP_EPOCHS = 5  # Goyal et al. 2017, section 2.2
ROWS = {
    "unscaled": "unscaled: the base's rate for all",
    "scaled": "scaled: the rate grows with the batch",
    "warmup": "scaled, with gradual warm-up",
}


def scaling_arms(setting: Setting) -> list[Arm]:
    """Each mini-batch size at the best rate of the smallest, and at k times it: "scaling/ROW/SIZE".

    The smallest batch, the base, is the same run in each row.
    """
    sizes = setting.preset.batch_sizes
    source = f"rates/{sizes[0]}"
    epochs = max(1, min(WARMUP_EPOCHS, setting.preset.epochs // 3))

    def spec(row: str, size: int, chosen: Chosen) -> RunSpec:
        run, k = replace(chosen[source], batch_size=size), size // sizes[0]
        if row == "unscaled" or k == 1:
            return run
        run = replace(run, learning_rate=k * run.learning_rate)
        if row == "warmup":
            run = replace(run, schedule=Schedule(warmup_epochs=epochs, warmup_from=1 / k))
        return run

    return [
        Arm(f"scaling/{row}/{size}", functools.partial(spec, row, size), uses=(source,))
        for row in ROWS
        for size in sizes
    ]


def measure(runs: Runs) -> Measurement:
    """Log-ratio of the distances to the base's training curve, scaled over unscaled.

    A run that diverged counts as one that has learnt nothing; without the base there is no number.
    """
    distances = {row: _distances(runs, row) for row in ROWS}
    means = {row: mean_of(*of_size.values()) for row, of_size in distances.items()}
    return Measurement(
        log_ratio(means["scaled"], means["unscaled"]),
        (
            Part("distance of the unscaled curves from the base's", LOG_RATIO, means["unscaled"]),
            Part("distance of the scaled curves", LOG_RATIO, means["scaled"]),
            Part("scaled with warm-up over unscaled", LOG_RATIO,
                 log_ratio(means["warmup"], means["unscaled"])),
            *(
                Part(f"batch {size:,} alone, scaled over unscaled", LOG_RATIO,
                     log_ratio(scaled, distances["unscaled"][size]))
                for size, scaled in distances["scaled"].items()
            ),
        ),
    )  # fmt: skip


def _distances(runs: Runs, row: str) -> dict[int, Values]:
    """Batch size, the base left out -> how far its training curve is from the base's, by seed."""
    by_size = runs.tree(f"scaling/{row}")
    (_, base), *others = by_size.items()

    def distance(record: Record | None, of_base: Record | None) -> float:
        if record is None or of_base is None or of_base.status != "finished":
            return math.nan
        return curve_distance(record.curves.clean_loss, of_base.curves.clean_loss)

    return {
        size: tuple(distance(record, base[seed]) for seed, record in by_seed.items())
        for size, by_seed in others
    }


def draw(runs: Runs) -> list[FigureItem]:
    """The curves of all batch sizes at unscaled rates, scaled ones, and scaled with warm-up."""
    from dlip_reg.report import FigureItem, figures

    rows = {title: drawn_curves(runs, f"scaling/{row}") for row, title in ROWS.items()}
    if not any(rows.values()):
        return []
    sizes = list(runs.tree("scaling/scaled"))
    return [
        FigureItem(
            "scaling",
            figures.loss_by_size(rows, figures.size_styles(sizes)),
            f"Training and validation loss against epochs for batch sizes {listed(sizes)} at one "
            "unscaled rate, at rates scaled with the batch size, and scaled with warm-up.",
            f"Figure 23 of the note. Base: batch {sizes[0]} at the learning rate "
            f"{rate_of(runs, 'scaling/unscaled'):g}. The closer the curves are to the base's, the "
            "better the rule holds.",
        )
    ]


TEXT = (
    "The linear scaling rule (Goyal et al. 2017): k times the batch, k times the rate, so that k "
    "small steps and one large one go equally far. Where it holds, the curves of all batch sizes "
    "coincide with that of the base, the smallest batch at its own best rate. Warm-up increases "
    "the rate from the base's to the scaled one in the first epochs, by a constant amount a step."
)

CLAIM = ratio_claim(
    id="bs-linear-scaling",
    sentence="Linear scaling rule: when the batch grows k times, multiply the learning rate by k.",
    experiment="Log-ratio of the distance between the training curves of k-fold batches and of the "
    "smallest batch (mean over epochs of |Δ ln loss|, averaged over k), scaled over unscaled.",
    direction=-1,
    measure=measure,
    needs=("scaling/",),
    arms=scaling_arms,
    figures=("scaling",),
)
