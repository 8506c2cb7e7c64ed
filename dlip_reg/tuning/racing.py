"""Racing: stop a trial as soon as its paired differences show that it will not be the best.

All trials have the same seeds and folds, so a trial is compared with the best complete one, the
incumbent, execution by execution. What is asked is not whether the trial's true mean is worse, but
whether its mean over all n executions will be. Given that final mean difference D, the mean
difference after k executions is normal around D with variance s² (1/k - 1/n), whatever the true
difference is (it is a Brownian bridge). So if D is not worse than 0, a look that stops the trial
where the mean difference exceeds t(a) s sqrt(1/k - 1/n) errs with a probability of at most a, and
all n - 1 looks together with at most (n - 1) a = `ERROR`. The scatter s of a difference is
estimated from the complete trials and the trial's own differences, which are assumed to scatter
alike. Its purpose is that of Optuna's `WilcoxonPruner`, whose rank test cannot stop a trial before
its fourth execution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

# How often a trial that would have replaced the incumbent is stopped, at most.
ERROR = 0.1


def will_lose(
    scores: Sequence[float], complete: Sequence[Sequence[float]], direction: str = "max"
) -> bool:
    """Return whether a trial will not end better than the incumbent.

    Args:
        scores: The trial's, of its first executions.
        complete: The scores of all executions of each complete trial, those of the best one, the
            incumbent, first. Without any, nothing is decided.
        direction: "max" where higher scores are better, or "min".
    """
    if not complete:
        return False
    table = np.asarray(complete, float)
    tried, planned = len(scores), table.shape[1]
    differences = (table[0, :tried] - scores) * (1 if direction == "max" else -1)
    residuals = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    freedom = (len(table) - 1) * (planned - 1) + tried - 1
    if not freedom:
        return False
    # A difference of two trials has twice the variance of one.
    variance = (2 * (residuals**2).sum() + tried * differences.var()) / freedom
    quantile = stats.t.isf(ERROR / (planned - 1), freedom)
    limit = quantile * math.sqrt(variance * (1 / tried - 1 / planned))
    return bool(differences.mean() > limit)


def comparable(scores: Sequence[float], incumbent: Sequence[float]) -> list[float]:
    """Return a stopped trial's scores, moved so that their mean compares with complete trials'.

    The seeds that it lacks may be easier or harder than those that it has; how the incumbent did on
    them says which.
    """
    shift = float(np.mean(incumbent) - np.mean(incumbent[: len(scores)]))
    return [score + shift for score in scores]
