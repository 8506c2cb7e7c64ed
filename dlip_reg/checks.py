"""Validation of numbers and flags given as arguments.

Every function returns the value in Python's own type, or raises a ValueError that says
"NAME must be ..., not VALUE.". Python and NumPy scalars are accepted; bools and strings are not
numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, field, fields
from typing import Any, Self

import numpy as np


def require_bool(name: str, value: Any) -> bool:
    """Return `value`, which must be True or False.

    Raises:
        ValueError: For anything else, 0 and 1 included.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {value!r}.")
    return value


def require_text(name: str, value: Any) -> str:
    """Return `value`, which must be a text that is not blank.

    Raises:
        ValueError: For anything else, a path included.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be a text that is not empty, not {value!r}.")
    return value


def several(value: Any) -> list[Any]:
    """The items of an argument that may be one value or several; a text is one."""
    return list(value) if np.iterable(value) and not isinstance(value, str) else [value]


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
        is_valid: Whether a float is accepted; it is given NaN for anything but a number.

    Raises:
        ValueError: For any other value.
    """
    try:
        number = math.nan if isinstance(value, bool | np.bool_ | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not is_valid(number):
        raise ValueError(f"{name} must be {accepted}, not {value!r}.")
    return number + 0.0  # -0.0 is equal to 0.0, but has another hash


def is_whole(value: Any) -> bool:
    """Whether `value` is an integer, Python's or NumPy's; True and False are not."""
    return hasattr(value, "__index__") and not isinstance(value, bool | np.bool_)


def number_check(accepted: str, is_valid: Callable[[float], bool]) -> Callable[[str, Any], float]:
    """`require_number` for these numbers, as a check of a field."""
    return lambda name, value: require_number(name, value, accepted, is_valid)


def optional(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """The same check that also accepts None."""
    return lambda name, value: None if value is None else check(name, value)


def checked(check: Callable[[str, Any], Any], default: Any = MISSING) -> Any:
    """A field of a `Checked` dataclass.

    Args:
        check: Returns what is stored for (name, value), or raises a ValueError.
        default: The field's default; without one the field is required.
    """
    return field(default=default, metadata={"check": check})


class Checked:
    """Base of dataclasses, frozen or not, that store what the check of each field returns."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]  # subclasses are
            if check := item.metadata.get("check"):
                value = check(item.name, getattr(self, item.name))
                object.__setattr__(self, item.name, value)

    @classmethod
    def from_names(cls, values: Mapping[str, Any], described: str) -> Self:
        """Return the instance with these values; ValueError for a name that is not a field.

        Args:
            values: Name -> value.
            described: What the error message calls a name.
        """
        known = [item.name for item in fields(cls)]  # type: ignore[arg-type]
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(
                f"Unknown {described} {', '.join(unknown)}; known are {', '.join(known)}."
            )
        return cls(**values)
