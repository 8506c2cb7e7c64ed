"""bs-flat-sharp: small batches converge to flat minimizers, large batches to sharp ones.

Adaptive sharpness decides: it does not change when a ReLU layer is multiplied and the next divided
by the same factor, which leaves the function as it is (Dinh et al. 2017). Keskar's phi and the
largest eigenvalue of the Hessian do change, and stand beside it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from dlip_reg.evidence.matching import at_levels
from dlip_reg.evidence.paired import LOG_RATIO, POINTS, Values, minus, percent
from dlip_reg.studies.batch_size.arms import base, by_size, cost_to_loss, measure
from dlip_reg.studies.batch_size.fits import rounded, tuned
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Chosen, Claim, Control, Measurement, Part, Setting
from dlip_reg.training.interpolation import InterpolationSpec
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

SHARP, SLOWER, BETWEEN = "sharpness", "sharpness_slower", "minimizers"
# Under Adam, as in Keskar et al. 2017.
ADAM_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
SLOWER_FACTOR = 0.5
MEASURES = {
    "adaptive_sharpness": "adaptive sharpness (nats)",
    "keskar_1e_3": "Keskar's φ, full space, ε = 10⁻³ (%)",
    "keskar_5e_4": "Keskar's φ, full space, ε = 5·10⁻⁴ (%)",
    "lambda_max": "top eigenvalue λ of the Hessian",
}


def arms(setting: Setting) -> list[Arm]:
    """Adam until the preset training loss, where the sharpness is measured.

    "sharpness/SIZE", each at the rate that gets there first; "sharpness_slower/SIZE", the large
    batch at half of its rate; "minimizers", the losses between the two sizes' solutions.
    """
    preset = setting.preset
    small, large = preset.sharp_sizes
    run = replace(
        base(setting),
        optimizer="adam",
        epochs=preset.sharp_epochs,
        stop_loss=preset.sharp_loss,
        measures=("curves", "test", "minimizer"),
    )
    best = [f"{SHARP}/{size}" for size in (small, large)]
    return [
        *(
            tuned(f"{SHARP}/{size}", replace(run, batch_size=size), cost_to_loss, ADAM_RATES,
                  label=f"batch {size:,} under Adam")
            for size in preset.sharp_sizes
        ),
        Arm(f"{SLOWER}/{large}", functools.partial(_slower, best[1]), uses=(best[1],)),
        Arm(BETWEEN, _between, uses=tuple(best)),
    ]  # fmt: skip


def _slower(best: str, chosen: Chosen) -> RunSpec:
    run = chosen[best]
    return replace(run, learning_rate=rounded(SLOWER_FACTOR * run.learning_rate))


def _between(chosen: Chosen) -> InterpolationSpec:
    first, second = (replace(run, measures=()) for run in chosen.values())
    return InterpolationSpec(first, second, surfaces=True)


def log_sharpness(name: str, record: Record) -> float:
    """The log of a sharpness at the run's `stop_loss`, linear between the epochs around it.

    NaN for a run that does not get there, or where no search found a rise.
    """
    rows = record.minimizer
    if not rows:
        return math.nan
    values = [getattr(row, name) for row in rows]
    logs = [math.log(value) if value and value > 0 else None for value in values]
    if len(rows) == 1:  # reached in the first epoch
        return math.nan if logs[0] is None else logs[0]
    (value,) = at_levels([row.clean_loss for row in rows], logs, [record.spec.stop_loss])
    return value


def sharper(runs: Runs, name: str, first: str, second: str) -> Values:
    """The log-ratio of a sharpness, `first` over `second`; 0 where a run missed the loss."""
    found = []
    for pair in zip(runs[first], runs[second], strict=True):
        if None in pair:
            found.append(math.nan)
        elif any(record.status != "finished" or not record.minimizer for record in pair):
            found.append(0.0)
        else:
            one, two = (log_sharpness(name, record) for record in pair)
            found.append(one - two)
    return tuple(found)


def ends(runs: Runs) -> tuple[str, str]:
    """The arms of the small and of the large batch."""
    small, large = (f"{SHARP}/{size}" for size in runs.tree(SHARP))
    return small, large


def measure_ratio(runs: Runs) -> Measurement:
    """Log-ratio of adaptive sharpness at the same training loss, large over small batch."""
    small, large = ends(runs)
    accuracy = by_size(runs, SHARP, measure("test_accuracy"))
    missed = sum(
        record is not None and (record.status != "finished" or not record.minimizer)
        for arm in (small, large)
        for record in runs[arm]
    )
    notes = (
        f"{missed} runs did not get to the training loss; their seeds count as no difference.",
    )
    first, second = accuracy
    return Measurement(
        sharper(runs, "adaptive_sharpness", large, small),
        (
            *(
                Part(label.partition(" (")[0], LOG_RATIO, sharper(runs, name, large, small))
                for name, label in MEASURES.items()
                if name != "adaptive_sharpness"
            ),
            Part(
                f"test accuracy, batch {first} minus batch {second:,}",
                POINTS,
                percent(minus(accuracy[first], accuracy[second])),
            ),
        ),
        notes if missed else (),
    )


def slower_large(runs: Runs) -> Values:
    """The large batch at half of its rate over itself."""
    _, large = ends(runs)
    (size,) = runs.tree(SLOWER)
    return sharper(runs, "adaptive_sharpness", f"{SLOWER}/{size}", large)


def draw(runs: Runs) -> Sequence[FigureItem]:
    """Sharpness against the batch size, and the loss between and around the solutions."""
    from dlip_reg.report import FigureItem, figures

    panels = {}
    loss = next((r.spec.stop_loss for arm in ends(runs) for r in runs.finished(arm)), math.nan)
    for name, title in MEASURES.items():
        read = functools.partial(log_sharpness, name)
        panels[title] = {
            "": {
                size: tuple(map(math.exp, values))
                for size, values in by_size(runs, SHARP, read).items()
            }
        }
    items = [
        FigureItem(
            "sharpness",
            figures.against_size(panels),
            "Adaptive sharpness, Keskar's phi at two sizes of the box, and the top Hessian "
            "eigenvalue, for the small and the large batch.",
            f"At a clean training loss of {loss:g} nats, on all training images: geometric means, "
            "intervals and every seed. Only adaptive sharpness stays the same when a layer is "
            "multiplied and the next one divided by a factor, which changes no prediction; so it "
            "decides.",
        )
    ]
    return [*items, *_between_figures(runs)]


def _between_figures(runs: Runs) -> list[FigureItem]:
    from dlip_reg.report import FigureItem, figures

    records = [record for record in runs.finished(BETWEEN) if record.line is not None]
    if not records:
        return []
    names = tuple(f"batch {size:,}" for size in runs.tree(SHARP))
    lines = {
        split: [{"alpha": r.line.alpha, **asdict(getattr(r.line, split))} for r in records]
        for split in ("training", "test")
    }
    around = {
        name: [
            {"position": r.filter_normalised.position, **asdict(getattr(r.filter_normalised, end))}
            for r in records
        ]
        for name, end in zip(names, ("first", "second"), strict=True)
    }
    drawn = records[0].surfaces
    at = drawn.position
    return [
        FigureItem(
            "interpolation",
            figures.interpolation_curves(lines, names),
            f"Loss and accuracy along the straight line through the solutions of {names[0]} and "
            f"{names[1]}, on training and test images.",
            "The parametric plot of Keskar et al. 2017: f(α x_large + (1 − α) x_small). Its two "
            "valleys share one axis, though the two weight vectors may differ in size, so their "
            "widths cannot be compared.",
        ),
        FigureItem(
            "filter_normalised",
            figures.lines_around(around),
            f"Training loss and accuracy along the filter-normalised line around {names[0]} and "
            f"around {names[1]}.",
            "The same direction, its filters rescaled to the norms of each solution's own (Li et "
            "al. 2018): a step of 1 is as long as the weights are. Here widths can be compared.",
        ),
        FigureItem(
            "surfaces",
            figures.surfaces_side_by_side(
                at, at, {names[0]: drawn.first, names[1]: drawn.second}
            ),
            f"Contours of the training loss around {names[0]} and {names[1]} over two random "
            "directions, on one colour scale.",
            "One seed. The same two random directions for both, filter-normalised to either net's "
            "own weights; up to 512 training images.",
        ),
    ]  # fmt: skip


CLAIM = Claim(
    id="bs-flat-sharp",
    sentence="Small batches converge to flat minimizers, large batches to sharp ones.",
    experiment="Log-ratio of adaptive sharpness, batches of a tenth of the training set over the "
    "smallest ones, interpolated at the same clean training loss. Adam, each size at the rate that "
    "gets there first. A seed one of whose runs does not get there counts as no difference.",
    unit=LOG_RATIO,
    direction=+1,
    smallest_effect=math.log(2),
    smallest_effect_source="a factor of two; Keskar et al. 2017 (table 3) find factors of 6 to 167 "
    "in φ",
    measure=measure_ratio,
    needs=(f"{SHARP}/",),
    shown=(BETWEEN,),
    controls=(
        Control(
            "negative",
            f"The large batch at {SLOWER_FACTOR:g} of its rate over itself: it takes as many more "
            "steps to the loss, and its batch size is the same.",
            slower_large,
            (f"{SHARP}/", f"{SLOWER}/"),
        ),
    ),
    arms=arms,
    draw=draw,
)
