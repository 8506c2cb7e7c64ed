"""The base class of the package's own exceptions, and what an exception says in one line."""

import re


class DlipRegError(Exception):
    """Base of every exception that dlip_reg defines, besides the builtin that each refines."""


def useful_line(error: BaseException) -> str:
    """Return the line of an exception that says what was wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    while lines[0].startswith("Exception encountered when calling") and len(lines) > 1:
        del lines[0]  # Keras says what it was in the next line
    if lines[0].startswith("Graph execution error"):
        # TensorFlow lists where the operation was defined, then says what it found.
        ends = [index for index, line in enumerate(lines) if line.startswith("[[{{node")]
        lines = [lines[ends[0] - 1] if ends and ends[0] else lines[-1]]
    # Without colours, and without the names of operations.
    return re.sub(r"\x1b\[\d+m|\{\{.*?\}\} ?| \[Op:.*", "", lines[0])


def cause_of(error: BaseException) -> str:
    """Return the kind of an exception and the line that says what was wrong."""
    kind, line = type(error).__name__, useful_line(error)
    return line if line == kind else f"{kind}: {line}"
