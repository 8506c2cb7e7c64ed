"""bs-flat-sharp: small batches converge to flat minimizers, large batches to sharp ones.

Adaptive sharpness decides: it does not change when a ReLU layer is multiplied and the next divided
by the same factor, which leaves the function as it is (Dinh et al. 2017). Keskar's phi and the
largest eigenvalue of the Hessian do change, and stand beside it.
"""

import functools
import math
from dataclasses import asdict, replace

from dlip_reg import report
from dlip_reg.evidence import (
    FAILED,
    LOG_RATIO,
    POINTS,
    Question,
    Values,
    at_levels,
    failures_as_zero,
    minus,
    percent,
)
from dlip_reg.studies import Measured, claimed, is_finished, test_accuracy, varied
from dlip_reg.studies.batch_size.arms import base, cost_to_loss
from dlip_reg.studies.batch_size.fits import scaled, tuned
from dlip_reg.studies.drawing import Drawn, figure, together
from dlip_reg.studies.progress import counted
from dlip_reg.studies.readings import FAILURES
from dlip_reg.studies.runs import Runs, known, spec_of
from dlip_reg.studies.study import Arm, Arms, Chosen, Part, Setting, controlled, drawn_by, negative
from dlip_reg.training.records import Record
from dlip_reg.training.specification import InterpolationSpec

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


def arms(setting: Setting) -> Arms:
    """Adam until the preset training loss, where the sharpness is measured.

    "sharpness/SIZE", each at the rate that gets there first; "sharpness_slower/SIZE", the large
    batch at half of its rate; "minimizers", the losses between the two sizes' solutions.
    """
    preset = setting.preset
    run = replace(
        base(setting),
        optimizer="adam",
        epochs=preset.sharp_epochs,
        stop_loss=preset.sharp_loss,
        measures=("curves", "test", "minimizer"),
    )
    small, large = (f"{SHARP}/{size}" for size in preset.sharp_sizes)
    for name, size in zip((small, large), preset.sharp_sizes, strict=True):
        label = f"batch {size:,} under Adam"
        yield tuned(name, replace(run, batch_size=size), cost_to_loss, ADAM_RATES, label=label)
    slower = scaled(SLOWER_FACTOR)
    yield varied(f"{SLOWER}/{preset.sharp_sizes[1]}", large, learning_rate=slower)
    yield Arm(BETWEEN, _between, uses=(small, large))


def _between(chosen: Chosen) -> InterpolationSpec:
    first, second = (replace(spec.runs[0], measures=()) for spec in chosen.values())
    return InterpolationSpec(first, second, surfaces=True)


def log_sharpness(name: str, record: Record) -> float:
    """The log of a sharpness at the run's `stop_loss`, linear between the epochs around it.

    NaN for a run that has `missed` the loss, or where no search found a rise.
    """
    rows = record.minimizer
    if len(rows) < 2:
        return math.nan
    values = [getattr(row, name) for row in rows]
    logs = [math.log(value) if value and value > 0 else None for value in values]
    (value,) = at_levels([row.clean_loss for row in rows], logs, [known(spec_of(record).stop_loss)])
    return value


def sharper(runs: Runs, name: str, first: str, second: str) -> Values:
    """The log-ratio of a sharpness, `first` over `second`; a seed failed if a run missed the loss.

    See `failures_as_zero`.
    """

    def ratio(*pair: Record) -> float:
        if any(map(missed, pair)):
            return FAILED
        one, two = (log_sharpness(name, record) for record in pair)
        return one - two

    return failures_as_zero(runs.each((first, second), ratio))


def missed(record: Record) -> bool:
    """Whether the run did not get to the training loss, or went past it in its first epoch, before
    which there is no sharpness to interpolate from."""
    return not (is_finished(record) and len(record.minimizer) > 1)


def ends(runs: Runs) -> tuple[str, str]:
    """The arms of the small and of the large batch."""
    small, large = runs.grid(f"{SHARP}/*").values()
    return small, large


@negative(f"{SHARP}/", f"{SLOWER}/")
def slower_large(runs: Runs) -> Values:
    """The large batch at {SLOWER_FACTOR:g} of its rate over itself: it takes as many more steps to
    the loss, and its batch size is the same.
    """
    (slower,) = runs.grid(f"{SLOWER}/*").values()
    return sharper(runs, "adaptive_sharpness", slower, ends(runs)[1])


@figure("sharpness")
def draw_sharpness(runs: Runs) -> Drawn:
    """Adaptive sharpness, Keskar's phi at two sizes of the box, and the top Hessian eigenvalue, for
    the small and the large batch.

    At a clean training loss of {loss:g} nats, on all training images: geometric means, intervals
    and every seed. Only adaptive sharpness stays the same when a layer is multiplied and the next
    one divided by a factor, which changes no prediction; so it decides.
    """
    panels = {}
    for name, title in MEASURES.items():
        logs = runs.over(f"{SHARP}/*", functools.partial(log_sharpness, name))
        panels[title] = {"": {size: tuple(map(math.exp, values)) for size, values in logs.items()}}
    for spec in [spec for arm in ends(runs) if (spec := runs.chosen[arm])][:1]:
        yield report.figures.against_size(panels), {"loss": spec.runs[0].stop_loss}


def names(runs: Runs) -> dict[str, str]:
    """What the small and the large solution are called."""
    small, large = (f"batch {size:,}" for size in runs.grid(f"{SHARP}/*"))
    return {"small": small, "large": large}


@figure("interpolation")
def draw_line(runs: Runs) -> Drawn:
    """Loss and accuracy along the straight line through the solutions of {small} and {large},
    on training and test images.

    The parametric plot of Keskar et al. 2017: f(α x_large + (1 − α) x_small). Its two valleys share
    one axis, though the two weight vectors may differ in size, so their widths cannot be compared.
    """
    if lines := [record.line for record in runs.finished(BETWEEN) if record.line]:
        splits = {
            split: [{"position": line.alpha, **asdict(getattr(line, split))} for line in lines]
            for split in ("training", "test")
        }
        label = "α: 0 is “{small}”, 1 is “{large}”".format(**names(runs))
        yield report.figures.losses_along(splits, label, solutions=(0, 1)), names(runs)


@figure("filter_normalised")
def draw_around(runs: Runs) -> Drawn:
    """Training loss and accuracy along the filter-normalized line around {small} and around
    {large}.

    Measured on training images. The direction is the same for both, its filters rescaled to the
    norms of each solution's own (Li et al. 2018): a step of 1 is as long as the weights are. Here
    widths can be compared.
    """
    found = [r.filter_normalised for r in runs.finished(BETWEEN) if r.filter_normalised]
    if found:
        around = {
            f"around {name}": [
                {"position": line.position, **asdict(getattr(line, end))} for line in found
            ]
            for name, end in zip(names(runs).values(), ("first", "second"), strict=True)
        }
        label = "step from the solution towards the other one, in norms of each filter"
        yield report.figures.losses_along(around, label), names(runs)


@figure("surfaces")
def draw_surfaces(runs: Runs) -> Drawn:
    """Contours of the training loss around {small} and {large} over two random directions, on
    one colour scale.

    One seed. The same two random directions for both, filter-normalized to either net's own
    weights; up to 512 training images.
    """
    for surfaces in [r.surfaces for r in runs.finished(BETWEEN) if r.surfaces][:1]:
        pairs = zip(names(runs).values(), (surfaces.first, surfaces.second), strict=True)
        place = surfaces.position
        yield report.figures.surfaces_side_by_side(place, place, dict(pairs)), names(runs)


@drawn_by(together(draw_sharpness, draw_line, draw_around, draw_surfaces), BETWEEN)
@controlled(slower_large)
@claimed("bs-flat-sharp", LOG_RATIO, Question(+1, math.log(2)), f"{SHARP}/", arms=arms)
def claim(runs: Runs) -> Measured:
    """Small batches converge to flat minimizers, large batches to sharp ones.

    Log-ratio of adaptive sharpness, batches of a tenth of the training set over the smallest
    ones, interpolated at the same clean training loss. Adam, each size at the rate that gets there
    first. A seed one of whose runs does not get there, or is past it after the first epoch, counts
    as no difference; if most are such, nothing is decided.

    Smallest effect: a factor of two; Keskar et al. 2017 (table 3) find factors of 6 to 167 in φ
    """
    small, large = ends(runs)
    accuracy = runs.over(f"{SHARP}/*", test_accuracy)
    first, second = accuracy
    decisive, *others = MEASURES
    yield sharper(runs, decisive, large, small)
    for name in others:
        label, _, _ = MEASURES[name].partition(" (")
        yield Part(label, LOG_RATIO, sharper(runs, name, large, small))
    label = f"test accuracy, batch {first} minus batch {second:,}"
    yield Part(label, POINTS, percent(minus(accuracy[first], accuracy[second])))
    if number := runs.count((small, large), missed):
        missing = f"{counted(number, 'run')} missed the training loss, or passed it at once"
        yield f"{missing}; seeds with such a run {FAILURES}."
