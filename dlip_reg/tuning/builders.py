"""A caller's own builder: a function that other processes can import, and its arguments."""

from __future__ import annotations

import functools
import inspect
import json
import pickle
from collections.abc import Callable
from typing import Any

_ACCEPTED = (
    "The model's builder must be a function that other processes can import, defined at the top "
    "level of a module, or a functools.partial of one with arguments that JSON can hold"
)


def unwrapped(model: Callable) -> tuple[Callable, tuple, dict[str, Any]]:
    """Return the function in a `functools.partial`, its arguments and its keywords."""
    if isinstance(model, functools.partial):
        return model.func, model.args, model.keywords
    return model, (), {}


def model_name(model: str | Callable) -> str:
    """Return what identifies the model in a search: the builder's name, with its arguments.

    Raises:
        ValueError: The builder cannot be told from another one, or cannot be sent to a process.
    """
    if isinstance(model, str):
        return model
    function, arguments, keywords = unwrapped(model)
    if not inspect.isfunction(function):
        raise ValueError(f"{_ACCEPTED}, not {model!r}.")
    named = [("", value) for value in arguments]
    named += [(f"{name}=", value) for name, value in sorted(keywords.items())]
    try:
        pickle.dumps(function)
        parts = [n + json.dumps(value, sort_keys=True, allow_nan=False) for n, value in named]
    except Exception as error:  # of many kinds
        raise ValueError(f"{_ACCEPTED}: {error}.") from error
    name = f"{function.__module__}.{function.__qualname__}"
    return f"{name}({', '.join(parts)})" if parts else name
