"""How large a run of Hyperband is (Li et al. 2018, algorithm 1, with keras-tuner's sizes)."""

from __future__ import annotations

import math
from dataclasses import dataclass

_FACTOR = 3  # of the trials of a round one in so many goes on, for so many times the epochs


@dataclass(frozen=True)
class Round:
    """Trials that train from `initial_epoch` to `epochs`; one that goes on counts again."""

    trials: int
    initial_epoch: int
    epochs: int


def rounds(max_epochs: int) -> list[Round]:
    """Those of one run, bracket after bracket; the last one of each trains to `max_epochs`.

    Below 3 epochs there is one round alone, and no trial that goes on.
    """
    brackets, epochs = 0, float(max_epochs)
    while epochs >= 1:
        brackets, epochs = brackets + 1, epochs / _FACTOR
    size = math.ceil(1 + math.log(max_epochs, _FACTOR))
    found = []
    for bracket in reversed(range(brackets)):
        reached = 0
        for left in reversed(range(bracket + 1)):  # so many rounds come after this one
            trials = math.ceil(size / (bracket + 1) * _FACTOR**left)
            epochs = math.ceil(max_epochs / _FACTOR**left)
            found.append(Round(trials, reached, epochs))
            reached = epochs
    return found


def whole_runs(max_trials: int, max_epochs: int) -> int:
    """In how many runs there are `max_trials` trials or, where that is not whole, some more."""
    return math.ceil(max_trials / sum(part.trials for part in rounds(max_epochs)))
