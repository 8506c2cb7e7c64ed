"""A claim: one sentence of the lecture note as data, and the function that measures it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dlip_reg.claims.verdict import Question, judge, t_interval


@dataclass(frozen=True)
class Part:
    """A number beside the headline: one value per seed, shown with a plain 95 % interval."""

    label: str
    unit: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Measurement:
    """What a claim's experiment gave: one paired difference per seed, and the numbers beside it.

    A seed whose difference could not be measured (a run diverged) has NaN.
    """

    differences: tuple[float, ...]
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Claim:
    """One statement of the note: what it says, what tests it, and what would count.

    `direction` is the sign of the effect that the note asserts, `smallest_effect` the smallest one
    worth calling an effect, in `unit`; both are fixed before any data is seen, and nothing here
    says what will come out. `measure` is pure: a lab's outcomes in, a Measurement out. `needs`
    names the methods whose runs it reads, `figures` the figures that show it.
    """

    id: str
    sentence: str
    experiment: str
    unit: str
    direction: int
    smallest_effect: float
    measure: Callable[[Any], Measurement]
    needs: tuple[str, ...]
    figures: tuple[str, ...] = ()


def judge_claims(
    claims: Sequence[Claim], outcomes: Any, family_size: int | None = None
) -> list[dict[str, Any]]:
    """Measure `claims` on a lab's `outcomes` and judge them: one plain dict each, in their order.

    `family_size` is the number of claims of the whole lab (see `judge`).
    """
    measured = {claim.id: claim.measure(outcomes) for claim in claims}
    verdicts = judge(
        {
            claim.id: Question(
                measured[claim.id].differences, claim.direction, claim.smallest_effect
            )
            for claim in claims
        },
        family_size,
    )
    return [
        {
            "id": claim.id,
            "sentence": claim.sentence,
            "experiment": claim.experiment,
            "unit": claim.unit,
            "direction": claim.direction,
            "smallest_effect": claim.smallest_effect,
            **asdict(verdicts[claim.id]),
            "parts": [_part(part) for part in measured[claim.id].parts],
            "figures": list(claim.figures),
        }
        for claim in claims
    ]


def _part(part: Part) -> dict[str, Any]:
    numbers = [None if math.isnan(x) else x for x in t_interval(part.values)]
    return {
        "label": part.label,
        "unit": part.unit,
        **dict(zip(("effect", "ci_low", "ci_high"), numbers, strict=True)),
    }
