"""Calls one function of the submission."""

from typing import Any

from dlip_reg.grading.child import the


def call(submission: Any, name: str, arguments: list) -> Any:
    return the(submission, name)(*arguments)
