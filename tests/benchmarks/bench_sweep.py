"""Runs per minute: the sweep against the same runs one after the other with plain `model.fit`.

    python tests/benchmarks/bench_sweep.py [REPETITIONS] [SEEDS]

Both sides train the regularization lab's nets at the size of its standard preset, one strength a
method, and end with the clean or plain evaluation of the validation split. The sweep has its worker
processes of one thread each, compiles each structure once a process and writes its records; plain
Keras runs in one process at its default number of threads, building and compiling each model anew,
with the data loaded before. Starting processes and importing TensorFlow is timed apart on both
sides. Target: a ratio of 1.6 or more on 2 cores.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from timing import print_machine, spread

from dlip_reg.datasets import dataset_fingerprint
from dlip_reg.experiments import RunFolder, Sweep, local_workers
from dlip_reg.experiments.executors import usable_cores
from dlip_reg.experiments.regularization import methods
from dlip_reg.experiments.worker import kernel_kinds, run_spec
from dlip_reg.training import DataSpec, RunSpec


def specifications(seeds: int) -> list[RunSpec]:
    """One run for each of the lab's methods and seeds, at a middle strength."""
    data = DataSpec("fashion_mnist_subset", n_train=1000, n_validation=2000)
    spec = RunSpec("lenet5", data, learning_rate=2e-3, epochs=15)
    return [
        replace(spec, regularization=method.trials[len(method.trials) // 2], seed=seed)
        for method in methods(9).values()
        for seed in range(seeds)
    ]


def time_sweep(specs: list[RunSpec]) -> tuple[float, float]:
    """Seconds to start the workers, and seconds for the runs."""
    with tempfile.TemporaryDirectory() as out, local_workers() as workers:
        begin = time.perf_counter()
        ready = [workers.submit(kernel_kinds, specs[0]) for _ in range(workers.count)]
        for future in ready:
            future.result()
        started = time.perf_counter()
        folder = RunFolder(Path(out), {})
        folder.open()
        sweep = Sweep(
            folder, dataset_fingerprint("fashion_mnist_subset"), partial(run_spec), workers
        )
        records = sweep.run(specs)
        if len(records) != len(specs):
            sys.exit(f"Some runs failed: {list(sweep.failures.values())[:1]}")
        return started - begin, time.perf_counter() - started


def time_plain(specs: list[RunSpec]) -> tuple[float, float]:
    """The same with plain Keras, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    begin = time.perf_counter()
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(plain_runs, []).result()
        started = time.perf_counter()
        return started - begin, pool.submit(plain_runs, specs).result()


def plain_runs(specs: list[RunSpec]) -> float:
    """Seconds for `specs` one after the other, as one would write it by hand."""
    import keras

    from dlip_reg.datasets import load_dataset
    from dlip_reg.models import get_builder

    data = {
        spec.seed: load_dataset(
            spec.data.name,
            n_train=spec.data.n_train,
            n_validation=spec.data.n_validation,
            seed=spec.seed,
        )
        for spec in specs
    }
    begin = time.perf_counter()
    for spec in specs:
        keras.utils.set_random_seed(spec.seed)
        own = data[spec.seed]
        model = get_builder(spec.model)(
            own.input_shape, own.classes, **spec.regularization.builder_options()
        )
        model.compile(
            keras.optimizers.Adam(spec.learning_rate),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        model.fit(
            own.x_train,
            own.y_train,
            batch_size=spec.batch_size,
            epochs=spec.epochs,
            verbose=0,
        )
        model.evaluate(own.x_validation, own.y_validation, verbose=0)
        keras.backend.clear_session()
    return time.perf_counter() - begin


def main(repetitions: int, seeds: int) -> None:
    """Both sides in turn, and the ratio of each pair."""
    print_machine()
    specs = specifications(seeds)
    print(f"{len(specs)} runs, {usable_cores()} workers, {repetitions} repetitions in turn")
    ratios, sweeps, plains = [], [], []
    for _ in range(repetitions):
        sweep_start, sweep = time_sweep(specs)
        plain_start, plain = time_plain(specs)
        sweeps.append(60 * len(specs) / sweep)
        plains.append(60 * len(specs) / plain)
        ratios.append(plain / sweep)
        print(
            f"  sweep {sweep:6.1f} s (start {sweep_start:.1f} s)   "
            f"plain {plain:6.1f} s (start {plain_start:.1f} s)   ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"runs per minute, sweep: {spread(sweeps)}")
    print(f"runs per minute, plain: {spread(plains)}")
    print(f"ratio: {spread(ratios)} (target 1.6)")


if __name__ == "__main__":
    main(*(int(argument) for argument in [*sys.argv[1:], *("3", "4")[len(sys.argv) - 1 :]]))
