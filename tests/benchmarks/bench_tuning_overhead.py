"""Seconds a trial costs outside `model.fit`: asking, telling, building, resetting, writing.

python tests/benchmarks/bench_tuning_overhead.py [--trials 30] [--long 2000]

One worker thread in this process, so that the time within `fit` (tracing included) can be taken off
that of the whole search; and, for what grows with the number of trials, the same with executions
that take no time. Their accuracy is smooth in the strengths: on one that is chance alone, Bayesian
optimization has nothing to climb and asks far too fast. To compare: 2 % of a trial of 10 s are
0.2 s. And the seconds to open, resume and summarise a long search, read from its folder as in a new
session; it is a random one, so fits of an oracle do not count.
"""

import contextlib
import io
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from machine import begin

sys.path.insert(0, str(Path(__file__).parents[1] / "tuning"))

LIMIT, SESSION_LIMIT = 0.2, 2.0


def real(trials: int) -> float:
    """Seconds a trial outside fit."""
    from tuning_searches import data_spec, our_tuner

    from dlip_reg.experiments import Workers
    from dlip_reg.tuning import RegularizationHyperModel

    inside, fit = [], RegularizationHyperModel.fit

    def timed(*arguments, **options):
        start = time.perf_counter()
        result = fit(*arguments, **options)
        inside.append(time.perf_counter() - start)
        return result

    RegularizationHyperModel.fit = timed
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            Workers(lambda: ThreadPoolExecutor(1), 1) as workers,
        ):
            tuner = our_tuner(Path(folder), workers, trials)
            start = time.perf_counter()
            tuner.search(data_spec(2000), epochs=2)
            seconds = time.perf_counter() - start
    finally:
        RegularizationHyperModel.fit = fit
    assert len(inside) == trials
    return (seconds - sum(inside)) / trials


def waiting(kind: str, trials: int) -> float:
    """Seconds a trial that a worker had nothing to do, where its trials take 3 s on average."""
    from fake_executions import FakeExecutions
    from tuning_samples import fake_search

    with tempfile.TemporaryDirectory() as folder:
        # Of three trials one sleeps so long, one twice and one three times that, in each of three
        # executions.
        fake = FakeExecutions(Path(folder) / "calls", seconds=0.5)
        start = time.perf_counter()
        fake_search(
            Path(folder), 1, kind, fake=fake, oracle={"max_trials": trials, "max_epochs": 9},
            executions_per_trial=3,
        )  # fmt: skip
        slept = sum(3 * fake.seconds * (1 + trial % 3) for trial in range(trials))
        return (time.perf_counter() - start - slept) / trials


def bookkeeping(kind: str, trials: int) -> float:
    """Seconds a trial of executions that take no time, three to a trial."""
    from tuning_samples import fake_search

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        fake_search(
            Path(folder), 1, kind, oracle={"max_trials": trials, "max_epochs": 9},
            executions_per_trial=3,
        )  # fmt: skip
        return (time.perf_counter() - start) / trials


def session(trials: int) -> dict[str, float]:
    """Seconds of what a new session does with a finished search of three executions a trial."""
    from fake_executions import FakeExecutions
    from tuning_samples import fake_search, make_tuner, run_fake, thread_workers

    from dlip_reg.tuning.results import best_json, execution_rows, trial_rows

    size, seconds = {"oracle": {"max_trials": trials}, "executions_per_trial": 3}, {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        fake_search(path, 2, **size)
        start = time.perf_counter()

        def lap(name: str) -> None:
            nonlocal start
            seconds[name] = time.perf_counter() - start
            start = time.perf_counter()

        tuner = make_tuner(path / "search", thread_workers(2), **size)
        lap("open")
        run_fake(tuner, FakeExecutions(path / "calls"))
        lap("resume")
        with contextlib.redirect_stdout(io.StringIO()):
            tuner.results_summary()
        lap("summarise")
        assert len(trial_rows(tuner)) == trials and len(execution_rows(tuner)) == 3 * trials
        assert best_json(tuner)
        lap("tables")
    return seconds


def main() -> None:
    options = begin(__doc__, trials=30, long=2000)
    from dlip_reg.training.process import configure_process

    configure_process()
    seconds = real(options.trials)
    share = 100 * seconds / 10
    print(f"\n{options.trials} trials of 2 epochs on 2,000 images, outside fit:")
    print(f"{seconds:.3f} s each, {share:.1f} % of a trial of 10 s (limit 2 %)\n")
    print("executions that take no time, 3 to a trial: seconds a trial")
    for kind in ("random", "hyperband", "bayesian"):
        few, many = (bookkeeping(kind, n) for n in (20, 100))
        verdict = "within" if max(few, many) <= LIMIT else "over"
        print(
            f"{kind:10} {few:.3f} with 20 trials, {many:.3f} with 100 ({verdict} {LIMIT})",
            flush=True,
        )
    print("\na worker's wait, where asking overlaps training: seconds a trial")
    for kind in ("random", "bayesian"):
        seconds = waiting(kind, 18)
        print(f"{kind:10} {seconds:.3f} ({'within' if seconds <= LIMIT else 'over'} {LIMIT})")
    print(f"\na new session of {options.long} trials: seconds")
    for name, seconds in session(options.long).items():
        verdict = "within" if seconds <= SESSION_LIMIT else "over"
        print(f"{name:10} {seconds:.2f} ({verdict} {SESSION_LIMIT:g})")


if __name__ == "__main__":
    main()
