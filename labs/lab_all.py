"""Measure the whole lecture note: all labs in one report.

python labs/lab_all.py                    the standard preset of each
python labs/lab_all.py --preset quick     a first look
python labs/lab_all.py --list-claims      what is measured
"""

import sys

from dlip_reg import cli
from dlip_reg.studies.all import STUDY

if __name__ == "__main__":
    sys.exit(cli.main(STUDY))
