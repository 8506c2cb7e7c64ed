"""How much a strength's score wavers over repeated searches, paired and not, at equal cost.

python tests/benchmarks/bench_tuning_pairing.py [--searches 8] [--strengths 6] [--images 2000]

The same strengths are searched again and again, one training each. keras-tuner draws new initial
weights and a new order of examples for every trial; ours draws them once for a search, from a seed
that here differs from search to search (as it stands, ParallelTuner's seeds are fixed and a
repeated search gives the same scores). A search ranks its trials, so what counts is a score less
the mean of its search; its standard deviation over searches, pooled over strengths, is compared.
"""

import argparse
import contextlib
import io
import logging
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from machine import describe

EPOCHS = 5


def ours(strengths, searches: int, images: int) -> list[list[float]]:
    """Search -> score of every strength."""
    from tuning_searches import cnn, data_spec, load

    from dlip_reg.regularization import Regularization
    from dlip_reg.training import RunSpec
    from dlip_reg.tuning.execution import ExecutionSpec, _executed

    base = RunSpec("cnn", data_spec(images), epochs=EPOCHS)
    data = load(images)  # one split for all, as keras-tuner has it
    return [
        [
            _executed(
                ExecutionSpec(
                    replace(base, regularization=Regularization(**values), seed=1000 + search),
                    "0", 0, build=cnn,
                ),
                data,
            )["measures"]["val_accuracy"]
            for values in strengths
        ]
        for search in range(searches)
    ]  # fmt: skip


def stock(strengths, searches: int, images: int) -> list[list[float]]:
    import keras
    from tuning_searches import load, run_stock

    data, scores = load(images), []
    for search in range(searches):
        keras.utils.set_random_seed(1000 + search)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            tuner = run_stock(Path(folder), strengths, data, EPOCHS, seed=1000 * (search + 1))
        scores.append([trial.score for trial in tuner.oracle.trials.values()])
    return scores


def wavering(scores: list[list[float]]) -> float:
    """Pooled standard deviation over searches of a strength's score less its search's mean."""
    centred = [[value - statistics.mean(row) for value in row] for row in scores]
    return (
        statistics.mean(statistics.variance(column) for column in zip(*centred, strict=True)) ** 0.5
    )


def raw(scores: list[list[float]]) -> float:
    return (
        statistics.mean(statistics.variance(column) for column in zip(*scores, strict=True)) ** 0.5
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", type=int, default=8)
    parser.add_argument("--strengths", type=int, default=6)
    parser.add_argument("--images", type=int, default=2000)
    options = parser.parse_args()
    print(describe("tensorflow", "keras", "keras-tuner"))
    from dlip_reg.training.process import configure_process

    configure_process()
    logging.disable(logging.WARNING)
    from tuning_searches import same_trials

    strengths = same_trials(options.strengths)
    found = {
        name: run(strengths, options.searches, options.images)
        for name, run in (("ours", ours), ("keras-tuner", stock))
    }
    print(f"\n{options.searches} searches over the same {options.strengths} strengths, accuracies")
    for name, scores in found.items():
        print(
            f"{name:12} less the search's mean {wavering(scores):.4f}   as it is {raw(scores):.4f}"
        )
    ratio = wavering(found["ours"]) / wavering(found["keras-tuner"])
    print(f"ratio {ratio:.2f}, target at most 0.33")


if __name__ == "__main__":
    main()
