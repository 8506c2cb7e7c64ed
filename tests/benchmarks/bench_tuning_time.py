"""Wall time of the same random trials: keras-tuner's RandomSearch over ParallelTuner.

python tests/benchmarks/bench_tuning_time.py [--repetitions 3] [--trials 24] [--epochs 5 1]
    [--not-reusable]

A small CNN on 2,000 images; with --not-reusable one that is traced anew for each trial. keras-
tuner: one process with TensorFlow's default threads, as its users write it. Ours: a process per
core, one thread each. Both in fresh processes in each repetition, by turns the one and the other
first; both try exactly the same strengths and have the same cost of validation at each epoch. What
it takes until TensorFlow is imported where it is needed (once a session) is shown apart; "with
start-up" counts it for ours, and not for keras-tuner.
"""

import functools
import statistics
import tempfile
from pathlib import Path

from machine import Timing, alone, begin, compare, timed

IMAGES = 2000
TARGETS = {5: 4.5, 1: 5.0}  # epochs -> ratio
NOT_REUSABLE_TARGET = 1.7


def ours(trials: int, epochs: int, reusable: bool) -> Timing:
    import logging

    from tuning_searches import data_spec, our_tuner, own_relu, warm

    from dlip_reg.experiments import local_workers

    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, local_workers() as workers:
        start_up, _ = timed(lambda: warm(workers))
        activation = "relu" if reusable else own_relu
        tuner = our_tuner(Path(folder), workers, trials, activation=activation)
        seconds, _ = timed(lambda: tuner.search(data_spec(IMAGES), epochs=epochs))
        scores = [trial.score for trial in tuner.oracle.trials.values()]
    return Timing(start_up, seconds, statistics.mean(scores))


def stock(trials: int, epochs: int, reusable: bool) -> Timing:
    import contextlib
    import io

    from tuning_searches import load, own_relu, run_stock, same_trials

    data, values = load(IMAGES), same_trials(trials)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        activation = "relu" if reusable else own_relu
        seconds, tuner = timed(
            lambda: run_stock(Path(folder), values, data, epochs, activation=activation)
        )
    scores = [trial.score for trial in tuner.oracle.trials.values()]
    assert len(scores) == trials and None not in scores
    return Timing(0.0, seconds, statistics.mean(scores))


def main() -> None:
    options = begin(__doc__, repetitions=3, trials=24, epochs=tuple(TARGETS), not_reusable=False)
    reusable = not options.not_reusable
    print(f"{options.trials} trials of a small CNN on {IMAGES} images\n")
    for epochs in options.epochs:
        print(f"{epochs} epochs a trial: seconds, mean accuracy, and seconds until workers start")
        size = options.trials, epochs, reusable
        compare(
            functools.partial(alone, ours, *size),
            functools.partial(alone, stock, *size),
            options.trials,
            options.repetitions,
            TARGETS.get(epochs) if reusable else NOT_REUSABLE_TARGET,
        )


if __name__ == "__main__":
    main()
