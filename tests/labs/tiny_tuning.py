"""The tuning lab with a quick preset of few images and, where they do not matter, few epochs.

python tiny_tuning.py ARGUMENTS...
"""

import sys
from dataclasses import replace

from dlip_reg.cli.tuning import main
from dlip_reg.studies.strength_search import PRESETS

if __name__ == "__main__":
    needs_epochs = {"hyperband", "--racing"} & {*sys.argv}
    epochs = PRESETS["quick"].epochs if needs_epochs else 2
    images = {"n_train": 100, "n_validation": 100, "n_test": 100}
    PRESETS["quick"] = replace(PRESETS["quick"], epochs=epochs, **images)
    sys.exit(main())
