"""reg-l1-sparse, reg-l2-small: L1 gives sparse weights, whereas L2 gives small ones.

What penalties do to the weights is compared where they cost alike: each is the strongest that costs
at most two points of validation accuracy. The moment is that of the lowest training loss that both
reach. Matching the moments by validation loss, too, would compare them early: that loss is lowest
after a few epochs, before a penalty has moved the weights.

Measured under plain SGD. Adam divides each weight's gradient by its own running size, and the
penalty's gradient with it: a weight that the data hardly moves is then driven to zero at Adam's own
rate whatever the penalty, so that L2 makes nearly as many small weights as L1 (Loshchilov & Hutter
2019 decouple the decay for a like reason). The picture under Adam is shown beside it.
"""

import itertools
from typing import Any

from dlip_reg import report
from dlip_reg.evidence import LOG_RATIO, POINTS, Question, Values, minus, percent
from dlip_reg.studies.drawing import Drawn, figure
from dlip_reg.studies.progress import counted
from dlip_reg.studies.readings import kernels, matched_difference, matching_notes, test_accuracy
from dlip_reg.studies.regularization.arms import SGD_STRENGTHS, sgd_arms
from dlip_reg.studies.regularization.dropout_effects import HOYER
from dlip_reg.studies.runs import Runs, known
from dlip_reg.studies.study import Measured, Part, claimed, controlled, drawn_by, negative, positive
from dlip_reg.training import Record

STRONGEST_L1, STRONGEST_L2 = (strengths[1] for strengths in SGD_STRENGTHS.values())
PENALIZED = ("sgd_none", "sgd_l1", "sgd_l2", "l1", "l2")
SIZES = {"max": "largest weight", "rms": "RMS of the weights"}


def sparser(runs: Runs, arm: str, reference: str, statistic: str = "hoyer") -> Values:
    """Kernel sparseness of one arm minus another's where both have the same training loss."""
    return matched_difference(runs, arm, reference, kernels(statistic), last=True)


@figure("weights_by_optimizer", slider="Trained for")
def draw(runs: Runs) -> Drawn:
    """Histograms of the trained weights under plain SGD and under Adam, without regularization,
    with L1 and with L2.

    Weights in units of their layer's present RMS; the outermost points hold all weights beyond
    them. At the end of training, look for a peak at zero: with L1 under plain SGD, and with L1 and
    L2 under Adam. Why plain SGD: Adam divides each weight's
    gradient by a running mean of its size. A penalty in the loss is part of that gradient. A weight
    that the data hardly moves has little gradient but the penalty's, and after the division it
    moves towards zero by about the learning rate at every step, whether the penalty's gradient is
    l · sign(w), as of L1, or 2 l w, as of L2. So under Adam both penalties make weights near zero,
    and the difference that the note speaks of (L1 pushes small weights as hard as large ones, L2
    lets go of them) is blurred. Under plain SGD the push is the penalty's own gradient.
    """
    finished: dict[str, dict[str, list[Record]]] = {}
    optimizers = {"plain SGD": "sgd_", "Adam": ""}
    for label, (optimizer, prefix) in itertools.product(("none", "L1", "L2"), optimizers.items()):
        if records := runs.finished(prefix + label.lower()):
            finished.setdefault(label, {})[optimizer] = records
    every = [r for by_optimizer in finished.values() for rs in by_optimizer.values() for r in rs]
    frames = {}
    for epoch in sorted({row.epoch for record in every for row in _kept(record)}):
        histograms = {
            label: {
                optimizer: {
                    "edges": known(records[0].weights).edges,
                    "counts": [weight_counts(record, epoch) for record in records],
                }
                for optimizer, records in by_optimizer.items()
            }
            for label, by_optimizer in finished.items()
        }
        frames[counted(epoch, "epoch")] = report.figures.weight_histograms(histograms, 0.05)
    if frames:
        yield frames


def weight_counts(record: Record, epoch: int) -> list[int]:
    """The histogram of all kernels after `epoch`, or at the end of a shorter training."""
    row = [row for row in _kept(record) if row.epoch <= epoch][-1]
    return [sum(counts) for counts in zip(*(layer.histogram for layer in row.layers), strict=True)]


def _kept(record: Record) -> list[Any]:
    """The rows that have histograms: those before and after training."""
    return [row for row in known(record.weights).rows if row.layers[0].histogram is not None]


def ratios(runs: Runs, arm: str, reference: str) -> tuple[Values, ...]:
    """The log-ratios of the largest and of the RMS weight of one arm over another."""
    return tuple(
        matched_difference(runs, arm, reference, kernels(size, log=True), last=True)
        for size in SIZES
    )


@negative("sgd_none", "sgd_none_slow")
def slower_is_no_sparser(runs: Runs) -> Values:
    """No regularization at a third of the learning rate, minus no regularization (plain SGD): no
    penalty on either side.
    """
    return sparser(runs, "sgd_none_slow", "sgd_none")


@positive("sgd_none", "sgd_l1_strong")
def strongest_l1(runs: Runs) -> Values:
    """L1 at {STRONGEST_L1:g}, the strongest tried, minus no regularization (plain SGD): it must
    give sparse weights.
    """
    return sparser(runs, "sgd_l1_strong", "sgd_none")


@negative("sgd_none", "sgd_none_slow")
def slower_is_no_smaller(runs: Runs) -> tuple[Values, ...]:
    """No regularization at a third of the learning rate, over no regularization (plain SGD): no
    penalty on either side.
    """
    return ratios(runs, "sgd_none_slow", "sgd_none")


@positive("sgd_none", "sgd_l2_strong")
def strongest_l2(runs: Runs) -> tuple[Values, ...]:
    """L2 at {STRONGEST_L2:g}, the strongest tried, over no regularization (plain SGD): it must give
    small weights.
    """
    return ratios(runs, "sgd_l2_strong", "sgd_none")


@drawn_by(draw)
@controlled(slower_is_no_sparser, strongest_l1)
@claimed("reg-l1-sparse", HOYER, Question(+1, 0.05), *PENALIZED, "none", arms=sgd_arms)
def sparsity(runs: Runs) -> Measured:
    """L1 gives sparse weights (whereas L2 gives small ones).

    Hoyer sparseness of the kernels (mean over layers; it does not change when weights are
    scaled) under plain SGD, at the lowest training loss that both reach: L1 minus L2, each at the
    strongest penalty that costs at most two points of validation accuracy. A diverged run counts as
    no difference.

    Smallest effect: about half of what separates normally distributed weights (0.20) from
    Laplace-distributed ones (0.29), the prior that L1 stands for
    """
    pruned = runs.values("sgd_l1", lambda r: r.measures.pruned_accuracy)
    whole = runs.values("sgd_l1", test_accuracy)
    below_sgd = percent(sparser(runs, "sgd_l1", "sgd_l2", "near_zero"))
    below_adam = percent(sparser(runs, "l1", "l2", "near_zero"))
    yield sparser(runs, "sgd_l1", "sgd_l2")
    yield Part("L1 minus none", HOYER, sparser(runs, "sgd_l1", "sgd_none"))
    yield Part("L2 minus none", HOYER, sparser(runs, "sgd_l2", "sgd_none"))
    yield Part("weights below 5 % of their layer's RMS, L1 minus L2", POINTS, below_sgd)
    yield Part("under Adam: sparseness, L1 minus L2", HOYER, sparser(runs, "l1", "l2"))
    yield Part("under Adam: weights below 5 % of RMS, L1 minus L2", POINTS, below_adam)
    pruning = "test accuracy when L1's weights below 5 % of RMS are set to zero"
    yield Part(pruning, POINTS, percent(minus(pruned, whole)))
    yield from matching_notes(runs, ("sgd_l1", "sgd_l2"))


@drawn_by(draw)
@controlled(slower_is_no_smaller, strongest_l2)
@claimed("reg-l2-small", LOG_RATIO, Question(-1, 0.1), *PENALIZED, arms=sgd_arms)
def size(runs: Runs) -> Measured:
    """L2 gives small weights.

    Log-ratio of the largest weight and of the RMS of the weights (each the mean over layers of
    the log, which rescaling layers against each other leaves unchanged), L2 over L1 under plain SGD
    at the lowest training loss that both reach, each at the strongest penalty that costs at most
    two points of validation accuracy; both must be smaller (the larger log-ratio is shown). A
    diverged run counts as no difference.

    Smallest effect: 10 %, the least that is visible in a histogram of the weights
    """
    yield ratios(runs, "sgd_l2", "sgd_l1")
    for before, pair, arms in (
        ("", "L2 over L1", ("sgd_l2", "sgd_l1")),
        ("", "L2 over none", ("sgd_l2", "sgd_none")),
        ("under Adam: ", "L2 over L1", ("l2", "l1")),
    ):
        for size, values in zip(SIZES.values(), ratios(runs, *arms), strict=True):
            yield Part(f"{before}{size}, {pair}", LOG_RATIO, values)
    yield from matching_notes(runs, ("sgd_l1", "sgd_l2"))
