"""reg-dropout-sparse: dropout induces sparsity, of activations (Srivastava et al. 2014, 7.2)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import POINTS, Values, minus, percent
from dlip_reg.studies.readings import (
    activations,
    at_matched_loss,
    at_the_end,
    kernels,
    matching_notes,
)
from dlip_reg.studies.regularization.arms import LABELS, METHODS
from dlip_reg.studies.regularization.dropout_weights import RATES, dose_arms
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Claim, Control, Measurement, Part

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

# The rate that Srivastava et al. 2014 recommend, whatever rate tuning would choose: a rate next to
# nothing, which does as well on few images, says nothing about what dropout does.
DROPPED = f"dose/{RATES[-1]}"
HOYER = "Hoyer sparseness (0 to 1)"


def _difference(arm: str, runs: Runs, series=None) -> Values:
    values = at_matched_loss(runs, ("none", arm), series or activations("hoyer"))
    return minus(values[arm], values["none"])


def measure(runs: Runs) -> Measurement:
    """Activation sparseness of dropout minus none at matched training loss."""
    end = {arm: runs.values(arm, at_the_end(activations("hoyer"))) for arm in ("none", DROPPED)}
    return Measurement(
        _difference(DROPPED, runs),
        (
            Part("at the end of training", HOYER, minus(end[DROPPED], end["none"])),
            Part("share of dead units", POINTS,
                 percent(_difference(DROPPED, runs, activations("dead")))),
            Part("sparseness of the weights", HOYER,
                 _difference(DROPPED, runs, kernels("hoyer"))),
        ),
        matching_notes(runs, ("none", DROPPED)),
    )  # fmt: skip


def draw(runs: Runs) -> Sequence[FigureItem]:
    """Sparseness and dead units by layer."""
    from dlip_reg.report import FigureItem, figures

    shown = [arm for arm in ("none", *METHODS) if runs.finished(arm)]
    if not shown:
        return []

    def by_layer(statistic: str):
        return {
            LABELS[arm]: {
                row.stage: [
                    getattr(r.weights.rows[-1].activations[place], statistic)
                    for r in runs.finished(arm)
                ]
                for place, row in enumerate(runs.finished(arm)[0].weights.rows[-1].activations)
            }
            for arm in shown
        }

    return [
        FigureItem(
            "activations",
            figures.activation_sparsity(by_layer("hoyer"), by_layer("dead")),
            "Hoyer sparseness of the activations among alive units, and share of dead units, by "
            "layer and method.",
            "At the end of training on fixed validation images, dropout off (compare figure 8 of "
            "Srivastava et al. 2014). A dead unit is zero on every image and counts apart.",
        )
    ]


CLAIM = Claim(
    id="reg-dropout-sparse",
    sentence="Dropout induces sparsity.",
    experiment="Hoyer sparseness of the hidden activations over the units that are alive, mean "
    f"over images and layers, at matched clean training loss: dropout at a rate of {RATES[-1]:g} "
    "minus none, at the same learning rate. A diverged run counts as no difference.",
    unit=HOYER,
    direction=+1,
    smallest_effect=0.05,
    smallest_effect_source="about half of what separates normally distributed values (0.20) from "
    "Laplace-distributed ones (0.29)",
    measure=measure,
    needs=("none", DROPPED),
    shown=METHODS,
    controls=(
        Control(
            "negative",
            "No regularization at a third of the learning rate, minus no regularization: it fits "
            "more slowly and drops nothing.",
            functools.partial(_difference, "none_slow"),
            ("none", "none_slow"),
        ),
    ),
    arms=dose_arms,
    draw=draw,
)
