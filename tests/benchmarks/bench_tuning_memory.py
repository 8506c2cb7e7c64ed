"""Resident memory over a long search: ours, tuner and worker, and keras-tuner's.

python tests/benchmarks/bench_tuning_memory.py [--trials 200] [--stock-trials 30] [--not-reusable]

Trials of one epoch on 200 images; with --not-reusable of a model that is traced for each of them.
Linux only, since it reads /proc.
"""

import contextlib
import io
import tempfile
from pathlib import Path

from machine import alone, begin, status

FIRST, IMAGES = 10, 200


def ours(trials: int, reusable: bool) -> list[tuple[int, float, float]]:
    """(trials so far, MB of the tuner's process, MB of the worker)."""
    from tuning_searches import data_spec, our_tuner, own_relu

    from dlip_reg.experiments import local_workers

    rows = []
    with tempfile.TemporaryDirectory() as folder, local_workers(1) as workers:
        for number in sorted({FIRST, trials // 4, trials // 2, trials}):
            # The same search with more trials goes on from those that are there.
            activation = "relu" if reusable else own_relu
            tuner = our_tuner(Path(folder), workers, number, activation=activation)
            tuner.search(data_spec(IMAGES), epochs=1)
            rows.append((number, status("VmRSS"), workers.submit(status, "VmRSS").result()))
    return rows


def stock(trials: int) -> list[tuple[int, float]]:
    import keras
    from tuning_searches import load, same_trials, stock_tuner

    rows = []

    class Watch(keras.callbacks.Callback):
        done = 0

        def on_train_end(self, logs=None):
            Watch.done += 1
            if Watch.done in (FIRST, trials):
                rows.append((Watch.done, status("VmRSS")))

    data = load(IMAGES)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        tuner = stock_tuner(Path(folder), same_trials(trials))
        tuner.search(
            data.x_train, data.y_train, validation_data=(data.x_validation, data.y_validation),
            epochs=1, verbose=0, callbacks=[Watch()],
        )  # fmt: skip
    return rows


def main() -> None:
    options = begin(__doc__, trials=200, stock_trials=30, not_reusable=False)
    print("\nours: resident MB after so many trials\ntrials   tuner   worker")
    rows = alone(ours, options.trials, not options.not_reusable)
    for number, tuner, worker in rows:
        print(f"{number:6} {tuner:7.0f} {worker:8.0f}")
    (first, *start), (last, *end) = rows[0], rows[-1]
    for name, a, b in zip(("tuner", "worker"), start, end, strict=True):
        print(f"{name}: {b - a:+.1f} MB, {(b - a) / (last - first):+.3f} MB a trial")
    (first, a), (last, b) = alone(stock, options.stock_trials)
    print(f"\nkeras-tuner: {a:.0f} MB after {first} trials, {b:.0f} after {last}: "
          f"{(b - a) / (last - first):+.1f} MB a trial")  # fmt: skip


if __name__ == "__main__":
    main()
