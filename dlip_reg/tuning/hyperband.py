"""How large a run of Hyperband is (Li et al. 2018, algorithm 1, with keras-tuner's sizes)."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

_FACTOR = 3  # one trial in so many is promoted, to so many times the epochs


class Size(NamedTuple):
    """Runs, and their trials and epochs; a trial that is promoted counts again."""

    runs: int
    trials: int
    epochs: int


def rounds(max_epochs: int) -> list[tuple[int, int, int]]:
    """Return the rounds of one run, bracket after bracket.

    Each is a number of trials, and the epochs from which and to which they train. The last round of
    each bracket ends at `max_epochs`.
    """
    brackets = next(k for k in itertools.count() if _FACTOR**k > max_epochs)
    largest = math.ceil(1 + math.log(max_epochs, _FACTOR))
    found = []
    for bracket in reversed(range(brackets)):
        reached = 0
        for left in reversed(range(bracket + 1)):  # so many rounds come after this one
            epochs = math.ceil(max_epochs / _FACTOR**left)
            trials = math.ceil(largest / (bracket + 1) * _FACTOR**left)
            found.append((trials, reached, epochs))
            reached = epochs
    return found


def size(max_trials: int, max_epochs: int) -> Size:
    """Return the size of as many whole runs as have at least `max_trials` trials."""
    parts = rounds(max_epochs)
    trials = sum(count for count, _, _ in parts)
    epochs = sum(count * (end - start) for count, start, end in parts)
    runs = math.ceil(max_trials / trials)
    return Size(runs, runs * trials, runs * epochs)
