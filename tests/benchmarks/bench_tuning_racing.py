"""What racing saves, and how often it finds the same best trial.

python tests/benchmarks/bench_tuning_racing.py [--trials 24] [--seeds 5] [--recorded 10] [--out DIR]
    [--range 1e-5 1e-2]

A small CNN on 2,000 images, whose L2 strengths are searched in a range. What racing can save
depends on how far the trials' true scores are apart, beside their scatter over seeds: both are
printed. First every trial is trained with `--recorded` seeds; with `--out` that
is kept, and resumes. Repeated searches are then simulated on the recorded scores: each takes
`--seeds` of the recorded seeds and the trials in another order, once with all executions and once
as a race by the tuner's own rule. Searches that share seeds are not independent. At the end one
race is really run, with as many workers as cores, and compared with the search without racing.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import numpy as np
from machine import begin

sys.path.insert(0, str(Path(__file__).parents[1] / "tuning"))

IMAGES = 2000
TARGETS = {"share": 0.5, "same": 0.9}


def searched(folder: Path, trials: int, epochs: int, workers, strengths, **options):
    """The finished search's tuner."""
    from tuning_searches import data_spec, our_tuner

    tuner = our_tuner(folder, workers, trials, strengths=strengths, **options)
    tuner.search(data_spec(IMAGES), epochs=epochs)
    return tuner


def main() -> None:
    options = begin(
        __doc__,
        trials=24,
        seeds=5,
        recorded=10,
        epochs=5,
        searches=1000,
        range=(1e-5, 1e-2),
        out=Path,
    )
    from simulated_races import simulated_race

    from dlip_reg.experiments import local_workers

    with contextlib.ExitStack() as stack:
        workers = stack.enter_context(local_workers())
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        out = options.out or scratch / "recorded"
        size = (options.trials, options.epochs, workers, tuple(options.range))
        whole = searched(out, *size, executions_per_trial=options.recorded)
        scores = np.array(
            [[r.score for r in whole.executions(t)] for t in whole.oracle.trials.values()]
        )
        means = scores.mean(1)
        residuals = scores - scores.mean(0) - means[:, None] + means.mean()
        freedom = (scores.shape[0] - 1) * (scores.shape[1] - 1)
        scatter = ((residuals**2).sum() / freedom) ** 0.5
        print(
            f"\nmean scores {means.min():.4f} to {means.max():.4f}, median {np.median(means):.4f}; "
            f"scatter of a score without the effects of trials and seeds {scatter:.4f}"
        )
        print(f"{options.trials} trials of {options.epochs} epochs, {options.seeds} seeds each")
        print(f"{options.searches} searches simulated on {options.recorded} recorded seeds:")
        random, same, looks, lost = np.random.default_rng(0), [], [], []
        for _ in range(options.searches):
            seeds = random.permutation(options.recorded)[: options.seeds]
            table = scores[random.permutation(len(scores))][:, seeds]
            best, looked = simulated_race(table)
            means = table.mean(1)
            same.append(means[best] == means.max())
            looks.append(looked / table.size)
            lost.append(means.max() - means[best])
        print(
            f"the same best trial in {100 * np.mean(same):.1f} % "
            f"(target {100 * TARGETS['same']:g}), executions {100 * np.mean(looks):.0f} % "
            f"of all (target {100 * TARGETS['share']:g}), "
            f"{100 * np.quantile(looks, 0.05):.0f} to {100 * np.quantile(looks, 0.95):.0f} in nine "
            f"of ten; mean score lost {np.mean(lost):.5f}",
            flush=True,
        )
        raced = searched(scratch / "raced", *size, executions_per_trial=options.seeds, racing=True)
        found, means = raced.oracle.get_best_trials(1)[0], scores[:, : options.seeds].mean(1)
        print(f"\none race with {workers.count} workers: {raced.racing_summary()}")
        print(f"best trial {int(found.trial_id)}, without racing {int(means.argmax())}")


if __name__ == "__main__":
    main()
