"""Results of a lab's claims as plain data: what a report shows and claims.json holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlip_reg.evidence.rule import Estimate, Verdict


@dataclass(frozen=True)
class ControlResult:
    """A claim's measurement on runs in which the answer is known, judged by the same rule.

    Attributes:
        kind: "negative" (the effect is absent by construction) or "positive" (it is present).
        description: What was compared with what.
        effect, ci_low, ci_high, n_seeds, verdict: As in `ClaimResult`.
        seeds: Number of seeds of the last look at it, also those that could not be compared; 0 if
            that is not known.
    """

    kind: str
    description: str
    effect: float | None
    ci_low: float | None
    ci_high: float | None
    n_seeds: int
    verdict: Verdict | None
    seeds: int = 0


@dataclass(frozen=True)
class PartResult:
    """A number shown beside a claim's effect: a mean over seeds with its 95 % t-interval.

    Attributes:
        label: What was measured.
        unit: Unit of the three numbers, which are None where unknown.
    """

    label: str
    unit: str
    effect: float | None
    ci_low: float | None
    ci_high: float | None

    @classmethod
    def of(cls, label: str, unit: str, values: Sequence[float]) -> PartResult:
        """Summarize one value per seed.

        Args:
            label: What was measured.
            unit: Unit of the values.
            values: One per seed; those that are not finite are left out.

        Returns:
            Their mean with its 95 % interval.
        """
        estimate = Estimate.of(values)
        return cls(label, unit, estimate.effect, estimate.ci_low, estimate.ci_high)


@dataclass(frozen=True)
class ClaimResult:
    """What a lab found out about one claim.

    Attributes:
        id: The claim's name.
        sentence: What the lecture note says.
        experiment: What tests it.
        unit: Unit of the effects and of `null` and `smallest_effect`.
        direction: Sign of the effect that the sentence asserts, +1 or -1; 0 where it asserts that
            the measurement is `null` to within `smallest_effect`.
        null: Value of the measurement that counts as no effect.
        effect: Mean over the seeds minus `null`; None if unknown, as are the bounds.
        ci_low, ci_high: Its interval at confidence `level`.
        n_seeds: Seeds in the interval.
        smallest_effect: Smallest effect that counts.
        smallest_effect_source: Where that number comes from.
        level: Confidence of the interval.
        verdict: The verdict; None below the first look.
        look: Number of seeds at which the verdict fell; None if none fell.
        estimates: The effect at each look up to the verdict.
        controls, parts: Results of the claim's controls, and the numbers beside the effect.
        figures: Names of the figures that show it.
        notes: Sentences the report prints with it, for instance about diverged runs.
    """

    id: str
    sentence: str
    experiment: str
    unit: str
    direction: int
    null: float
    effect: float | None
    ci_low: float | None
    ci_high: float | None
    n_seeds: int
    smallest_effect: float
    smallest_effect_source: str
    level: float
    verdict: Verdict | None
    look: int | None
    estimates: tuple[Estimate, ...] = ()
    controls: tuple[ControlResult, ...] = ()
    parts: tuple[PartResult, ...] = ()
    figures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_unconfirmed(self) -> bool:
        """Whether it shows an effect that a negative control may show as well, being undecided."""
        # The control of a claim that asserts a value may be elsewhere, as a contradiction is.
        shown = ("supported", "contradicted") if self.direction else ("supported",)
        found = ((control.kind, control.verdict) for control in self.controls)
        return self.verdict in shown and ("negative", "undecided") in found
