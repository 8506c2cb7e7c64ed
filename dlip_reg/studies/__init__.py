"""Questions as data: arms, claims with controls, and `run_study`, which measures and judges them.

    study = Study(name="mine", arms=[...], claims=[...])
    result = run_study(study, preset="quick")
    result.claims, result.figures, result.report, result.to_dataframe()

See `labs/own_claim/README.md` for a claim of one's own, from copying an example to a verdict.
"""

from dlip_reg.evidence.claims import ClaimResult, ControlResult
from dlip_reg.studies.drawing import draw_training, figure, together
from dlip_reg.studies.readings import (
    activations,
    at_matched_loss,
    at_the_end,
    finished_trials,
    gap,
    is_finished,
    kernels,
    matched_difference,
    matching_notes,
    note,
    test_accuracy,
    test_loss,
    training_loss,
)
from dlip_reg.studies.result import StudyResult
from dlip_reg.studies.run import run_study
from dlip_reg.studies.runs import Runs, Trials
from dlip_reg.studies.study import (
    Arm,
    Chosen,
    Claim,
    Control,
    Figures,
    Measurement,
    Part,
    Preset,
    Setting,
    Study,
    StudyGroup,
    Tuning,
    changed,
    negative,
    positive,
    times,
    varied,
)
from dlip_reg.studies.workspace import NoResultsError, UsageError

__all__ = [
    "Arm",
    "Chosen",
    "Claim",
    "ClaimResult",
    "Control",
    "ControlResult",
    "Figures",
    "Measurement",
    "NoResultsError",
    "Part",
    "Preset",
    "Runs",
    "Setting",
    "Study",
    "StudyGroup",
    "StudyResult",
    "Trials",
    "Tuning",
    "UsageError",
    "activations",
    "at_matched_loss",
    "at_the_end",
    "changed",
    "draw_training",
    "figure",
    "finished_trials",
    "gap",
    "is_finished",
    "kernels",
    "matched_difference",
    "matching_notes",
    "negative",
    "note",
    "positive",
    "run_study",
    "test_accuracy",
    "test_loss",
    "times",
    "together",
    "training_loss",
    "varied",
]
