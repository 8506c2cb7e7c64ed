"""The lecture note's statements as data, their measurements, and the verdict rule."""

from dlip_reg.claims.claim import Claim, Measurement, Part, judge_claims
from dlip_reg.claims.verdict import Question, Verdict, judge, t_interval

__all__ = [
    "Claim",
    "Measurement",
    "Part",
    "Question",
    "Verdict",
    "judge",
    "judge_claims",
    "t_interval",
]
