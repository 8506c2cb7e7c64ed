"""reg-l2-small: L2 gives small weights (where L1 gives sparse ones)."""

from __future__ import annotations

from dlip_reg.evidence.paired import LOG_RATIO, Values, minus
from dlip_reg.studies.readings import (
    Series,
    at_matched_loss,
    kernels,
    matching_notes,
)
from dlip_reg.studies.regularization.arms import SGD_STRENGTHS, sgd_arms
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Claim, Control, Measurement, Part

SIZES = {"max": "largest weight", "rms": "RMS of the weights"}


def _log_ratio(first: str, second: str, runs: Runs, series: Series) -> Values:
    values = at_matched_loss(runs, (first, second), series, last=True)
    return minus(values[first], values[second])


def _sizes(first: str, second: str, runs: Runs) -> tuple[Values, ...]:
    return tuple(_log_ratio(first, second, runs, kernels(size, log=True)) for size in SIZES)


def measure(runs: Runs) -> Measurement:
    """The largest and the RMS weight of L2 over L1; both must be smaller."""
    sizes = _sizes("sgd_l2", "sgd_l1", runs)
    return Measurement(
        sizes,
        (
            *(
                Part(f"{name}, L2 over L1", LOG_RATIO, values)
                for name, values in zip(SIZES.values(), sizes, strict=True)
            ),
            *(
                Part(f"{name}, L2 over none", LOG_RATIO, values)
                for name, values in zip(
                    SIZES.values(), _sizes("sgd_l2", "sgd_none", runs), strict=True
                )
            ),
            *(
                Part(f"under Adam: {name}, L2 over L1", LOG_RATIO, values)
                for name, values in zip(SIZES.values(), _sizes("l2", "l1", runs), strict=True)
            ),
        ),
        matching_notes(runs, ("sgd_l1", "sgd_l2")),
    )


def _slower(runs: Runs) -> Measurement:
    return Measurement(_sizes("sgd_none_slow", "sgd_none", runs))


def _strong(runs: Runs) -> Measurement:
    return Measurement(_sizes("sgd_l2_strong", "sgd_none", runs))


CLAIM = Claim(
    id="reg-l2-small",
    sentence="L2 gives small weights.",
    experiment="Log-ratio of the largest weight and of the RMS of the weights (each the mean over "
    "layers of the log, which rescaling layers against each other leaves unchanged), L2 over L1 "
    "under plain SGD at the lowest training loss that both reach, each at the strongest penalty "
    "that costs at most two points of validation accuracy; both must be smaller (the larger "
    "log-ratio is shown). A diverged run counts as no difference.",
    unit=LOG_RATIO,
    direction=-1,
    smallest_effect=0.1,
    smallest_effect_source="10 %, the least that is visible in a histogram of the weights",
    measure=measure,
    needs=("sgd_none", "sgd_l1", "sgd_l2", "l1", "l2"),
    controls=(
        Control(
            "negative",
            "No regularization at a third of the learning rate, over no regularization (plain "
            "SGD): no penalty on either side.",
            _slower,
            ("sgd_none", "sgd_none_slow"),
        ),
        Control(
            "positive",
            f"L2 at {SGD_STRENGTHS['l2'][1]:g}, the strongest tried, over no regularization (plain "
            "SGD): it must give small weights.",
            _strong,
            ("sgd_none", "sgd_l2_strong"),
        ),
    ),
    arms=sgd_arms,
    figures=("weights_by_optimizer",),
)
