"""The lab with tiny presets and a fault, for what a sound run does not show.

python altered_lab.py FAULT ARGUMENTS...
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "labs"))

import lab_regularization
import session
from front_door import main

sound_run = session.run_spec


def run_in_vain(spec, data_dir=None):
    raise MemoryError("no room for the images\nand details nobody reads")


def die(spec, data_dir=None):
    os._exit(3)


def run_dropout_only(spec, data_dir=None):
    if not spec.regularization.dense_dropout:
        raise MemoryError("no room for the images\nand details nobody reads")
    return sound_run(spec, data_dir)


if __name__ == "__main__":
    fault = sys.argv[1]
    quick = lab_regularization.PRESETS["quick"]
    tiny = replace(quick, epochs=1, n_train=50, n_validation=50, n_test=50)
    if fault == "diverging":
        tiny = replace(tiny, learning_rate=1e30)
    elif fault == "dying":
        session.kernel_kinds = die
    else:
        session.run_spec = {"in vain": run_in_vain, "dropout only": run_dropout_only}[fault]
    lab_regularization.PRESETS["quick"] = tiny
    sys.exit(main(lab_regularization.LAB, sys.argv[2:]))
