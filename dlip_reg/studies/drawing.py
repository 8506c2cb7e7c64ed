"""Ready-made figures for `Claim.draw`: how the arms trained, and their gaps at matched loss."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from dlip_reg import report
from dlip_reg.studies.readings import Series, gap
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Figures
from dlip_reg.studies.texts import filled, paragraphs
from dlip_reg.training.records import Record

Drawn = Iterator[Any]  # what a function yields that `figure` makes a figure of


def draw_training(runs: Runs, arms: Sequence[str] = ()) -> list[report.FigureItem]:
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


def figure(name: str, slider: str = "") -> Callable[[Callable[..., Drawn]], Callable[..., Figures]]:
    """Make a function of the runs the figure of that name, with its docstring as the texts.

    The first paragraph is the alternative text, the rest the caption, with fields as those of
    `texts.paragraphs`. The function yields the plot, or the plot and a mapping with values for the
    fields, which `name` may have, too; and nothing where no plot can be drawn. With a `slider`, the
    text before it, the function yields a mapping from its positions to the plots.
    """

    def decorate(draw: Callable[..., Drawn]) -> Callable[..., Figures]:
        @functools.wraps(draw)
        def items(*args: Any, **options: Any) -> Figures:
            for drawn in draw(*args, **options):
                plot, values = drawn if isinstance(drawn, tuple) else (drawn, {})
                frames = plot if slider else {}
                shown = list(frames.values())[-1] if slider else plot
                alt, *caption = paragraphs(draw, **values)
                yield report.FigureItem(
                    filled(name, values), shown, alt, " ".join(caption), frames, slider
                )

        return items

    return decorate


def section(title: str) -> Callable[[Callable[..., Drawn]], Callable[..., list[report.Section]]]:
    """Make a function a section of the report, with the paragraphs of its docstring as its text.

    The function yields the figures and a mapping with values for the fields of the text; nothing
    where there is nothing to say.
    """

    def decorate(write: Callable[..., Drawn]) -> Callable[..., list[report.Section]]:
        @functools.wraps(write)
        def sections(*args: Any) -> list[report.Section]:
            return [
                report.Section(title, tuple(paragraphs(write, **values)), tuple(figures))
                for figures, values in write(*args)
            ]

        return sections

    return decorate


def together(*draws: Callable[[Runs], Iterable[report.FigureItem]]) -> Callable[[Runs], Figures]:
    """A claim's `draw` that gives the figures of several."""

    def every(runs: Runs) -> Figures:
        for draw in draws:
            yield from draw(runs)

    return every


@figure("loss_curves")
def loss_curves(runs: Runs, arms: Sequence[str]) -> Drawn:
    """Clean training and test loss against epochs, one panel for each of {arms}.

    Cross-entropy without penalty, in inference mode, over all training images and the first 1,000
    test images. A gap that opens between the two curves is overfitting, or slower fitting: see the
    figure at matched loss.
    """
    if curves := by_label(runs, arms, _losses):
        plot = report.figures.loss_curves(curves, next(iter(curves)), held_out="test")
        yield plot, {"arms": curves}


@figure("gap_at_loss")
def gap_at_loss(runs: Runs, arms: Sequence[str], note: str = "") -> Drawn:
    """Generalization gap against clean training loss, one line a seed, for {arms}.

    At the same training loss (vertically above each other) the gaps can be compared; where a curve
    ends tells only how far training got.{note}
    """
    curves = by_label(runs, arms, lambda record: _losses(record) and against_loss(record, gap))
    if curves:
        plot = report.figures.against_falling_loss(curves, "test − training loss (nats)")
        yield plot, {"arms": curves, "note": note}


def by_label(runs: Runs, arms: Sequence[str], read: Callable[[Record], Any]) -> dict[str, list]:
    """Label of the arm -> the curve that `read` gives of each finished run, with its "seed".

    Runs of which it gives nothing, and arms without runs, are left out.
    """
    found = {
        runs.labels[arm]: [
            {"seed": runs.place(record), **curve}
            for record in runs.finished(arm)
            if (curve := read(record))
        ]
        for arm in arms
    }
    return {label: values for label, values in found.items() if values}


def columns(rows: Sequence[Any], *names: str) -> dict[str, list[Any]]:
    """The rows of a record as one list for each field."""
    return {name: [getattr(row, name) for row in rows] for name in names}


def against_loss(record: Record, series: Series) -> dict[str, list[float]]:
    """The clean training loss ("level") and the series' "value", from the second known one on."""
    pairs = zip(record.curves.clean_loss, series(record), strict=True)
    known = [(loss, value) for loss, value in pairs if loss and value == value][1:]
    return {"level": [loss for loss, _ in known], "value": [value for _, value in known]}


def _losses(record: Record) -> dict[str, Any] | None:
    curves = getattr(record, "curves", None)
    if curves is None or not curves.clean_test_loss:
        return None
    return curves_of(record, train_loss="clean_loss", validation_loss="clean_test_loss")


def curves_of(record: Record, **fields: str) -> dict[str, Any]:
    """The epochs of a record's curves, and what stands in some of their fields, name -> field."""
    columns = {name: getattr(record.curves, field) for name, field in fields.items()}
    return {"epoch": record.curves.epoch, **columns}
