"""Keras' global settings: those that change what is computed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras

# The policy is one of each thread.
DEFAULTS: dict[str, Any] = {
    "floatx": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
    "dtype_policy": "float32",
    "max_epochs": None,
    "max_steps_per_epoch": None,
}


def keras_settings() -> dict[str, Any]:
    """Return Keras' global settings, of the dtype policy its name."""
    settings = {name: getattr(keras.config, name)() for name in DEFAULTS}
    return {**settings, "dtype_policy": settings["dtype_policy"].name}


def set_keras(settings: Mapping[str, Any]) -> None:
    """Make these Keras' global settings; its dtype policy is one of this thread alone."""
    for name, value in settings.items():
        getattr(keras.config, f"set_{name}")(value)


@contextlib.contextmanager
def default_keras_settings() -> Iterator[None]:
    """Refuse other global settings than Keras' defaults, also if they are made within the block.

    They are not in the specification of a run, and would last to the runs that follow it.

    Raises:
        ValueError: A setting is another one.
    """
    _check()
    try:
        yield
    finally:
        try:
            _check()
        finally:
            set_keras(DEFAULTS)


def _check() -> None:
    for name, found in keras_settings().items():
        if found != DEFAULTS[name]:
            instead = ", and may give layers a dtype instead" * (name in ("dtype_policy", "floatx"))
            raise ValueError(
                f"Keras' global {name} must be {DEFAULTS[name]!r} in a run, not {found!r}: the "
                f"script and the model's file and function must leave it{instead}."
            )
