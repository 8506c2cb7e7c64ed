"""The tuning lab: convolution and dense L2 strengths, searched separate and tied."""

from dlip_reg.studies.strength_search.study import (
    DEFAULT_MODEL as DEFAULT_MODEL,
    NAME as NAME,
    PRESETS as PRESETS,
    run_strength_searches as run_strength_searches,
)
