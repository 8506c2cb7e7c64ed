"""reg-l1-sparse: L1 gives sparse weights, whereas L2 gives small ones.

What penalties do to the weights is compared where they cost alike: each is the strongest that costs
at most two points of validation accuracy. The moment is that of the lowest training loss that both
reach. Matching the moments by validation loss, too, would compare them early: that loss is lowest
after a few epochs, before a penalty has moved the weights.

Measured under plain SGD. Adam divides each weight's gradient by its own running size, and the
penalty's gradient with it: a weight that the data hardly moves is then driven to zero at Adam's own
rate whatever the penalty, so that L2 makes nearly as many small weights as L1 (Loshchilov & Hutter
2019 decouple the decay for a like reason). The picture under Adam is shown beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlip_reg.evidence.paired import POINTS, Values, minus, percent
from dlip_reg.studies.readings import (
    Series,
    at_matched_loss,
    kernels,
    matching_notes,
)
from dlip_reg.studies.regularization.arms import SGD_STRENGTHS, sgd_arms
from dlip_reg.studies.regularization.dropout_sparsity import HOYER
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Claim, Control, Measurement, Part
from dlip_reg.training.records import Record

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

ADAM_BLURS = (
    "Why plain SGD: Adam divides each weight's gradient by a running mean of its size. A penalty "
    "in the loss is part of that gradient. A weight that the data hardly moves has little gradient "
    "but the penalty's, and after the division it moves towards zero by about the learning rate at "
    "every step, whether the penalty's gradient is l · sign(w), as of L1, or 2 l w, as of L2. So "
    "under Adam both penalties make weights near zero, and the difference that the note speaks of "
    "(L1 pushes small weights as hard as large ones, L2 lets go of them) is blurred. Under plain "
    "SGD the push is the penalty's own gradient."
)


def _difference(first: str, second: str, runs: Runs, series: Series | None = None) -> Values:
    """Kernel sparseness of one arm minus another's where both have the same training loss."""
    values = at_matched_loss(runs, (first, second), series or kernels("hoyer"), last=True)
    return minus(values[first], values[second])


def _strong(runs: Runs) -> Values:
    return _difference("sgd_l1_strong", "sgd_none", runs)


def _slower(runs: Runs) -> Values:
    return _difference("sgd_none_slow", "sgd_none", runs)


def measure(runs: Runs) -> Measurement:
    """L1 minus L2 under SGD at the lowest training loss that both reach."""
    near_zero = kernels("near_zero")
    pruned = runs.values("sgd_l1", lambda r: r.measures.pruned_accuracy)
    whole = runs.values("sgd_l1", lambda r: r.measures.test_accuracy)
    return Measurement(
        _difference("sgd_l1", "sgd_l2", runs),
        (
            Part("L1 minus none", HOYER, _difference("sgd_l1", "sgd_none", runs)),
            Part("L2 minus none", HOYER, _difference("sgd_l2", "sgd_none", runs)),
            Part("weights below 5 % of their layer's RMS, L1 minus L2", POINTS,
                 percent(_difference("sgd_l1", "sgd_l2", runs, near_zero))),
            Part("under Adam: sparseness, L1 minus L2", HOYER, _difference("l1", "l2", runs)),
            Part("under Adam: weights below 5 % of RMS, L1 minus L2", POINTS,
                 percent(_difference("l1", "l2", runs, near_zero))),
            Part("test accuracy when L1's weights below 5 % of RMS are set to zero", POINTS,
                 percent(minus(pruned, whole))),
        ),
        matching_notes(runs, ("sgd_l1", "sgd_l2")),
    )  # fmt: skip


def draw(runs: Runs) -> Sequence[FigureItem]:
    """Histograms of the weights under SGD and under Adam."""
    from dlip_reg.report import FigureItem, figures

    pairs = {
        "plain SGD": {"none": "sgd_none", "L1": "sgd_l1", "L2": "sgd_l2"},
        "Adam": {"none": "none", "L1": "l1", "L2": "l2"},
    }
    histograms: dict[str, dict[str, Any]] = {}
    for optimizer, arms in pairs.items():
        for label, arm in arms.items():
            if finished := runs.finished(arm):
                histograms.setdefault(label, {})[optimizer] = {
                    "edges": finished[0].weights.edges,
                    "counts": [_all_layers(record) for record in finished],
                }
    if not histograms:
        return []
    return [
        FigureItem(
            "weights_by_optimizer",
            figures.weight_histograms(histograms, 0.05),
            "Histograms of the trained weights under plain SGD and under Adam, without "
            "regularization, with L1 and with L2.",
            "Weights in units of their layer's present RMS. Under plain SGD L1 alone has the peak "
            "at zero; under Adam L2 has one, too. " + ADAM_BLURS,
        )
    ]


def _all_layers(record: Record) -> list[int]:
    layers = [row.histogram for row in record.weights.rows[-1].layers]
    return [sum(counts) for counts in zip(*layers, strict=True)]


CLAIM = Claim(
    id="reg-l1-sparse",
    sentence="L1 gives sparse weights (whereas L2 gives small ones).",
    experiment="Hoyer sparseness of the kernels (mean over layers; it does not change when weights "
    "are scaled) under plain SGD, at the lowest training loss that both reach: L1 minus L2, each "
    "at the strongest penalty that costs at most two points of validation accuracy. A diverged run "
    "counts as no difference.",
    unit=HOYER,
    direction=+1,
    smallest_effect=0.05,
    smallest_effect_source="about half of what separates normally distributed weights (0.20) from "
    "Laplace-distributed ones (0.29), the prior that L1 stands for",
    measure=measure,
    needs=("sgd_none", "sgd_l1", "sgd_l2", "l1", "l2", "none"),
    controls=(
        Control(
            "negative",
            "No regularization at a third of the learning rate, minus no regularization (plain "
            "SGD): no penalty on either side.",
            _slower,
            ("sgd_none", "sgd_none_slow"),
        ),
        Control(
            "positive",
            f"L1 at {SGD_STRENGTHS['l1'][1]:g}, the strongest tried, minus no regularization "
            "(plain SGD): it must give sparse weights.",
            _strong,
            ("sgd_none", "sgd_l1_strong"),
        ),
    ),
    arms=sgd_arms,
    draw=draw,
)
