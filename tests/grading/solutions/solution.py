"""A solution that differs from the reference in a few words, and what the difference costs.

Solutions are written as a patch is, one after the other:

    @@ NAME (POINTS LOST, test by test) PART OF WHAT A PUBLIC TEST SAYS
    - each place with this text ...
    + ... has that one instead
    = a part of the reference that goes (see `PARTS`), put otherwise by the lines with a + below
    ^ the line above which the lines with a + below are put
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

MASTER = Path(__file__).parents[1] / "assignment"
REFERENCE = (MASTER / "submission.py").read_text(encoding="utf-8")
_REGION = re.compile(r"### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION\n", re.DOTALL | re.MULTILINE)
_NAMES = (
    *("imports", "build_model", "clean_loss", "LossCurves.__init__", "LossCurves", "helpers"),
    *("sharpness", "SeparateStrengths.__init__", "SeparateStrengths", "ScaledWarmup.__init__"),
    *("ScaledWarmup", "measures", "which_made_it_sparse"),
)
# The reference's solution regions, and parts of them.
PARTS = dict(zip(_NAMES, _REGION.findall(REFERENCE), strict=True))
PARTS |= {
    name: re.search(pattern, REFERENCE, re.DOTALL)[0]
    for name, pattern in {
        "losses of a batch": r" +logits = .*?\n +losses = .*?\n",
        "hessian_product": r"    zero = .*?(?=\n\ndef dot)",
        "share": r" +share = .*?share = 1.0\n",
    }.items()
}


def _points(text: str) -> dict[str, int]:
    """The points of some tests, written as "NAME POINTS, NAME POINTS"."""
    pairs = map(str.split, filter(None, text.split(", ")))
    return {f"test_{name}": int(points) for name, points in pairs}


TASKS = {
    "build_model": _points(
        "logits 1, penalties 2, penalised_weights 2, moving_statistics 2, normalisation 2, "
        "no_bias_before_batch_norm 1, dropout 3, save_and_load 2"
    ),
    "clean_loss": _points("clean_loss 3, uneven_batches 1"),
    "LossCurves": _points("curves 3, training_is_left_unchanged 2"),
    "sharpness": _points(
        "sharpness_of_a_bowl 2, sharpness_of_other_surfaces 2, sharpness_of_softmax_regression 1"
    ),
    "SeparateStrengths": _points("space 1, strengths_arrive 2, compiled_for_tuning 1"),
    "ScaledWarmup": _points("schedule 2, schedule_in_use 1"),
    "which_made_it_sparse": _points("sparse_or_small 2, dropout_or_nothing 2"),
}
POINTS = {test: points for tests in TASKS.values() for test, points in tests.items()}


def tasks_alone(text: str, *tasks: str) -> str:
    """The submission without its other functions and classes, which is quicker to mark."""
    kept = [
        node
        for node in ast.parse(text).body
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name in tasks
    ]
    return "\n\n".join(ast.get_source_segment(text, node) for node in kept)


@dataclass(frozen=True)
class Solution:
    """The reference with each text in `edits` put otherwise: one misunderstanding, or one style.

    `lost` are the points that it deserves to lose, test by test; `told` is part of what a public
    test has to say about it.
    """

    name: str
    lost: Mapping[str, float]
    edits: Mapping[str, str]
    told: str = ""

    def applied(self, text: str) -> str | None:
        """`text` with the edits made, None where one does not fit."""
        for old, new in self.edits.items():
            if old not in text:
                return None
            text = text.replace(old, new)
        return text


def solutions(patches: str) -> tuple[Solution, ...]:
    """The solutions that are written as patches of the reference."""
    return tuple(map(_solution, patches.strip().split("@@ ")[1:]))


def _solution(patch: str) -> Solution:
    head, *lines = patch.rstrip("\n").split("\n")
    name, lost, told = re.fullmatch(r"(\w+)(?: \((.*?)\))?(?: (.*))?", head).groups("")
    groups = [(mark, list(group)) for mark, group in groupby(lines, key=lambda line: line[0])]
    texts = [(mark, "\n".join(line[2:] for line in group)) for mark, group in groups]
    edits = {}
    for (mark, old), (next_mark, text) in pairwise([*texts, ("", "")]):
        new = text if next_mark == "+" else ""
        if mark == "-":
            edits[old] = new
        elif mark == "=":
            edits[PARTS[old]] = f"{new}\n"
        elif mark == "^":
            edits[old] = f"{new}\n\n\n{old}"
    return Solution(name, _losses(lost), edits, told)


def _losses(text: str) -> dict[str, int]:
    """The points lost test by test, also written as "all of TASK", "all but TASK" or "all"."""
    if not text.startswith("all"):
        return _points(text)
    chosen = [points for task, points in TASKS.items() if (task in text) == ("of" in text)]
    return {test: lost for points in chosen for test, lost in points.items()}


@dataclass(frozen=True)
class Submission:
    """A text to be marked, made of solutions whose losses fall on different tests, and how it is
    handed in."""

    text: str
    parts: tuple[Solution, ...]
    form: str = "module"

    @property
    def lost(self) -> dict[str, float]:
        return {test: points for part in self.parts for test, points in part.lost.items()}


FORMS = ("module", "notebook", "helper module")


def hand_in(text: str, form: str, folder: Path) -> Path:
    """Write a text to be marked into the folder, in one of FORMS; gives what is handed in."""
    if form == "notebook":
        # One definition a cell, as far as two blank lines tell.
        cells = [{"cell_type": "code", "source": part} for part in text.split("\n\n\n")]
        path, text = folder / "submission.ipynb", json.dumps({"nbformat": 4, "cells": cells})
    elif form == "helper module":
        (folder / "parts.py").write_text(text, encoding="utf-8")
        path, text = folder / "submission.py", "from parts import *\n"
    else:
        path = folder / "submission.py"
    path.write_text(text, encoding="utf-8")
    return folder


def alone(solution: Solution) -> Submission:
    """The solution by itself; ValueError where it does not fit the reference."""
    text = solution.applied(REFERENCE)
    if text is None:
        raise ValueError(f"{solution.name} does not fit the reference.")
    return Submission(text, (solution,))


def together(groups: Sequence[Sequence[Solution]]) -> Iterator[Submission]:
    """Submissions with at most one solution of each group, and all of them once.

    Marking many misunderstandings at a time saves time; no two cost points of one test.
    """
    waiting = [list(group) for group in groups]
    while any(waiting):
        submission = Submission(REFERENCE, ())
        for group in waiting:
            for solution in group:
                text = solution.applied(submission.text)
                if text is not None and not submission.lost.keys() & solution.lost.keys():
                    submission = Submission(text, (*submission.parts, solution))
                    group.remove(solution)
                    break
        if not submission.parts:
            raise ValueError(f"{next(filter(None, waiting))[0].name} does not fit the reference.")
        yield submission
