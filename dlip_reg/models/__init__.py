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

from dlip_reg.models.options import BuilderOptions

# The family modules bear plural names, so that none hides the builder of the same name.
_FAMILIES = {
    "mlps": ("mlp",),
    "lenets": ("lenet5",),
    "alexnets": ("alexnet",),
    "vggs": ("vgg_small", "vgg11", "vgg16", "vgg19"),
    "resnets": (
        "resnet_small",
        "resnet20",
        "resnet32",
        "resnet44",
        "resnet56",
        "resnet18",
        "resnet34",
    ),
}
_MODULE_OF = {name: module for module, names in _FAMILIES.items() for name in names}

MODEL_NAMES: tuple[str, ...] = tuple(_MODULE_OF)

_OWN_OPTIONS = {"mlp": ("hidden",), "lenet5": ("classic",)}

__all__ = ["MODEL_NAMES", "BuilderOptions", "get_builder", "option_names", *MODEL_NAMES]


def get_builder(name: str) -> Callable[..., Any]:
    """The builder of that name (imports Keras); ValueError, listing all, for an unknown name."""
    if name not in _MODULE_OF:
        raise ValueError(f"Unknown model {name!r}; known are {', '.join(MODEL_NAMES)}.")
    return __getattr__(name)


def option_names(name: str) -> tuple[str, ...]:
    """Return the options of the builder of that name, besides `input_shape`, `classes`, `name`."""
    return (*_OWN_OPTIONS.get(name, ()), *(field.name for field in fields(BuilderOptions)))


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
