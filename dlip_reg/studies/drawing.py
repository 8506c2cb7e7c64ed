"""Ready-made figures for `Claim.draw`: how the arms trained, and their gaps at matched loss."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dlip_reg.studies.readings import gap
from dlip_reg.studies.runs import Runs

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem


def draw_training(runs: Runs, arms: Sequence[str] = ()) -> list[FigureItem]:
    """Loss curves of the arms, and test minus training loss against training loss.

    Use it as it is, ``Claim(draw=draw_training)``, or with some arms only,
    ``draw=functools.partial(draw_training, arms=("none", "mine"))``.

    Args:
        runs: The study's runs.
        arms: The arms to draw, the baseline first (default: all).

    Returns:
        The two figures; without those of arms that measured neither "curves" nor "test".
    """
    # Claims that show different arms need figures of different names.
    suffix = "".join("_" + re.sub(r"\W", "-", arm) for arm in arms)
    drawn = [*loss_curves(runs, arms or tuple(runs)), *gap_at_loss(runs, arms or tuple(runs))]
    return [replace(item, name=item.name + suffix) for item in drawn]


def loss_curves(runs: Runs, arms: Sequence[str]) -> list[FigureItem]:
    """Clean training and test loss against epochs, one panel an arm, the first arm in all."""
    from dlip_reg.report import FigureItem, figures

    curves = {
        runs.labels[arm]: [
            {
                "epoch": record.curves.epoch,
                "train_loss": record.curves.clean_loss,
                "validation_loss": record.curves.clean_test_loss,
            }
            for record in runs.finished(arm)
            if _has_curves(record)
        ]
        for arm in arms
    }
    curves = {label: lines for label, lines in curves.items() if lines}
    if not curves:
        return []
    return [
        FigureItem(
            "loss_curves",
            figures.loss_curves(curves, next(iter(curves)), held_out="test"),
            "Clean training and test loss against epochs, one panel for each of "
            + ", ".join(curves)
            + ".",
            "Cross-entropy without penalty, in inference mode, over all training images and the "
            "first 1,000 test images. A gap that opens between the two curves is overfitting, or "
            "slower fitting: see the figure at matched loss.",
        )
    ]


def gap_at_loss(runs: Runs, arms: Sequence[str]) -> list[FigureItem]:
    """Test minus training loss against clean training loss, one line a seed."""
    from dlip_reg.report import FigureItem, figures

    curves = {
        runs.labels[arm]: [
            [
                (loss, difference)
                for loss, difference in zip(record.curves.clean_loss, gap(record), strict=True)
                if loss is not None and loss > 0 and difference == difference
            ][1:]
            for record in runs.finished(arm)
            if _has_curves(record)
        ]
        for arm in arms
    }
    curves = {label: lines for label, lines in curves.items() if lines}
    if not curves:
        return []
    return [
        FigureItem(
            "gap_at_loss",
            figures.against_falling_loss(curves, "test − training loss (nats)"),
            "Generalization gap against clean training loss, one line a seed, for "
            + ", ".join(curves)
            + ".",
            "At the same training loss (vertically above each other) the gaps can be compared; "
            "where a curve ends tells only how far training got.",
        )
    ]


def _has_curves(record) -> bool:
    return getattr(record, "curves", None) is not None and bool(record.curves.clean_test_loss)
