"""A submission as the tests see it: ask it something, get plain data."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dlip_reg.grading import errors
from dlip_reg.grading.alarm import suspended
from dlip_reg.grading.children import Child
from dlip_reg.grading.isolation.tiers import WEAK
from dlip_reg.grading.sandbox import Sandbox
from dlip_reg.grading.wire import UnsendableError, decode, encode

_KEPT_ANSWERS, _LARGEST_KEPT = 64, 1 << 20  # answers of clean children, and their bytes


@dataclass(frozen=True)
class Submission:
    """One student's files (path to content) and which of them is imported; `notes` tell staff what
    was left out and why, `key` says what is graded by which tests."""

    name: str
    files: Mapping[str, bytes] = field(repr=False)
    main: str
    notes: tuple[str, ...] = ()
    key: str = ""


class Student:
    """Runs probes beside a submission: one child for the public tests and one for the hidden, a
    fresh one after a crash, and a clean child for `rebuild` in each module of tests.

    What a public test says could carry what the child has seen in a hidden one: hence two, of which
    one is stopped while the other works, so that neither can signal to the other. A request's
    seconds count as `limits.counted` says.
    """

    def __init__(self, sandbox: Sandbox, submission: Submission) -> None:
        self._sandbox, self._submission = sandbox, submission
        self._limits = sandbox.limits
        self._left = self._limits.total_seconds
        self._left_for_test = self._limits.test_seconds
        self._public, self._task = False, ""
        self._timeouts: Counter[str] = Counter()  # by task
        self._children: dict[bool, Child] = {}
        self.stopped: tuple[str, ...] = ()  # sentences on what did not end on import
        self._import_failure: errors.ProbeError | None = None
        self._module = ""
        self._clean: Child | None = None
        self._asked: list[bytes] = []  # of a clean child in this module
        self._answered = 0  # how many of these the child has answered; others' answers were kept
        self._history = b""  # a hash of these

    def begin(self, public: bool, module: str, task: str = "") -> None:
        """A test starts: its time runs from here. StudentTimeoutError where none is left.

        After each timeout the other tests of that task have half the time: what hangs in one task
        must leave time for the others.
        """
        if self._left <= 0:
            raise errors.StudentTimeoutError("The time for the whole submission is up.")
        # The one that is stopped comes first, so that they never run at the same time.
        for of_public, child in sorted(self._children.items(), key=lambda c: c[0] == public):
            if child.alive:
                child.let_run(of_public == public)
        self._public, self._task = public, task
        self._left_for_test = self._limits.test_seconds / 2 ** self._timeouts[task]
        if module != self._module and self._sandbox.tier != WEAK:  # there a child costs seconds
            self._module = module
            self._end_clean()

    def run(self, probe: str, /, **arguments: Any) -> Any:
        """What the probe "module.function" gives for the submission.

        Raises:
            ProbeError: Whatever went wrong; its class and `verdict` say whose fault it is.
        """
        with suspended():
            child = self._imported()
            try:
                return self._timed(child, probe, arguments)
            except (errors.StudentTimeoutError, errors.GraderError):
                raise
            except errors.ProbeError:
                if child.alive or child.requests == 1:
                    raise
            # What another test left in the child may have ended it: only a fresh one tells.
            return self._timed(self._imported(), probe, arguments)

    def call(self, name: str, /, *arguments: Any, **options: Any) -> Any:
        """What the submission's function `name` returns, as plain data; raises as `run` does."""
        return self.run("call", name=name, arguments=list(arguments), options=options)

    def rebuild(self, probe: str, /, **arguments: Any) -> Any:
        """The same in a clean child that has never seen the submission (`submission` is None).

        Its answer depends on nothing but what it has been asked so far, in this module unless the
        tier is weak. So it is kept for other submissions, whose tests mostly ask the same. Its time
        counts for no submission, kept or not, so marks do not depend on who came before.
        """
        with suspended():
            try:
                question = encode([probe, arguments], exact=True)
            except UnsendableError as error:
                raise errors.GraderError(f"The test's arguments cannot be sent: {error}") from None
            self._history = hashlib.sha256(self._history + question).digest()
            self._asked.append(question)
            kept = self._sandbox.clean_answers
            answer = kept.pop(self._history, None) or encode(self._clean_answer())
            if len(answer) <= _LARGEST_KEPT:
                kept[self._history] = answer  # behind those that were wanted longer ago
                if len(kept) > _KEPT_ANSWERS:
                    del kept[next(iter(kept))]
            return decode(answer)

    def _clean_answer(self) -> Any:
        """What a clean child answers to the last question, once it has been asked all before it."""
        if self._clean is not None and not self._clean.alive:  # it ended with the fork server
            self._clean, self._answered = None, 0
        clean = self._clean = self._clean or self._sandbox.child({})
        for question in self._asked[self._answered : -1]:
            # The test that asked it has its answer or its failure.
            with contextlib.suppress(errors.ProbeError):
                self._ask_clean(clean, question)
            if not clean.alive:
                self._end_clean()
                raise errors.GraderError("A clean child ended over what it had answered before.")
        try:
            return self._ask_clean(clean, self._asked[-1])
        except errors.ProbeError as error:
            if not clean.alive:
                self._end_clean()
            elif isinstance(error, errors.StudentError):
                _, _, text = str(error).partition(": ")
                raise errors.UnusableAnswerError(text, error.output) from None
            raise

    def _ask_clean(self, clean: Child, question: bytes) -> Any:
        self._answered += 1
        probe, arguments = decode(question)
        return clean.run(probe, arguments, self._limits.test_seconds)

    def _end_clean(self) -> None:
        """Have the next question asked of a new clean child."""
        clean, self._clean = self._clean, None
        self._asked, self._answered, self._history = [], 0, b""
        if clean is not None and clean.alive:
            with contextlib.suppress(errors.GraderError):  # no test asked anything of it
                clean.end()

    def _timed(self, child: Child, probe: str, arguments: dict[str, Any]) -> Any:
        """All probes of one test share its time."""
        try:
            return child.run(probe, arguments, max(min(self._left_for_test, self._left), 0.0))
        except errors.StudentTimeoutError:
            self._timeouts[self._task] += bool(self._task)
            raise
        finally:
            self._left_for_test -= child.seconds
            self._left -= child.seconds

    def close(self) -> None:
        """End the children."""
        self._end_clean()
        for child in self._children.values():
            if child.alive:
                child.end()
        self._children = {}

    def _imported(self) -> Child:
        if self._import_failure is not None:
            raise self._import_failure
        child = self._children.get(self._public)
        if child is not None and child.alive and child.disturbed:
            child.end()
        if child is None or not child.alive:
            child = self._children[self._public] = self._sandbox.child(self._submission.files)
            try:
                stopped = child.load(self._submission.main, self._limits.import_seconds)
                self.stopped = self.stopped or tuple(stopped)
            except errors.GraderError:
                child.end()
                raise
            except errors.ProbeError as error:
                self._import_failure = type(error)(f"On import: {error}", error.output)
                raise self._import_failure from None
            finally:
                self._left -= child.seconds
        return child
