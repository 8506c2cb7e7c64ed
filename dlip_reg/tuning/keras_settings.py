"""Keras' global settings, which a trial takes with it to its worker process."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from dlip_reg.training.keras_settings import keras_settings, set_keras


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


@contextlib.contextmanager
def no_warning_of_lambdas() -> Iterator[None]:
    """Do not warn in the block that a configuration with a lambda is unsafe: it stays here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The object being serialized includes a `lambda`")
        yield
