"""Tiny searches: on real images in worker processes, or of executions that train nothing."""

import math
from concurrent.futures import ThreadPoolExecutor

import keras
from fake_executions import FakeExecutions

from dlip_reg.datasets import load_dataset
from dlip_reg.experiments import Workers
from dlip_reg.training import DataSpec
from dlip_reg.tuning import ParallelTuner, RegularizationHyperModel, make_oracle, tuner

DATA = DataSpec("fashion_mnist_subset", n_train=60, n_validation=40, n_test=10)
SHAPE, CLASSES = (28, 28, 1), 10


def arrays():
    """The training and validation split of `DATA`, drawn by seed 0."""
    data = load_dataset(DATA.name, n_train=60, n_validation=40, n_test=10, seed=0)
    return (data.x_train, data.y_train), (data.x_validation, data.y_validation)


def l2_only(model="lenet5", **options):
    """A hypermodel over conv and dense L2 strengths."""
    options = {"l1": None, "dropout": None, "l2": (1e-4, 1e-1), "none": False, **options}
    shape = (SHAPE, CLASSES) if isinstance(model, str) else ()
    return RegularizationHyperModel(model, *shape, **options)


def make_tuner(path, workers, kind="random", hypermodel=None, oracle=None, **options):
    """A tuner in `path`; `oracle` are options of its oracle."""
    oracle = make_oracle(kind, **{"max_trials": 4, "max_epochs": 4, **(oracle or {})})
    return ParallelTuner(
        oracle,
        hypermodel or l2_only(points=2 if kind == "grid" else None),
        workers=workers,
        directory=path.parent,
        project_name=path.name,
        **options,
    )


# Builders that other processes can import.


def small_net(strengths, bias="zeros"):
    """A caller's own net: no builder of this package, and one layer without a kernel."""
    layers, l2 = keras.layers, keras.regularizers.L2
    last = {"bias_initializer": bias, "kernel_regularizer": l2(strengths.dense_l2)}
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(2, 5, 4, kernel_regularizer=l2(strengths.conv_l2)),
            layers.PReLU(alpha_initializer="random_normal"),
            layers.Flatten(),
            layers.Dropout(strengths.dense_dropout),
            layers.Dense(CLASSES, **last),
        ]
    )


def picky_net(strengths):
    """Refuses weak dense strengths."""
    if strengths.dense_l2 < 1e-3:
        raise RuntimeError(f"no net with {strengths.dense_l2:g}\nand a second line")
    return small_net(strengths)


def exploding_net(strengths):
    """Has outputs that are not finite from the start where the dense strength is weak."""
    weak = strengths.dense_l2 < 1e-3
    return small_net(strengths, bias=keras.initializers.Constant(math.inf if weak else 0.0))


# Executions that train nothing.


def thread_workers(count):
    return Workers(lambda: ThreadPoolExecutor(count), count)


def fake_search(path, workers, kind="random", fake=None, search=None, **options):
    """A finished search of `fake` executions in `path`/"search"."""
    calls = path / "calls"
    calls.mkdir(parents=True, exist_ok=True)
    pool = thread_workers(workers) if isinstance(workers, int) else workers
    found = make_tuner(path / "search", pool, kind, **options)
    with pool:
        run_fake(found, fake or FakeExecutions(calls), **(search or {}))
    return found


def run_fake(search, fake, epochs=2, **options):
    """Run the tuner `search` with `fake` executions, which no model is built for."""
    before = tuner.execute, tuner.check_search, tuner.configure_process
    tuner.execute, tuner.check_search, tuner.configure_process = fake, lambda *_: None, int
    try:
        search.search(DATA, epochs=epochs, **options)
    finally:
        tuner.execute, tuner.check_search, tuner.configure_process = before


def state_files(path, ordered=True):
    """Name and content of every file of the search but those that tell of time.

    Those whose lines are in the order of the endings are left out if that is not `ordered`.
    """
    left_out = {"timings.csv"} | (set() if ordered else {"log.jsonl", "executions.jsonl"})
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name not in left_out
    }


def damage_execution(path, trial):
    """Cut short the line of the trial's first execution in the folder of a search."""
    file = path / "executions.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    found = [n for n, line in enumerate(lines) if f'"trial": "{trial}", "number": 0' in line]
    for number in found:
        lines[number] = lines[number][:20] + "\n"
    assert found
    file.write_text("".join(lines))
