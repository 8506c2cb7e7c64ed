"""Checks of a probe's answer: its form, and the numbers in it.

Where student code runs in the process that answers, an answer may be anything that plain data can
say. `require` checks its form; what it says has to be held against values that the test knows from
elsewhere.
"""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlip_reg.grading.errors import RejectedError

EACH = "each"  # the key of a form for dicts with any keys
_SHOWN = reprlib.Repr()  # the beginning only: the text of all of an answer may take minutes
_SHOWN.maxother = _SHOWN.maxstring = 80


def require(answer: Any, form: Any) -> Any:
    """The answer, if it has the form: a type, [form of each item], (form of the first, of the
    second, ...), {key: form of its value} or {EACH: form of each value}.

    `np.ndarray` stands for arrays of real numbers. RejectedError, for staff to see, where it has
    not: no honest submission changes what a probe returns.
    """
    if not _has(answer, form):
        raise RejectedError("A probe's answer does not have the form that probes give it.")
    return answer


def number(answer: Any) -> float:
    """The answer as a number; AssertionError, for the student to read, where it is none."""
    return float(numbers(answer, (), "a number"))


def numbers(answer: Any, shape: tuple[int, ...], expected: str = "") -> np.ndarray:
    """The answer, such as a list, as an array of that shape; AssertionError, for the student to
    read, where it is none."""
    # Lists in it differ in length, or an integer is beyond all floats.
    with contextlib.suppress(ValueError, OverflowError):
        array = np.asarray(answer)
        # Integers of more than 64 bits are objects.
        known = array.dtype.kind in "fiu" or all(type(one) in (int, float) for one in array.flat)
        if known and array.shape == shape:
            return array.astype(float)
    expected = expected or f"numbers in the shape {shape}"
    raise AssertionError(f"The answer is {_SHOWN.repr(answer)[:80]}, expected {expected}.")


def _has(answer: Any, form: Any) -> bool:
    if isinstance(form, dict):
        if not isinstance(answer, dict):
            return False
        forms = dict.fromkeys(answer, form[EACH]) if EACH in form else form
        return answer.keys() == forms.keys() and all(_has(answer[key], forms[key]) for key in forms)
    if isinstance(form, list | tuple):
        if not isinstance(answer, list | tuple):
            return False
        each = form * len(answer) if isinstance(form, list) else form
        return len(answer) == len(each) and all(map(_has, answer, each))
    if form is np.ndarray:
        return isinstance(answer, np.ndarray) and answer.dtype.kind in "fiub"
    return isinstance(answer, form) and type(answer) is form


def same(a: float, b: float, rtol: float = 1e-3) -> bool:
    """Equal to 1 in 1,000: float32 over a few layers, with room for another order of sums. So are
    all numbers within 1e-8 of each other: multiply smaller ones first."""
    return bool(np.isclose(float(a), float(b), rtol=rtol))


def close(a: np.ndarray, b: np.ndarray, rtol: float = 1e-3) -> bool:
    """Equal up to `rtol` of the largest value, or of 1 where all are smaller: by default, to
    float32 through a few layers."""
    return a.shape == b.shape and bool(np.abs(a - b).max() <= rtol * max(1, np.abs(b).max()))


def fault(
    what: str,
    got: float,
    expected: float,
    mistakes: Mapping[str, float],
    otherwise: str,
    rtol: float = 1e-3,
) -> str:
    """What is wrong with a number; empty if nothing is.

    `mistakes` says of each common mistake what the number then is; `otherwise` is said of others.
    """
    if same(got, expected, rtol):
        return ""
    hint = next((text for text, value in mistakes.items() if same(got, value)), otherwise)
    digits = 4 if f"{got:.4g}" != f"{expected:.4g}" else 17
    return f"{what} is {got:.{digits}g}, expected {expected:.{digits}g}: {hint}"
