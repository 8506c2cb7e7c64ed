"""What a worker process is asked to do with a specification."""

from __future__ import annotations

import functools
import threading
from typing import Any

from dlip_reg.training.process import configure_process
from dlip_reg.training.specification import DataSpec, RunSpec

# Keras' seed and the models that are trained again and again are the process's own, and a Dask
# worker may have more threads than one.
_one_at_a_time = threading.Lock()


def run_spec(spec: RunSpec, data_dir: str | None = None) -> dict[str, Any]:
    """The record of `spec`; `data_dir` is where full data sets lie on this machine."""
    with _one_at_a_time:
        configure_process()
        from dlip_reg.training.run import train

        return train(spec, _dataset(spec.data, data_dir, spec.seed))


def kernel_kinds(spec: RunSpec, data_dir: str | None = None) -> set[str]:
    """The kinds of kernels ("conv", "dense") in the model of `spec`, built on its data.

    ValueError where the model cannot take the data, or the data cannot be had as `spec` wants it.
    """
    with _one_at_a_time:
        configure_process()
        from callbacks.layers import kernel_layers
        from dlip_reg.models import get_builder

        data = _dataset(spec.data, data_dir, spec.seed)
        model = get_builder(spec.model)(input_shape=data.input_shape, classes=data.classes)
        return {kind for kind, _ in kernel_layers(model).values()}


@functools.lru_cache(maxsize=2)  # runs come by seed, and a data set's copy can be 100 MB
def _dataset(data: DataSpec, data_dir: str | None, seed: int):
    from dlip_reg.datasets import load_dataset

    return load_dataset(
        data.name,
        data_dir,
        n_train=data.n_train,
        n_validation=data.n_validation,
        n_test=data.n_test,
        seed=seed,
    )
