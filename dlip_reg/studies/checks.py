"""Refuse, when a study is made, what would fail after all training."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from reprlib import repr as short
from typing import Any


def require_several(name: str, values: Any, kind: Any, accepted: str) -> None:
    """Refuse a single one in place of a list; a name would be read letter by letter."""
    is_list = isinstance(values, Sequence) and not isinstance(values, str)
    if not is_list or not all(isinstance(value, kind) for value in values):
        raise ValueError(f"{name} must be a list or tuple of {accepted}, not {short(values)}.")


def require_function(name: str, function: Any, *takes: str) -> None:
    """Refuse at once what would fail after all training."""
    try:
        inspect.signature(function).bind(*takes)
    except ValueError:  # of a function that is built in
        return
    except TypeError:
        accepted = " and ".join(takes)
        raise ValueError(
            f"{name} must be a function of {accepted}, not {short(function)}."
        ) from None


def require_texts(owner: Any, *names: str) -> None:
    """Refuse attributes that are not texts."""
    for name in names:
        if not isinstance(getattr(owner, name), str):
            raise ValueError(f"{name} must be a text, not {short(getattr(owner, name))}.")


def require_different(what: str, names: Sequence[str]) -> None:
    """Refuse two of one name."""
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"Two {what} are named {twice[0]!r}; each needs a name of its own.")
