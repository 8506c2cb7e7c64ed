"""What `Sharpness()` at its defaults adds to an epoch of `fit`, and what its layers add to that.

python tests/benchmarks/bench_sharpness.py [--epochs 6] [--certify-every 1]

The seconds are those the callback logs, less its first two measurements, which trace; an epoch is
that of the same fit less what the callback took in it. Where images repeat to make up 60,000, an
epoch takes as long. Layers are measured on 2,048 images at initialisation and after 1 and 3 epochs,
against the whole by itself, each the second time, from the first one's vectors, and in turns.
"""

import time

import keras
from machine import begin, spread
from small_cnn import images, small_cnn, trained

from callbacks import Sharpness

TARGETS = {10_000: 0.25, 60_000: 0.03}  # of an epoch
LAYERS = 1.5  # times the whole


class Clock(keras.callbacks.Callback):
    """The seconds of each epoch's training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None) -> None:
        self.seconds.append(time.perf_counter() - self._start)


def watching(n: int, epochs: int, certify_every: int) -> None:
    """The share of an epoch over n images."""
    data = images(n)
    # The clock comes first, so that an epoch ends for it before anything is measured.
    clock, sharpness = Clock(), Sharpness(data, certify_every=certify_every)
    small_cnn().fit(*data, batch_size=128, epochs=epochs, verbose=0, callbacks=[clock, sharpness])
    seconds = [row["sharpness_seconds"] for row in sharpness.rows[2:]]
    shares = [s / epoch for s, epoch in zip(seconds, clock.seconds[1:], strict=True)]
    products = [row["lambda_max_products"] for row in sharpness.rows[2:]]
    print(f"\n{n} images, {sharpness.subset} measured, epochs 2 to {epochs}")
    print(f"an epoch            {spread(clock.seconds[1:])} s")
    print(f"Sharpness           {spread(seconds)} s, {spread(products, 0)} products")
    print(f"share of the epoch  {spread(shares)}, target at most {TARGETS[n]}")
    print(f"mean share          {sum(seconds) / sum(clock.seconds[1:]):.2f}")


def by_layer() -> None:
    """The layers' seconds over those of the whole."""
    model, data = small_cnn(), images(2048)
    recorders = [Sharpness(data, subset=None, by=by) for by in (None, "layer")]
    print(f"\nlambda_max of 4 layers over that of the whole, target at most {LAYERS}")
    for stage in trained(model):
        if stage > 3:
            break
        seconds = {}
        for _ in range(2):
            for recorder in recorders:
                recorder.set_model(model)
                recorder.prepare()
                recorder.measure()
                seconds[recorder.by] = recorder.measure()[0]
        whole, both = (seconds[by]["sharpness_seconds"] for by in (None, "layer"))
        products = [v for k, v in seconds["layer"].items() if "products" in k]
        print(f"{stage:3} epochs: {whole:.2f} s, layers {(both - whole) / whole:.2f} times as long")
        print(f"    products of the whole and the layers {products}")


def main() -> None:
    options = begin(__doc__, epochs=6, certify_every=1)
    by_layer()
    for n in TARGETS:
        watching(n, options.epochs, options.certify_every)


if __name__ == "__main__":
    main()
