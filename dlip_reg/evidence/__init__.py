"""Statistics of the labs: paired differences, matched loss, the verdict rule and its results.

Plain numbers in, plain values out. Nothing here knows what was measured, and scipy is imported
only when an interval is computed.
"""

from dlip_reg.evidence.claims import ClaimResult, ControlResult, PartResult
from dlip_reg.evidence.intervals import t_interval
from dlip_reg.evidence.matching import at_levels, common_levels, crossing, value_at
from dlip_reg.evidence.paired import (
    LOG_RATIO,
    NATS,
    POINTS,
    Values,
    log_ratio,
    mean_of,
    minus,
    per_seed,
    percent,
    slope,
)
from dlip_reg.evidence.rule import (
    ERROR_SPENT,
    LOOKS,
    Estimate,
    Judgement,
    Question,
    Verdict,
    expected_false_verdicts,
    judge,
)

__all__ = [
    "ERROR_SPENT",
    "LOG_RATIO",
    "LOOKS",
    "NATS",
    "POINTS",
    "ClaimResult",
    "ControlResult",
    "Estimate",
    "Judgement",
    "PartResult",
    "Question",
    "Values",
    "Verdict",
    "at_levels",
    "common_levels",
    "crossing",
    "expected_false_verdicts",
    "judge",
    "log_ratio",
    "mean_of",
    "minus",
    "per_seed",
    "percent",
    "slope",
    "t_interval",
    "value_at",
]
