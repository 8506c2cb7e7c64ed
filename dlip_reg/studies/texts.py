"""Texts of the report that are docstrings: a claim's experiment, a figure's caption."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

_FIELD = re.compile(r"\{(\w+)(?::([^{}]*))?\}")


def paragraphs(function: Callable[..., Any], **values: Any) -> tuple[str, str]:
    """The first paragraph of a function's docstring, and the rest, each as one line.

    "{NAME}" and "{NAME:FORMAT}" stand for one of `values` or a constant of the function's module;
    of a mapping or a list, the names or items joined by commas.
    """
    first, _, rest = (inspect.getdoc(function) or "").partition("\n\n")
    known = {**getattr(function, "__globals__", {}), **values}
    return filled(first, known), filled(rest, known)


def filled(text: str, known: Mapping[str, Any]) -> str:
    """The text on one line, with what is known in the place of its fields."""

    def value(field: re.Match[str]) -> str:
        name, form = field.groups(default="")
        if name not in known:
            return field[0]
        found = known[name]
        return ", ".join(map(str, found)) if isinstance(found, dict | list) else f"{found:{form}}"

    return _FIELD.sub(value, " ".join(text.split()))
