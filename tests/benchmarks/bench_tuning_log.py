"""Seconds to open, resume and summarise a search of many trials.

python tests/benchmarks/bench_tuning_log.py [--trials 2000] [--executions 3]

The trials train nothing. What is timed is read from the folder by a new tuner, as in a new session.
The number of trials is random search's: fits of an oracle do not count.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path

from machine import describe

sys.path.insert(0, str(Path(__file__).parents[1] / "tuning"))

LIMIT = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--executions", type=int, default=3)
    options = parser.parse_args()
    print(describe("tensorflow", "keras", "keras-tuner"))
    from fake_executions import FakeExecutions
    from tuning_samples import fake_search, make_tuner, run_fake, thread_workers

    from dlip_reg.tuning.results import best_json, execution_rows, trial_rows

    size = {
        "oracle": {"max_trials": options.trials},
        "executions_per_trial": options.executions,
    }
    with tempfile.TemporaryDirectory() as folder:
        path, start = Path(folder), time.perf_counter()
        fake_search(path, 2, **size)
        taken = time.perf_counter() - start
        print(f"\n{options.trials} trials of {options.executions} executions: {taken:.1f} s")
        start = time.perf_counter()
        tuner = make_tuner(path / "search", thread_workers(2), **size)
        opened = time.perf_counter()
        run_fake(tuner, FakeExecutions(path / "calls"))
        resumed = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            tuner.results_summary()
        summarised = time.perf_counter()
        assert len(trial_rows(tuner)) == options.trials
        assert len(execution_rows(tuner)) == options.trials * options.executions
        assert best_json(tuner)
        tables = time.perf_counter()
    for name, seconds in {
        "open": opened - start,
        "resume": resumed - opened,
        "summarise": summarised - resumed,
        "tables": tables - summarised,
    }.items():
        print(f"{name:10} {seconds:.2f} s ({'within' if seconds <= LIMIT else 'over'} {LIMIT:g})")


if __name__ == "__main__":
    main()
