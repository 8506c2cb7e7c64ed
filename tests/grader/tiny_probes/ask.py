"""Calls one function of the submission."""

import warnings
from typing import Any

from dlip_reg.grading.child import the


def call(submission: Any, name: str, arguments: list) -> Any:
    warnings.warn("as libraries do", stacklevel=2)  # no submission may make it an error
    return the(submission, name)(*arguments)
