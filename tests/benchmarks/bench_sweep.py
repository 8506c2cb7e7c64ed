"""Runs a minute of the sweep against the same runs one after the other with plain model.fit.

python tests/benchmarks/bench_sweep.py [--repetitions 3] [--seeds 3]

The runs are the first tuning runs of the regularization lab's quick preset. The sweep: a process
per core, one thread each, models compiled once for each structure. Plain: one process with
TensorFlow's default threads, every model freshly built and compiled, `fit`, then `evaluate` once on
the validation images. Both start in fresh processes in each repetition, in alternating order. The
seconds until TensorFlow is imported are reported separately and not counted; tracing is counted.
"""

import functools
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from machine import Timing, alone, begin, compare, timed

from dlip_reg.datasets import DATASET_NAMES, dataset_info
from dlip_reg.experiments import RunFolder, Sweep, local_workers
from dlip_reg.studies.arm_resolver import ArmResolver
from dlip_reg.studies.regularization import STUDY
from dlip_reg.studies.setting import Setting
from dlip_reg.training import RunSpec
from dlip_reg.training.process import configure_process, usable_cores
from dlip_reg.training.worker import load, run_spec

TARGET = 5


def sweep(specs: list[RunSpec]) -> Timing:
    """All runs as a lab does them."""
    start = time.perf_counter()
    with local_workers() as workers, tempfile.TemporaryDirectory() as folder:
        ready = [workers.submit(hold_until, time.time() + 5) for _ in range(workers.count)]
        held = max(future.result() for future in ready)
        start_up = time.perf_counter() - start - held
        results = RunFolder(Path(folder) / "out", {})
        results.open()
        runner = Sweep(
            results,
            dataset_info(specs[0].data.name).fingerprint,
            functools.partial(run_spec, data_dir=None),
            workers,
        )
        seconds, records = timed(lambda: runner.run(specs))
    assert len(records) == len(specs), runner.failures
    accuracy = statistics.mean(r.measures.val_accuracy for r in records.values())
    return Timing(start_up, seconds, accuracy)


def hold_until(moment: float) -> float:
    """Keeps one process busy, so that every other is started too; the seconds it waited."""
    configure_process()
    waited = max(0.0, moment - time.time())
    time.sleep(waited)
    return waited


def plain(specs: list[RunSpec]) -> Timing:
    """All runs one after the other in one process that nothing was set up for."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    return alone(fit_all, specs)


def fit_all(specs: list[RunSpec]) -> Timing:
    start = time.perf_counter()
    import keras

    from dlip_reg.training.model_functions import build

    start_up = time.perf_counter() - start
    start = time.perf_counter()
    accuracies = []
    for spec in specs:
        keras.utils.set_random_seed(spec.seed)
        data = load(spec.data, None, spec.seed)
        model = build(spec, data.input_shape, data.classes)
        model.compile(
            optimizer=keras.optimizers.Adam(spec.learning_rate),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        model.fit(
            data.x_train, data.y_train, batch_size=spec.batch_size, epochs=spec.epochs, verbose=0
        )
        _, accuracy = model.evaluate(data.x_validation, data.y_validation, verbose=0)
        accuracies.append(accuracy)
    return Timing(start_up, time.perf_counter() - start, statistics.mean(accuracies))


def trial_specs(seeds: int) -> list[RunSpec]:
    quick = STUDY.presets["quick"]
    # Whole batches: `fit` would take a step more for the rest, the sweep would not.
    preset = replace(quick, n_train=quick.n_train - quick.n_train % quick.batch_size)
    arms = STUDY.arms_for(Setting(preset, "lenet5", DATASET_NAMES[0]), STUDY.claims)
    # Plain `fit` below knows no optimizer but Adam.
    specs = [s for s in ArmResolver(arms, range(seeds)).requests() if s.optimizer == "adam"]
    return sorted(dict.fromkeys(specs), key=lambda spec: spec.seed)


def main() -> None:
    options = begin(__doc__, repetitions=3, seeds=3)
    specs = trial_specs(options.seeds)
    print(
        f"{len(specs)} runs of {specs[0].epochs} epochs on {specs[0].data.n_train} images; "
        f"the sweep in {usable_cores()} processes\n"
    )
    compare(
        functools.partial(sweep, specs),
        functools.partial(plain, specs),
        len(specs),
        options.repetitions,
        TARGET,
    )


if __name__ == "__main__":
    main()
