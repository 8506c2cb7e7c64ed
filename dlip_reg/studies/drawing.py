"""Texts that are docstrings, and figures and sections of the report that are functions with them.

Ready-made figures for `Claim.draw` show how the arms trained, and their gaps at matched loss.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any

from dlip_reg import report
from dlip_reg.studies.readings import Series, gap
from dlip_reg.studies.runs import Runs, curves_of
from dlip_reg.training.records import Record

Drawn = Iterator[Any]  # what a function yields that `figure` makes a figure of
Figures = Iterator["report.FigureItem"]  # what a claim's `draw` gives
_FIELD = re.compile(r"\{(\w+)(?::([^{}]*))?\}")


def paragraphs(function: Callable[..., Any], **values: Any) -> list[str]:
    """The paragraphs of a function's docstring, each as one line; at least one, maybe empty.

    "{NAME}" and "{NAME:FORMAT}" stand for one of `values` or a constant of the function's module;
    of a mapping or a list, the names or items joined by commas, or by semicolons where one has a
    comma. A value may have paragraphs, too.
    """
    # What is not a function, such as a partial one, has the docstring of its class.
    text = inspect.getdoc(function) if isinstance(function, FunctionType) else ""
    known = {**getattr(function, "__globals__", {}), **values}
    texts = (filled(paragraph, known) for paragraph in (text or "").split("\n\n"))
    return [paragraph for text in texts for paragraph in text.split("\n\n")]


def methods(values: Callable[[Any], Mapping[str, Any] | None]) -> Callable[[Any], dict[str, str]]:
    """Make a function of the preset the `facts` of a study.

    Its docstring has a paragraph "Name: text" for each fact after the first paragraph, with fields
    of the preset, and of what the function returns, if anything.
    """

    def facts(setting: Any) -> dict[str, str]:
        known = vars(setting.preset) | (values(setting.preset) or {})
        named = (text.partition(": ") for text in paragraphs(values, **known)[1:])
        return {name: text for name, _, text in named}

    return facts


def filled(text: str, known: Mapping[str, Any]) -> str:
    """The text on one line, with what is known in the place of its fields."""

    def value(field: re.Match[str]) -> str:
        name, form = field.groups(default="")
        if name not in known:
            return field[0]
        found = known[name]
        if not isinstance(found, dict | list):
            return f"{found:{form}}"
        items = list(map(str, found))
        return ("; " if any("," in item for item in items) else ", ").join(items)

    return _FIELD.sub(value, " ".join(text.split()))


def draw_training(runs: Runs) -> Figures:
    """Loss curves of all arms, and test minus training loss against training loss.

    Use it as it is, ``Claim(draw=draw_training)``. Arms that measured neither "curves" nor "test"
    are left out.

    Args:
        runs: The study's runs.

    Yields:
        The figures "loss_curves" and "gap_at_loss", where there is an arm to show.
    """
    yield from loss_curves(runs, tuple(runs))
    yield from gap_at_loss(runs, tuple(runs))


def figure(name: str, slider: str = "") -> Callable[[Callable[..., Drawn]], Callable[..., Figures]]:
    """Make a function of the runs the figure of that name, with its docstring as the texts.

    All of it is the caption, which begins with what is plotted, and its first paragraph is the
    alternative text as well; "{NAME}" in it is a constant of the module or a value that the
    function yields. The function yields the plot, or the plot and a mapping with such values; and
    nothing where no plot can be drawn. With a `slider` it yields a mapping from the slider's
    positions to the plots in place of the plot.

    Args:
        name: Names the figure and its files; it may have fields, too.
        slider: The text before a slider over several plots; "" for a single plot.

    Returns:
        A decorator; what it makes of the function is a `draw` of a claim.
    """

    def decorate(draw: Callable[..., Drawn]) -> Callable[..., Figures]:
        @functools.wraps(draw)
        def items(*args: Any, **options: Any) -> Figures:
            for drawn in draw(*args, **options):
                plot, values = drawn if isinstance(drawn, tuple) else (drawn, {})
                frames = plot if slider else {}
                shown = list(frames.values())[-1] if slider else plot
                texts = paragraphs(draw, **values)
                yield report.FigureItem(
                    filled(name, values), shown, texts[0], " ".join(texts), frames, slider
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
    """Make one `draw` of a claim of several.

    Args:
        *draws: Functions of the runs to figures.

    Returns:
        A function of the runs to the figures of all of them, in this order.
    """

    def every(runs: Runs) -> Figures:
        for draw in draws:
            yield from draw(runs)

    return every


@figure("loss_curves")
def loss_curves(runs: Runs, arms: Sequence[str]) -> Drawn:
    """Clean training and test loss against epochs, one panel for each of {arms}.

    Cross-entropy without penalty, in inference mode, over all training images and at most 1,000
    test images. A gap that opens between the two curves is overfitting, or slower fitting: see the
    figure at matched loss.
    """
    if curves := by_label(runs, arms, _losses):
        plot = report.figures.loss_curves(curves, next(iter(curves)), held_out="test")
        yield plot, {"arms": curves}


@figure("gap_at_loss")
def gap_at_loss(runs: Runs, arms: Sequence[str], note: str = "") -> Drawn:
    """Generalization gap against clean training loss, one line per seed, for {arms}.

    At the same training loss (vertically above each other) the gaps can be compared; where a curve
    ends tells only how far training got.{note}
    """
    curves = by_label(runs, arms, lambda record: _losses(record) and against_loss(record, gap))
    if curves:
        plot = report.figures.against_falling_loss(curves, "test − training loss (nats)")
        yield plot, {"arms": curves, "note": note}


def lines_of(runs: Runs, arm: str, read: Callable[[Record], Any]) -> list[dict[str, Any]]:
    """The curve that `read` gives of each finished run of the arm, with its "seed", if any."""
    curves = ((record, read(record)) for record in runs.finished(arm))
    return [{"seed": runs.place(record), **curve} for record, curve in curves if curve]


def by_label(
    runs: Runs, arms: Iterable[str], read: Callable[[Record], Any]
) -> dict[str, list[dict[str, Any]]]:
    """Label of the arm, with its name if others have that label -> `lines_of` it, if any."""
    labels = {arm: runs.labels[arm] for arm in arms if arm in runs}
    label_of = {
        arm: label if [*labels.values()].count(label) == 1 else f"{label} ({arm})"
        for arm, label in labels.items()
    }
    found = {label: lines_of(runs, arm, read) for arm, label in label_of.items()}
    return {label: lines for label, lines in found.items() if lines}


def columns(rows: Sequence[Any], *names: str) -> dict[str, list[Any]]:
    """The rows of a record as one list for each field."""
    return {name: [getattr(row, name) for row in rows] for name in names}


def against_loss(record: Record, series: Series) -> dict[str, list[float | None]]:
    """The clean training loss ("level") and the series' "value", from the second known one on."""
    pairs = zip(curves_of(record).clean_loss, series(record), strict=True)
    known = [(loss, value) for loss, value in pairs if loss and value == value][1:]
    return {"level": [loss for loss, _ in known], "value": [value for _, value in known]}


def _losses(record: Record) -> dict[str, Any] | None:
    if record.curves is None or not record.curves.clean_test_loss:
        return None
    return by_epoch(record, train_loss="clean_loss", validation_loss="clean_test_loss")


def by_epoch(record: Record, **fields: str) -> dict[str, Any]:
    """The epochs of a record's curves, and what stands in some of their fields, name -> field."""
    curves = curves_of(record)
    return {"epoch": curves.epoch} | {name: getattr(curves, f) for name, f in fields.items()}
