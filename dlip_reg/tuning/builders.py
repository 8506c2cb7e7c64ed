"""A caller's own builder: a function that other processes can import, and what it was given."""

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
    """What is within `functools.partial`s, and the arguments and keywords that they give it."""
    arguments: tuple = ()
    keywords: dict[str, Any] = {}
    while isinstance(model, functools.partial):
        arguments, keywords = (*model.args, *arguments), {**model.keywords, **keywords}
        model = model.func
    return model, arguments, keywords


def model_name(model: str | Callable) -> str:
    """What a search knows the model by: the builder's name, with all that it was given.

    ValueError for a builder that this cannot tell from another, or that cannot be sent.
    """
    if isinstance(model, str):
        return model
    function, arguments, keywords = unwrapped(model)
    if not inspect.isfunction(function):
        raise ValueError(f"{_ACCEPTED}, not {model!r}.")
    try:
        pickle.dumps(function)
        parts = [json.dumps(value, sort_keys=True, allow_nan=False) for value in arguments]
        parts += [
            f"{name}={json.dumps(value, sort_keys=True, allow_nan=False)}"
            for name, value in sorted(keywords.items())
        ]
    except Exception as error:  # of many kinds
        raise ValueError(f"{_ACCEPTED}: {error}.") from error
    name = f"{function.__module__}.{function.__qualname__}"
    return f"{name}({', '.join(parts)})" if parts else name
