"""What `Sharpness()` at its defaults adds to an epoch of `fit`.

python tests/benchmarks/bench_sharpness.py [--epochs 6]

The seconds are those the callback logs, less its first two measurements, which trace; an epoch is
that of the same fit less what the callback took in it. Where images repeat to make up 60,000, an
epoch takes as long.
"""

import argparse
import time

import keras
from machine import describe, spread
from small_cnn import images, small_cnn

from callbacks import Sharpness

TARGETS = {10_000: 0.60, 60_000: 0.15}  # of an epoch


class Clock(keras.callbacks.Callback):
    """The seconds of each epoch's training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None) -> None:
        self.seconds.append(time.perf_counter() - self._start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6)
    epochs = parser.parse_args().epochs
    print(describe("tensorflow", "keras", "numpy"))
    for n, target in TARGETS.items():
        data = images(n)
        # The clock comes first, so that an epoch ends for it before anything is measured.
        clock, sharpness = Clock(), Sharpness(data)
        small_cnn().fit(
            *data, batch_size=128, epochs=epochs, verbose=0, callbacks=[clock, sharpness]
        )
        seconds = [row["sharpness_seconds"] for row in sharpness.rows[2:]]
        shares = [s / epoch for s, epoch in zip(seconds, clock.seconds[1:], strict=True)]
        products = [row["lambda_max_products"] for row in sharpness.rows[2:]]
        print(f"\n{n} images, {sharpness.subset} measured, epochs 2 to {epochs}")
        print(f"an epoch            {spread(clock.seconds[1:])} s")
        print(f"Sharpness           {spread(seconds)} s, {spread(products, 0)} products")
        print(f"share of the epoch  {spread(shares)}, target at most {target}")


if __name__ == "__main__":
    main()
