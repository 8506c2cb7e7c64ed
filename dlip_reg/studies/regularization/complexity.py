"""reg-complex: regularization constrains the model from learning complex concepts.

Random labels are the most complex concept: nothing but memorizing each image fits them (Zhang et
al. 2017). Fitting more slowly is not the claim: so the number of steps to fit random labels is
divided by the same network's number of steps to fit the true ones, which a smaller learning rate
leaves unchanged.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from dlip_reg import report
from dlip_reg.evidence import (
    LOG_RATIO,
    Question,
    Values,
    crossing,
    log_ratio,
    mean_of,
    minus,
    of_certain_side,
)
from dlip_reg.studies import (
    Arms,
    Measured,
    claimed,
    controlled,
    is_finished,
    negative,
    positive,
    varied,
)
from dlip_reg.studies.drawing import Drawn, figure, lines_of
from dlip_reg.studies.readings import FAILURES
from dlip_reg.studies.regularization.arms import (
    FEWEST_VALIDATION,
    L2_RANGE,
    LABELS,
    METHODS,
    penalty,
)
from dlip_reg.studies.runs import Runs, curves_of, spec_of
from dlip_reg.studies.study import Part, Setting, drawn_by
from dlip_reg.training import Record, Schedule

LABELLING = ("true", "random")
# Adam's default: at a larger one, random labels are fitted in too few epochs to time.
LABEL_RATE = 1e-3
FITTED = 0.9  # of the training images classified right
# Three times what tuning chose on the packaged images, within the range that is searched.
STRONG_L2 = penalty("l2", 2 / 3 * L2_RANGE[1])


def label_arms(setting: Setting) -> Arms:
    """Each method at its tuned strengths, on true and on random labels, at one learning rate; and
    no regularization with what the controls change.
    """
    preset = setting.preset
    compared: list[tuple[str, str, str, dict[str, Any]]] = [
        *((name, name, LABELS[name], {}) for name in ("none", *METHODS)),
        ("slower", "none", "none, slower", {"learning_rate": LABEL_RATE / 2}),
        ("strong_l2", "none", "strong L2", {"regularization": STRONG_L2}),
    ]
    for labels, (name, base, label, changes) in itertools.product(LABELLING, compared):
        is_random = labels == "random"
        common: dict[str, Any] = {
            "data": setting.data(preset.label_images, FEWEST_VALIDATION, random_labels=is_random),
            "learning_rate": LABEL_RATE,
            "schedule": Schedule(),
            "epochs": preset.label_epochs,
            "measures": ("curves",),
        }
        yield varied(
            f"labels/{labels}/{name}", base, f"{label}, {labels} labels", **common | changes
        )


def labelled(*methods: str) -> list[str]:
    """The arms of some methods on true and on random labels."""
    return [f"labels/{labels}/{method}" for labels in LABELLING for method in methods]


def epochs_to_fit(record: Record) -> float:
    """Epochs until 90 % of the training images are classified right; NaN if they never are."""
    return crossing(_errors(record), 1 - FITTED)


def _errors(record: Record) -> list[float | None]:
    return [None if a is None else 1 - a for a in curves_of(record).clean_accuracy]


def ratio(runs: Runs, method: str) -> Values:
    """ln(epochs to fit random labels / epochs to fit true ones), by seed."""
    true, random = (
        runs.each([f"labels/{labels}/{method}"], _epochs_or_all) for labels in LABELLING
    )
    return log_ratio(random, true)


def over_none(runs: Runs, method: str) -> Values:
    """`ratio` of a method minus that of no regularization; see `of_certain_side`."""

    def unfitted(labels: str, method: str) -> Sequence[bool]:
        return runs.each([f"labels/{labels}/{method}"], lambda r: not _fitted(r), missing=False)

    return of_certain_side(
        minus(ratio(runs, method), ratio(runs, "none")),
        (unfitted("random", method), unfitted("true", "none")),
        (unfitted("true", method), unfitted("random", "none")),
    )


def _fitted(record: Record) -> bool:
    return is_finished(record) and not math.isnan(epochs_to_fit(record))


def _epochs_or_all(record: Record) -> float:
    return epochs_to_fit(record) if _fitted(record) else float(spec_of(record).epochs)


@figure("random_labels")
def draw(runs: Runs) -> Drawn:
    """Share of training images classified wrongly against epochs on true and on random labels, one
    panel each for {methods}.

    Images count as fitted below the dashed grey line. True labels are fitted early by all; what may
    differ is how long random labels take.
    """

    def errors(record: Record) -> dict[str, Any]:
        return {"epoch": curves_of(record).epoch, "error": _errors(record)}

    curves = {
        LABELS[m]: {of: lines_of(runs, f"labels/{of}/{m}", errors) for of in LABELLING}
        for m in ("none", *METHODS)
    }
    yield report.figures.labelled_curves(curves, 1 - FITTED), {"methods": curves}


@negative(*labelled("none", "slower"))
def fits_more_slowly(runs: Runs) -> Values:
    """No regularization at half the learning rate, minus no regularization: it fits everything more
    slowly.
    """
    return over_none(runs, "slower")


@positive(*labelled("none", "strong_l2"))
def fits_complex_ones_more_slowly(runs: Runs) -> Values:
    """L2 at two thirds of the largest strength that is searched, minus no regularization:
    memorizing images takes large weights, which it does not allow.
    """
    return over_none(runs, "strong_l2")


@drawn_by(draw)
@controlled(fits_more_slowly, fits_complex_ones_more_slowly)
@claimed(
    "reg-complex",
    LOG_RATIO,
    Question(+1, math.log(1.25)),
    *labelled("none", *METHODS),
    arms=label_arms,
)
def claim(runs: Runs) -> Measured:
    """Regularization constrains the model from learning complex concepts.

    Epochs until 90 % of the training images are classified right, with random labels over the
    same images with true labels (log-ratio): mean over dropout, L1 and L2 at their tuned strengths,
    minus no regularization. A run that never gets there counts as its whole length, and as no
    difference where that does not tell which ratio is larger (Zhang et al. 2017).

    Smallest effect: a quarter more epochs, the least that would be noticed in practice; Zhang et
    al. 2017 (section 2.1) find that random labels slow training by a small factor
    """
    differences = {method: over_none(runs, method) for method in METHODS}
    yield mean_of(*differences.values())
    yield Part("none: random over true labels", LOG_RATIO, ratio(runs, "none"))
    for method, values in differences.items():
        yield Part(f"{LABELS[method]} minus none", LOG_RATIO, values)
    for labels in LABELLING:
        arms = [f"labels/{labels}/{method}" for method in ("none", *METHODS)]
        if number := runs.count(arms, lambda record: not _fitted(record)):
            yield (
                f"{number} of {len(runs.seeds) * len(arms)} runs on {labels} labels did not fit "
                "them; they count as fitting at the end of the run, which bounds their ratio. "
                f"Where that does not tell which ratio is larger, the seeds {FAILURES}."
            )
