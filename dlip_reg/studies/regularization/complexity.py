"""reg-complex: regularization constrains the model from learning complex concepts.

Random labels are the most complex concept: nothing but memorizing each image fits them (Zhang et
al. 2017). Fitting more slowly is not the claim: so the number of steps to fit random labels is
divided by the same network's number of steps to fit the true ones, which a smaller learning rate
leaves unchanged.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dlip_reg.evidence.matching import crossing
from dlip_reg.evidence.paired import LOG_RATIO, Values, log_ratio, mean_of, minus
from dlip_reg.studies.regularization.arms import FEWEST_VALIDATION, LABELS, METHODS
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Chosen, Claim, Control, Measurement, Part, Setting
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec, Schedule

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

LABELLING = {"true": False, "random": True}
# Adam's default: at a larger one, random labels are fitted in too few epochs to time.
LABEL_RATE = 1e-3
FITTED = 0.9  # of the training images classified right


def label_arms(setting: Setting) -> list[Arm]:
    """Each method at its tuned strengths, on true and on random labels, at one learning rate."""
    networks = {
        **{method: (method, LABEL_RATE) for method in ("none", *METHODS)},
        "slower": ("none", LABEL_RATE / 2),
    }
    return [
        Arm(
            f"labels/{labels}/{name}",
            functools.partial(_relabelled, setting, method, rate, labels),
            uses=(method,),
            label=f"{LABELS.get(name, 'none, slower')}, {labels} labels",
        )
        for labels in LABELLING
        for name, (method, rate) in networks.items()
    ]


def _relabelled(setting: Setting, method: str, rate: float, labels: str, chosen: Chosen) -> RunSpec:
    preset = setting.preset
    data = setting.data(preset.label_images, FEWEST_VALIDATION)
    return replace(
        chosen[method],
        data=replace(data, random_labels=LABELLING[labels]),
        learning_rate=rate,
        schedule=Schedule(),
        epochs=preset.label_epochs,
        measures=("curves",),
    )


def epochs_to_fit(record: Record) -> float:
    """Epochs until 90 % of the training images are classified right; NaN if they never are."""
    errors = [None if a is None else 1 - a for a in record.curves.clean_accuracy]
    return crossing(errors, 1 - FITTED)


def ratio(runs: Runs, method: str) -> Values:
    """ln(epochs to fit random labels / epochs to fit true ones), by seed."""
    epochs = {
        labels: tuple(
            math.nan if record is None else _epochs_or_all(record)
            for record in runs[f"labels/{labels}/{method}"]
        )
        for labels in LABELLING
    }
    return log_ratio(epochs["random"], epochs["true"])


def _fitted(record: Record) -> bool:
    return record.status == "finished" and not math.isnan(epochs_to_fit(record))


def _epochs_or_all(record: Record) -> float:
    return epochs_to_fit(record) if _fitted(record) else float(record.spec.epochs)


def measure(runs: Runs) -> Measurement:
    """The log-ratio of the methods, mean, minus that of no regularization."""
    ratios = {method: ratio(runs, method) for method in ("none", *METHODS)}
    unfitted = {
        labels: sum(
            not _fitted(record)
            for method in ("none", *METHODS)
            for record in runs[f"labels/{labels}/{method}"]
            if record is not None
        )
        for labels in LABELLING
    }
    total = len(runs.seeds) * (1 + len(METHODS))
    return Measurement(
        mean_of(*(minus(ratios[method], ratios["none"]) for method in METHODS)),
        (
            Part("none: random over true labels", LOG_RATIO, ratios["none"]),
            *(
                Part(f"{LABELS[method]} minus none", LOG_RATIO,
                     minus(ratios[method], ratios["none"]))
                for method in METHODS
            ),
        ),
        tuple(
            f"{number} of {total} runs on {labels} labels did not fit them; they count as fitting "
            "at the end of the run, which bounds their ratio."
            for labels, number in unfitted.items()
            if number
        ),
    )  # fmt: skip


def _slower(runs: Runs) -> Values:
    return minus(ratio(runs, "slower"), ratio(runs, "none"))


def draw(runs: Runs) -> Sequence[FigureItem]:
    """Loss curves on true and random labels."""
    from dlip_reg.report import FigureItem, figures

    curves = {
        LABELS[method]: {
            labels: [
                {
                    "epoch": r.curves.epoch,
                    "error": [None if a is None else 1 - a for a in r.curves.clean_accuracy],
                }
                for r in runs.finished(f"labels/{labels}/{method}")
            ]
            for labels in LABELLING
        }
        for method in ("none", *METHODS)
    }
    return [
        FigureItem(
            "random_labels",
            figures.labelled_curves(curves, 1 - FITTED),
            "Share of training images classified wrongly against epochs on true and on random "
            "labels, one panel each for " + ", ".join(curves) + ".",
            "The grey line counts as fitted. True labels are fitted early by all; what may differ "
            "is how long random labels take.",
        )
    ]  # fmt: skip


CLAIM = Claim(
    id="reg-complex",
    sentence="Regularization constrains the model from learning complex concepts.",
    experiment="Epochs until 90 % of the training images are classified right, with random "
    "labels over the same images with true labels (log-ratio): mean over dropout, L1 and L2 at "
    "their tuned strengths, minus no regularization. A run that never gets there counts as its "
    "whole length (Zhang et al. 2017).",
    unit=LOG_RATIO,
    direction=+1,
    smallest_effect=math.log(1.25),
    smallest_effect_source="a quarter more epochs, the least that would be noticed in practice; "
    "Zhang et al. 2017 (section 2.1) find that random labels slow training by a small factor",
    measure=measure,
    needs=tuple(f"labels/{labels}/{m}" for labels in LABELLING for m in ("none", *METHODS)),
    controls=(
        Control(
            "negative",
            "No regularization at half the learning rate, minus no regularization: it fits "
            "everything more slowly.",
            _slower,
            tuple(f"labels/{labels}/{m}" for labels in LABELLING for m in ("none", "slower")),
        ),
    ),
    arms=label_arms,
    draw=draw,
)
