"""What can go wrong while a submission is graded, each with the verdict it leads to."""

from __future__ import annotations

from dlip_reg.errors import DlipRegError

# Said where the fork server or a child's supervisor does not answer any more.
SERVER_LOST = "The fork server is gone; it is started again for the next test."


class GradingError(DlipRegError, ValueError):
    """Input that staff have to change: a roster, a folder, a setting. One clear sentence."""


class SubmissionError(GradingError):
    """One submission that cannot be graded before staff have looked at it; the others can."""


class EmptySubmissionError(SubmissionError):
    """There is nothing in it: a submission that is missing."""


class ProbeError(DlipRegError):
    """A probe that did not come back with a value; `verdict` is the mark's reason.

    `output` is what the submission had printed, for staff's eyes and for public tests.
    """

    verdict = "error"

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


class MissingError(ProbeError):
    """The submission, or the name that the probe asked of it, is not there."""

    verdict = "missing"


class StudentError(ProbeError):
    """The submission raised, crashed, or passed a limit other than time and memory."""


class UnusableAnswerError(ProbeError):
    """What the submission gave, such as a model, cannot be used where its code is unknown."""

    verdict = "failed"


class StudentTimeoutError(ProbeError):
    """The time for this test, or for the whole submission, is up."""

    verdict = "timeout"


class StudentMemoryError(ProbeError):
    """The submission wanted more memory than it may have."""

    verdict = "memory"


class RejectedError(ProbeError):
    """The child broke the protocol: no honest submission does, so staff should look."""

    verdict = "rejected"


class GraderError(ProbeError):
    """The grader's own fault, or the test's: never a zero, staff have to act."""

    verdict = "grader error"
