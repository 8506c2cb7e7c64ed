"""All studies of the lecture note in one report."""

from dlip_reg.studies.batch_norm import STUDY as BATCH_NORM
from dlip_reg.studies.batch_size import STUDY as BATCH_SIZE
from dlip_reg.studies.regularization import STUDY as REGULARIZATION
from dlip_reg.studies.study import StudyGroup

STUDY = StudyGroup(
    name="lab_all",
    title="The lecture note, sentence by sentence, measured",
    lead="What the lecture note says about batch normalization, regularization and batch size, "
    "tested by runs on real images: an effect, an interval over seeds, controls, and the verdict "
    "of a rule that was fixed before the data was seen.",
    description="Measure the whole lecture note: all labs in one report.",
    studies=[BATCH_NORM, REGULARIZATION, BATCH_SIZE],
)
