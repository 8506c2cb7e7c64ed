"""Claims in words: estimates with units, verdicts and controls."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dlip_reg.evidence.claims import ClaimResult, ControlResult, PartResult
from dlip_reg.evidence.rule import ERROR_SPENT, LOOKS
from dlip_reg.report.numbers import format_constant, format_estimate, format_ratio

Estimated = ClaimResult | ControlResult | PartResult

_POINTS, _LOG_RATIO = "percentage points", "log-ratio"
_WIDEST = 100  # a ratio whose interval goes further, on both sides, is unknown

VERDICTS = {  # verdict -> sign before the word, colour, marker: in grey the marker tells
    "supported": ("✓", "#00795A", "o"),
    "contradicted": ("✗", "#B34700", "X"),
    "no effect": ("≈", "#0067A3", "s"),
    "undecided": ("?", "#666666", "D"),
    "not measurable": ("⊘", "#7A4A9E", "P"),
    "estimate": ("~", "#666666", "|"),
}


def estimate_text(estimate: Estimated, unit: str, null: float = 0.0, beside: str = "") -> str:
    """Return "effect [low, high] unit", "effect unit (the same with every seed)" or "not measured".

    Args:
        estimate: Effect and interval.
        unit: Their unit. Differences of percentages end at ±100, percentages at 0 and 100.
        null: Value that was subtracted from the measurement; the text says so.
        beside: The unit of the claim beside which they are shown. It tells percentages of a whole,
            such as accuracies, from those that may be of any size.
    """
    low, effect, high = estimate.ci_low, estimate.effect, estimate.ci_high
    if effect is None or not math.isfinite(effect):
        return "not measured"
    is_share = unit == "%" and (beside == _POINTS or beside.startswith("share of "))
    if (unit == _POINTS or is_share) and low is not None and high is not None:
        low, high = max(low, 0 if is_share else -100 - null), min(high, 100 - null)
    same = " (the same with every seed)" if low is not None and low == high else ""
    relative = f" relative to {format_constant(null)}" if null else ""
    return f"{format_estimate(effect, low, high)} {unit}".rstrip() + relative + same


def ratio_text(
    estimate: Estimated, unit: str, null: float = 0.0, with_interval: bool = True
) -> str:
    """Return what a log-ratio means: "45 % smaller (from 53 % smaller to 36 % smaller)" or "".

    Without numbers where the interval goes beyond a factor of 100 on both sides.
    """
    low, effect, high = estimate.ci_low, estimate.effect, estimate.ci_high
    if unit != _LOG_RATIO or effect is None or not math.isfinite(effect):
        return ""
    if low is None or high is None or low == high:
        return format_ratio(effect + null)
    if min(-low - null, high + null) > math.log(_WIDEST):
        return f"may be over {_WIDEST} times smaller or larger"
    # Tenths of a per cent only where the interval is shorter than ±2 %.
    decimals = 1 if (high - low) / 2 * math.exp(min(effect + null, 300)) < 0.02 else 0
    text, *bounds = (format_ratio(number + null, decimals) for number in (effect, low, high))
    return f"{text} (from {' to '.join(bounds)})" if with_interval else text


def threshold_text(claim: ClaimResult) -> str:
    """Return the smallest relevant effect, with its sign: "−0.69 log-ratio (50 % smaller)"."""
    if not claim.direction:
        return f"within {format_constant(claim.smallest_effect)} of {format_constant(claim.null)}"
    smallest = claim.direction * claim.smallest_effect
    text = f"{format_constant(float(f'{smallest:.3g}'))} {claim.unit}"
    if claim.unit == _LOG_RATIO and not claim.null:
        text += f" ({format_ratio(smallest)})"
    return text


def verdict_name(verdict: str | None) -> str:
    """Return the verdict's name on the page; without a verdict there is an "estimate" alone."""
    return verdict or "estimate"


def seeds_text(seeds: int) -> str:
    """Return "1 seed" or "5 seeds"."""
    return f"{seeds} seed" + ("s" if seeds != 1 else "")


def level_text(level: float) -> str:
    """Return a confidence level: "95 %", "99.88 %"."""
    return f"{format_constant(float(f'{100 * level:.4g}'))} %"


def verdict_note(claim: ClaimResult, is_open: bool) -> str:
    """Return when the claim was decided, or what is missing for a verdict."""
    if claim.verdict == "not measurable":
        return "waits for its positive control: continues" if is_open else "a control fails"
    if claim.look is not None:
        decided = f"decided at the look at {seeds_text(claim.look)}"
        if is_open:
            return f"{decided}, waits for its negative control: continues"
        return decided + ", with a negative control that is undecided" * claim.is_unconfirmed
    if claim.verdict is None:
        return f"{seeds_text(claim.n_seeds)}: no verdict with fewer than {LOOKS[0]} seeds"
    seeds = seeds_text(look_reached(claim))
    return f"still open at {seeds}: continues" if is_open else f"after {seeds}"


def look_reached(claim: ClaimResult) -> int:
    """Return the number of seeds of the last look that a claim went through."""
    return LOOKS[max(len(claim.estimates), 1) - 1]


def control_status(control: ControlResult, claim: ClaimResult, is_open: bool = False) -> str:
    """Return "passes", "fails", "does not fail", "is not decided" or "is estimated"."""
    is_positive = control.kind == "positive"
    if claim.verdict == "not measurable" and not is_positive:
        if control.verdict == "undecided":
            # It may have gone through more looks than the claim.
            seeds = control.seeds or claim.look or look_reached(claim)
            if 2 * control.n_seeds < seeds:
                return "fails"
        if control.verdict == "contradicted" and _is_against(claim):
            return "fails"
    if control.verdict in (None, "undecided"):
        if is_positive and claim.verdict == "not measurable" and not is_open:
            return "fails"
        # An interval too wide for a verdict shows no effect, and does not show its absence either.
        if control.verdict is None:
            return "is estimated"
        return "is not decided" if is_positive else "does not fail"
    return "passes" if (control.verdict == "supported") == is_positive else "fails"


def _is_against(claim: ClaimResult) -> bool:
    """Whether the claim's own numbers contradict it, whatever its controls say."""
    if claim.look is None or claim.effect is None:
        return False
    return claim.direction * claim.effect < -claim.smallest_effect


def is_bounded(estimate: Estimated) -> bool:
    """Whether the interval is that of a bounded number, whose ends are not equally far away."""
    low, effect, high = estimate.ci_low, estimate.effect, estimate.ci_high
    if effect is None or low is None or high is None:
        return False
    return abs(high + low - 2 * effect) > 1e-6 * (high - low)


def open_text(claims: Sequence[ClaimResult], open_claims: Sequence[str], seeds: int | None) -> str:
    """Return "Look at 5 seeds: 3 of 8 claims are still open: ..."; "" if none is open.

    Fewer seeds than those of the first look give estimates.
    """
    still = [claim for claim in claims if claim.id in open_claims]
    if not still:
        return ""
    kind = "First estimates" if seeds and seeds < LOOKS[0] else "Look"
    look = f"{kind} at {seeds_text(seeds)}: " if seeds else ""
    verb = "claim is" if len(claims) == 1 else "claims are"
    return (
        f"{look}{len(still)} of {len(claims)} {verb} still open: "
        f"{', '.join(claim.id for claim in still)}. The study continues with more seeds for these "
        "and their controls."
    )


def looks_text(families: Sequence[int]) -> str:
    """Return the confidence levels of the looks of labs with so many claims each."""
    parts = []
    for seeds, spent in zip(LOOKS, ERROR_SPENT, strict=True):
        levels = dict.fromkeys(level_text(1 - spent / claims) for claims in families)
        share = f"{format_constant(100 * spent)} % at {seeds} seeds"
        parts.append(f"{share} (intervals of {', '.join(levels)})")
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
