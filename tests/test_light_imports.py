"""What answers at once, and plans runs, loads none of the large libraries."""

import subprocess
import sys

SCRIPT = """
import sys
from dlip_reg import curvature, models, regularization, training
from dlip_reg.datasets import load_dataset
from dlip_reg.training import worker

load_dataset("mnist_subset")
training.RunSpec("lenet5", training.DataSpec("mnist_subset"), optimizer="sgd").identity("data")
print({"keras", "matplotlib", "PIL", "tensorflow"} & set(sys.modules))
"""


def test_specifying_runs_and_loading_packaged_data_need_no_large_library():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
