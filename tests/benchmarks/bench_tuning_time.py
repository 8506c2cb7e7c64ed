"""Wall time of the same random trials: keras-tuner's RandomSearch over ParallelTuner.

python tests/benchmarks/bench_tuning_time.py [--repetitions 3] [--trials 24] [--epochs 5 1]
    [--not-reusable]

A small CNN on 2,000 images; with --not-reusable one that is traced anew for each trial. keras-
tuner: one process with TensorFlow's default threads, as its users write it. Ours: a process per
core, one thread each. Both in fresh processes in each repetition, by turns the one and the other
first; both try exactly the same strengths and have the same cost of validation at each epoch. What
it takes until TensorFlow is imported where it is needed (once a session) is told apart; "all told"
counts it for ours, and not for keras-tuner.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from machine import alone, begin, spread

IMAGES = 2000
TARGETS = {5: 4.5, 1: 5.0}  # epochs -> ratio
NOT_REUSABLE_TARGET = 1.7


class Timing(NamedTuple):
    start_up: float  # seconds until the workers are there
    seconds: float  # for all trials
    accuracy: float  # their mean score, to see that both do the same work


def ours(trials: int, epochs: int, reusable: bool) -> Timing:
    import logging

    from tuning_searches import data_spec, our_tuner, own_relu, warm

    from dlip_reg.experiments import local_workers

    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, local_workers() as workers:
        start = time.perf_counter()
        warm(workers)
        start_up = time.perf_counter() - start
        activation = "relu" if reusable else own_relu
        tuner = our_tuner(Path(folder), workers, trials, activation=activation)
        start = time.perf_counter()
        tuner.search(data_spec(IMAGES), epochs=epochs)
        seconds = time.perf_counter() - start
        scores = [trial.score for trial in tuner.oracle.trials.values()]
    return Timing(start_up, seconds, statistics.mean(scores))


def stock(trials: int, epochs: int, reusable: bool) -> Timing:
    import contextlib
    import io

    from tuning_searches import load, own_relu, run_stock, same_trials

    data, values = load(IMAGES), same_trials(trials)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        activation = "relu" if reusable else own_relu
        tuner = run_stock(Path(folder), values, data, epochs, activation=activation)
        seconds = time.perf_counter() - start
    scores = [trial.score for trial in tuner.oracle.trials.values()]
    assert len(scores) == trials and None not in scores
    return Timing(0.0, seconds, statistics.mean(scores))


def main() -> None:
    options = begin(__doc__, repetitions=3, trials=24, epochs=tuple(TARGETS), not_reusable=False)
    reusable = not options.not_reusable
    print(f"{options.trials} trials of a small CNN on {IMAGES} images\n")
    for epochs in options.epochs:
        print(f"{epochs} epochs a trial: seconds, mean accuracy, and seconds until workers start")
        rounds = []
        for repetition in range(options.repetitions):
            order = [ours, stock] if repetition % 2 == 0 else [stock, ours]
            timings = {run: alone(run, options.trials, epochs, reusable) for run in order}
            mine, theirs = timings[ours], timings[stock]
            rounds.append((theirs, mine))
            print(
                f"  keras-tuner {theirs.seconds:6.1f} ({theirs.accuracy:.3f})   "
                f"ours {mine.seconds:6.1f} ({mine.accuracy:.3f}), start {mine.start_up:.1f}   "
                f"ratio {theirs.seconds / mine.seconds:.2f}",
                flush=True,
            )
        ratios = [theirs.seconds / mine.seconds for theirs, mine in rounds]
        told = [theirs.seconds / (mine.seconds + mine.start_up) for theirs, mine in rounds]
        least = TARGETS.get(epochs) if reusable else NOT_REUSABLE_TARGET
        target = f", target {least}" if least else ""
        print(f"  ratio{target}: {spread(ratios)}; all told {spread(told)}\n", flush=True)


if __name__ == "__main__":
    main()
