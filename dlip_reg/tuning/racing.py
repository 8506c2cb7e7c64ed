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

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

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
    complete = [row for row in table if not np.isnan(row).any()]
    freedom = sum(map(len, scores)) - max(map(len, scores))
    logs, expected, chances = [], [], []
    for log_likelihood, means, deviations in _forecasts(table):
        logs.append(log_likelihood)
        expected.append(means)
        ahead = sign * means[candidates]
        if complete and freedom:
            ahead = ahead - max(sign * row.mean() for row in complete)
            ahead = stats.t.cdf(ahead / deviations[candidates], freedom)
        chances.append(ahead)
    weights = np.exp(np.array(logs) - max(logs))
    weights /= weights.sum()
    if complete and freedom:
        stays = weights @ np.prod(1 - np.array(chances), axis=1)
        if stays >= 1 - ERROR * share:
            return None, weights @ expected
    return candidates[int(np.argmax(weights @ chances))], weights @ expected


def _forecasts(table: np.ndarray) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Yield what each ratio means: its log-likelihood, and the trials' means and deviations.

    Args:
        table: Scores by trial and execution, NaN where there is none yet. Each trial has one.
    """
    seen = ~np.isnan(table)
    used = seen.any(0)  # an execution that no trial has yet is the same to all
    scores, known = np.where(seen, table, 0.0)[:, used], seen[:, used].astype(float)
    counts, missing = known.sum(1), 1 - known
    left = table.shape[1] - counts
    for ratio in _RATIOS:
        shrinkage = ratio / (1 + ratio * counts)
        precision = np.diag(known.sum(0)) - (known.T * shrinkage) @ known
        weighted = scores - known * (shrinkage * scores.sum(1))[:, None]
        effects = np.linalg.solve(precision, weighted.sum(0))
        residuals = (scores - effects) * known
        strengths = shrinkage * residuals.sum(1)
        freedom = max(counts.sum() - used.sum(), 1)
        squares = (residuals**2).sum() - (strengths * residuals.sum(1)).sum()
        variance = max(squares / freedom, 1e-18)
        log_likelihood = -0.5 * (
            freedom * np.log(variance)
            + np.log1p(ratio * counts).sum()
            + np.linalg.slogdet(precision)[1]
        )
        totals = scores.sum(1) + missing @ effects + left * strengths
        # Of the strength, of the scatter to come, and of the effects.
        by_effect = missing - (left * shrinkage)[:, None] * known
        spread = left**2 * shrinkage + left
        spread = spread + (by_effect @ np.linalg.inv(precision) * by_effect).sum(1)
        yield log_likelihood, totals / table.shape[1], np.sqrt(variance * spread) / table.shape[1]
