"""Texts of the report that are docstrings: a claim's experiment, a figure's caption."""

import inspect
import re
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

_FIELD = re.compile(r"\{(\w+)(?::([^{}]*))?\}")


def paragraphs(function: Callable[..., Any], **values: Any) -> list[str]:
    """The paragraphs of a function's docstring, each as one line; at least one, maybe empty.

    "{NAME}" and "{NAME:FORMAT}" stand for one of `values` or a constant of the function's module;
    of a mapping or a list, the names or items joined by commas. A value may have paragraphs, too.
    """
    # What is no function, such as a partial one, has the docstring of its class.
    text = inspect.getdoc(function) if isinstance(function, FunctionType) else ""
    known = {**getattr(function, "__globals__", {}), **values}
    texts = (filled(paragraph, known) for paragraph in (text or "").split("\n\n"))
    return [paragraph for text in texts for paragraph in text.split("\n\n")]


def methods(values: Callable[[Any], Mapping[str, Any] | None]) -> Callable[[Any], dict[str, str]]:
    """Make a function of the preset the `facts` of a study.

    Its docstring has a paragraph "Name: text" for each fact after the first paragraph, with fields
    of the preset, and of what the function returns, if anything.
    """

    def facts(setting: Any) -> dict[str, str]:
        known = vars(setting.preset) | (values(setting.preset) or {})
        named = (text.partition(": ") for text in paragraphs(values, **known)[1:])
        return {name: text for name, _, text in named}

    return facts


def filled(text: str, known: Mapping[str, Any]) -> str:
    """The text on one line, with what is known in the place of its fields."""

    def value(field: re.Match[str]) -> str:
        name, form = field.groups(default="")
        if name not in known:
            return field[0]
        found = known[name]
        return ", ".join(map(str, found)) if isinstance(found, dict | list) else f"{found:{form}}"

    return _FIELD.sub(value, " ".join(text.split()))
