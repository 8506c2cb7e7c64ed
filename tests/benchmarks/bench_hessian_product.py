"""One Hessian-vector product over 2,048 images, against its gradient and against peers.

python tests/benchmarks/bench_hessian_product.py [--repetitions 7] [--peers PYTHON]

All take chunks of 256 images on the same weights and data, by turns in one run. `--peers` is the
interpreter of an environment that has PyHessian and curvlinops; without it one is made.
"""

import argparse

import numpy as np
from machine import describe, spread
from peers import CHUNK, Peers, timed
from small_cnn import images, small_cnn

from dlip_reg.curvature import LossFunction

IMAGES = 2048
MOST_GRADIENTS, MOST_OF_A_PEER = 2.5, 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--peers", metavar="PYTHON")
    options = parser.parse_args()
    print(describe("tensorflow", "keras", "numpy"))
    model, data = small_cnn(), images(IMAGES)
    function = LossFunction(model, *data, batch_size=CHUNK)
    rng = np.random.default_rng(0)
    runs = {"gradient": [], "ours": [], "PyHessian": [], "curvlinops": []}
    with Peers(options.peers) as peers:
        peers.load(model.get_weights(), *data)
        for repetition in range(options.repetitions + 1):
            taken = {
                "gradient": timed(function.gradient)[0],
                "ours": timed(lambda: function.hessian_product(rng.normal(size=function.size)))[0],
                "PyHessian": peers.ask("product", "PyHessian", repetition),
                "curvlinops": peers.ask("product", "curvlinops", repetition),
            }
            if repetition:  # the first one traces
                for name, seconds in taken.items():
                    runs[name].append(1000 * seconds)
    print(f"\nms for {IMAGES} images, median (min to max) of {options.repetitions}")
    for name, times in runs.items():
        print(f"{name:12} {spread(times, 0)}")
    gradients = np.divide(runs["ours"], runs["gradient"])
    print(f"\nproduct / gradient, target at most {MOST_GRADIENTS}: {spread(gradients)}")
    better = np.minimum(runs["PyHessian"], runs["curvlinops"])
    shares = np.divide(runs["ours"], better)
    print(f"product / better peer's, target at most {MOST_OF_A_PEER}: {spread(shares)}")


if __name__ == "__main__":
    main()
