"""The tuning lab with a quick preset of few images.

python tiny_tuning.py ARGUMENTS...
"""

import sys
from dataclasses import replace

from dlip_reg.cli.tuning import main
from dlip_reg.tuning.strength_study import PRESETS

if __name__ == "__main__":
    PRESETS["quick"] = replace(PRESETS["quick"], n_train=100, n_validation=100, n_test=100)
    sys.exit(main())
