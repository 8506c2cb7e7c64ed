"""A program that sweeps fake runs: python sweep_controller.py FOLDER SECONDS local|process"""

import signal
import sys
from pathlib import Path

from fake_runs import FakeRun, make_specs, make_sweep, process_workers

from dlip_reg.experiments import local_workers

SPECS = make_specs(8)

if __name__ == "__main__":
    # A shell that starts the tests in the background lets them and their children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    path, seconds = Path(sys.argv[1]), float(sys.argv[2])
    start_workers = {"local": local_workers, "process": process_workers}[sys.argv[3]]
    try:
        with start_workers(2) as workers:
            make_sweep(path, FakeRun(path / "calls", seconds=seconds), workers).run(SPECS)
    except KeyboardInterrupt:
        sys.exit("stopped")
