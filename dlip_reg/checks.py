"""Validation of numbers and flags given as arguments.

Every function returns the value in Python's own type, or raises a ValueError that says
"NAME must be ..., not VALUE.". Python and NumPy scalars are accepted; bools and strings are not
numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field, fields
from typing import Any

import numpy as np


def require_bool(name: str, value: Any) -> bool:
    """Return `value`, which must be True or False.

    Raises:
        ValueError: For anything else, 0 and 1 included.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {value!r}.")
    return value


def require_whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Return a whole number from `least` to `most` as an int.

    Args:
        name: What the error message calls the value.
        value: An integer, Python's or NumPy's.
        least: The smallest accepted value.
        most: The largest accepted value; None for no limit.

    Raises:
        ValueError: For a value out of range or one that is not an integer (2.0 is not).
    """
    if not is_whole(value) or value < least or (most is not None and value > most):
        limits = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number {limits}, not {value!r}.")
    return int(value)


def require_positive(name: str, value: Any, accepted: str = "a finite number above 0") -> float:
    """Return a finite number above 0 as a float.

    Raises:
        ValueError: For any other value; `accepted` says what would have been right.
    """
    return require_number(name, value, accepted, lambda number: 0 < number < math.inf)


def require_rate(
    name: str, value: Any, accepted: str = "a number of at least 0 and below 1"
) -> float:
    """Return a number of at least 0 and below 1, such as a dropout rate, as a float.

    Raises:
        ValueError: For any other value; `accepted` says what would have been right.
    """
    return require_number(name, value, accepted, lambda number: 0 <= number < 1)


def require_number(
    name: str, value: Any, accepted: str, is_valid: Callable[[float], bool]
) -> float:
    """Return a number that `is_valid` accepts as a float.

    Args:
        name: What the error message calls the value.
        value: A Python or NumPy scalar.
        accepted: What the error message says `name` must be, such as "a number above 0".
        is_valid: Tells for a float whether it is accepted; it is given NaN for what is no number.

    Raises:
        ValueError: For any other value.
    """
    try:
        number = math.nan if isinstance(value, bool | np.bool_ | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not is_valid(number):
        raise ValueError(f"{name} must be {accepted}, not {value!r}.")
    return number


def is_whole(value: Any) -> bool:
    """Whether `value` is an integer, Python's or NumPy's; True and False are not."""
    return hasattr(value, "__index__") and not isinstance(value, bool | np.bool_)


def checked(check: Callable[[str, Any], Any], default: Any) -> Any:
    """A field, with a default, of a dataclass that calls `store_checked` in its `__post_init__`.

    Args:
        check: Returns what is stored for (name, value), or raises a ValueError.
        default: The field's default.
    """
    return field(default=default, metadata={"check": check})


def optional(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """The same check that also accepts None."""
    return lambda name, value: None if value is None else check(name, value)


def store_checked(instance: Any) -> None:
    """Store what the check of each field of a dataclass returns, be it frozen or not.

    A field's check is its `metadata["check"]`.
    """
    for item in fields(instance):
        if check := item.metadata.get("check"):
            value = check(item.name, getattr(instance, item.name))
            object.__setattr__(instance, item.name, value)
