"""Builders of the course's networks, in the manner of `keras.applications`.

    from dlip_reg.models import lenet5

    model = lenet5(input_shape=(28, 28, 1), classes=10, dense_dropout=0.5)

Every builder takes `input_shape`, `classes` and the options of `BuilderOptions`, and returns an
uncompiled functional `keras.Model`. Importing this package imports no Keras: a builder brings it
along when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from typing import Any

from dlip_reg.lazy import lazy_exports
from dlip_reg.models.options import BuilderOptions

MODEL_NAMES = (
    *("mlp", "lenet5", "alexnet"),
    *("vgg_small", "vgg11", "vgg16", "vgg19"),
    *("resnet_small", "resnet20", "resnet32", "resnet44", "resnet56", "resnet18", "resnet34"),
)

_OWN_OPTIONS = {"mlp": ("hidden",), "lenet5": ("classic",)}

__all__ = ["MODEL_NAMES", "BuilderOptions", "get_builder", "option_names", *MODEL_NAMES]


def get_builder(name: str) -> Callable[..., Any]:
    """The builder of that name, or a model function; imports Keras.

    Args:
        name: One of `MODEL_NAMES`, or "package.module:function".

    Raises:
        ValueError: There is no builder of that name.
        ImportError, AttributeError: There is no such module or function.
    """
    module, _, function = str(name).partition(":")
    if function:
        return getattr(import_module(module), function)
    if name not in MODEL_NAMES:
        raise ValueError(f"Unknown model {name!r}; known are {', '.join(MODEL_NAMES)}.")
    return __getattr__(name)


def option_names(name: str) -> tuple[str, ...]:
    """Return the options of a builder, besides `input_shape`, `classes` and `name`.

    Args:
        name: One of `MODEL_NAMES`.
    """
    return (*_OWN_OPTIONS.get(name, ()), *(field.name for field in fields(BuilderOptions)))


__getattr__, __dir__, _ = lazy_exports(__name__, {"builders": " ".join(MODEL_NAMES)})
