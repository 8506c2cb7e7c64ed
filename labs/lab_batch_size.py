"""Measure what the lecture note says about the batch size, and write a report.

python labs/lab_batch_size.py                        the standard preset
python labs/lab_batch_size.py --preset quick         a first look
python labs/lab_batch_size.py --list-claims          what is measured
python labs/lab_batch_size.py --paper keskar-f1 --data-dir FOLDER
                                                     Keskar et al. 2017, network F1, full MNIST
"""

import sys

from dlip_reg import cli
from dlip_reg.studies.batch_size import STUDY

if __name__ == "__main__":
    sys.exit(cli.main(STUDY))
