"""Measure what the lecture note says about batch normalization, and write a report.

python labs/lab_batch_norm.py                        the standard preset
python labs/lab_batch_norm.py --preset quick         estimates in a few minutes
python labs/lab_batch_norm.py --list-claims          what is measured
python labs/lab_batch_norm.py --paper ioffe-fig1 --data-dir FOLDER
                                                     Ioffe & Szegedy 2015, figure 1, full MNIST
"""

import sys

from dlip_reg import cli
from dlip_reg.studies.batch_norm import STUDY

if __name__ == "__main__":
    sys.exit(cli.main(STUDY))
