"""The lab's figures that belong to no single claim: loss curves, sharpness, strengths."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from dlip_reg import report
from dlip_reg.evidence import ClaimResult
from dlip_reg.report.numbers import format_constant
from dlip_reg.report.wording import seeds_text
from dlip_reg.studies import Runs, figure
from dlip_reg.studies.drawing import Drawn, by_epoch, by_label, columns, loss_curves, section
from dlip_reg.studies.readings import is_finished, val_accuracy
from dlip_reg.studies.regularization.arms import LABELS, METHODS
from dlip_reg.studies.regularization.penalty_effects import weight_counts


def sections(runs: Runs, claims: Sequence[ClaimResult]) -> "list[report.Section]":
    """The sections behind the claims."""
    tuning = report.Section("Tuning", (), tuple(_tuning(runs)))
    return [*_training(runs), *_flatness(runs), tuning]


@section("Training with each regularizer")
def _training(runs: Runs) -> Drawn:
    """Each method is shown at the strengths that were best on validation images with other seeds:
    {strengths}.
    """
    arms = [arm for arm in LABELS if arm in runs] if runs.finished("none") else []
    curves = loss_curves(runs, arms) if arms else ()
    misleading = _misleading_loss(runs, arms) if arms else ()
    yield (
        (*curves, *_by_strength(runs), *misleading),
        {"strengths": "; ".join(_strengths(runs)) or "none could be trained"},
    )


@section("Sharpness")
def _flatness(runs: Runs) -> Drawn:
    """The top eigenvalue of the Hessian depends on the scale of the weights: rescaling two layers
    of a ReLU network against each other changes it, and no prediction (Dinh et al. 2017). Adaptive
    sharpness stays the same under that rescaling.
    """
    yield _sharpness(runs), {}


def _strengths(runs: Runs) -> Iterator[str]:
    for arm, label in LABELS.items():
        if spec := runs.chosen.get(arm):
            values = spec.runs[0].regularization
            named = {
                "learning rate": spec.runs[0].learning_rate,
                "rate": values.dense_dropout,
                "L1": values.dense_l1,
                "L2": values.dense_l2,
                "max-norm": values.max_norm,
            }
            parts = [f"{name} {format_constant(value)}" for name, value in named.items() if value]
            yield f"{label} ({', '.join(parts)})"


@figure("training_loss_misleads")
def _misleading_loss(runs: Runs, arms: Sequence[str]) -> Drawn:
    """The training loss that model.fit prints beside the clean one, for {arms}.

    What it prints adds the penalty, has dropout on and averages over weights that move during the
    epoch. Compare methods on the clean loss only.
    """
    read = functools.partial(by_epoch, train_loss="clean_loss", keras_loss="keras_loss")
    curves = by_label(runs, arms, read)
    yield report.figures.training_loss_misleads(curves), {"arms": curves}


@figure("sharpness")
def _sharpness(runs: Runs) -> Drawn:
    """Top Hessian eigenvalue and adaptive sharpness of the clean training loss through training,
    for {methods}.

    On 256 training images, the same at each point; geometric means over at most {seeds}, with
    intervals if there are several. Regularization that works by flatter minima would show on the
    right.
    """
    panels = {
        "lambda_max": ("top eigenvalue λ of the Hessian", "log"),
        "adaptive_sharpness": ("adaptive sharpness, nats", "log"),
    }
    curves = by_label(
        runs,
        ("none", *METHODS),
        lambda record: record.curvature and columns(record.curvature, "epoch", *panels),
    )
    if curves:
        seeds = seeds_text(max(map(len, curves.values())))
        plot = report.figures.through_training(curves, panels)
        yield plot, {"methods": curves, "seeds": seeds}


@figure("strengths")
def _tuning(runs: Runs) -> Drawn:
    """Validation accuracy against strength for {methods}.

    Mean over tuning seeds at each strength and learning rate tried. Where there are two seeds both
    are shown; where there are more, an interval. The best one is what the verdicts' runs use, with
    other seeds.
    """
    tried: dict[str, dict[str, dict[float, list[float]]]] = {}
    for arm in METHODS:
        for spec, records in runs.trials.get(arm, {}).items():
            lines = tried.setdefault(LABELS[arm], {})
            line = lines.setdefault(f"learning rate {spec.learning_rate:g}", {})
            line[getattr(spec.regularization, f"dense_{arm}")] = [
                val_accuracy(record) for record in records if is_finished(record)
            ]
    if tried:
        plot = report.figures.strength_curves(tried, linear=LABELS["dropout"])
        yield plot, {"methods": tried}


@figure("by_strength", slider="Strengths")
def _by_strength(runs: Runs) -> Drawn:
    """Training and validation loss against epochs, and the histogram of the trained weights, at
    one strength of {methods}.

    The static figure shows the largest strengths; the slider of the interactive one goes through
    all that were tried, from weak to strong, on the same axes. One run each, of the tuning, at the
    learning rate that is best for the method. The outermost points of a histogram hold all weights
    beyond them. A stronger regularizer keeps the training loss up; it helps as long as the
    validation loss does not rise with it.
    """
    tried: dict[str, dict[float, dict[str, Any]]] = {}
    for arm in METHODS:
        best = runs.chosen.get(arm)
        for spec, (record, *_) in runs.trials.get(arm, {}).items():
            is_best_rate = best and spec.learning_rate == best.runs[0].learning_rate
            if is_best_rate and is_finished(record) and record.weights:
                strength = getattr(spec.regularization, f"dense_{arm}")
                tried.setdefault(LABELS[arm], {})[strength] = {
                    **by_epoch(record, train_loss="clean_loss", validation_loss="clean_val_loss"),
                    "edges": record.weights.edges,
                    "counts": [weight_counts(record, spec.epochs)],
                }
    if tried:
        yield report.figures.by_strength(tried, 0.05), {"methods": tried}
