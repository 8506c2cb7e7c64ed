"""The top Hessian eigenvalue to 1e-3 on 2,048 images, against PyHessian and curvlinops + eigsh.

python tests/benchmarks/bench_top_eigenvalue.py [--repetitions 3] [--peers PYTHON] [--alone]

At initialisation and after 1, 3 and 20 epochs, on the same weights and data in one run: ours with
and without a certificate, begun on an eighth of the images (not with --alone), PyHessian at its
defaults, curvlinops' operator in scipy's eigsh with tol=1e-3. Repetitions start from other random
vectors. What is right is found by eigsh over PyTorch's float64 products.
"""

import math
from statistics import fmean, median

import numpy as np
from machine import begin, timed
from peers import CHUNK, Peers
from small_cnn import images, small_cnn, trained

from dlip_reg.curvature import LossFunction, top_eigenvalue

IMAGES = 2048
# Times as fast, geometric mean over stages: with a certificate, and without.
TARGETS = {"PyHessian": {True: 3, False: 5}, "curvlinops": {True: 6, False: 10}}
WAYS = {True: "certified", False: "not certified"}
TOLERANCE = 1e-3


def main() -> None:
    options = begin(__doc__, repetitions=3, peers=str, alone=False)
    model, data = small_cnn(), images(IMAGES)
    function = LossFunction(model, *data, batch_size=CHUNK)
    function.hessian_product(np.ones(function.size))  # traces
    few = None if options.alone else function.subset(IMAGES // 8, seed=0).hessian_product
    print("\nepochs  start     right", end="")
    for name in (*WAYS.values(), *TARGETS):
        print(f"  {name:>13} (products)  error", end="")
    ratios = {(name, certificate): [] for name in TARGETS for certificate in WAYS}
    worst = dict.fromkeys((*WAYS.values(), *TARGETS), 0.0)
    covered = True
    with Peers(options.peers) as peers:
        for stage in trained(model):
            peers.load(model.get_weights(), *data)
            right = peers.ask("reference")
            times = {name: [] for name in worst}

            def record(name: str, seconds: float, value: float, products: str = "") -> None:
                error = abs(value / right - 1)  # noqa: B023, called before the next stage
                worst[name] = max(worst[name], error)
                times[name].append(seconds)  # noqa: B023
                print(f"  {seconds:10.2f} s {products:>12} {error:.1e}", end="", flush=True)

            for seed in range(options.repetitions):
                print(f"\n{stage:6} {seed:6} {right:9.4f}", end="")
                for certificate, name in WAYS.items():
                    seconds, top = timed(
                        lambda seed=seed, certificate=certificate: top_eigenvalue(
                            function.hessian_product,
                            function.size,
                            approximate=few,
                            certificate=certificate,
                            seed=seed,
                        )
                    )
                    if certificate:
                        allowed = top.bound + 1e-5 * abs(right)  # float32
                        covered &= abs(top.value - right) <= allowed
                    record(name, seconds, top.value, f"({top.products})")
                for name in TARGETS:
                    record(name, *peers.ask("top_eigenvalue", name, seed))
            for name, certificate in ratios:
                ours = median(times[WAYS[certificate]])
                ratios[name, certificate].append(median(times[name]) / ours)
    print("\n")
    for (name, certificate), each in ratios.items():
        print(
            f"{name}: {math.exp(fmean(map(math.log, each))):.1f} times our time, "
            f"{WAYS[certificate]} (geometric mean; {min(each):.1f} to {max(each):.1f} over "
            f"stages), target at least {TARGETS[name][certificate]}"
        )
    for name, error in worst.items():
        print(f"Largest error of {name}: {error:.1e}; target at most {TOLERANCE} for ours.")
    print(f"The certificate covered the true error {'always' if covered else 'NOT always'}.")


if __name__ == "__main__":
    main()
