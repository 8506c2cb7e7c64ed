"""The functions that worker processes run on a specification."""

import functools
import threading
import warnings
from collections.abc import Callable
from typing import Any

from dlip_reg.datasets import Dataset, as_grey, load_dataset
from dlip_reg.training.process import configure_at_full_speed, configure_process
from dlip_reg.training.records import Record
from dlip_reg.training.specification import DataSpec, RunSpec, Spec

# Keras' seed and the models that are trained again and again are the process's own, and a Dask
# worker may have more threads than one.
one_at_a_time = threading.Lock()


def run_spec(spec: Spec, data_dir: str | None = None) -> Record:
    """Return the record of `spec`; `data_dir` is the folder of full data sets on this machine."""
    with one_at_a_time:
        configure_process()
        return _run(spec, data_dir)


def run_timed(spec: Spec, data_dir: str | None = None) -> Record:
    """Return the record of `spec`, measured with all threads of the machine."""
    configure_at_full_speed()
    return _run(spec, data_dir)


def _run(spec: Spec, data_dir: str | None) -> Record:
    from dlip_reg.training.keras_settings import default_keras_settings

    with default_keras_settings():
        return _runner(spec)(spec, load(spec.data, data_dir, spec.seed))


def _runner(spec: Spec) -> Callable[[Any, Dataset], Record]:
    """The function that makes the record of a specification of that kind."""
    from dlip_reg.training.interpolation import interpolate
    from dlip_reg.training.run import train
    from dlip_reg.training.throughput import measure_throughput

    runners: dict[str, Callable[[Any, Dataset], Record]]
    runners = {"run": train, "interpolation": interpolate, "throughput": measure_throughput}
    return runners[spec.kind]


def kernel_kinds(spec: RunSpec, data_dir: str | None = None) -> set[str]:
    """Return the kinds of kernels ("conv", "dense") in the model of `spec`, built on its data.

    Raises:
        ValueError: The model cannot be built or does not fit the data, or the data set lacks what
            `spec` asks for.
    """
    with one_at_a_time:
        configure_process()
        from callbacks.layers import kernel_layers
        from dlip_reg.training.fitting import compiled, require_effect
        from dlip_reg.training.keras_settings import default_keras_settings

        with default_keras_settings():
            dataset = load(spec.data, data_dir, spec.seed)
            kinds = {kind for kind, _ in kernel_layers(compiled(spec, dataset)).values()}
            require_effect(spec, dataset, kinds)
        return kinds


@functools.lru_cache(maxsize=2)  # a data set can take 100 MB
def load(data: DataSpec, data_dir: str | None, seed: int) -> Dataset:
    """Return the data set of that specification, split by `seed`; the last two stay in memory."""
    options = vars(data) | {"data_dir": data_dir, "seed": seed}
    is_grey = options.pop("grey")
    with warnings.catch_warnings():
        # Whoever began says so.
        warnings.filterwarnings("ignore", ".* cannot be read as PNG or JPEG and are left out: ")
        dataset = load_dataset(**options)
    return as_grey(dataset) if is_grey else dataset
