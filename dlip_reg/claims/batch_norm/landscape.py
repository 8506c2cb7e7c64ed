"""What the note says batch norm does to the loss landscape, and to how layers disturb each other.

All five read "same_rate": one net, one learning rate, one order of examples, with and without
batch norm, probed at every epoch (see `callbacks.Landscape` and `callbacks.GradientShift`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dlip_reg.claims.batch_norm.readings import (
    arithmetic,
    geometric,
    named,
    over_probes,
    paired_rows,
)
from dlip_reg.claims.claim import Claim, Measurement, Part
from dlip_reg.claims.paired import LOG_RATIO, minus

_ARMS = {"plain": "without batch norm", "bn": "with batch norm"}


def _landscape(key: str, what: str, unit: str) -> Callable[[Mapping[str, Any]], Measurement]:
    """ln of a landscape measure with batch norm over without, mean over the probes."""

    def measured(outcomes: Mapping[str, Any]) -> Measurement:
        arms = outcomes["same_rate"]
        return Measurement(
            paired_rows(arms, "landscape", named(key)),
            tuple(
                Part(
                    f"{what} {label}, geometric mean",
                    unit,
                    over_probes(arms[arm], "landscape", named(key), geometric),
                )
                for arm, label in _ARMS.items()
            ),
        )

    return measured


def _independence(outcomes: Mapping[str, Any]) -> Measurement:
    arms = outcomes["same_rate"]
    cosine = {
        arm: over_probes(arms[arm], "shift", named("shift_cosine"), arithmetic) for arm in _ARMS
    }
    return Measurement(
        paired_rows(arms, "shift", named("shift_relative")),
        (
            Part(
                "the distance itself, with batch norm over without",
                LOG_RATIO,
                paired_rows(arms, "shift", named("shift_distance")),
            ),
            Part("cosine of the angle without batch norm", "", cosine["plain"]),
            Part("cosine, with batch norm minus without", "", minus(cosine["bn"], cosine["plain"])),
        ),
    )


LANDSCAPE_CLAIMS = (
    Claim(
        "bn-landscape",
        "Batch norm reduces the variation of the loss landscape.",
        "Range (max - min) of the loss over steps of 0.5 to 4 initial learning rates along the "
        "gradient, probed through training; log-ratio with batch norm over without, same net and "
        "learning rate (Santurkar et al. 2018, figure 4a).",
        LOG_RATIO,
        direction=-1,
        smallest_effect=0.1,
        measure=_landscape("loss_range", "range of the loss", "nats"),
        needs=("same_rate",),
        figures=("landscape",),
    ),
    Claim(
        "bn-predictiveness",
        "Batch norm improves the predictiveness of gradients.",
        "Range of the L2 distance between the gradient at the weights and at those moved points; "
        "log-ratio with batch norm over without; smaller is better (figure 4b).",
        LOG_RATIO,
        direction=-1,
        smallest_effect=0.1,
        measure=_landscape("gradient_distance_range", "range of the gradient's change", ""),
        needs=("same_rate",),
        figures=("landscape",),
    ),
    Claim(
        "bn-beta",
        "Batch norm improves the beta-smoothness.",
        "Effective beta: the largest change of the gradient per distance moved over those points; "
        "log-ratio with batch norm over without; smaller is smoother (figure 4c).",
        LOG_RATIO,
        direction=-1,
        smallest_effect=0.1,
        measure=_landscape("effective_beta", "effective beta", ""),
        needs=("same_rate",),
        figures=("landscape",),
    ),
)

INDEPENDENCE_CLAIM = Claim(
    "bn-independence",
    "With batch norm each layer learns a little more independently of the others.",
    "How far a layer's gradient moves, relative to its length, when the layers before it take "
    "their step on the same batch, mean over layers, probed through training; log-ratio with "
    "batch norm over without (Santurkar et al. 2018, section 2.2).",
    LOG_RATIO,
    direction=-1,
    smallest_effect=0.1,
    measure=_independence,
    needs=("same_rate",),
    figures=("independence",),
)
