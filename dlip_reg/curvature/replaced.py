"""A stand-in for an attribute, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """While open, `owner.name` is `value`; `owner` is a module or an object with a `__dict__`."""
    # Through vars(), for Keras layers watch their attributes being set.
    attributes = vars(owner)
    missing = object()
    before = attributes.get(name, missing)
    attributes[name] = value
    try:
        yield
    finally:
        if before is missing:
            del attributes[name]
        else:
            attributes[name] = before
