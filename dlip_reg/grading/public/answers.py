"""The form of a probe's answer, checked before a test relies on it.

Where student code runs in the process that answers, an answer may be anything that plain data can
say. Its form is all that is checked here; what it says has to be held against values that the test
knows from elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dlip_reg.grading.errors import Rejected

EACH = "each"  # the key of a form for dicts with any keys


def require(answer: Any, form: Any) -> Any:
    """The answer, if it has the form: a type, [form of each item], (form of the first, of the
    second, ...) or {key: form of its value}.

    `np.ndarray` stands for arrays of real numbers. Rejected, for staff to look at, where it has
    not: no honest submission changes what a probe returns.
    """
    if not _has(answer, form):
        raise Rejected("A probe's answer does not have the form that probes give it.")
    return answer


def _has(answer: Any, form: Any) -> bool:
    if isinstance(form, list):
        return isinstance(answer, list | tuple) and all(_has(item, form[0]) for item in answer)
    if isinstance(form, tuple):
        return (
            isinstance(answer, list | tuple)
            and len(answer) == len(form)
            and all(_has(item, own) for item, own in zip(answer, form, strict=True))
        )
    if isinstance(form, dict) and EACH in form:
        return isinstance(answer, dict) and all(_has(v, form[EACH]) for v in answer.values())
    if isinstance(form, dict):
        return (
            isinstance(answer, dict)
            and answer.keys() == form.keys()
            and all(_has(answer[key], form[key]) for key in form)
        )
    if form is np.ndarray:
        return isinstance(answer, np.ndarray) and answer.dtype.kind in "fiub"
    return type(answer) is form
