"""Questions as data: arms, claims with controls, and `run_study`, which measures and judges them.

    study = Study(name="mine", arms=[...], claims=[...])
    result = run_study(study, preset="quick")
    result.claims, result.figures, result.report, result.to_dataframe()

See `labs/own_claim/README.md` for a claim of your own, from copying an example to a verdict.
"""

from dlip_reg.studies.arm import (
    Arm as Arm,
    Arms as Arms,
    Tuning as Tuning,
    changed as changed,
    times as times,
    varied as varied,
)
from dlip_reg.studies.claim import (
    Claim as Claim,
    Control as Control,
    Measured as Measured,
    Measurement as Measurement,
    Part as Part,
    claimed as claimed,
    controlled as controlled,
    drawn_by as drawn_by,
    negative as negative,
    positive as positive,
)
from dlip_reg.studies.drawing import (
    Figures as Figures,
    draw_training as draw_training,
    figure as figure,
    together as together,
)
from dlip_reg.studies.readings import (
    activations as activations,
    at_matched_loss as at_matched_loss,
    at_the_end as at_the_end,
    gap as gap,
    is_finished as is_finished,
    kernels as kernels,
    matched_difference as matched_difference,
    matching_notes as matching_notes,
    test_accuracy as test_accuracy,
    test_loss as test_loss,
    training_loss as training_loss,
)
from dlip_reg.studies.result import StudyResult as StudyResult
from dlip_reg.studies.run import run_study as run_study
from dlip_reg.studies.runs import Runs as Runs, Trials as Trials
from dlip_reg.studies.setting import Preset as Preset, Setting as Setting
from dlip_reg.studies.study import Study as Study, StudyGroup as StudyGroup
from dlip_reg.studies.workspace import NoResultsError as NoResultsError, UsageError as UsageError
