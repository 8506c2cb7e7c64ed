"""Keras' global settings, which a trial takes with it to its worker process."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras

_SETTINGS = (
    *("floatx", "epsilon", "image_data_format", "dtype_policy"),
    *("max_epochs", "max_steps_per_epoch"),
)


def keras_settings() -> dict[str, Any]:
    """Return Keras' global settings."""
    settings = {name: getattr(keras.config, name)() for name in _SETTINGS}
    return {**settings, "dtype_policy": settings["dtype_policy"].name}


@contextlib.contextmanager
def with_keras_settings(settings: Mapping[str, Any]) -> Iterator[None]:
    """Use these settings within the block, where Keras counts names from 0 ("dense", "dense_1").

    So layers and metrics have the same names in all executions: "auc", and not "auc_1", is what an
    objective or a callback names. keras-tuner, too, clears the session before it builds.
    """
    before = keras_settings()
    try:
        keras.utils.clear_session(free_memory=False)
        set_keras(settings)
        yield
    finally:
        set_keras(before)


def set_keras(settings: Mapping[str, Any]) -> None:
    """Make these Keras' global settings; its dtype policy is one of this thread alone."""
    for name in _SETTINGS:
        getattr(keras.config, f"set_{name}")(settings[name])


@contextlib.contextmanager
def no_warning_of_lambdas() -> Iterator[None]:
    """Do not warn in the block that a configuration with a lambda is unsafe: it stays here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The object being serialized includes a `lambda`")
        yield
