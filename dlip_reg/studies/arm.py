"""Ways to train, as data: specifications, what is changed in them, and how they are tuned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from reprlib import repr as short
from types import FunctionType
from typing import Any, TypeVar

from dlip_reg.checks import optional, require_bool, require_text, require_whole
from dlip_reg.studies.checks import require_function, require_several, require_texts
from dlip_reg.studies.readings import most_accurate
from dlip_reg.studies.runs import Trials
from dlip_reg.studies.setting import Setting
from dlip_reg.training.model_functions import model_text
from dlip_reg.training.specification import DataSpec, RunSpec, Spec

S = TypeVar("S", bound=Spec)
Chosen = Mapping[str, Spec]  # arm -> the specification it runs with
# Field of a specification, or of its regularization -> its value, or a function of the value it has
Changes = Mapping[str, Any]


@dataclass(frozen=True)
class Tuning:
    """How the specification of an arm is chosen, with seeds of its own.

    Args:
        candidates: The specifications to try, each as such or as its `Changes` to `Arm.spec`.
        choose: Maps candidate -> records by seed to the best candidate, or None if none trained.
        extend: Maps candidate -> records by seed to further specifications to try; called until it
            gives none that is new, for example while the best one lies at the end of its grid.
        expected: How many candidates there will be, as far as known (default: those to begin with).
        watch: Measures added to the runs with the first tuning seed, for figures.

    Raises:
        ValueError: No candidate, or something else; a `choose` or `extend` that is not a function.
    """

    candidates: Sequence[RunSpec | Changes]
    choose: Callable[[Trials], RunSpec | None] = most_accurate
    extend: Callable[[Trials], Sequence[RunSpec]] | None = None
    expected: int | None = None
    watch: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_several("candidates", self.candidates, RunSpec | Mapping, "specifications or dicts")
        if not self.candidates:
            raise ValueError("candidates must have a specification to try, but are empty.")
        require_function("choose", self.choose, "the trials")
        if self.extend is not None:
            require_function("extend", self.extend, "the trials")
        optional(require_whole)("expected", self.expected)
        require_several("watch", self.watch, str, "names")

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
        ValueError: No name, neither a specification nor tuning, or changes that are not a dict.
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
        if callable(self.spec):
            require_function("spec", self.spec, "the chosen specifications")
        if not isinstance(self.tuning, Tuning | None):
            raise ValueError(f"tuning must be a Tuning, not {short(self.tuning)}.")
        if not isinstance(self.changes, Mapping) or not all(
            isinstance(name, str) for name in self.changes
        ):
            raise ValueError(f"changes must be a dict of fields, not {short(self.changes)}.")
        if "seed" in self.changes:
            raise ValueError(f"Arm {self.name!r} must leave the seed, which the study sets.")
        for name in ("uses", "watch"):
            require_several(name, getattr(self, name), str, "names")
        require_texts(self, "label")
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

    A function is called with the value there is: ``changed(run, learning_rate=times(0.5))``; one
    for `model` is the new model itself.

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


def require_arms(arms: Any) -> None:
    """Refuse what is neither arms nor a function of the setting to them."""
    if callable(arms):
        require_function("arms", arms, "the setting")
    else:
        require_several("arms", arms, Arm, "arms")


def expand(names: Sequence[str], every: Sequence[str]) -> list[str]:
    """`names` with each that ends in "/" replaced by all of `every` that begin with it, if any."""
    found: dict[str, None] = {}
    for name in names:
        matching = [n for n in every if n.startswith(name)] if name.endswith("/") else []
        found |= dict.fromkeys(matching or [name])
    return list(found)


def models_of(arms: Iterable[Arm]) -> list[str]:
    """The models that plain arms name: in their changes, or else where these are made."""
    found: dict[str, None] = {}
    for arm in arms:
        made_of = (arm.spec, *(arm.tuning.candidates if arm.tuning else ()))
        for part in (arm.changes,) if "model" in arm.changes else made_of:
            named = vars(part) if isinstance(part, RunSpec) else part
            if isinstance(named, Mapping) and "model" in named:
                found[model_text(named["model"])] = None
    return list(found)


def on_setting(setting: Setting, arms: Sequence[Arm]) -> list[Arm]:
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
