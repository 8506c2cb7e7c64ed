"""Racing: leave out the executions that will not change which trial is the best.

A score is modelled as the effect of its seed and fold, which all trials share, plus the trial's own
strength, plus scatter; strengths and scatter are normal. How far strengths vary beside the scatter
is not known: a few ratios of their variances are weighted by their restricted likelihood. That
gives for each open trial the distribution of its mean over all executions, and the probability that
it beats the best complete trial, the incumbent. A trial with few executions is expected to fall
back towards the others, the more so the less the trials differ beside their scatter.

The execution that is run next is that of the trial with the highest probability. The race is
decided once the incumbent stays the best with a probability of at least 1 - `ERROR`.

In simulations of 24 trials of 5 executions (800 searches each) the best trial is kept in 96 % of
searches with 61 % of the executions where trials differ by chance alone, in 97 % with 54 % where
strengths spread by half the scatter, and in 98 % with 36 % where they spread by twice the scatter.
Where seeds scatter unequally it errs more often than `ERROR`: on recorded scores of a small CNN,
whose 22 trials differ by chance alone, the best trial was kept in 88 % of searches with 64 % of the
executions, at a mean loss of accuracy of 0.0001.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

# In what share of searches the best trial is stopped, at most.
ERROR = 0.03
# Variance of the trials' strengths over that of the scatter; equally likely before any score.
_RATIOS = 4.0 ** np.arange(-4, 6)


def most_promising(
    scores: Sequence[Sequence[float]],
    planned: int,
    candidates: Sequence[int],
    direction: str = "max",
    share: float = 1.0,
) -> tuple[int | None, np.ndarray]:
    """Return which trial to continue, and every trial's expected mean score.

    Args:
        scores: Each trial's, of its first executions: one or more.
        planned: How many executions a complete trial has.
        candidates: The trials that may be continued, by their index.
        direction: "max" where higher scores are better, or "min".
        share: The share of `ERROR` that stopping the candidates may cost.

    Returns:
        None instead of a trial where the candidates can all be stopped.
    """
    table = np.array([[*row, *[np.nan] * (planned - len(row))] for row in scores], float)
    sign = 1 if direction == "max" else -1
    complete = table[~np.isnan(table).any(1)]
    freedom = sum(map(len, scores)) - max(map(len, scores))
    logs, means, deviations = _forecasts(table)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    chances = sign * means[:, candidates]
    if len(complete) and freedom:
        ahead = chances - (sign * complete.mean(1)).max()
        chances = special.stdtr(freedom, ahead / deviations[:, candidates])
        if weights @ np.prod(1 - chances, axis=1) >= 1 - ERROR * share:
            return None, weights @ means
    return candidates[int(np.argmax(weights @ chances))], weights @ means


def _forecasts(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what each ratio means: its log-likelihood, and the trials' means and deviations.

    Args:
        table: Scores by trial and execution, NaN where there is none yet. Each trial has one.

    Returns:
        Arrays (ratios,), (ratios, trials) and (ratios, trials).
    """
    seen = ~np.isnan(table)
    used = seen.any(0)  # an execution that no trial has yet is the same to all
    scores, known = np.where(seen, table, 0.0)[:, used], seen[:, used].astype(float)
    counts, missing = known.sum(1), 1 - known
    left = table.shape[1] - counts
    ratios = _RATIOS[:, None]
    shrinkage = ratios / (1 + ratios * counts)
    precision = np.diag(known.sum(0)) - (known.T * shrinkage[:, None]) @ known
    weighted = scores.sum(0) - (shrinkage * scores.sum(1)) @ known
    effects = np.linalg.solve(precision, weighted[..., None])[..., 0]
    residuals = (scores - effects[:, None]) * known
    strengths = shrinkage * residuals.sum(2)
    freedom = max(counts.sum() - used.sum(), 1)
    squares = (residuals**2).sum((1, 2)) - (strengths * residuals.sum(2)).sum(1)
    variance = np.maximum(squares / freedom, 1e-18)
    logs = -0.5 * (
        freedom * np.log(variance)
        + np.log1p(ratios * counts).sum(1)
        + np.linalg.slogdet(precision)[1]
    )
    totals = scores.sum(1) + effects @ missing.T + left * strengths
    # Of the strength, of the scatter to come, and of the effects.
    by_effect = missing - (left * shrinkage)[..., None] * known
    spread = left**2 * shrinkage + left
    spread = spread + (by_effect @ np.linalg.inv(precision) * by_effect).sum(2)
    deviations = np.sqrt(variance[:, None] * spread)
    return logs, totals / table.shape[1], deviations / table.shape[1]
