"""Questions as data: arms, claims with controls, and `run_study`, which measures and judges them.

    study = Study(name="mine", arms=[...], claims=[...])
    result = run_study(study, preset="quick")
    result.claims, result.figures, result.report, result.to_dataframe()

See `labs/own_claim/README.md` for a claim of one's own, from copying an example to a verdict.
"""

from dlip_reg.evidence.claims import ClaimResult, ControlResult
from dlip_reg.studies.drawing import draw_training
from dlip_reg.studies.readings import (
    activations,
    at_matched_loss,
    at_the_end,
    gap,
    kernels,
    matching_notes,
    test_loss,
    training_loss,
)
from dlip_reg.studies.result import StudyResult
from dlip_reg.studies.run import run_study
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import (
    Arm,
    Claim,
    Control,
    Measurement,
    Part,
    Preset,
    Setting,
    Study,
    StudyGroup,
    Tuning,
)
from dlip_reg.studies.workspace import NoResultsError, UsageError

__all__ = [
    "Arm",
    "Claim",
    "ClaimResult",
    "Control",
    "ControlResult",
    "Measurement",
    "NoResultsError",
    "Part",
    "Preset",
    "Runs",
    "Setting",
    "Study",
    "StudyGroup",
    "StudyResult",
    "Tuning",
    "UsageError",
    "activations",
    "at_matched_loss",
    "at_the_end",
    "draw_training",
    "gap",
    "kernels",
    "matching_notes",
    "run_study",
    "test_loss",
    "training_loss",
]
