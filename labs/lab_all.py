"""Measure the whole lecture note: all labs in one report.

python labs/lab_all.py                    the standard preset of each
python labs/lab_all.py --preset quick     a first look
python labs/lab_all.py --list-claims      what is measured
"""

from __future__ import annotations

import sys

import lab_batch_norm
import lab_batch_size
import lab_regularization
from front_door import Labs, main

LAB = Labs(
    name="lab_all",
    title="The lecture note, sentence by sentence, measured",
    lead="What the lecture note says about batch normalization, regularization and batch size, "
    "held against runs on real images: an effect, an interval over seeds, and the verdict of a "
    "rule that was fixed before the data was seen.",
    description=__doc__.splitlines()[0],
    labs=[lab_batch_norm.LAB, lab_regularization.LAB, lab_batch_size.LAB],
)

if __name__ == "__main__":
    sys.exit(main(LAB))
