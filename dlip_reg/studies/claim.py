"""Statements as data: how each is measured, where its answer is known, and what is drawn."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dlip_reg import report
from dlip_reg.checks import require_text
from dlip_reg.evidence.paired import Values
from dlip_reg.evidence.rule import Question
from dlip_reg.studies.arm import Arm, require_arms
from dlip_reg.studies.checks import require_function, require_several, require_texts
from dlip_reg.studies.drawing import paragraphs
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.setting import Setting

# What a measure yields: the effect, then the numbers and the notes of its `Measurement`.
Measured = Iterator["Values | tuple[Values, ...] | Part | str"]
NEGATIVE, POSITIVE = "negative", "positive"
# How the paragraph of a measure's docstring begins that says where the smallest effect comes from.
SOURCE = "Smallest effect: "
_HAS_DOCSTRINGS = sys.flags.optimize < 2
_TEXTS = ("sentence", "experiment", "smallest_effect_source")


@dataclass(frozen=True)
class Part:
    """A number beside the headline: one value per seed, shown with a plain 95 % interval."""

    label: str
    unit: str
    values: Values


@dataclass(frozen=True)
class Measurement:
    """What a claim measured.

    Args:
        differences: The effect with each seed, in the order of the seeds; or several such series
            that must all hold. NaN where nothing could be measured.
        parts: Numbers shown beside it.
        notes: Sentences for the report, such as how often a run did not reach the loss.
    """

    differences: Values | tuple[Values, ...]
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_several("parts", self.parts, Part, "parts")
        require_several("notes", self.notes, str, "sentences")


@dataclass(frozen=True)
class Control:
    """The claim's measurement where the answer is known by construction.

    Args:
        kind: "negative": the asserted effect is absent; "positive": it is present.
        description: What is compared with what, and why that settles it.
        measure: Like the claim's.
        needs: The arms that it reads.

    Raises:
        ValueError: Another kind, no function, or a single name in place of a tuple.
    """

    kind: str
    description: str
    measure: Callable[..., Any]
    needs: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.kind not in (NEGATIVE, POSITIVE):
            raise ValueError(f"kind must be {NEGATIVE!r} or {POSITIVE!r}, not {self.kind!r}.")
        require_function("measure", self.measure, "the study's runs")
        require_several("needs", self.needs, str, "names of arms")
        if _HAS_DOCSTRINGS:
            require_text("description", self.description)


def negative(*needs: str) -> Callable[[Callable[[Runs], Any]], Control]:
    """Make a measure of the arms `needs` a control in which the asserted effect is absent.

    A decorator; the docstring of the measure is the control's description.

    Args:
        *needs: Names of the arms that it reads.

    Returns:
        The decorator, which makes a `Control` of a measure.

    Raises:
        ValueError: It is not used as a decorator of a function with a docstring.
    """
    return _decorator(NEGATIVE, needs)


def positive(*needs: str) -> Callable[[Callable[[Runs], Any]], Control]:
    """Make a measure of the arms `needs` a control in which the asserted effect is present.

    A decorator; the docstring of the measure is the control's description.

    Args:
        *needs: Names of the arms that it reads.

    Returns:
        The decorator, which makes a `Control` of a measure.

    Raises:
        ValueError: It is not used as a decorator of a function with a docstring.
    """
    return _decorator(POSITIVE, needs)


def _decorator(kind: str, needs: tuple[str, ...]) -> Callable[[Callable[[Runs], Any]], Control]:
    if not all(isinstance(name, str) for name in needs):
        raise ValueError(f"{kind} takes names of arms and is used as a decorator, not {needs!r}.")

    def control(measure: Callable[[Runs], Any]) -> Control:
        description = paragraphs(measure)[0]
        if not description and _HAS_DOCSTRINGS:
            raise ValueError(f"The docstring of {measure!r} must describe the control.")
        return Control(kind, description, measure, needs)

    return control


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement, and how it is measured.

    `direction` and `smallest_effect` are fixed before data is seen, and nothing in a claim says
    what will come out.

    Args:
        id: A short name without spaces and commas, such as "reg-overfit".
        sentence: The statement (default: the first paragraph of the docstring of `measure`).
        experiment: What is measured, in a sentence or two (default: the first paragraph of that
            docstring after the sentence; "{NAME}" in it is a constant of the module).
        unit: The unit of the effect.
        direction: +1 or -1, the sign of the effect that the statement asserts; 0 if it asserts that
            the effect is `null`, to within `smallest_effect`.
        smallest_effect: The smallest effect that counts, in `unit`.
        smallest_effect_source: Where that number comes from (default: the paragraph of the
            docstring that begins with "Smallest effect:").
        measure: A pure function of the study's runs to one number per seed; to several such series
            that must all hold; or to a `Measurement`. As a generator it yields these numbers first,
            then each `Part` and note of a measurement.
        needs: The arms whose runs it reads; a name that ends in "/" stands for all arms that begin
            with it.
        controls: Measurements whose answer is known.
        shown: Arms that only its figures read; run with the seeds of the first look.
        arms: Arms of its own beside the study's, or a function of the `Setting` to them.
        null: The value of the effect that means "absent", for non-inferiority: 0.5 points worse is
            null=-0.5.
        bound: The largest absolute value of the effect, for shares of a few trials; see
            `dlip_reg.evidence.rule.Question`.
        figures: Names of the study's figures that show it.
        draw: A function of the runs to figures of its own.

    Raises:
        ValueError: A direction or smallest effect that no claim can have; a measure that is no
            function; a single name or control in place of several; no id or sentence.
    """

    id: str
    sentence: str = ""
    experiment: str = ""
    unit: str
    direction: int
    smallest_effect: float
    smallest_effect_source: str = ""
    measure: Callable[..., Any]
    needs: tuple[str, ...]
    controls: tuple[Control, ...] = ()
    shown: tuple[str, ...] = ()
    arms: Sequence[Arm] | Callable[[Setting], Iterable[Arm]] = ()
    null: float = 0.0
    bound: float = math.inf
    figures: tuple[str, ...] = ()
    draw: Callable[[Runs], Iterable[report.FigureItem]] | None = None

    def __post_init__(self) -> None:
        require_text("id", self.id)
        if re.search(r"[\s,]", self.id):  # of --claims, and of links on the page
            raise ValueError(f"id must have no spaces and commas, unlike {self.id!r}.")
        _ = self.question  # which checks the numbers
        require_function("measure", self.measure, "the study's runs")
        require_several("needs", self.needs, str, "names of arms")
        require_several("controls", self.controls, Control, "controls")
        require_several("shown", self.shown, str, "names of arms")
        require_several("figures", self.figures, str, "names of figures")
        require_arms(self.arms)
        if self.draw is not None:
            require_function("draw", self.draw, "the study's runs")
        texts = paragraphs(self.measure)
        sources = [text.removeprefix(SOURCE) for text in texts if text.startswith(SOURCE)]
        unnamed = iter([*(text for text in texts if not text.startswith(SOURCE)), ""])
        for name, found in zip(_TEXTS, (unnamed, unnamed, iter([*sources, ""])), strict=True):
            if not getattr(self, name):
                object.__setattr__(self, name, next(found))
        require_texts(self, "unit", *_TEXTS)
        if not self.sentence and _HAS_DOCSTRINGS:
            raise ValueError(f"{self.id} needs a sentence, or a docstring of its measure.")

    @property
    def question(self) -> Question:
        """What the verdict rule needs to know of it."""
        return Question(self.direction, self.smallest_effect, self.null, self.bound)

    @property
    def needed(self) -> tuple[str, ...]:
        """The arms that the claim and its controls read."""
        names = [*self.needs, *(name for control in self.controls for name in control.needs)]
        return tuple(dict.fromkeys(names))


def claimed(
    id: str, unit: str, question: Question, *needs: str, **fields: Any
) -> Callable[[Callable[..., Any]], Claim]:
    """Make a measure of the arms `needs` a claim with the texts of its docstring; see `Claim`.

    A decorator, as `negative` is for controls.

    Args:
        id: The claim's.
        unit: The unit of the effect.
        question: Its direction, smallest effect, null and bound.
        *needs: The arms that it reads.
        **fields: Further fields of the claim.

    Returns:
        The decorator, which makes a `Claim` of a measure.
    """
    return lambda measure: Claim(
        id=id, unit=unit, measure=measure, needs=needs, **vars(question), **fields
    )


def controlled(*controls: Control) -> Callable[[Claim], Claim]:
    """Add controls to a claim; a decorator, above `claimed`.

    Args:
        *controls: The controls.

    Returns:
        The decorator, which makes a `Claim` of a claim.
    """
    return lambda claim: replace(claim, controls=(*claim.controls, *controls))


def drawn_by(
    draw: Callable[[Runs], Iterable[report.FigureItem]], *shown: str
) -> Callable[[Claim], Claim]:
    """Add figures to a claim, and the arms that only they read; a decorator, above `claimed`.

    Args:
        draw: A function of the runs to figures, such as `draw_training`.
        *shown: Names of the arms that only the figures read.

    Returns:
        The decorator, which makes a `Claim` of a claim.
    """
    return lambda claim: replace(claim, draw=draw, shown=(*claim.shown, *shown))
