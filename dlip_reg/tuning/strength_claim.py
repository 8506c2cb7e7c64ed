"""The claim reg-separate as the tuning lab measures it: by two searches of equal budgets."""

from __future__ import annotations

import math
from dataclasses import replace

from dlip_reg.evidence.paired import Values, minus, percent
from dlip_reg.experiments.selection import most_accurate
from dlip_reg.studies.regularization import separate_strengths
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Measurement, Part

SEPARATE, TIED = "separate", "tied"


def measure(runs: Runs) -> Measurement:
    """Test accuracy of the best separate strengths minus that of the best tied one."""
    separate, tied = (_test_accuracy(runs, arm) for arm in (SEPARATE, TIED))
    return Measurement(
        minus(separate, tied),
        (
            Part("test accuracy of the best tied trial", "%", tied),
            Part("best conv over best dense strength, by search seed", "decades", _ratios(runs)),
        ),
    )


CLAIM = replace(
    separate_strengths.CLAIM,
    experiment="Test accuracy of the best trial of a search over (conv, dense) L2 strengths minus "
    "that of the best trial of a search over one tied strength. Both searches have the same "
    "oracle, range, number of trials and seeds; both best trials are retrained with seeds that no "
    "search has used.",
    measure=measure,
    needs=(SEPARATE, TIED),
    controls=(),
    arms=(),
    draw=None,
    figures=("response_surface", "strengths"),
)


def _ratios(runs: Runs) -> Values:
    """log10 of the best convolution strength over the best dense one, with each search seed."""
    trials = runs.trials[SEPARATE]
    ratios = []
    for seed in range(max(map(len, trials.values()), default=0)):
        best = most_accurate({spec: records[seed : seed + 1] for spec, records in trials.items()})
        if best is not None:
            strengths = best.regularization
            ratios.append(math.log10(strengths.conv_l2 / strengths.dense_l2))
    return tuple(ratios)


def _test_accuracy(runs: Runs, arm: str) -> Values:
    return percent(runs.values(arm, lambda record: record.measures.test_accuracy))
