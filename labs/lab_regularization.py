"""Measure what the lecture note says about dropout, L1 and L2, and write a report.

python labs/lab_regularization.py                    the standard preset
python labs/lab_regularization.py --preset quick     a first look
python labs/lab_regularization.py --list-claims      what is measured
"""

import sys

from dlip_reg import cli
from dlip_reg.studies.regularization import STUDY

if __name__ == "__main__":
    sys.exit(cli.main(STUDY))
