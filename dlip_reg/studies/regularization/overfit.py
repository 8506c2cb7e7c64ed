"""reg-overfit: regularization reduces overfitting."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import NATS, Values, mean_of, minus
from dlip_reg.studies.drawing import gap_at_loss
from dlip_reg.studies.readings import (
    at_matched_loss,
    at_the_end,
    gap,
    matching_notes,
    test_loss,
)
from dlip_reg.studies.regularization.arms import LABELS, METHODS, adam_base
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Chosen, Claim, Control, Measurement, Part, Setting
from dlip_reg.training.specification import RunSpec

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

MORE_IMAGES = 3


def more_images(setting: Setting) -> list[Arm]:
    """The positive control's arm: "none" on three times as many images, with as many updates."""
    return [
        Arm(
            "more_images",
            functools.partial(_more_images, setting),
            uses=("none",),
            label=f"none, {MORE_IMAGES} times the images",
        )
    ]


def _more_images(setting: Setting, chosen: Chosen) -> RunSpec:
    none, base = chosen["none"], adam_base(setting)
    return replace(
        none,
        data=replace(base.data, n_train=MORE_IMAGES * base.data.n_train),
        epochs=max(2, none.epochs // MORE_IMAGES),
        measures=("curves", "test"),
    )


def measure(runs: Runs) -> Measurement:
    """The gap at matched training loss: mean over the methods, minus that of "none"."""
    gaps = at_matched_loss(runs, ("none", *METHODS), gap)
    ends = {arm: runs.values(arm, at_the_end(gap)) for arm in ("none", *METHODS)}
    rises = {arm: runs.values(arm, _rise) for arm in ("none", *METHODS)}
    return Measurement(
        mean_of(*(minus(gaps[arm], gaps["none"]) for arm in METHODS)),
        (
            Part("gap of none at matched loss", NATS, gaps["none"]),
            *(
                Part(f"{LABELS[arm]} minus none at matched loss", NATS,
                     minus(gaps[arm], gaps["none"]))
                for arm in METHODS
            ),
            Part("mean over methods minus none at the end of training", NATS,
                 mean_of(*(minus(ends[arm], ends["none"]) for arm in METHODS))),
            Part("rise of the test loss from its minimum, methods minus none", NATS,
                 mean_of(*(minus(rises[arm], rises["none"]) for arm in METHODS))),
        ),
        matching_notes(runs, ("none", *METHODS)),
    )  # fmt: skip


def _rise(record) -> float | None:
    losses = [loss for loss in test_loss(record) if loss is not None]
    return losses[-1] - min(losses) if losses else None


def _difference(arm: str, runs: Runs) -> Values:
    gaps = at_matched_loss(runs, ("none", arm), gap)
    return minus(gaps[arm], gaps["none"])


def draw(runs: Runs) -> Sequence[FigureItem]:
    """The gap against the training loss, with the control that fits more slowly."""
    control = (
        " None at a third of the learning rate is the control that fits more slowly and "
        "regularizes nothing."
    )
    items = gap_at_loss(runs, ("none", *METHODS, "none_slow"))
    return [replace(item, caption=item.caption + control) for item in items]


CLAIM = Claim(
    id="reg-overfit",
    sentence="Regularization reduces overfitting.",
    experiment="Test loss minus training loss at matched clean training loss (mean over five "
    "levels that all arms reach): mean over dropout, L1 and L2, minus no regularization. Each arm "
    "at its own tuned learning rate and strength; a diverged run counts as no difference.",
    unit=NATS,
    direction=-1,
    smallest_effect=0.05,
    smallest_effect_source="five per cent in the probability given to the right class, the least "
    "that a reader of loss curves would act on",
    measure=measure,
    needs=("none", *METHODS),
    controls=(
        Control(
            "negative",
            "No regularization at a third of the learning rate, minus no regularization: it fits "
            "more slowly and regularizes nothing.",
            functools.partial(_difference, "none_slow"),
            ("none", "none_slow"),
        ),
        Control(
            "positive",
            f"No regularization on {MORE_IMAGES} times as many images, minus no regularization: "
            "more data is known to reduce overfitting.",
            functools.partial(_difference, "more_images"),
            ("none", "more_images"),
        ),
    ),
    arms=more_images,
    draw=draw,
)
