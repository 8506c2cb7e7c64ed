"""Search convolution and dense L2 strengths, separate and tied, with keras-tuner's oracles.

python labs/lab_tuning.py                             random search, the standard preset
python labs/lab_tuning.py --tuner random,bayesian     two kinds of search, in one report
python labs/lab_tuning.py --folds 5 --racing          cross-validation; hopeless trials are stopped
python labs/lab_tuning.py --tied                      one strength for all layers
"""

import sys

from dlip_reg.cli.tuning import main

if __name__ == "__main__":
    sys.exit(main())
