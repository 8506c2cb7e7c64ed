"""How large a run of Hyperband is (Li et al. 2018, algorithm 1, with keras-tuner's sizes)."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

_FACTOR = 3  # one trial in so many is promoted, to so many times the epochs


class Round(NamedTuple):
    """Trials that train from `initial_epoch` to `epochs`; a promoted one counts again."""

    trials: int
    initial_epoch: int
    epochs: int


def rounds(max_epochs: int) -> list[Round]:
    """Return those of one run, bracket after bracket; the last one of each ends at `max_epochs`."""
    brackets = next(k for k in itertools.count() if _FACTOR**k > max_epochs)
    size = math.ceil(1 + math.log(max_epochs, _FACTOR))
    found = []
    for bracket in reversed(range(brackets)):
        reached = 0
        for left in reversed(range(bracket + 1)):  # so many rounds come after this one
            epochs = math.ceil(max_epochs / _FACTOR**left)
            trials = math.ceil(size / (bracket + 1) * _FACTOR**left)
            found.append(Round(trials, reached, epochs))
            reached = epochs
    return found


def whole_runs(max_trials: int, max_epochs: int) -> int:
    """Return in how many runs there are at least `max_trials` trials."""
    return math.ceil(max_trials / sum(part.trials for part in rounds(max_epochs)))
