"""Statistics of the labs: paired differences, matched loss, the verdict rule and its results.

Plain numbers in, plain values out. Nothing here knows what was measured, and scipy is imported
only when an interval is computed.
"""

from dlip_reg.evidence.claims import (
    ClaimResult as ClaimResult,
    ControlResult as ControlResult,
    PartResult as PartResult,
)
from dlip_reg.evidence.intervals import t_interval as t_interval
from dlip_reg.evidence.matching import (
    at_levels as at_levels,
    common_levels as common_levels,
    crossing as crossing,
    value_at as value_at,
)
from dlip_reg.evidence.paired import (
    FAILED as FAILED,
    LOG_RATIO as LOG_RATIO,
    NATS as NATS,
    POINTS as POINTS,
    Bound as Bound,
    Values as Values,
    are_mostly_bounds as are_mostly_bounds,
    by_seed as by_seed,
    failures_as_zero as failures_as_zero,
    log_ratio as log_ratio,
    mean_of as mean_of,
    minus as minus,
    nearer_to_zero as nearer_to_zero,
    of_certain_side as of_certain_side,
    percent as percent,
    slope as slope,
)
from dlip_reg.evidence.rule import (
    ERROR_SPENT as ERROR_SPENT,
    LOOKS as LOOKS,
    Estimate as Estimate,
    Judgement as Judgement,
    Question as Question,
    Verdict as Verdict,
    expected_false_verdicts as expected_false_verdicts,
    judge as judge,
    judge_looks as judge_looks,
)
