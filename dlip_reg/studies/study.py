"""What a study is: arms that are trained, claims that read them, and presets that size it.

A `Study` is plain data. `dlip_reg.studies.run_study` runs it, `dlip_reg.cli.main` makes a command
line of it, and the package's own labs use nothing else.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from reprlib import repr as short
from types import FunctionType
from typing import Any, TypeVar

from dlip_reg import report
from dlip_reg.checks import (
    optional,
    require_bool,
    require_positive,
    require_text,
    require_whole,
)
from dlip_reg.evidence.claims import ClaimResult
from dlip_reg.evidence.paired import Values
from dlip_reg.evidence.rule import LOOKS, Question, looks_up_to
from dlip_reg.studies.drawing import paragraphs
from dlip_reg.studies.readings import most_accurate
from dlip_reg.studies.runs import Runs, Trials
from dlip_reg.training.specification import DataSpec, RunSpec, Spec

S = TypeVar("S", bound=Spec)
Chosen = Mapping[str, Spec]  # arm -> the specification it runs with
# Field of a specification, or of its regularization -> its value, or a function of the value it has
Changes = Mapping[str, Any]
# What a measure yields: the effect, then the numbers and the notes of its `Measurement`.
Measured = Iterator["Values | tuple[Values, ...] | Part | str"]
NEGATIVE, POSITIVE = "negative", "positive"
# How the paragraph of a measure's docstring begins that says where the smallest effect comes from.
SOURCE = "Smallest effect: "
_HAS_DOCSTRINGS = sys.flags.optimize < 2
_TEXTS = ("sentence", "experiment", "smallest_effect_source")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How much a study measures.

    Args:
        seeds: The most seeds to run: 5, 10 or 20, or fewer than 5 for estimates without verdicts.
        tuning_seeds: How many seeds each candidate of a tuned arm is tried with. The verdict never
            sees them.
        minutes: What the preset takes on two cores with the default model and data, as measured;
            None where it was not measured.
        run_seconds: What one of its first runs took there, to scale `minutes` to other machines.

    Raises:
        ValueError: A number of seeds at which no verdict is given, no tuning seed, or a time that
            is no positive number.
    """

    seeds: int = LOOKS[-1]
    tuning_seeds: int = 2
    minutes: float | None = None
    run_seconds: float | None = None

    def __post_init__(self) -> None:
        require_whole("seeds", self.seeds)
        require_whole("tuning_seeds", self.tuning_seeds)
        for name in ("minutes", "run_seconds"):
            optional(require_positive)(name, getattr(self, name))
        if not (1 <= self.seeds < LOOKS[0] or self.seeds in LOOKS):
            raise ValueError(
                f"seeds must be {', '.join(map(str, LOOKS[:-1]))} or {LOOKS[-1]}, or fewer than "
                f"{LOOKS[0]} for estimates without verdicts, not {self.seeds!r}."
            )

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of seeds after which the claims are judged and the report is written."""
        return looks_up_to(self.seeds)


def total_minutes(presets: Iterable[Preset]) -> float | None:
    """What all take on the reference machine; None where one was not measured."""
    minutes = [preset.minutes for preset in presets]
    known = [number for number in minutes if number is not None]
    return sum(known) if len(known) == len(minutes) else None


@dataclass(frozen=True)
class Setting:
    """What a study is run on: the preset, the model, and the data set with the size of its images.

    `size` is None but for a folder of images that is not resized to the default.
    """

    preset: Any
    model: str
    dataset: str
    size: int | None = None

    def data(
        self,
        n_train: int | None = None,
        n_validation: int | None = None,
        n_test: int | None = None,
        **options: Any,
    ) -> DataSpec:
        """So many images of each split of the data set.

        Args:
            n_train: How many training images; None for all, as for the other sizes.
            n_validation: How many validation images.
            n_test: How many test images.
            **options: Further fields of `DataSpec`, such as `random_labels`.

        Returns:
            The data of a specification.
        """
        return DataSpec(self.dataset, n_train, n_validation, n_test, size=self.size, **options)


@dataclass(frozen=True)
class Tuning:
    """How the specification of an arm is chosen, with seeds of its own.

    Args:
        candidates: The specifications to try, each as such or as its `Changes` to `Arm.spec`.
        choose: Maps candidate -> records by seed to the best candidate, or None if none trained.
        extend: Maps candidate -> records by seed to further candidates to try; called until it
            gives none that is new, for example while the best one lies at the end of its grid.
        expected: How many candidates there will be, as far as known (default: those to begin with).
        watch: Measures added to the runs with the first tuning seed, for figures.

    Raises:
        ValueError: No candidate, or what is none; a `choose` or `extend` that is no function.
    """

    candidates: Sequence[RunSpec | Changes]
    choose: Callable[[Trials], RunSpec | None] = most_accurate
    extend: Callable[[Trials], Sequence[RunSpec]] | None = None
    expected: int | None = None
    watch: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_several(
            "candidates", self.candidates, RunSpec | Mapping, "specifications or dicts"
        )
        if not self.candidates:
            raise ValueError("candidates must have a specification to try, but are empty.")
        _require_function("choose", self.choose, "the trials")
        if self.extend is not None:
            _require_function("extend", self.extend, "the trials")
        optional(require_whole)("expected", self.expected)
        _require_several("watch", self.watch, str, "names")

    @property
    def size(self) -> int:
        """How many candidates there are, as far as that is known beforehand."""
        return len(self.candidates) if self.expected is None else self.expected


@dataclass(frozen=True)
class Arm:
    """One way to train, run with every seed of the study.

    Args:
        name: What claims call it.
        spec: Its specification (the seed in it does not matter), the name of an arm that runs with
            the same one but for `changes`, or a function of those chosen for the arms in `uses`;
            None from it means that the arm cannot run. With `tuning` it is what the candidates
            change.
        tuning: How the best candidate is found.
        changes: What is changed in that specification, or in the best candidate, for the runs of
            the verdict.
        uses: Names of the arms whose chosen specifications `spec` takes.
        label: What figures and the report call it (default: the name).
        watch: Measures added for the first `watch_seeds` seeds only, for figures.
        watch_seeds: How many seeds these are.
        timed: Whether it measures seconds: its runs have the machine to themselves.

    Raises:
        ValueError: No name, neither a specification nor tuning, or changes that are no dict.
    """

    name: str
    spec: Spec | str | Callable[[Chosen], Spec | None] | None = None
    tuning: Tuning | None = None
    changes: Changes = field(default_factory=dict)
    uses: tuple[str, ...] = ()
    label: str = ""
    watch: tuple[str, ...] = ()
    watch_seeds: int = 3
    timed: bool = False

    def __post_init__(self) -> None:
        require_text("name", self.name)
        if self.spec is None and self.tuning is None:
            raise ValueError(f"Arm {self.name!r} needs a specification or tuning.")
        if not (isinstance(self.spec, Spec | str | None) or callable(self.spec)):
            raise ValueError(
                "spec must be a specification, the name of an arm, or a function of chosen "
                f"specifications, not {short(self.spec)}."
            )
        if not isinstance(self.tuning, Tuning | None):
            raise ValueError(f"tuning must be a Tuning, not {short(self.tuning)}.")
        if not isinstance(self.changes, Mapping) or not all(
            isinstance(name, str) for name in self.changes
        ):
            raise ValueError(f"changes must be a dict of fields, not {short(self.changes)}.")
        if "seed" in self.changes:
            raise ValueError(f"Arm {self.name!r} must leave the seed, which the study sets.")
        for name in ("uses", "watch"):
            _require_several(name, getattr(self, name), str, "names")
        _require_texts(self, "label")
        require_whole("watch_seeds", self.watch_seeds, 0)
        require_bool("timed", self.timed)
        object.__setattr__(self, "label", self.label or self.name)

    @property
    def used(self) -> tuple[str, ...]:
        """The arms whose specifications it is made of."""
        return (self.spec, *self.uses) if isinstance(self.spec, str) else self.uses


Arms = Iterator[Arm]  # what a function of the setting yields


def varied(name: str, base: Spec | str, label: str = "", **changes: Any) -> Arm:
    """An arm that differs from a specification, or from another arm, in some fields.

    ``varied("slow", "none", "none, fits more slowly", learning_rate=times(1 / 3))``

    Args:
        name: The arm's name.
        base: The specification, or the name of the other arm.
        label: What figures and the report call it (default: the name).
        **changes: As for `changed`.

    Returns:
        The arm.
    """
    return Arm(name, base, changes=changes, label=label)


def changed(spec: S, **changes: Any) -> S:
    """`spec` with some of its fields, or of those of its regularization, replaced.

    A function is called with the value there is: ``changed(run, learning_rate=times(0.5))``.

    Args:
        spec: A specification.
        **changes: Field -> its new value, or a function of the value it has.

    Returns:
        The changed specification.

    Raises:
        ValueError: There is no such field, or its value is not accepted.
    """
    own: dict[str, Any] = {}
    regularization: dict[str, Any] = {}
    for name, change in changes.items():
        is_own = name in vars(spec)
        holder = spec if is_own else getattr(spec, "regularization", None)
        if holder is None or name not in vars(holder):
            there_are = ", ".join(vars(spec) | (vars(holder) if holder else {}))
            raise ValueError(
                f"A specification has no {name!r} that could be changed; there are {there_are}."
            )
        if isinstance(change, FunctionType) and name not in ("model", "loss"):
            change = change(getattr(holder, name))
        (own if is_own else regularization)[name] = change
    if regularization:
        own["regularization"] = replace(spec.runs[0].regularization, **regularization)
    return replace(spec, **own)


def times(factor: float) -> Callable[[float], float]:
    """For `varied` and `changed`: a number multiplied by `factor`.

    Args:
        factor: The factor.

    Returns:
        A function of the number there is.
    """
    return lambda number: factor * number


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
        _require_several("parts", self.parts, Part, "parts")
        _require_several("notes", self.notes, str, "sentences")


def _require_several(name: str, values: Any, kind: Any, accepted: str) -> None:
    """Refuse a single one in place of a list; a name would be read letter by letter."""
    is_list = isinstance(values, Sequence) and not isinstance(values, str)
    if not is_list or not all(isinstance(value, kind) for value in values):
        raise ValueError(f"{name} must be a list or tuple of {accepted}, not {short(values)}.")


def _require_function(name: str, function: Any, *takes: str) -> None:
    """Refuse at once what would fail after all training."""
    try:
        inspect.signature(function).bind(*takes)
    except ValueError:  # of a function that is built in
        return
    except TypeError:
        accepted = " and ".join(takes)
        raise ValueError(
            f"{name} must be a function of {accepted}, not {short(function)}."
        ) from None


def _require_texts(owner: Any, *names: str) -> None:
    for name in names:
        if not isinstance(getattr(owner, name), str):
            raise ValueError(f"{name} must be a text, not {short(getattr(owner, name))}.")


def _require_different(what: str, names: Sequence[str]) -> None:
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"Two {what} are named {twice[0]!r}; each needs a name of its own.")


def _require_arms(arms: Any) -> None:
    """Refuse what is neither arms nor a function of the setting to them."""
    if callable(arms):
        _require_function("arms", arms, "the setting")
    else:
        _require_several("arms", arms, Arm, "arms")


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
        _require_function("measure", self.measure, "the study's runs")
        _require_several("needs", self.needs, str, "names of arms")
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
        _require_function("measure", self.measure, "the study's runs")
        _require_several("needs", self.needs, str, "names of arms")
        _require_several("controls", self.controls, Control, "controls")
        _require_several("shown", self.shown, str, "names of arms")
        _require_several("figures", self.figures, str, "names of figures")
        _require_arms(self.arms)
        if self.draw is not None:
            _require_function("draw", self.draw, "the study's runs")
        texts = paragraphs(self.measure)
        sources = [text.removeprefix(SOURCE) for text in texts if text.startswith(SOURCE)]
        unnamed = iter([*(text for text in texts if not text.startswith(SOURCE)), ""])
        for name, found in zip(_TEXTS, (unnamed, unnamed, iter([*sources, ""])), strict=True):
            if not getattr(self, name):
                object.__setattr__(self, name, next(found))
        _require_texts(self, "unit", *_TEXTS)
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


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question: arms, claims about them, and presets.

    Args:
        name: Names the output folder.
        title: The report's title.
        lead: The report's first paragraph.
        description: One line for ``--help``.
        arms: The arms, or a function of the `Setting` to them. With plain arms, ``--model`` and
            ``--dataset`` replace those of their specifications.
        claims: What is judged; the error of 5 % is shared by all of them.
        presets: Name -> how much is measured.
        shown: Arms that no claim reads but the figures show; run with the seeds of the first look.
        check: Called with the setting, the arms and the kinds of kernels ("conv", "dense") that the
            model has; raises `UsageError` where the arms cannot run with them.
        sections: A function of the runs and the judged claims to the report's sections.
        styled_first: Labels of arms that take the first colours in all figures.
        facts: A function of the `Setting` to the report's Methods, name -> value.
        papers: Checks of what a paper printed, by name: studies with one preset each.
        default_model: The model of the `Setting` when none is named; "" leaves those of the arms.
        default_dataset: The same for the data set.

    Raises:
        ValueError: No name, two claims of one name, a single claim or arm in place of several, or
            presets without names.
    """

    name: str
    title: str = ""
    lead: str = ""
    description: str = ""
    arms: Sequence[Arm] | Callable[[Setting], Iterable[Arm]] = ()
    claims: Sequence[Claim] = ()
    presets: Mapping[str, Any] = field(
        default_factory=lambda: {"quick": Preset(seeds=3), "standard": Preset()}
    )
    shown: tuple[str, ...] = ()
    check: Callable[[Setting, Sequence[Arm], set[str]], None] | None = None
    sections: Callable[[Runs, Sequence[ClaimResult]], Sequence[report.Section]] = (
        lambda runs, claims: ()
    )
    styled_first: Sequence[str] = ()
    facts: Callable[[Setting], Mapping[str, str]] = lambda setting: {}
    papers: Mapping[str, Study] = field(default_factory=dict)
    default_model: str = ""
    default_dataset: str = ""

    def __post_init__(self) -> None:
        require_text("name", self.name)
        _require_several("claims", self.claims, Claim, "claims")
        _require_arms(self.arms)
        _require_texts(self, "title", "lead", "description", "default_model", "default_dataset")
        _require_several("shown", self.shown, str, "names of arms")
        _require_several("styled_first", self.styled_first, str, "labels")
        _require_function("sections", self.sections, "the study's runs", "the judged claims")
        _require_function("facts", self.facts, "the setting")
        if self.check is not None:
            _require_function(
                "check", self.check, "the setting", "the arms", "the kinds of kernels"
            )
        presets = self.presets.items() if isinstance(self.presets, Mapping) else ()
        if not presets or not all(
            isinstance(key, str) and isinstance(of, Preset) for key, of in presets
        ):
            raise ValueError(f"presets must be a dict of names to presets, not {self.presets!r}.")
        _require_different("claims", [claim.id for claim in self.claims])

    @property
    def studies(self) -> tuple[Study, ...]:
        """What it is made of: itself (compare `StudyGroup`)."""
        return (self,)

    def arms_for(self, setting: Setting, claims: Sequence[Claim]) -> dict[str, Arm]:
        """The arms that `claims` need, with those they use and those that are shown.

        Args:
            setting: The preset, model and data set.
            claims: Some of the study's claims.

        Returns:
            Name -> arm; all arms of a study without claims.

        Raises:
            ValueError: Two arms of one name, or a name that no arm has.
        """
        every: dict[str, Arm] = {}
        # By identity: claims may share a function that makes arms.
        sources = {id(arms): arms for arms in (self.arms, *(c.arms for c in self.claims))}
        for arms in sources.values():
            made = arms(setting) if callable(arms) else _on(setting, arms)
            made = tuple(made) if isinstance(made, Iterable) else made
            _require_several("What a function of the setting gives", made, Arm, "arms")
            for arm in made:
                if every.setdefault(arm.name, arm) != arm:
                    raise ValueError(f"Two different arms are named {arm.name!r}.")
        if not self.claims:
            return every
        needed: set[str] = set()
        names = [name for claim in claims for name in (*claim.needed, *claim.shown)]
        names += self.shown
        while names := [name for name in expand(names, list(every)) if name not in needed]:
            if unknown := [name for name in names if name not in every]:
                there_are = f"there are {', '.join(every)}" if every else "there are no arms"
                raise ValueError(f"No arm is named {unknown[0]!r}; {there_are}.")
            needed.update(names)
            names = [used for name in names for used in every[name].used]
        return {name: arm for name, arm in every.items() if name in needed}


@dataclass(frozen=True, kw_only=True)
class StudyGroup:
    """Several studies that run into one report; each keeps its own error of 5 %.

    Raises:
        ValueError: No study, two studies or claims of one name, or presets of different names.
    """

    name: str
    title: str
    lead: str
    description: str
    studies: Sequence[Study]

    def __post_init__(self) -> None:
        _require_several("studies", self.studies, Study, "studies")
        if not self.studies:
            raise ValueError("studies must have a study to run, but are empty.")
        if len({tuple(study.presets) for study in self.studies}) > 1:
            raise ValueError("studies must have presets of the same names, in the same order.")
        _require_different("studies", [study.name for study in self.studies])
        _require_different("claims", [claim.id for claim in self.claims])

    @property
    def claims(self) -> list[Claim]:
        """The claims of all."""
        return [claim for study in self.studies for claim in study.claims]

    @property
    def presets(self) -> Mapping[str, Preset]:
        """For ``--help``: of each name, the seeds of the first study and the minutes of all."""
        found = {}
        for name, first in self.studies[0].presets.items():
            minutes = total_minutes(study.presets[name] for study in self.studies)
            found[name] = Preset(seeds=first.seeds, minutes=minutes)
        return found

    @property
    def papers(self) -> dict[str, Study]:
        """The paper checks of all."""
        return {name: paper for study in self.studies for name, paper in study.papers.items()}


def expand(names: Sequence[str], every: Sequence[str]) -> list[str]:
    """`names` with each that ends in "/" replaced by all of `every` that begin with it, if any."""
    found: dict[str, None] = {}
    for name in names:
        matching = [n for n in every if n.startswith(name)] if name.endswith("/") else []
        found |= dict.fromkeys(matching or [name])
    return list(found)


def _on(setting: Setting, arms: Sequence[Arm]) -> list[Arm]:
    """Plain arms on the setting's model and data set, where these are named."""
    model: dict[str, Any] = {"model": setting.model} if setting.model else {}
    data: dict[str, Any] = {"name": setting.dataset} if setting.dataset else {}
    if setting.dataset or setting.size:
        data["size"] = setting.size

    def move(value: Any) -> Any:
        """A specification or changes to one, moved; anything else as it is."""
        if isinstance(value, RunSpec):
            return replace(value, **model, data=replace(value.data, **data))
        if isinstance(value, Mapping):
            given = value.get("data")
            moved = {"data": replace(given, **data)} if isinstance(given, DataSpec) else {}
            return {**value, **moved, **(model if "model" in value else {})}
        return value

    def placed(arm: Arm) -> Arm:
        tuning = arm.tuning
        if tuning is not None:
            tuning = replace(tuning, candidates=tuple(map(move, tuning.candidates)))
        return replace(arm, spec=move(arm.spec), tuning=tuning, changes=move(arm.changes))

    return [placed(arm) for arm in arms]
