"""Races with one worker, on scores that are there already."""

import numpy as np

from dlip_reg.tuning.racing import most_promising


def simulated_race(table, adaptive=False):
    """The trial (row) that wins a race as `ParallelTuner` runs it, and how many scores it needed.

    With `adaptive` the oracle proposes a trial only when no other one is open.
    """
    trials, planned = table.shape
    scores, stopped = [], set()
    while True:
        open_trials = [
            number for number, row in enumerate(scores)
            if len(row) < planned and number not in stopped
        ]  # fmt: skip
        if len(scores) < trials and not (adaptive and open_trials):
            scores.append([table[len(scores), 0]])
        elif not open_trials:
            break
        else:
            left = len(open_trials) + len(stopped) + trials - len(scores)
            chosen, _ = most_promising(scores, planned, open_trials, share=len(open_trials) / left)
            if chosen is None:
                stopped.update(open_trials)
            else:
                scores[chosen].append(table[chosen, len(scores[chosen])])
    complete = [number for number, row in enumerate(scores) if len(row) == planned]
    return max(complete, key=lambda number: np.mean(table[number])), sum(map(len, scores))


def drawn(random, trials, executions, spread, strengths="normal"):
    """Scores of trials whose true means differ, with effects of the seeds and a scatter of 1."""
    draw = {
        "normal": random.standard_normal,
        "one-sided": lambda size: -random.standard_exponential(size),
        "heavy tails": lambda size: random.standard_t(3, size),
    }[strengths]
    means = spread * draw((trials, 1))
    effects = 3 * random.normal(size=(1, executions))
    return means + effects + random.normal(size=(trials, executions))
